"""What the JSON machine gives with `structure=True`, for a value that is there already. Next: `watch`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace import events
from headrace.protocol import json as machine
from headrace.protocol import json_tokens


def of_value(value: Any, path: str = "") -> Iterator[Any]:
    """The marks and field events of a JSON value at `path`, in order."""
    if isinstance(value, dict | list):
        yield machine.Opened(path, value)
        if isinstance(value, dict):
            for key, inner in value.items():
                place = path + json_tokens.pointer(key)
                yield machine.Key(place, key)
                yield from of_value(inner, place)
        else:
            for index, inner in enumerate(value):
                yield from of_value(inner, f"{path}/{index}")
        yield machine.Closed(path, value)
        return
    yield events.FieldStart(path)
    if isinstance(value, str) and value:
        yield events.FieldDelta(path, value, 0)
    yield events.FieldEnd(path, value)
