"""Schemas as providers take them."""

from __future__ import annotations

import copy
import datetime as dt
import json
from typing import Annotated, Any, Literal, get_args

import jsonschema
import pydantic
import pytest
from hypothesis import given, settings
from tests.outputs import schemas

from headrace import errors
from headrace.outputs import nodes, portable
from headrace.outputs.portable import Flavour
from headrace.outputs.shape import Shape

FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)


def made(schema: Any, flavour: Flavour) -> Any:
    return portable.portable(schema, flavour).schema


def test_openai_strict() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 9, "description": "Who."},
            "age": {"type": "integer", "minimum": 0, "default": 3},
            "size": {"enum": ["s", "m"]},
            "home": {"$ref": "#/$defs/place", "description": "Where."},
            "path": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}], "items": False},
            "mail": {"type": "string", "format": "uri"},
        },
        "required": ["name", "home", "path", "mail"],
        "$defs": {
            "place": {"allOf": [{"type": "object"}, {"properties": {"x": {"type": "number"}}, "required": ["x"]}]}
        },
    }  # fmt: skip
    before = copy.deepcopy(schema)
    found = portable.portable(schema, "openai-strict")
    assert schema == before
    place = {
        "type": "object",
        "properties": {"x": {"type": "number"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    assert found.schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Who. {maxLength: 9}"},
            "age": {"type": ["integer", "null"], "minimum": 0, "description": "{default: 3}"},
            "size": {"anyOf": [{"enum": ["s", "m"]}, {"type": "null"}]},
            "home": {**place, "description": "Where."},
            "path": {
                "type": "array",
                "items": {"anyOf": [{"type": "number"}, {"type": "string"}]},
                "maxItems": 2,
            },
            "mail": {"type": "string", "description": "{format: uri}"},
        },
        "required": ["name", "age", "size", "home", "path", "mail"],
        "additionalProperties": False,
        "$defs": {"place": place},
    }
    assert found.strict
    assert found.nulls
    assert set(found.weakened) == {
        "/properties/name/maxLength: 9",
        "/properties/path/prefixItems: which item has which type",
        "/properties/mail/format: uri",
    }
    assert "" + ": keys that are not named" in found.narrowed
    answer = {"name": "a", "age": None, "size": None, "home": {"x": 1}, "path": [1, "b"], "mail": "x:y"}
    assert found.restore(answer, schema) == {"name": "a", "home": {"x": 1}, "path": [1, "b"], "mail": "x:y"}


@pytest.mark.parametrize(
    "free",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": True}}},
        {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{"type": "null"}]}}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"type": "null"}]}}},
    ],
)
def test_what_strict_cannot_have_is_sent_as_it_is(free: Any) -> None:
    found = portable.portable(free, "openai-strict")
    assert (found.flavour, found.strict, found.schema, found.nulls) == ("openai-loose", False, free, False)


def test_the_root_is_an_object_where_one_is_wanted() -> None:
    rows = {"type": "array", "items": {"$ref": "#/$defs/row"}, "$defs": {"row": {"type": "integer"}}}
    found = portable.portable(rows, "openai-strict")
    assert found.wrapped
    assert found.schema == {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/row"}}},
        "required": ["value"],
        "additionalProperties": False,
        "$defs": {"row": {"type": "integer"}},
    }
    assert found.restore({"value": [1]}, rows) == [1]
    for flavour, wrapped in [("gemini", False), ("grammar", False), ("tool", True), ("prompt", False)]:
        assert portable.portable(rows, flavour).wrapped is wrapped  # type: ignore[arg-type]
    assert portable.portable({"type": "integer"}, "prompt").wrapped
    union = {"anyOf": [{"type": "object", "properties": {}}, {"type": "object", "properties": {"a": {}}}]}
    assert portable.portable(union, "openai-strict").wrapped
    nested = {"type": "array", "items": {"$ref": "#"}}
    assert made(nested, "tool")["properties"]["value"] == {
        "type": "array",
        "items": {"$ref": "#/properties/value"},
    }


