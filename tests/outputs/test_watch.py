"""Early rejection: what is refused, when, and that nothing is refused that could become valid."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.outputs import schemas

from headrace.outputs import formats, watch
from headrace.protocol.json import Parser


def refused_at(schema: Any, text: str, *, lax: bool = False, nulls: bool = False) -> tuple[int, Any] | None:
    """After how many characters the text is refused, and why."""
    judge = watch.Judge(schema, lax=lax).watch(nulls=nulls)
    parser = Parser(structure=True)
    for number, character in enumerate(text):
        if judge.take(parser.feed(character)):
            return number + 1, judge.problem
    if judge.take(parser.close()):
        return len(text), judge.problem
    return None


ROW = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "maximum": 9},
        "color": {"enum": ["red", "green"]},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$", "maxLength": 6},
        "day": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "minItems": 1},
        "step": {"type": "integer", "multipleOf": 5},
    },
    "required": ["id"],
    "additionalProperties": False,
}


def shape_of(kind: str, size: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"kind": {"const": kind}, size: {"type": "number"}},
        "required": ["kind", size],
    }


SHAPES = {"oneOf": [shape_of("circle", "r"), shape_of("square", "side")]}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "n": {"type": "integer"},
                "below": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "text", "read", "path", "words"),
    [
        (ROW, "[1]", "[", "", "must be an object, not an array"),
        (ROW, '{"id": "1"}', '{"id": "', "/id", "must be an integer, not a string"),
        (ROW, '{"id": true}', '{"id": t', "/id", "must be an integer, not true or false"),
        (ROW, '{"id": 1.5}', '{"id": 1.5}', "/id", "must be an integer"),
        (ROW, '{"id": 12, "color": "red"}', '{"id": 12,', "/id", "at most 9"),
        (ROW, '{"color": "grey"}', '{"color": "gre' + "y", "/color", 'one of "red", "green"'),
        (ROW, '{"color": "re"}', '{"color": "re"', "/color", 'one of "red", "green"'),
        (ROW, '{"color": 3}', '{"color": 3', "/color", 'one of "red", "green", not a number'),
        (ROW, '{"code": "AB+1"}', '{"code": "AB+', "/code", "pattern"),
        (ROW, '{"code": "AB-"}', '{"code": "AB-"', "/code", "pattern"),
        (ROW, '{"code": "AB-123456"}', '{"code": "AB-1234', "/code", "at most 6"),
        (ROW, '{"day": "2026-13-01"}', '{"day": "2026-13-01"', "/day", "must be a date"),
        (ROW, '{"tags": ["a", "b", "c"]}', '{"tags": ["a", "b", "', "/tags", "more than 2 items"),
        (ROW, '{"tags": []}', '{"tags": []', "/tags", "fewer than 1"),
        (ROW, '{"tags": ["a", 5]}', '{"tags": ["a", 5', "/tags/1", "must be a string"),
        (ROW, '{"step": 7}', '{"step": 7}', "/step", "multiple of 5"),
        (ROW, '{"name": "x"}', '{"name"', "/name", "no such key"),
        (ROW, '{"color": "red"}', '{"color": "red"}', "/id", "is missing"),
        (SHAPES, '{"kind": "oval"}', '{"kind": "o', "/kind", '"circle", not "o…; or must be "square"'),
        (SHAPES, '{"kind": "square", "r": 1}', '{"kind": "square", "r": 1}', "/side", "is missing"),
        (SHAPES, '{"kind": "square", "side": "x"}', '{"kind": "square", "side": "', "/side", "must be a number"),
        (TREE, '{"below": [{"below": [{"m": 1}]}]}', '{"below": [{"below": [{"m"', "/below/0/below/0/m", "no such"),
        ({"prefixItems": [{"type": "integer"}], "items": False}, "[1, 2]", "[1, 2", "/1", "no value"),
        ({"const": {"a": 1}}, '{"a": 2}', '{"a": 2}', "", "must be"),
        ({"type": "integer"}, "null", "null", "", "must be an integer, not null"),
        (False, "1", "1", "", "no value"),
        ({"exclusiveMinimum": 0}, "[0]", None, "", ""),
        ({"items": {"exclusiveMinimum": 0, "exclusiveMaximum": 2}}, "[1, 0]", "[1, 0]", "/1", "more than 0"),
        ({"items": {"exclusiveMaximum": 2}}, "[2]", "[2]", "/0", "less than 2"),
        ({"items": {"minLength": 2}}, '["a"]', '["a"', "/0", "at least 2 characters"),
        ({"patternProperties": {"^x": {"type": "null"}}}, '{"xy": 1}', '{"xy": 1', "/xy", "must be null"),
        ({"additionalProperties": {"type": "null"}}, '{"y": 1}', '{"y": 1', "/y", "must be null"),
    ],
)  # fmt: skip
def test_refused_as_soon_as_it_can_be(
    schema: Any, text: str, read: str | None, path: str, words: str
) -> None:
    found = refused_at(schema, text)
    if read is None:
        assert found is None
        return
    assert found is not None
    assert text[: found[0]] == read
    assert found[1].path == path
    assert words in found[1].message


def valid(schema: Any, value: Any) -> bool:
    return jsonschema.Draft202012Validator(schema, format_checker=formats.CHECKER).is_valid(value)


@settings(max_examples=400, deadline=None)
@given(schemas.pairs(), st.booleans())
def test_what_is_valid_is_never_refused(pair: tuple[Any, Any], ascii_only: bool) -> None:
    schema, value = schemas.localised(pair[0]), pair[1]
    if not valid(schema, value):  # of a oneOf, two fit
        return
    assert refused_at(schema, json.dumps(value, ensure_ascii=ascii_only)) is None
    assert refused_at(schema, json.dumps(value), lax=True, nulls=True) is None
    assert watch.Judge(schema).check(value) is None


@settings(max_examples=400, deadline=None)
@given(schemas.pairs(), schemas.VALUES)
def test_what_is_refused_is_invalid(pair: tuple[Any, Any], value: Any) -> None:
    schema = schemas.localised(pair[0])
    found = refused_at(schema, json.dumps(value))
    if found is not None:
        assert not valid(schema, value)


def _decided(schema: Any) -> bool:
    """Whether the watch knows all of the schema's keywords."""
    if isinstance(schema, list):
        return all(map(_decided, schema))
    if not isinstance(schema, dict):
        return True
    return "oneOf" not in schema and all(
        key in ("enum", "const") or _decided(part) for key, part in schema.items()
    )


