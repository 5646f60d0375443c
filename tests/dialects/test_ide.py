"""Runs as IDE events: an agent's answer as text or, where the reader asks for it, field by field.

The order and the fields of whole streams are checked by a machine in `tests/procedures/test_corpus.py`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace import dialects, events

AT = datetime(2026, 1, 1, tzinfo=UTC)
RUN: list[events.Event] = [
    events.RunStart(kind="procedure", model="m"),
    events.SpanStart(kind="agent", name="judge", attributes={"model": "m", "structured": True}, span="s1"),
    events.TextStart(block="b1", span="s1"),
    events.TextDelta(block="b1", delta='{"mood": "cal', span="s1"),
    events.FieldStart(path="/mood", span="s1"),
    events.FieldDelta(path="/mood", delta="cal", index=0, span="s1"),
    events.FieldEnd(path="/mood", cut=True, span="s1"),
    events.TextEnd(block="b1", span="s1"),
    events.OutputReset(blocks=["b1"], reason="early-reject: no", span="s1"),
    events.TextStart(block="b2", span="s1"),
    events.TextDelta(block="b2", delta='{"mood": "wild"}', span="s1"),
    events.FieldStart(path="/mood", span="s1"),
    events.FieldDelta(path="/mood", delta="wild", index=0, span="s1"),
    events.FieldEnd(path="/mood", value="wild", span="s1"),
    events.TextEnd(block="b2", span="s1"),
    events.SpanEnd(outcome="completed", value={"mood": "wild"}, elapsed_ms=5, span="s1"),
]


def encoded(fields: bool, run: list[events.Event] = RUN) -> list[dict[str, Any]]:
    info = dialects.Info(run="run_1", model="m", created=AT, fields=fields)
    encoder = dialects.get("ide").encoder(info)
    out = b""
    for seq, event in enumerate(run, 1):
        event.run, event.seq, event.time = "run_1", seq, AT + timedelta(milliseconds=seq)
        out += encoder.encode(event)
    return [json.loads(line[6:]) for line in out.decode().split("\n") if line.startswith("data: ")]


def test_fields_come_instead_of_json_to_who_asks_for_them() -> None:
    found = encoded(True)
    assert [event["event_type"] for event in found] == [
        "execution", "agent_turn",
        "agent_stream_field", "agent_stream_field", "agent_stream_field", "agent_stream_reset",
        "agent_stream_field", "agent_stream_field", "agent_stream_field",
        "agent_turn", "cost",
    ]  # fmt: skip
    fields = [event for event in found if event["event_type"] == "agent_stream_field"]
    assert all(event["agent_name"] == "judge" and event["path"] == "/mood" for event in fields)
    assert [event["stage"] for event in fields] == ["started", "streaming", "completed"] * 2
    assert (fields[2]["cut"], "value" in fields[2]) == (True, False)
    assert (fields[4]["delta_text"], fields[5]["value"]) == ("wild", "wild")


def test_without_asking_there_is_the_text_and_no_field() -> None:
    found = encoded(False)
    assert "agent_stream_field" not in {event["event_type"] for event in found}
    chunks = [event for event in found if event["event_type"] == "agent_stream_chunk"]
    assert [chunk["accumulated_text"] for chunk in chunks] == ['{"mood": "cal', '{"mood": "wild"}']


def test_an_agent_that_answers_text_streams_text_also_to_who_asks_for_fields() -> None:
    plain = events.SpanStart(kind="agent", name="teller", attributes={"model": "m"}, span="s1")
    text = [RUN[0], plain, RUN[2], events.TextDelta(block="b1", delta="hello", span="s1")]
    assert encoded(True, text)[-1]["chunk_text"] == "hello"


def test_an_agent_that_does_not_stream_sends_neither() -> None:
    quiet = events.SpanStart(
        kind="agent", name="judge", attributes={"streaming": False, "structured": True}, span="s1"
    )
    found = encoded(True, [RUN[0], quiet, *RUN[2:]])
    assert not {"agent_stream_chunk", "agent_stream_field"} & {event["event_type"] for event in found}
