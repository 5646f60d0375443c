"""The event types, held against the contract."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from headrace import events
from headrace.events import values

TAGS = """
run-start run-end span-start span-end attempt-start attempt-end text-start text-delta text-end reasoning-start
reasoning-delta reasoning-end tool-call-start tool-call-delta tool-call-end tool-result field-start field-delta
field-end output output-reset usage human-request human-response checkpoint source file custom status
"""
ENVELOPE = {"run", "seq", "time", "span", "extra"}


def names(cls: type[events.Event]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(cls) if field.name not in ENVELOPE}


def test_every_type_of_the_contract_is_there() -> None:
    tags = {str(cls.__struct_config__.tag) for cls in events.KNOWN}
    assert tags == set(TAGS.split())
    assert len(tags) == len(events.KNOWN)


def test_every_public_event_is_known() -> None:
    public = {getattr(events, name) for name in events.__all__}
    classes = {cls for cls in public if isinstance(cls, type) and issubclass(cls, values.Event)}
    assert classes - {events.Event, events.Unknown} == set(events.KNOWN)
    assert sorted(set(events.__all__)) == sorted(events.__all__)


def test_the_published_fields_are_there(shared: Path) -> None:
    """Each word in code style on a row of the contract's table of events is a field of that row's types."""
    table = (shared / "contract.md").read_text(encoding="utf-8").split("## 2. HTTP")[0]
    by_tag = {str(cls.__struct_config__.tag): cls for cls in events.KNOWN}
    for left, right in re.findall(r"^\| (`.+?) \| (.+) \|$", table, re.M):
        tags, head = [], ""
        for word in re.findall(r"`([a-z-]+)`", left):
            head = head if word.startswith("-") else re.sub(r"-(start|delta|end)$", "", word)
            tags.append(head + word if word.startswith("-") else word)
        fields = set().union(*(names(by_tag[tag]) for tag in tags))
        if tags == ["run-end"]:
            fields |= set(values.ErrorInfo.__struct_fields__)
        for word in re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", right)):
            assert word in fields, (left, word)


@pytest.mark.parametrize("cls", events.KNOWN)
def test_the_envelope_is_filled_in_later(cls: type[events.Event]) -> None:
    required = [field.name for field in msgspec.structs.fields(cls) if field.required]
    event = cls(**dict.fromkeys(required, "x"))
    assert (event.run, event.seq, event.time, event.span, event.extra) == ("", 0, None, "", None)
    assert event.type == cls.__struct_config__.tag
    assert not cls.__struct_config__.gc
    assert cls.__struct_config__.omit_defaults


def test_noun_first_and_every_start_has_its_end() -> None:
    tags = {str(cls.__struct_config__.tag) for cls in events.KNOWN}
    for tag in tags:
        noun, _, verb = tag.rpartition("-")
        if verb in ("start", "delta"):
            assert f"{noun}-end" in tags
            assert f"{noun}-start" in tags


def test_deltas_can_be_merged() -> None:
    assert {cls.__name__ for cls in events.DELTAS} == {
        "TextDelta", "ReasoningDelta", "ToolCallDelta", "FieldDelta",
    }  # fmt: skip
    assert all({"delta", "from"} <= names(cls) for cls in events.DELTAS)


def test_an_unknown_event_has_the_type_it_came_with() -> None:
    assert events.Unknown(kind="new-thing").type == "new-thing"
