"""One call of an instrumented module as a run: its spans, its numbers, where its events go. No DSPy here.

Events are made as any run's are (`headrace.events`), numbered here, on the thread that caused them, and handed to the
sinks, and to an `outlet` where the run is one of the engine's. Threads of one call may write at the same time. What
writes after the end is not heard. Next: `predicting`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from headrace import errors, events, ids
from headrace.core.events import FromRun, HeadraceEvent
from headrace.integrations.dspy import ambient, stopping
from headrace.messages import Usage
from headrace.runs import plain
from headrace.sinks.base import BaseSink

OPERATIONS = ("module", "predictor", "lm", "tool", "adapter", "trace")
Outlet = Callable[[Sequence[events.Event]], None]


class Frame:
    """An instrumented module at work: the fields it wants streamed, in this call."""

    __slots__ = ("fields", "module", "parent")

    def __init__(self, module: object, fields: Sequence[str], parent: Frame | None) -> None:
        self.module = module
        self.fields = tuple(fields)
        self.parent = parent

    def wanted(self) -> Iterator[str]:
        """Its fields, and those of the modules around it."""
        frame: Frame | None = self
        while frame is not None:
            yield from frame.fields
            frame = frame.parent


class Span:
    """A part of a call. One that is not told of (`operations`) has its parent's id."""

    __slots__ = ("active", "began", "cached", "id", "kind", "parent", "predicting", "shown", "tap")

    def __init__(self, id: str, kind: str, parent: Span | None, *, shown: bool = True) -> None:
        self.id = id
        self.kind = kind
        self.parent = parent
        self.shown = shown
        self.began = time.monotonic()
        self.cached = False
        self.active: object = None  # a trace: DSPy's own call that it was opened in
        self.predicting: Any = None
        self.tap: Any = None