class Node(pydantic.BaseModel):
    name: str
    below: list[Node] = []


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    r: Annotated[float, pydantic.Field(gt=0)]


class Square(pydantic.BaseModel):
    kind: Literal["square"]
    side: int


class Drawing(pydantic.BaseModel):
    day: dt.date
    shapes: list[Annotated[Circle | Square, pydantic.Field(discriminator="kind")]]
    code: Annotated[str, pydantic.Field(pattern=r"^\d{2}$")]


def test_recursive_schemas() -> None:
    schema = Shape.of(Node).schema
    strict = portable.portable(schema, "openai-strict")
    assert strict.strict
    assert portable.portable(schema, "anthropic").flavour == "prompt"
    assert portable.portable(schema, "gemini").flavour == "gemini"
    hoisted = made({"type": "object", "properties": {"a": {"$ref": "#"}}}, "grammar")
    assert hoisted["properties"]["a"] == {"$ref": "#/$defs/root"}
    assert hoisted["$defs"]["root"] == {"type": "object", "properties": {"a": {"$ref": "#/$defs/root"}}}


def test_anthropic() -> None:
    found = portable.portable(Shape.of(Drawing).schema, "anthropic")
    assert found.flavour == "anthropic"
    assert "anyOf" in found.schema["properties"]["shapes"]["items"]
    circle = found.schema["$defs"]["Circle"]
    assert circle["properties"]["r"] == {"type": "number", "description": "{exclusiveMinimum: 0}"}
    assert circle["additionalProperties"] is False
    assert found.weakened == ("/$defs/Circle/properties/r/exclusiveMinimum: 0",)


def test_gemini() -> None:
    found = portable.portable(Shape.of(Drawing).schema, "gemini")
    assert found.schema["$defs"]["Circle"]["properties"]["kind"] == {"enum": ["circle"], "type": "string"}
    assert found.schema["properties"]["code"] == {"type": "string", "description": "{pattern: ^\\d{2}$}"}
    assert "additionalProperties" not in found.schema


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("^\\d{2}-[\\w.]+$", "^[0-9]{2}-[A-Za-z0-9_.]+$"),
        ("^a\\.b$", "^a\\.b$"),
        ("a", None),
        ("^a", None),
        ("^(?=a)b$", None),
        ("^\\S$", None),
        ("^a\\$", None),
        ("^a+?$", None),
    ],
)
def test_patterns_of_grammars(pattern: str, taken: str | None) -> None:
    found = made({"type": "string", "pattern": pattern}, "grammar")
    assert found.get("pattern") == taken
    assert (taken is None) == ("description" in found)


def test_what_a_grammar_would_write_out_is_bounded() -> None:
    assert made({"type": "string", "maxLength": 50_000}, "ollama") == {
        "type": "string",
        "description": "{maxLength: 50000}",
    }
    assert made({"type": "string", "maxLength": 50}, "ollama") == {"type": "string", "maxLength": 50}


def test_one_of_is_weaker_only_where_two_may_fit() -> None:
    def weakened(*members: Any) -> tuple[str, ...]:
        return portable.portable({"oneOf": list(members)}, "gemini").weakened

    assert weakened({"type": "string"}, {"type": "null"}) == ()
    assert weakened({"type": "integer"}, {"type": "number"}) == ("/oneOf: more than one may fit",)
    assert weakened({"minimum": 1}, {"maximum": 2}) == ("/oneOf: more than one may fit",)


def test_names_that_are_keywords_are_names() -> None:
    schema = {
        "type": "object",
        "properties": {
            "default": {"type": "string"}, "$ref": {"type": "string"}, "enum": {"enum": [{"minLength": 1}]}
        },
        "required": ["default", "$ref", "enum"],
        "additionalProperties": False,
    }  # fmt: skip
    assert made(schema, "grammar") == schema
    assert made(schema, "openai-strict")["properties"] == schema["properties"]


