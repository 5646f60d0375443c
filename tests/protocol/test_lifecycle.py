"""Which event may follow which."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import events
from headrace.protocol.lifecycle import Lifecycle, LifecycleError

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines

START = events.RunStart(kind="answer", model="m")
END = events.RunEnd(outcome="completed")
OPENERS: list[events.Event] = [
    events.SpanStart(kind="step", span="s1"),
    events.AttemptStart(attempt=1, provider="p", model="m"),
    events.TextStart(block="b1"),
    events.ReasoningStart(block="b2"),
    events.ToolCallStart(call="c1", name="f", block="b3"),
    events.FieldStart(path="/a"),
]
CLOSERS: list[events.Event] = [
    events.SpanEnd(span="s1", outcome="interrupted"),
    events.AttemptEnd(attempt=1, outcome="interrupted"),
    events.TextEnd(block="b1"),
    events.ReasoningEnd(block="b2"),
    events.ToolCallEnd(call="c1", block="b3"),
    events.FieldEnd(path="/a", cut=True),
]
DELTAS: list[events.Event] = [
    events.TextDelta(block="b1", delta="x"),
    events.ReasoningDelta(block="b2", delta="x"),
    events.ToolCallDelta(call="c1", delta="x"),
    events.FieldDelta(path="/a", delta="x", index=0),
]
FREE: list[events.Event] = [
    events.ToolResult(call="c1"),
    events.Output(value=1),
    events.OutputReset(blocks=["b1"], reason="retry"),
    events.UsageReport(basis="unknown"),
    events.Custom(name="x"),
    events.Status(message="x"),
    events.Source(),
    events.File(url="data:,"),
    events.Unknown(kind="new"),
]


def run(*steps: events.Event) -> Lifecycle:
    state = Lifecycle()
    for step in steps:
        state.check(step)
    return state


def refused(*steps: events.Event) -> str:
    state = run(*steps[:-1])
    before = (state.started, state.ended, dict(state.open))
    with pytest.raises(LifecycleError) as caught:
        state.check(steps[-1])
    assert (state.started, state.ended, state.open) == before
    return caught.value.message


def test_a_whole_run() -> None:
    state = run(START, *OPENERS, *DELTAS, *FREE, *reversed(CLOSERS), END)
    assert (state.started, state.ended, state.open) == (True, True, {})


def test_nothing_before_the_start_or_after_the_end() -> None:
    for event in (*OPENERS, *DELTAS, *FREE, END):
        assert "before run-start" in refused(event)
        assert "after run-end" in refused(START, END, event)
    assert "after run-end" in refused(START, END, START)
    assert "second" in refused(START, START)


@pytest.mark.parametrize("at", range(len(OPENERS)))
def test_openers_and_closers(at: int) -> None:
    opener, closer = OPENERS[at], CLOSERS[at]
    assert "already open" in refused(START, opener, opener)
    assert "not open" in refused(START, closer)
    assert "not open" in refused(START, opener, closer, closer)
    assert "while open" in refused(START, opener, END)
    assert run(START, opener, closer, opener, closer, END).ended


@pytest.mark.parametrize("delta", DELTAS)
def test_a_delta_needs_its_start(delta: events.Event) -> None:
    assert "not open" in refused(START, delta)


def test_a_text_block_is_not_a_reasoning_block() -> None:
    assert "not open" in refused(
        START, events.TextStart(block="b"), events.ReasoningDelta(block="b", delta="x")
    )


def test_fields_of_different_spans_are_different() -> None:
    both = [events.FieldStart(path="/a", span="s1"), events.FieldStart(path="/a", span="s2")]
    state = run(START, *both, events.FieldEnd(path="/a", span="s1"))
    assert len(state.open) == 1
    refusal = refused(START, both[0], events.FieldDelta(path="/a", span="s2", delta="x", index=0))
    assert "not open" in refusal


@UNHURRIED
@given(st.permutations(OPENERS), st.integers(0, len(OPENERS)))
def test_closing_closes_whatever_is_open_innermost_first(order: list[events.Event], count: int) -> None:
    state = run(START, *order[:count])
    closing = state.closing()
    expected = [CLOSERS[OPENERS.index(opener)] for opener in reversed(order[:count])]
    assert closing == expected
    for event in closing:
        state.check(event)
    state.check(END)


def test_open_blocks() -> None:
    assert run(START, *OPENERS).open_blocks() == ["b1", "b2", "b3"]


def test_closers_keep_the_span() -> None:
    state = run(START, *(type(o)(**{**_fields(o), "span": "s9"}) for o in OPENERS))
    assert {event.span for event in state.closing()} == {"s9"}


def _fields(event: events.Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__ if name != "extra"}
