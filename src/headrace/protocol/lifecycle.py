"""Legal steps of a run, as a table: what may follow what, and what is still open.

Rules: the first event is `run-start`, the last is `run-end`, each exactly once; a delta or an end needs its
start; a start needs an id that is not open; `run-end` comes when nothing is open. `seq` grows by one (a
merged delta begins where the last event ended). The run engine checks every event it writes; the test
suites check every stream they read. `closing` gives the events that close what is open, in order, for when
a stream breaks. Next: `assembler`.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace import errors, events

_Key = tuple[str, str]


class Lifecycle:
    """The state of one run's event stream.

    Attributes:
        started: `run-start` was seen.
        ended: `run-end` was seen; nothing may follow.
        open: what is open, in the order it was opened: (kind, id) to the event that opened it.
    """

    __slots__ = ("ended", "open", "started")

    def __init__(self) -> None:
        self.started = False
        self.ended = False
        self.open: dict[_Key, events.Event] = {}

    def check(self, event: events.Event) -> None:
        """Take the next event.

        Raises:
            LifecycleError: the step is not legal; the state is unchanged.
        """
        if self.ended or not self.started:
            self._edge(event)
        step = _STEPS.get(type(event))
        if step is not None:
            step(self, event)

    def _edge(self, event: events.Event) -> None:
        if self.ended:
            raise LifecycleError(f"{event.type} after run-end")
        if type(event) is not events.RunStart:
            raise LifecycleError(f"{event.type} before run-start")

    def closing(self) -> list[events.Event]:
        """The events that close everything that is open, innermost first."""
        return [_CLOSERS[kind](opened) for (kind, _), opened in reversed(self.open.items())]

    def open_blocks(self) -> list[str]:
        """The ids of open text, reasoning and tool-call blocks."""
        return [opened.block for opened in self.open.values() if isinstance(opened, _BLOCKS)]


class LifecycleError(errors.RunError):
    """An event came where it is not legal: a fault in the program that wrote it."""

    default_code = "interrupted"


_BLOCKS = (events.TextStart, events.ReasoningStart, events.ToolCallStart)


def _start(kind: str, attribute: str) -> Callable[[Lifecycle, events.Event], None]:
    def step(state: Lifecycle, event: events.Event) -> None:
        key = (kind, getattr(event, attribute))
        if key in state.open:
            raise LifecycleError(f"{event.type}: {kind} {key[1]!r} is already open")
        state.open[key] = event

    return step


def _delta(kind: str, attribute: str) -> Callable[[Lifecycle, events.Event], None]:
    def step(state: Lifecycle, event: events.Event) -> None:
        if (kind, getattr(event, attribute)) not in state.open:
            raise LifecycleError(f"{event.type}: {kind} {getattr(event, attribute)!r} is not open")

    return step


def _end(kind: str, attribute: str) -> Callable[[Lifecycle, events.Event], None]:
    def step(state: Lifecycle, event: events.Event) -> None:
        if state.open.pop((kind, getattr(event, attribute)), None) is None:
            raise LifecycleError(f"{event.type}: {kind} {getattr(event, attribute)!r} is not open")

    return step


def _run_start(state: Lifecycle, event: events.Event) -> None:
    if state.started:
        raise LifecycleError("a second run-start")
    state.started = True


def _run_end(state: Lifecycle, event: events.Event) -> None:
    if state.open:
        raise LifecycleError(f"run-end while open: {sorted(state.open)}")
    state.ended = True


def _field_key(event: events.Event) -> str:
    return f"{event.span}\n{event.path}"  # type: ignore[attr-defined]


def _field_start(state: Lifecycle, event: events.Event) -> None:
    if ("field", _field_key(event)) in state.open:
        raise LifecycleError(f"field-start: {event.path!r} is already open")  # type: ignore[attr-defined]
    state.open["field", _field_key(event)] = event


def _field_delta(state: Lifecycle, event: events.Event) -> None:
    if ("field", _field_key(event)) not in state.open:
        raise LifecycleError(f"field-delta: {event.path!r} is not open")  # type: ignore[attr-defined]


def _field_end(state: Lifecycle, event: events.Event) -> None:
    if state.open.pop(("field", _field_key(event)), None) is None:
        raise LifecycleError(f"field-end: {event.path!r} is not open")  # type: ignore[attr-defined]


_STEPS: dict[type[events.Event], Callable[[Lifecycle, events.Event], None]] = {
    events.RunStart: _run_start,
    events.RunEnd: _run_end,
    events.SpanStart: _start("span", "span"),
    events.SpanEnd: _end("span", "span"),
    events.AttemptStart: _start("attempt", "attempt"),
    events.AttemptEnd: _end("attempt", "attempt"),
    events.TextStart: _start("text", "block"),
    events.TextDelta: _delta("text", "block"),
    events.TextEnd: _end("text", "block"),
    events.ReasoningStart: _start("reasoning", "block"),
    events.ReasoningDelta: _delta("reasoning", "block"),
    events.ReasoningEnd: _end("reasoning", "block"),
    events.ToolCallStart: _start("tool-call", "call"),
    events.ToolCallDelta: _delta("tool-call", "call"),
    events.ToolCallEnd: _end("tool-call", "call"),
    events.FieldStart: _field_start,
    events.FieldDelta: _field_delta,
    events.FieldEnd: _field_end,
}

_CLOSERS: dict[str, Callable[..., events.Event]] = {
    "span": lambda e: events.SpanEnd(span=e.span, outcome="interrupted"),
    "attempt": lambda e: events.AttemptEnd(attempt=e.attempt, span=e.span, outcome="interrupted"),
    "text": lambda e: events.TextEnd(block=e.block, span=e.span),
    "reasoning": lambda e: events.ReasoningEnd(block=e.block, span=e.span),
    "tool-call": lambda e: events.ToolCallEnd(call=e.call, block=e.block, span=e.span),
    "field": lambda e: events.FieldEnd(path=e.path, span=e.span, cut=True),
}
