from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.templates import faults, parser, syntax


def nodes(text: str, **options: Any) -> list[syntax.Node]:
    document = parser.parse(text, **options)
    return [node for segment in document.segments for node in syntax.walk(segment.nodes)]


def slots(text: str) -> list[syntax.Slot]:
    return [node for node in nodes(text) if isinstance(node, syntax.Slot)]


def wrong(text: str, **options: Any) -> list[faults.Fault]:
    with pytest.raises(faults.TemplateError) as caught:
        parser.parse(text, **options)
    assert caught.value.code == "template-error"
    assert caught.value.details["errors"][0]["line"] == caught.value.faults[0].place.line
    return caught.value.faults


def text_of(text: str) -> str:
    return "".join(node.text for node in nodes(text) if isinstance(node, syntax.Text))


@pytest.mark.parametrize(
    ("source", "key", "type_", "required", "listed", "least", "most"),
    [
        ("[[name]]", "name", "text", False, False, 0, None),
        ("[[ name ]]", "name", "text", False, False, 0, None),
        ("[[!name]]", "name", "text", True, False, 0, None),
        ("[[größe]]", "größe", "text", False, False, 0, None),
        ("[[bool:]]", "bool", "bool", False, False, 0, None),
        ("[[!int:n]]", "n", "int", True, False, 0, None),
        ("[[int*:n]]", "n", "int", False, True, 0, None),
        ("[[int+:n]]", "n", "int", False, True, 1, None),
        ("[[int?:n]]", "n", "int", False, True, 0, 1),
        ("[[int{3}:n]]", "n", "int", False, True, 3, 3),
        ("[[int{2,}:n]]", "n", "int", False, True, 2, None),
        ("[[int{2,5}:n|min=1]]", "n", "int", False, True, 2, 5),
    ],
)
def test_slot_forms(
    source: str, key: str, type_: str, required: bool, listed: bool, least: int, most: Any
) -> None:
    (slot,) = slots(source)
    assert (slot.key, slot.type, slot.required) == (key, type_, required)
    assert (slot.listed, slot.least, slot.most) == (listed, least, most)


def test_options_of_every_form() -> None:
    (slot,) = slots('[[pick:x|good,not-so-good,don\'t know,"a, ]] b",3,key={{ v["]]"] }},n=2.5]]')
    found = [(o.key, getattr(o.value, "word", getattr(o.value, "source", o.value))) for o in slot.options]
    assert found == [
        (None, "good"),
        (None, "not-so-good"),
        (None, "don't know"),
        (None, "a, ]] b"),
        (None, "3"),
        ("key", 'v["]]"]'),
        ("n", "2.5"),
    ]


def test_a_pattern_keeps_its_backslashes() -> None:
    (slot,) = slots(r'[[x|pattern="^\d{2,3}\]$"]]')
    assert slot.options[0].value == r"^\d{2,3}\]$"


def test_names_are_made_up_in_order_and_avoid_those_written_out() -> None:
    assert [slot.key for slot in slots("[[int:]] [[int:]] [[int:int_2]] [[bool:]]")] == [
        "int",
        "int_3",
        "int_2",
        "bool",
    ]


def test_segments_and_their_names() -> None:
    document = parser.parse(
        "a [[a]] <checkpoint>One</checkpoint> b [[b]] <checkpoint> c [[c]] <obliviate/> d [[d]]"
    )
    assert [segment.name for segment in document.segments] == ["One", "", "", ""]
    assert [len([n for n in s.nodes if isinstance(n, syntax.Slot)]) for s in document.segments] == [
        1,
        1,
        1,
        1,
    ]


def test_comments_are_not_there_and_lines_with_nothing_else_go() -> None:
    assert text_of("a\n<!-- [[x]] -->\nb {# {{ y }} #}c\n") == "a\nb c\n"
    assert text_of("a\n  {% if x %}\nb\n  {% endif %}\nc") == "a\nb\nc"
    assert text_of("a \n {%- if x -%} \n b {% endif %}") == "ab "


def test_escapes_and_raw_are_text() -> None:
    assert text_of(r"\[[x]] \{{y}} \<user>") == "[[x]] {{y}} <user>"
    assert text_of("{% raw %}[[x]] {{ y }}{% endraw %}") == "[[x]] {{ y }}"
    assert slots("{% raw %}[[x]]{% endraw %}") == []


def test_every_tag() -> None:
    found = nodes(
        "<system local replace>s</system><header>h</header><user>u [[a]]</user><assistant>v</assistant>"
    )
    system, header = (node for node in found if isinstance(node, syntax.System))
    assert (system.kind, system.local, system.replace) == ("system", True, True)
    assert (header.kind, header.local, header.replace) == ("header", False, False)
    assert [node.role for node in found if isinstance(node, syntax.Role)] == ["user", "assistant"]
    assert any(isinstance(node, syntax.Together) for node in nodes("<together>[[a]]</together>"))


