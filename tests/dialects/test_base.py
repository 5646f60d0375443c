"""What all dialects share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headrace import dialects, events
from headrace.dialects import base

INFO = dialects.Info(run="run_1", model="m", created=datetime(2026, 11, 20, tzinfo=UTC))


def test_only_a_completed_run_has_no_error() -> None:
    assert base.ending_error(events.RunEnd(outcome="completed")) is None
    cancelled = base.ending_error(events.RunEnd(outcome="cancelled"))
    assert cancelled is not None
    assert cancelled.code == "interrupted"
    assert "cancelled" in cancelled.message
    why = events.ErrorInfo(code="deadline", message="late")
    assert base.ending_error(events.RunEnd(outcome="failed", error=why)) is why


def test_data_is_one_line_whatever_it_holds() -> None:
    block = base.data({"text": "a\r\nb\n\ndata: x\u2028"})
    assert block.count(b"\n") == 2
    assert b"\r" not in block


ONE_WAY = ["openai-chat", "openai-responses", "anthropic", "ollama"]


@pytest.mark.parametrize("one_way", ONE_WAY)
def test_calls_that_the_run_answers_are_not_the_clients(one_way: str) -> None:
    def calls(by: Any) -> bytes:
        encoder = dialects.DIALECTS[one_way].encoder(INFO)
        start = events.ToolCallStart(call="c1", name="find_it", block="b1", by=by)
        end = events.ToolCallEnd(call="c1", arguments={"deep_arg": 1}, block="b1")
        delta = events.ToolCallDelta(call="c1", delta='{"deep_arg": 1}', block="b1")
        return encoder.start() + b"".join(encoder.encode(event) for event in (start, delta, end))

    assert b"find_it" in calls("caller")
    assert b"find_it" in calls(None)
    assert b"find_it" not in calls("run")
    assert b"deep_arg" not in calls("run")


def test_which_calls_of_a_result_are_the_callers() -> None:
    mine: Any = {"id": "1", "name": "look", "arguments": {}}
    result = {"tool_calls": [mine, mine | {"value": 3}, mine | {"error": "deaf"}]}
    assert base.callers(result) == [mine]
    assert base.callers({}) == []
