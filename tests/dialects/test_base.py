"""What all dialects share."""

from __future__ import annotations

from headrace import events
from headrace.dialects import base


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
