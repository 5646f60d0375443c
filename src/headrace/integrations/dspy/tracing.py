"""Spans and events of a program's own: `trace`, `emit_event`. Works without DSPy too. Next: `program`."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar

from headrace import errors
from headrace.core.events import HeadraceEvent
from headrace.integrations.dspy import ambient
from headrace.integrations.dspy.call import Call, Span, jsonable

F = TypeVar("F", bound=Callable[..., Any])


class trace:
    """A span of one's own around a piece of code; inside an instrumented call it is a part of that run.

        with headrace.trace("retrieve", k=3) as ctx:
            found = search(question)
            ctx.emit("retrieved", {"count": len(found)})

    Also for `async with`, and as a decorator of functions and coroutine functions. Outside of any call it is a run
    of its own.

    Args:
        operation: its name.
        metadata: JSON values that it begins with.
    """

    def __init__(self, operation: str, **metadata: Any) -> None:
        self._operation = operation
        self._metadata = metadata
        self._call: Call | None = None
        self._span: Span | None = None
        self._own = False
        self._tokens: list[tuple[Any, Token[Any]]] = []

    @property
    def run(self) -> str:
        """The id of the run it is in."""
        return self._call.run if self._call is not None else ""

    def emit(self, event: str | HeadraceEvent, data: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Send an event of one's own, under this span.

        Args:
            event: its type, or the whole event.
            data, more: what it says.

        Raises:
            errors.UsageError: outside of the block.
        """
        if not isinstance(event, HeadraceEvent):
            event = HeadraceEvent(event_type=event, data={**(data or {}), **more})
        if self._call is None or self._span is None:
            raise errors.UsageError("emit is for the inside of a `with trace(…) as ctx` block")
        event.span = event.span or self._span.id
        self._call.custom(event)

    def __enter__(self) -> trace:
        call, active = _find_call(), _active()
        attributes = jsonable(self._metadata)
        if call is None:
            self._own = True
            call = Call(self._operation, kind="trace", attributes=attributes)
            self._span = call.root
            self._tokens.append((ambient.current_call, ambient.current_call.set(call)))
        else:
            self._span = call.open("trace", self._operation, _current(call), attributes)
        self._call = call
        self._span.active = active
        self._tokens.append((ambient.current_trace, ambient.current_trace.set(self._span)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._call is not None
        assert self._span is not None
        while self._tokens:
            variable, token = self._tokens.pop()
            variable.reset(token)
        if self._own:
            self._call.end(error)
        else:
            self._call.close(self._span, error)

    async def __aenter__(self) -> trace:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """Trace each call of a function."""
        operation, metadata = self._operation, self._metadata
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def traced_coroutine(*args: Any, **kwargs: Any) -> Any:
                with trace(operation, **metadata):
                    return await function(*args, **kwargs)

            return traced_coroutine  # type: ignore[return-value]

        @functools.wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with trace(operation, **metadata):
                return function(*args, **kwargs)

        return traced  # type: ignore[return-value]


def emit_event(event: HeadraceEvent) -> None:
    """Send an event of one's own: under the run and span this code is in, else to the configured sinks.

    Never raises for what a sink does.
    """
    call = _find_call()
    if call is not None:
        if not event.span:
            event.span = _current(call).id
        call.custom(event)
        return
    if context := ambient.context():
        event.context = {**context, **event.context}
    ambient.deliver(event, ambient.configured_sinks())


def _callbacks() -> Any:
    """The module that knows DSPy, where a program has loaded it."""
    return sys.modules.get("headrace.integrations.dspy.callbacks")


def _find_call() -> Call | None:
    known = _callbacks()
    return ambient.current_call.get() if known is None else known.find_call()


def _current(call: Call) -> Span:
    known = _callbacks()
    found: Span = call.current() if known is None else known.current(call)
    return found


def _active() -> object:
    known = _callbacks()
    return None if known is None else known.internals.active_call_id()
