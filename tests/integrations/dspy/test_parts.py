"""The parts of a field that is not a text, in any cut."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import events
from headrace.integrations.dspy.parts import Parts

DOCUMENT = '{"name":"Ann","tags":["a","bc"],"n":5}'


def told(found: list[events.Event]) -> dict[str, Any]:
    """Values by path, from starts, deltas and ends that fit together."""
    texts: dict[str, str] = {}
    values: dict[str, Any] = {}
    for event in found:
        assert event.span == "s1"
        assert event.extra == {"part_of": "/person"}
        if isinstance(event, events.FieldStart):
            assert event.path not in texts
            texts[event.path] = ""
        elif isinstance(event, events.FieldDelta):
            texts[event.path] += event.delta
        elif isinstance(event, events.FieldEnd):
            if isinstance(event.value, str):
                assert texts[event.path] == event.value
            values[event.path] = event.value
    assert set(texts) == set(values)
    return values


@pytest.mark.parametrize("size", [1, 3, 100])
def test_every_part_begins_grows_and_ends_with_its_value(size: int) -> None:
    parts = Parts("/person", "s1")
    found = [e for at in range(0, len(DOCUMENT), size) for e in parts.feed(DOCUMENT[at : at + size])]
    assert told(found + parts.close()) == {
        "/person/name": "Ann",
        "/person/tags": ["a", "bc"],
        "/person/tags/0": "a",
        "/person/tags/1": "bc",
        "/person/n": 5,
    }


@pytest.mark.parametrize("text", ["5", '"text"', "", "no JSON at all"])
def test_what_is_one_piece_has_no_parts(text: str) -> None:
    parts = Parts("/person", "s1")
    assert parts.feed(text) + parts.close() == []


def test_what_is_broken_off_ends_without_a_value() -> None:
    parts = Parts("/person", "s1")
    found = parts.feed('{"name":"An') + parts.drop()
    assert told([event for event in found if not isinstance(event, events.FieldDelta)]) == {
        "/person/name": None
    }
    assert parts.feed("n") + parts.close() == []