@settings(max_examples=400, deadline=None)
@given(schemas.pairs(), schemas.VALUES)
def test_at_the_end_it_agrees_with_the_library(pair: tuple[Any, Any], value: Any) -> None:
    schema = schemas.localised(pair[0])
    if _decided(schema):
        assert (refused_at(schema, json.dumps(value)) is None) == valid(schema, value)


def test_null_may_stand_for_a_key_that_is_left_out() -> None:
    assert refused_at(ROW, '{"id": 1, "color": null}', nulls=True) is None
    assert refused_at(ROW, '{"id": null}', nulls=True) is not None
    assert refused_at(ROW, '{"id": 1, "color": null}') is not None


def test_scalars_that_a_type_coerces() -> None:
    assert refused_at(ROW, '{"id": "7", "day": 1700000000}', lax=True) is None
    found = refused_at(ROW, '{"id": "seven"}', lax=True)
    assert found is not None
    assert found[1] == ("/id", 'must be an integer, got "seven"')
    assert refused_at(ROW, '{"id": null}', lax=True) is not None
    assert refused_at(ROW, '{"id": [7]}', lax=True) is not None
    assert refused_at({"enum": [1, 2]}, '"1"', lax=True) is None


def test_the_end_of_an_answer_that_was_cut_off_is_judged_too() -> None:
    judge = watch.Judge(ROW).watch()
    parser = Parser(mode="lenient", structure=True)
    judge.take(parser.feed('{"color": "re'))
    assert judge.problem is None
    judge.take(parser.close())
    assert judge.problem is not None


def test_a_union_of_very_many_is_left_to_the_final_check() -> None:
    many = {"anyOf": [{"const": number} for number in range(200)]}
    assert refused_at(many, "777") is None
    nested: Any = {"type": "integer"}
    for _ in range(12):
        nested = {"anyOf": [nested, nested]}
    assert refused_at(nested, "7") is None
    assert refused_at({"$ref": "#"}, "1") is None


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        ([1], [True], False),
        ({"a": [1]}, {"a": [1.0]}, True),
        (0, False, False),
    ],
)
def test_equality(one: Any, other: Any, equal: bool) -> None:
    assert watch.same(one, other) is equal
