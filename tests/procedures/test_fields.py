"""Declared values: what fits, what does not and where, and the JSON Schema of it."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.procedures import fields


def field(kind: str, **options: Any) -> dict[str, Any]:
    return {"$field": kind, **options}


ALL = fields.parse(
    {
        "s": field("string", min=2, max=3, pattern="[a-z]+"),
        "n": field("number", min=0),
        "i": field("integer", required=True, enum=[1, 2]),
        "b": field("boolean", default=False),
        "a": field("array", items=field("integer"), max=2),
        "o": field("object", properties={"x": field("string", required=True)}),
    },
    "input",
)


def test_what_fits_is_typed_and_filled_in() -> None:
    assert fields.check(ALL, {"i": 1.0, "a": {}, "o": {"x": "y"}}, "input") == {
        "i": 1,
        "b": False,
        "a": [],
        "o": {"x": "y"},
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "input.i is missing; it is required (integer)"),
        ({"i": True}, "input.i must be an integer, not true"),
        ({"i": "1"}, 'input.i must be an integer, not "1"'),
        ({"i": 1.5}, "input.i must be an integer, not 1.5"),
        ({"i": 3}, "input.i is 3; use one of 1, 2"),
        ({"i": 1, "z": 1}, "input.z is not declared; there are s, n, i, b, a, o"),
        ({"i": 1, "s": "a"}, "input.s has 1 characters; at least 2"),
        ({"i": 1, "s": "AB"}, "input.s does not match the pattern [a-z]+"),
        ({"i": 1, "n": -1}, "input.n is -1; at least 0"),
        ({"i": 1, "b": 0}, "input.b must be true or false, not 0"),
        ({"i": 1, "a": [1, "x"]}, 'input.a[2] must be an integer, not "x"'),
        ({"i": 1, "a": [1, 2, 3]}, "input.a has 3 items; at most 2"),
        ({"i": 1, "o": {}}, "input.o.x is missing; it is required (string)"),
        ({"i": 1, "o": {"x": "a", "y": 1}}, "input.o.y is not declared; there are x"),
        ("text", "input must be a table of s, n, i, b, a, o, not \"text\""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_its_path(given: Any, words: str) -> None:
    with pytest.raises(fields.Refused) as caught:
        fields.check(ALL, given, "input")
    assert caught.value.message == words


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("x", "input must be a table"),
        ({"a": 1}, "input.a is no field"),
        ({"a": field("string", minimum=1)}, "field.string has no option 'minimum'"),
        ({"a": field("integer", default="x")}, "input.a.default must be an integer"),
        ({"a": field("string", pattern="(")}, "input.a.pattern is no regular expression"),
        ({"a": field("array", items={"b": 1})}, "input.a.items is no field"),
    ],
)
def test_a_declaration_that_is_none(raw: Any, words: str) -> None:
    with pytest.raises(fields.Refused) as caught:
        fields.parse(raw, "input")
    assert words in caught.value.message


def test_the_schema() -> None:
    assert fields.schema(ALL)["required"] == ["i"]
    assert fields.schema(ALL, all_required=True)["properties"]["o"] == {
        "type": "object",
        "properties": {"x": {"type": "string"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    assert fields.schema(ALL)["properties"]["s"] == {
        "type": "string",
        "pattern": "^(?:[a-z]+)$",
        "minLength": 2,
        "maxLength": 3,
    }


def test_values_from_a_command_line() -> None:
    assert fields.from_text(ALL, {"s": "5", "i": "2", "b": "true", "n": "x"}) == {
        "s": "5",
        "i": 2,
        "b": True,
        "n": "x",
    }


def test_samples_fit() -> None:
    assert fields.sample(ALL) == {"s": "xx", "n": 0.0, "i": 1, "b": False, "a": [0], "o": {"x": ""}}


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        ("(a+)+", "a" * 5000, "a" * 5000 + "!"),
        ("(a|a)*b", "a" * 5000 + "b", "a" * 5000),
        ("[A-Z]{2}-\\d{3,4}|x", "AB-123", "AB-12"),
        ("", "", "x"),
        (".*", "any Grüße", "two\nlines"),
        ("yes|no", "no", "no\n"),
    ],
)
def test_patterns_take_no_longer_than_their_text(pattern: str, right: str, wrong: str) -> None:
    made = fields.parse({"a": {"$field": "string", "pattern": pattern}}, "input")
    assert fields.check(made, {"a": right}, "input") == {"a": right}
    with pytest.raises(fields.Refused, match="does not match the pattern"):
        fields.check(made, {"a": wrong}, "input")


@pytest.mark.parametrize("pattern", ["(?=a)b", "(a)\\1", "\\bword", "(?i)a"])
def test_patterns_that_cannot_be_bounded_are_refused(pattern: str) -> None:
    with pytest.raises(fields.Refused, match="what is not taken here"):
        fields.parse({"a": {"$field": "string", "pattern": pattern}}, "input")
