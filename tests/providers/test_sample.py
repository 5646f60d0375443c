"""Samples of schemas are valid for their schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jsonschema
import pydantic
import pytest

from headrace.providers import sample


class Line(pydantic.BaseModel):
    name: str
    amount: Annotated[float, pydantic.Field(gt=0, lt=1)]
    kind: Literal["goods", "service"]


class Invoice(pydantic.BaseModel):
    number: Annotated[str, pydantic.Field(min_length=12, max_length=14)]
    lines: Annotated[list[Line], pydantic.Field(min_length=3)]
    note: str | None
    pages: Annotated[int, pydantic.Field(ge=2, multiple_of=4)]
    paid: bool


class Tree(pydantic.BaseModel):
    name: str
    children: list[Tree]
    parent: Tree | None


@pytest.mark.parametrize("model", [Line, Invoice, Tree])
def test_a_sample_fits_pydantic_models(model: type[pydantic.BaseModel]) -> None:
    schema = model.model_json_schema()
    value = sample.value(schema)
    jsonschema.validate(value, schema)
    model.model_validate(value)
    assert sample.value(schema) == value


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "format": "date-time"},
        {"type": ["string", "null"]},
        {"const": 3},
        {"enum": ["a", "b"]},
        {"type": "integer", "minimum": 5},
        {"type": "integer", "maximum": -5},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "null"},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        {"type": "string", "maxLength": 2},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            ]
        },
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"$defs": {"a/b": {"type": "boolean"}}, "$ref": "#/$defs/a~1b"},
        {"type": "object", "properties": {"x": {"type": "string"}}},
    ],
)
def test_a_sample_fits_plain_schemas(schema: dict[str, Any]) -> None:
    jsonschema.validate(sample.value(schema), schema)


def test_a_schema_without_an_end_has_a_sample_all_the_same() -> None:
    schema = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    assert sample.value(schema) is None
