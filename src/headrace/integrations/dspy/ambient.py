"""What is true around a call: its context ids, the configured sinks, and which call and span this code is in.

Ids are kept in a context variable: they belong to a task or a thread, its children see them, and nobody else does.
Sinks are the process' own. No DSPy here. Next: `call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from headrace.core.events import HeadraceEvent
from headrace.sinks.base import BaseSink

if TYPE_CHECKING:
    from headrace.integrations.dspy.call import Call, Frame, Span

log = structlog.get_logger("headrace.dspy")

EventFilter: TypeAlias = Callable[[HeadraceEvent], bool] | Iterable[str]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_context: ContextVar[Mapping[str, Any]] = ContextVar("headrace_context", default=_NOTHING)
current_call: ContextVar[Call | None] = ContextVar("headrace_call", default=None)
current_trace: ContextVar[Span | None] = ContextVar("headrace_trace", default=None)
current_frame: ContextVar[Frame | None] = ContextVar("headrace_frame", default=None)


class _Change:
    """Undoes a change at the end of a `with` block; without one the change stays."""

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo()


def set_context(**ids: Any) -> _Change:
    """Merge ids (a user, a request) into every event of this task or thread; None takes one away.

    Tasks and threads that begin elsewhere never see them. With `with` they are as before at the end of the block.
    """
    before = _context.get()
    _context.set({name: value for name, value in {**before, **ids}.items() if value is not None})
    return _Change(lambda: _context.set(before))


def context() -> Mapping[str, Any]:
    """The ids of this task or thread."""
    return _context.get()


class _Configured:
    def __init__(self) -> None:
        self.sinks: tuple[BaseSink, ...] | None = None
        self.wanted: Callable[[HeadraceEvent], bool] | None = None
        self.terminal: BaseSink | None = None


_configured = _Configured()
_KEEP: Any = object()


def configure(
    *, sinks: Iterable[BaseSink] | None = _KEEP, event_filter: EventFilter | None = _KEEP
) -> _Change:
    """Set where events go that no `instrument(sinks=…)` claims, for this process.

    Args:
        sinks: instead of the terminal, which is the default; an empty list is nowhere, None the default again.
        event_filter: takes an event and says whether it is sent, or the types that are; None sends all.

    Returns:
        What undoes the change at the end of a `with` block; without `with` it stays.
    """
    before = (_configured.sinks, _configured.wanted)

    def undo() -> None:
        _configured.sinks, _configured.wanted = before

    if sinks is not _KEEP:
        _configured.sinks = None if sinks is None else tuple(sinks)
    if event_filter is not _KEEP:
        _configured.wanted = as_filter(event_filter)
    return _Change(undo)


def configured_sinks() -> tuple[BaseSink, ...]:
    """The sinks of `configure`, else one for the terminal."""
    if _configured.sinks is not None:
        return _configured.sinks
    if _configured.terminal is None:
        from headrace.sinks.terminal import TerminalSink

        _configured.terminal = TerminalSink()
    return (_configured.terminal,)


def as_filter(given: EventFilter | None) -> Callable[[HeadraceEvent], bool] | None:
    """A filter as a function; types are event types (`token`) and native ones (`field-delta`)."""
    if given is None or callable(given):
        return given
    types = frozenset((given,) if isinstance(given, str) else given)
    return lambda event: event.event_type in types or event.type in types


_troubled: set[int] = set()


def deliver(
    event: HeadraceEvent,
    sinks: Iterable[BaseSink],
    wanted: Callable[[HeadraceEvent], bool] | None = None,
) -> None:
    """Hand an event to sinks. Never raises: a sink, or a filter, that does is logged once and left out of it."""
    for keep in (_configured.wanted, wanted):
        try:
            if keep is not None and not keep(event):
                return
        except Exception as error:  # the program's own filter, on the program's thread
            _tell(keep, error)
            return
    for sink in sinks:
        try:
            sink.emit(event)
        except Exception as error:  # SinkFull, or a sink of somebody's own
            _tell(sink, error)


def _tell(what: object, error: Exception) -> None:
    if id(what) not in _troubled:
        _troubled.add(id(what))
        log.warning("a sink or filter raised", what=type(what).__name__, error=repr(error))