def test_an_unknown_flavour() -> None:
    with pytest.raises(errors.UsageError, match="no flavour"):
        portable.portable({}, "other")  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(schemas.pairs())
def test_what_fits_fits_and_comes_back(pair: tuple[Any, Any]) -> None:
    schema, value = schemas.localised(pair[0]), pair[1]
    if not isinstance(schema, dict) or not jsonschema.Draft202012Validator(schema).is_valid(value):
        return
    before = json.dumps(schema)
    for flavour in FLAVOURS:
        found = portable.portable(schema, flavour)
        json.dumps(found.schema)
        jsonschema.Draft202012Validator.check_schema(found.schema)
        # Made twice, it is the same: a provider may be given what was made for it.
        again = portable.portable(found.schema, found.flavour)
        assert again.schema == found.schema
        assert not again.wrapped
        sent = {"value": value} if found.wrapped else value
        if not found.narrowed and not found.nulls:
            assert jsonschema.Draft202012Validator(found.schema).is_valid(sent)
        assert found.restore(sent, schema) == value
    assert json.dumps(schema) == before


def test_null_is_taken_out_only_where_it_stands_in() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {
                "anyOf": [{"type": "object", "properties": {"x": {"type": "integer"}}}, {"type": "string"}]
            },
            "b": {},
            "c": {"const": None},
            "d": {"type": "array", "items": {"type": "object", "properties": {"x": {"enum": [1]}}}},
        },
        "additionalProperties": False,
    }
    found = portable.Portable(schema, "openai-strict", nulls=True)
    given = {"a": {"x": None}, "b": None, "c": None, "d": [{"x": None}, {"x": 1}], "e": None}
    assert found.restore(given, schema) == {"a": {}, "b": None, "c": None, "d": [{}, {"x": 1}], "e": None}
    assert portable.takes_null({"$ref": "#/$defs/n"}, {"$defs": {"n": {"type": ["null", "string"]}}})
    assert nodes.lookup({"a": [1]}, "#/a/0") == 1


def test_references_that_fan_out_are_not_written_out_for_ever() -> None:
    definitions: dict[str, Any] = {"d30": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    for number in range(30):
        below = {"$ref": f"#/$defs/d{number + 1}", "description": "more"}
        definitions[f"d{number}"] = {"type": "object", "properties": {"a": below, "b": below}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}
    assert portable.portable(schema, "openai-strict").flavour == "openai-loose"
    assert portable.portable(schema, "gemini").flavour == "prompt"
    assert portable.portable(schema, "anthropic").flavour == "anthropic"
    assert portable.portable(schema, "grammar").flavour == "grammar"


def test_members_that_are_true_or_false() -> None:
    assert not portable.is_object({"allOf": [True, {}]})
    assert portable.is_object({"allOf": [{"type": "object"}]})
    for flavour in FLAVOURS:
        json.dumps(made({"allOf": [True, {"type": "integer"}]}, flavour))


def test_an_answer_nobody_restores_has_no_stand_ins() -> None:
    optional = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    assert portable.portable(optional, "openai-strict").nulls
    loose = portable.untouched(optional, "openai-strict")
    assert (loose.schema, loose.strict, loose.nulls) == (optional, False, False)
    listed = {"type": "array", "items": {"type": "string"}}
    assert portable.portable(listed, "openai-strict").wrapped
    assert portable.untouched(listed, "openai-strict").schema == listed
    closed = {**optional, "required": ["a"]}
    assert portable.untouched(closed, "openai-strict").strict
    # what was made portable for its reader is sent as it is
    for schema in (optional, listed):
        form = portable.portable(schema, "openai-strict")
        assert portable.untouched(form.schema, "openai-strict").schema == form.schema
        assert portable.untouched(form.schema, "openai-strict").strict
