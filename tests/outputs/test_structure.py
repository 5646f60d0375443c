"""Marks of a value that is there are those the machine gives."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from tests.outputs import schemas

from headrace.outputs import structure
from headrace.protocol.json import Parser
from headrace.protocol.json_tokens import Begun, Closed, Opened


def plain(items: list[Any]) -> list[Any]:
    """What a value that is there has of them: no beginnings, no events of empty containers."""
    return [
        (type(item), item.path, None if isinstance(item, Opened | Closed) else item)
        for item in items
        if (not isinstance(item, Begun) and not isinstance(getattr(item, "value", None), dict | list))
        or isinstance(item, Opened | Closed)
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(schemas.VALUES)
def test_as_the_machine_gives_them(value: Any) -> None:
    def filled(part: Any) -> Any:  # an empty container has events of its own
        if isinstance(part, dict):
            return {key: filled(inner) for key, inner in part.items()} or {"a": 1}
        return [filled(inner) for inner in part] or [1] if isinstance(part, list) else part

    value = filled(value)
    parser = Parser(structure=True)
    given_by_machine = parser.feed(json.dumps(value, ensure_ascii=False)) + parser.close()
    assert plain(given_by_machine) == plain(list(structure.of_value(value)))
