from __future__ import annotations

import pytest

import headrace
from headrace.templates import describe, faults


def test_a_template_as_json() -> None:
    template = headrace.Template("{{ v }} [[a]]<checkpoint>One</checkpoint>{{ a }} [[!int+:n]]")
    found = describe.describe(template.plan)
    assert found["ok"] is True
    assert found["variables"] == [{"name": "v", "line": 1, "column": 1}]
    assert [(slot["name"], slot["list"], slot["required"], slot["streams"]) for slot in found["slots"]] == [
        ("a", False, False, True),
        ("n", True, True, False),
    ]
    assert [(one["name"], one["needs"], one["slots"]) for one in found["segments"]] == [
        ("One", [], ["a"]),
        ("", [0], ["n"]),
    ]
    assert (found["graph"], found["explain"]) == (template.graph(), template.explain())


def test_a_wrong_template_has_the_same_keys() -> None:
    with pytest.raises(faults.TemplateError) as caught:
        headrace.Template("[[a b]]")
    found = describe.wrong(caught.value)
    assert set(found) == set(describe.describe(headrace.Template("[[a]]").plan))
    assert (found["ok"], found["errors"][0]["line"]) == (False, 1)


def test_marks_are_where_they_stand_also_with_faults() -> None:
    text = "<system>x</system>\n<!-- c -->[[a b]]{{ 1 + }}{% if x %}\n<include src='f'/><checkpoint>N</checkpoint>"
    found = describe.marks(text)
    lines = text.split("\n")
    shown = [lines[m["line"] - 1][m["column"] - 1 : m["end_column"] - 1] for m in found]
    assert list(zip([m["kind"] for m in found], shown, strict=True)) == [
        ("open", "<system>"),
        ("close", "</system>"),
        ("comment", "<!-- c -->"),
        ("slot", "[[a b]]"),
        ("expression", "{{ 1 + }}"),
        ("statement", "{% if x %}"),
        ("include", "<include src='f'/>"),
        ("checkpoint", "<checkpoint>N</checkpoint>"),
    ]
