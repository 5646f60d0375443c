"""`trace` and `emit_event` without DSPy: a run of their own."""

from __future__ import annotations

from typing import Any

import pytest

import headrace
from headrace import errors


@pytest.fixture
def here(keep: Any) -> Any:
    with headrace.configure(sinks=[keep]):
        yield keep


async def test_a_trace_outside_of_any_call_is_a_run(here: Any) -> None:
    with headrace.set_context(user="ann"):
        async with headrace.trace("outer", k=1) as ctx:
            with headrace.trace("inner"):
                headrace.emit_event(headrace.StreamllEvent(event_type="mine", data={"n": 1}))
            ctx.emit("more", {"a": 1}, b=2)
    spans = here.spans()
    assert [(e.operation, e.data["kind"], e.data.get("parent")) for e in spans.values()] == [
        ("outer", "trace", None), ("inner", "trace", "s1"),
    ]  # fmt: skip
    assert {event.run for event in here.events} == {ctx.run}
    assert {event.context["user"] for event in here.events} == {"ann"}
    mine, more = (next(e for e in here.events if e.event_type == name) for name in ("mine", "more"))
    assert (mine.span, more.span, more.data) == ("s2", "s1", {"a": 1, "b": 2})
    assert (here.events[0].type, here.events[-1].type) == ("run-start", "run-end")
    here.check()


def test_an_exception_fails_it_and_passes(here: Any) -> None:
    with pytest.raises(ValueError, match="no"), headrace.trace("fails"):
        raise ValueError("no")
    assert [event.event_type for event in here.events] == ["start", "start", "error", "error"]
    assert here.events[-1].data["error"]["message"] == "no"


async def test_as_a_decorator(here: Any) -> None:
    @headrace.trace("add", unit="1")
    def add(a: int, b: int) -> int:
        return a + b

    @headrace.trace("later")
    async def later() -> int:
        return add(1, 2)

    assert await later() == 3
    assert [event.operation for event in here.spans().values()] == ["later", "add"]


def test_emit_is_for_the_inside(here: Any) -> None:
    with pytest.raises(errors.UsageError, match="inside of a `with"):
        headrace.trace("x").emit("y")


def test_an_event_outside_of_any_call(here: Any) -> None:
    with headrace.set_context(user="ann"):
        headrace.emit_event(headrace.StreamllEvent(event_type="token.summary", data={"total": 3}))
    (event,) = here.events
    assert (event.run, event.data, event.context) == ("", {"total": 3}, {"user": "ann"})
