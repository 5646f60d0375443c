"""Which schemas keep the rules of strict mode."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.providers import openai_schema

CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def around(inner: Any) -> dict[str, Any]:
    return {**CLOSED, "properties": {"a": inner}}


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        {"type": "object", "additionalProperties": False},
        around({"type": "array", "items": CLOSED}),
        around({"anyOf": [{"type": "null"}, CLOSED]}),
        around({"$ref": "#/$defs/x"}) | {"$defs": {"x": CLOSED}},
    ],
)
def test_closed_schemas_are_strict(schema: Any) -> None:
    assert openai_schema.strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        OPEN,
        {**CLOSED, "required": []},
        {"oneOf": [CLOSED]},
        around(OPEN),
        around({"type": "array", "items": OPEN}),
        around({"anyOf": [{"type": "null"}, OPEN]}),
        CLOSED | {"$defs": {"x": OPEN}},
    ],
)
def test_open_schemas_are_not(schema: Any) -> None:
    assert not openai_schema.strict(schema)
