"""Text, conditions and loops with the values they have."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.templates import faults, parser, rendering


def text(source: str, **scope: Any) -> str:
    (segment,) = parser.parse(source).segments
    return rendering.render(segment.nodes, scope, rendering.each)


@pytest.mark.parametrize(
    ("source", "scope", "shown"),
    [
        ("a {{ b }} c", {"b": 1}, "a 1 c"),
        ("{{ b.c[0]['d'] }}", {"b": {"c": [{"d": "x"}]}}, "x"),
        ("{{ names|join(', ')|upper }}", {"names": ["a", "b"]}, "A, B"),
        ("{{ 'y' if b > 2 else 'n' }}{{ b // 2 ** 2 }}{{ b is odd }}{{ b ~ 'x' }}", {"b": 3}, "y0true3x"),
        ("{{ xs[1:]|map('upper')|list }}", {"xs": ["a", "b", "c"]}, "- B\n- C"),
        ("{{ nothing }}{{ nothing.at.all }}", {}, ""),
        ("{{ nothing|default('d') }}", {}, "d"),
        ("{% if a %}1{% elif b %}2{% else %}3{% endif %}", {"b": True}, "2"),
        (
            "{% for x in xs if x != 2 %}{{ loop.index }}{{ x }}{{ ',' if loop.first }}{% endfor %}",
            {"xs": [1, 2, 3]},
            "11,23",
        ),
        ("{% for x in [] %}x{% else %}none{% endfor %}", {}, "none"),
        ("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", {"d": {"a": 1, "b": 2}}, "a=1;b=2;"),
        ("{% set a, b = p %}{{ b }}{{ a }}", {"p": [1, 2]}, "21"),
    ],
)  # fmt: skip
def test_rendering(source: str, scope: dict[str, Any], shown: str) -> None:
    assert text(source, **scope) == shown


@pytest.mark.parametrize(
    ("source", "scope", "words"),
    [
        ("{% for x in 3 %}{% endfor %}", {}, "int cannot be looped over"),
        ("{% set a, b = p %}", {"p": [1]}, "1 values for 2 names"),
        ("{% set a, b = p %}", {"p": 1}, "cannot be taken apart"),
        ("{{ 1 / 0 }}", {}, "division by zero"),
    ],
)
def test_what_cannot_be_rendered_has_a_place(source: str, scope: dict[str, Any], words: str) -> None:
    with pytest.raises(faults.TemplateError, match=words) as caught:
        text(source, **scope)
    assert (caught.value.faults[0].place.line, caught.value.faults[0].place.column) == (1, 1)


def test_loop_variables_end_with_the_loop() -> None:
    scope: dict[str, Any] = {"x": "kept", "y": 1}
    before = dict(scope)
    scope |= {"x": 2, "loop": {}}
    rendering.restore(scope, before, ["x", "loop"])
    assert scope == before