class Call:
    """A run of an instrumented module, or of a `trace` outside of any.

    Args:
        name: of the module or the operation.
        kind: of its first span.
        sinks: where events go; None is what `configure` says.
        wanted: which of them, beside what `configure` says.
        operations: kinds of spans that are told of; None is all.
        run: the run's id, where the engine has given it one.
        outlet: is given every event but the run's first and last, which are the engine's own.
    """

    def __init__(
        self,
        name: str,
        *,
        kind: str = "module",
        sinks: Iterable[BaseSink] | None = None,
        wanted: Callable[[HeadraceEvent], bool] | None = None,
        operations: Iterable[str] | None = None,
        inputs: bool = True,
        outputs: bool = True,
        attributes: Mapping[str, Any] | None = None,
        run: str | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        self.run = run or ids.run_id()
        self.inputs = inputs
        self.outputs = outputs
        self.frame: Frame | None = None
        self.by_id: dict[str, Span] = {}  # DSPy's call ids
        self.names: dict[int, str] = {}  # predictors and modules, by identity
        self.stopped = False
        self.threads = stopping.Threads()
        self.waiting = run is not None  # for the module that it was begun for
        self.usage: Usage | None = None
        self.finish_reason: str | None = None  # of the last answer of a model
        self._sinks = None if sinks is None else tuple(sinks)
        self._wanted = wanted
        self._operations = None if operations is None else frozenset(operations)
        self._outlet = outlet
        self._fold = FromRun()
        self._lock = threading.RLock()
        self._seq = 0
        self._spans = 0
        self._ended = False
        self._began = time.monotonic()
        self._first: float | None = None
        self._tell(events.RunStart(kind="module", model=f"module:{name}", metadata=dict(ambient.context())))
        self.root = self.open(kind, name, None, attributes or {})

    # -- events ----------------------------------------------------------------------------------------------

    def write(self, *batch: events.Event) -> None:
        """Number events and hand them on."""
        with self._lock:
            if self._ended:
                return
            self._tell(*batch)
            if self._outlet is not None:
                self._outlet(batch)

    def _tell(self, *batch: events.Event) -> None:
        now = datetime.now(UTC)
        sinks = ambient.configured_sinks() if self._sinks is None else self._sinks
        context = ambient.context()
        for event in batch:
            self._seq += 1
            event.run, event.seq, event.time = self.run, self._seq, now
            if type(event) is events.FieldDelta and self._first is None:
                self._first = time.monotonic() - self._began
            made = self._fold(event)
            if sinks:
                if context:
                    made.context = dict(context)
                ambient.deliver(made, sinks, self._wanted)

    def custom(self, event: HeadraceEvent) -> None:
        """An event of the program's own, as it is; the engine's run has it as `custom`."""
        with self._lock:
            if self._ended:
                return
            self._seq += 1
            event.run, event.seq = event.run or self.run, event.seq or self._seq
            event.span = event.span or self.current().id
            event.time = event.time or datetime.now(UTC)
            if context := ambient.context():
                event.context = {**context, **event.context}
            sinks = ambient.configured_sinks() if self._sinks is None else self._sinks
            ambient.deliver(event, sinks, self._wanted)
            if self._outlet is not None:
                data = plain.plain(event.data)
                self._outlet((events.Custom(span=event.span, name=event.event_type, data=data),))

    # -- spans -----------------------------------------------------------------------------------------------

    def current(self) -> Span:
        """The innermost open `trace` of this code, else the call's own span. DSPy's spans: `callbacks.current`."""
        return ambient.current_trace.get() or self.root

    def open(self, kind: str, name: str, parent: Span | None, attributes: Mapping[str, Any]) -> Span:
        """Begin a span."""
        if self._operations is not None and kind not in self._operations:
            return Span(parent.id if parent else "", kind, parent, shown=False)
        with self._lock:
            self._spans += 1
            span = Span(f"s{self._spans}", kind, parent)
            self.write(
                events.SpanStart(
                    span=span.id,
                    parent=parent.id if parent else "",
                    kind=kind,
                    name=name,
                    attributes=dict(attributes),
                )
            )
        return span

    def close(self, span: Span, error: BaseException | None = None, value: Any = None) -> None:
        """End a span."""
        if not span.shown:
            return
        self.write(
            events.SpanEnd(
                span=span.id,
                outcome=outcome_of(error),
                value=value,
                cached=span.cached,
                elapsed_ms=_ms(time.monotonic() - span.began),
                extra={"error": error_info(error)} if error is not None else None,
            )
        )

    def used(self, span: Span, usage: Usage) -> None:
        """What a call of a model has used."""
        with self._lock:
            self.usage = usage if self.usage is None else _sum(self.usage, usage)
            self.write(
                events.UsageReport(
                    span=span.id,
                    basis="reported",
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    reasoning_tokens=usage.reasoning_tokens,
                    cached_tokens=usage.cached_tokens,
                )
            )

    def end(self, error: BaseException | None, value: Any = None) -> None:
        """End the run: once, and nothing comes after it."""
        with self._lock:
            if self._ended:
                return
            self.close(self.root, error, value)
            info = None if error is None else error_info(error)
            failed = outcome_of(error) == "failed"
            self._tell(
                events.RunEnd(
                    outcome=outcome_of(error),
                    finish_reason=self.finish_reason if error is None else None,
                    result=None if value is None else {"value": value},
                    usage=self.usage,
                    first_token_ms=None if self._first is None else _ms(self._first),
                    elapsed_ms=_ms(time.monotonic() - self._began),
                    error=events.ErrorInfo(**info) if info and failed else None,
                )
            )
            self._ended = True


def outcome_of(error: BaseException | None) -> events.Outcome:
    """How something ended that raised this."""
    if error is None:
        return "completed"
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit | stopping.Stopped):
        return "cancelled"
    return "failed"


def error_info(error: BaseException) -> dict[str, Any]:
    """The fields of `events.ErrorInfo` for any exception; its class is in the details."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    message = plain.plain(str(error)) or type(error).__name__
    if isinstance(error, errors.HeadraceError):
        return {"code": error.code, "message": message, "retryable": error.retryable}
    code = "provider-error" if _of_a_provider(error) else "interrupted"
    return {"code": code, "message": message, "retryable": False, "details": {"type": kind}}


def _of_a_provider(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"LMError", "APIError", "APIConnectionError", "OpenAIError"})


def jsonable(value: Any) -> Any:
    """A value as JSON values, whatever it is; a DSPy prediction or example is its fields."""
    with contextlib.suppress(Exception):  # somebody else's object: what it is must not harm its program
        fields = getattr(value, "toDict", None)
        return plain.plain(fields() if callable(fields) else value)
    return f"<{type(value).__name__}>"


def _sum(a: Usage, b: Usage) -> Usage:
    def add(name: str) -> int | None:
        x, y = getattr(a, name), getattr(b, name)
        return None if x is None and y is None else (x or 0) + (y or 0)

    return Usage(
        basis="reported",
        input_tokens=add("input_tokens"),
        output_tokens=add("output_tokens"),
        reasoning_tokens=add("reasoning_tokens"),
        cached_tokens=add("cached_tokens"),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