def test_jinja_statements() -> None:
    found = nodes(
        "{% set a, b = pair %}{% for k, v in d.items() if v > 1 %}{{ k|upper }}{% else %}none{% endfor %}"
        "{% if a %}1{% elif b[0].c %}2{% else %}3{% endif %}"
    )
    loop = next(node for node in found if isinstance(node, syntax.For))
    assert loop.targets == ("k", "v")
    assert loop.test is not None
    assert loop.test.uses == {"v"}
    condition = next(node for node in found if isinstance(node, syntax.If))
    assert len(condition.branches) == 3


@pytest.mark.parametrize(
    ("source", "line", "column", "words"),
    [
        ("a\nb [[pick:x\n", 2, 3, "not closed"),
        ("[[a]] [[a]]", 1, 7, "already"),
        ("[[a b]]", 1, 5, "cannot be read"),
        ("{{ a + }}", 1, 1, "expression"),
        ("{{ }}", 1, 1, "expression"),
        ("x\n {% fro x in y %}", 2, 2, "did you mean 'for'"),
        ("{% if x %}", 1, 1, "{% endif %}"),
        ("{% for x in y %}", 1, 1, "{% endfor %}"),
        ("{% for x %}{% endfor %}", 1, 1, "'in'"),
        ("{% endif %}", 1, 1, "no beginning"),
        ("<user>a", 1, 1, "</user>"),
        ("a</user>", 1, 2, "closes nothing"),
        ("<user><system>a</system></user>", 1, 7, "inside"),
        ("<user>a<checkpoint></user>", 1, 8, "checkpoint"),
        ("{% if x %}<checkpoint>{% endif %}", 1, 11, "checkpoint"),
        ("<system>[[a]]</system>", 1, 9, "slot cannot stand"),
        ("<system sideways>a</system>", 1, 1, "sideways"),
        ("<!-- a", 1, 1, "comment"),
        ("[[int{5,2}:x]]", 1, 1, "at least 5"),
        ('<include src="x.md"/>', 1, 1, "cannot be included"),
        ("[[pick:x|a,{{ b + }}]]", 1, 12, "expression"),
    ],
)
def test_faults_have_their_place(source: str, line: int, column: int, words: str) -> None:
    first = wrong(source)[0]
    assert (first.place.line, first.place.column) == (line, column), str(first)
    assert words in first.message
    shown = str(first).split("\n")
    assert shown[0].startswith(f"<template>:{line}:{column}: ")
    assert shown[2].index("^") == column + 1


def test_all_faults_come_at_once() -> None:
    found = wrong("[[a b]]\n{{ 1 + }}\n<user>x")
    assert [fault.place.line for fault in found] == [1, 2, 3]


def test_the_same_name_in_two_branches_is_one_slot() -> None:
    assert len(slots("{% if x %}[[a]]{% else %}[[a]]{% endif %}")) == 2
    assert "already" in wrong("{% if x %}[[a]]{% endif %}[[a]]")[0].message


def test_includes_are_put_in_and_faults_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.md").write_text("b [[b]]\n")
    (tmp_path / "a.md").write_text('a [[a]]\n<include src="b.md"/>\n')
    read = parser.reader([tmp_path / "more"])
    document = parser.parse('<include src="a.md"/>[[c]]', file=str(tmp_path / "t.hr.md"), read=read)
    found = [n.key for s in document.segments for n in syntax.walk(s.nodes) if isinstance(n, syntax.Slot)]
    assert found == ["a", "b", "c"]
    assert document.flat == "a [[a]]\nb [[b]]\n\n[[c]]"
    (tmp_path / "more" / "b.md").write_text("ok\n [[b")
    fault = wrong('<include src="a.md"/>', file=str(tmp_path / "t.hr.md"), read=read)[0]
    assert (Path(fault.place.file).name, fault.place.line, fault.place.column) == ("b.md", 2, 2)


def test_a_circle_of_includes_names_the_chain(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text('<include src="b.md"/>')
    (tmp_path / "b.md").write_text('\n<include src="a.md"/>')
    fault = wrong('<include src="a.md"/>', file=str(tmp_path / "t.hr.md"), read=parser.reader())[0]
    assert "a.md → b.md → a.md" in fault.message
    assert fault.place.line == 2


@pytest.mark.parametrize(
    "source", ["{{ ().__class__.__bases__ }}", "{{ 'a' * 10 ** 9 }}", "{{ 2 ** (10 ** 9) }}"]
)
def test_the_sandbox_holds(source: str) -> None:
    (node,) = nodes(source)
    assert isinstance(node, syntax.Show)
    with pytest.raises(faults.TemplateError):
        assert node.expression.value({}) is not None or _refused()


def _refused() -> bool:
    """What is unsafe to look at is None to a template; said here as the error it stands for."""
    raise faults.at(faults.Place("", 1, 1), "refused")
