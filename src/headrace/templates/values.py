"""A template's run as Python values: `TokenReceived`, `SlotCompleted`, … made from its events. Pure.

`Reader` folds the native events, live or from a log. A token's `buffer` is joined only when somebody looks at
it: a token holds the list that its slot's tokens share, and how far it reaches. Next: `api`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace import errors, events


class TokenReceived:
    """A piece of a slot's text.

    Attributes:
        token: the piece.
        buffer: the slot's text up to and with it.
    """

    __slots__ = ("_pieces", "_upto", "segment_index", "slot_key", "span", "token")
    type: Literal["token"] = "token"

    def __init__(self, segment_index: int, slot_key: str, span: str, token: str, pieces: list[str]) -> None:
        self.segment_index = segment_index
        self.slot_key = slot_key
        self.span = span
        self.token = token
        self._pieces = pieces
        self._upto = len(pieces)

    @property
    def buffer(self) -> str:
        """The slot's text up to and with this token; joined at each look."""
        return "".join(self._pieces[: self._upto])

    def __repr__(self) -> str:
        return f"TokenReceived({self.segment_index}, {self.slot_key!r}, {self.token!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReceived:
    """A piece of a field of a typed slot: its beginning, some of its text, or its end.

    Attributes:
        path: where it is in the slot's value, a JSON Pointer (`/0/name`).
        token: the piece of text; "" at beginning and end.
        done: it has ended, and `value` is its value.
    """

    segment_index: int
    slot_key: str
    span: str
    path: str
    token: str = ""
    done: bool = False
    value: Any = None
    type: Literal["field"] = "field"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensReset:
    """The slot's text so far is taken back, down to `buffer`, and all its fields; it is asked again."""

    segment_index: int
    slot_key: str
    span: str
    reason: str
    buffer: str = ""
    type: Literal["reset"] = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCompleted:
    """A slot has its value."""

    segment_index: int
    slot_key: str
    result: Any
    elapsed_ms: float
    was_cached: bool
    span: str = ""
    type: Literal["slot"] = "slot"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReached:
    """A segment is done; the values so far."""

    segment_index: int
    segment_name: str
    accumulated_results: dict[str, Any]
    type: Literal["checkpoint"] = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingComplete:
    """The run is done."""

    result: Any
    early_termination: bool
    type: Literal["complete"] = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingError:
    """The run has failed or was stopped.

    Attributes:
        segment_index, slot_key: None where it was no slot's fault.
        text: the slot's text so far.
        partial_results: the values of all finished slots.
    """

    segment_index: int | None
    slot_key: str | None
    error: errors.HeadraceError
    partial_results: dict[str, Any]
    text: str = ""
    type: Literal["error"] = "error"


Value = (
    TokenReceived
    | FieldReceived
    | TokensReset
    | SlotCompleted
    | CheckpointReached
    | ProcessingComplete
    | ProcessingError
)


@dataclass(slots=True)
class _Slot:
    segment: int
    key: str
    blocks: dict[str, list[str]] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)


class Reader:
    """Folds a run's events into values.

    Args:
        value: from a slot's span and its JSON value to its Python value.
        results: from JSON values to Python values, for checkpoints and errors; called when they come.
        complete: the result of the run, from its `run-end`.
    """

    def __init__(
        self,
        *,
        value: Callable[[str, Any], Any] = lambda span, plain: plain,
        results: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        complete: Callable[[events.RunEnd], Any] = lambda end: end.result,
    ) -> None:
        self._value = value
        self._results = results
        self._complete = complete
        self._slots: dict[str, _Slot] = {}

    def read(self, batch: Iterable[events.Event]) -> Iterator[Value]:
        """The values of the next events."""
        for event in batch:
            value = self._one(event)
            if value is not None:
                yield value

    def _one(self, event: events.Event) -> Value | None:
        slot = self._slots.get(event.span)
        match event:
            case events.TextDelta(block=block, delta=delta) if slot is not None:
                slot.blocks.setdefault(block, []).append(delta)
                slot.pieces.append(delta)
                return TokenReceived(slot.segment, slot.key, event.span, delta, slot.pieces)
            case events.SpanStart(kind="slot"):
                self._slots[event.span] = _Slot(event.attributes.get("segment", 0), event.name)
            case events.FieldStart(path=path) if slot is not None:
                return FieldReceived(
                    segment_index=slot.segment, slot_key=slot.key, span=event.span, path=path
                )
            case events.FieldDelta(path=path, delta=delta) if slot is not None:
                return FieldReceived(
                    segment_index=slot.segment, slot_key=slot.key, span=event.span, path=path, token=delta
                )
            case events.FieldEnd(path=path) if slot is not None:
                return FieldReceived(
                    segment_index=slot.segment,
                    slot_key=slot.key,
                    span=event.span,
                    path=path,
                    done=True,
                    value=event.value,
                )
            case events.OutputReset(blocks=blocks, reason=reason) if slot is not None:
                for block in blocks:
                    slot.blocks.pop(block, None)
                slot.pieces = [piece for pieces in slot.blocks.values() for piece in pieces]
                return TokensReset(
                    segment_index=slot.segment,
                    slot_key=slot.key,
                    span=event.span,
                    reason=reason,
                    buffer="".join(slot.pieces),
                )
            case events.SpanEnd(outcome="completed") if slot is not None:
                return SlotCompleted(
                    segment_index=slot.segment,
                    slot_key=slot.key,
                    result=self._value(event.span, event.value),
                    elapsed_ms=event.elapsed_ms or 0.0,
                    was_cached=event.cached,
                    span=event.span,
                )
            case events.Checkpoint(index=index, name=name, results=results):
                return CheckpointReached(
                    segment_index=index, segment_name=name, accumulated_results=self._results(results or {})
                )
            case events.RunEnd():
                return self._end(event)
            case _:
                pass
        return None

    def _end(self, end: events.RunEnd) -> Value:
        result = end.result or {}
        if end.outcome == "completed":
            early = bool(result.get("early_termination"))
            return ProcessingComplete(result=self._complete(end), early_termination=early)
        info = end.error or events.ErrorInfo(code="interrupted", message="the run was stopped")
        details = info.details or {}
        slot = self._slots.get(details.get("span", ""))
        return ProcessingError(
            segment_index=details.get("segment"),
            slot_key=details.get("slot"),
            error=errors.error_for(info.code, info.message, retryable=info.retryable, details=info.details),
            partial_results=self._results(result.get("values", {})),
            text="".join(slot.pieces) if slot is not None else "",
        )
