from __future__ import annotations

import pytest

import headrace
from headrace import errors
from headrace.providers.scripted import Scripted
from headrace.templates import faults


def test_segments_wait_only_for_what_they_use() -> None:
    template = headrace.Template(
        "[[a]]<checkpoint>{{ x }} [[b]]<checkpoint>{{ a }} [[c]]<checkpoint>[[pick:d|c,z]]"
        "<checkpoint><system>{{ b|upper }}</system>[[e]]"
    )
    assert [sorted(s.needs) for s in template.plan.segments] == [[], [], [0], [2], [1]]
    assert template.plan.waves == [[0, 1], [2, 4], [3]]
    assert list(template.plan.variables) == ["x"]


def test_global_system_text_makes_later_segments_wait() -> None:
    template = headrace.Template("[[a]]<checkpoint><system>{{ a }}</system>[[b]]<checkpoint>[[c]]")
    assert [sorted(s.needs) for s in template.plan.segments] == [[], [0], [0]]


def test_what_follows_a_break_waits_for_it() -> None:
    template = headrace.Template("{% if x %}[[@break]]{% endif %}[[a]]<checkpoint>[[b]]")
    assert sorted(template.plan.segments[1].needs) == [0]


def test_strict_names_every_variable_without_a_value() -> None:
    template = headrace.Template(
        "{{ a }}\n{{ stroy|upper }} {{ late }}\n{% for x in xs %}{{ x }}{{ loop.index }}{% endfor %}[[late]]"
    )
    found = template.check({"a": 1, "story": "s"}).errors
    assert [(f.place.line, f.place.column) for f in found] == [(2, 1), (2, 19), (3, 1)]
    assert "did you mean 'story'" in found[0].message
    assert "before it is answered" in found[1].message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("[[pick|a,b]]", r"\[\[pick:\|a"),
        ("[[@nope]]", "no action @nope"),
        ("[[txet:a]]", "did you mean 'text'"),
        ("<together>[[@timestamp]]</together>", "inside <together>"),
    ],
)
def test_faults(source: str, words: str) -> None:
    with pytest.raises(faults.TemplateError, match=words):
        headrace.Template(source)


def test_a_bare_word_in_an_option_may_be_a_variable() -> None:
    template = headrace.Template("{% set k = 3 %}[[a|max_tokens=n,temperature=warm,seed=k]] [[int:i|min=lo]]")
    assert list(template.check().variables) == ["n", "warm", "lo"]
    provider = Scripted([["x"], ['{"value": 4}']])
    result = template.run_sync(provider, {"n": 7, "warm": 0.3, "lo": 2}, cache=False)
    assert dict(result) == {"a": "x", "i": 4}
    request = provider.requests[0]
    assert (request.max_tokens, request.temperature, request.seed) == (7, 0.3, 3)
    for inputs, words in (
        ({"n": 7, "lo": 1}, "temperature='warm' must be a number"),
        ({"n": 7, "warm": 0.3, "lo": "abc"}, "min='abc' must be a number"),
        ({"n": -1, "warm": 0.3, "lo": 1}, "max_tokens=-1"),
    ):
        provider = Scripted("x")
        with pytest.raises(errors.HeadraceError, match=words):
            template.run_sync(provider, inputs, cache=False)
        assert provider.requests == []  # before anything is asked


def test_graph_and_explain() -> None:
    template = headrace.Template("{{ v }} [[a]]<checkpoint>Two</checkpoint>{{ a }} [[int:n]]")
    graph = template.graph()
    assert graph.startswith("flowchart TD\n")
    assert "v0 --> s0" in graph
    assert "s0 -->|a| s1" in graph
    assert "n: int (comes whole" in template.explain()
