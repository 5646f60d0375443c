"""The port of the dialects: the same events in somebody else's wire format.

A `Dialect` says how a body is sent (media type, headers, heartbeat, whether its frames carry cursors) and makes
an `Encoder` for one reader of one run. An encoder is a pure fold: it takes events in order and gives bytes;
ids and times come in as arguments. Some formats need to know what came before (which tool call has which
index, what text still stands when some is taken back). A reader that comes back in mid-run has an encoder
made afresh: give it the events before the cursor with `skip` (merged ones are fine and quick), then go on
with `encode`. Without that it still works, and assumes the worst of what it has not seen.

Merged deltas are bigger deltas. Dialects do not know each other. Next: `native`, then one file a format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from headrace import events
from headrace.protocol import sse

SSE_TYPE = "text/event-stream; charset=utf-8"
SSE_HEADERS: tuple[tuple[str, str], ...] = (
    ("cache-control", "no-cache, no-transform"),  # no-transform: a proxy that compresses also buffers
    ("x-accel-buffering", "no"),
)
RECONNECT_MS = 1000

to_json = msgspec.json.Encoder().encode


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder is told of the run it encodes.

    Attributes:
        model: the name the caller asked for, which compatible formats repeat.
        conversation: the conversation, for the formats that have threads.
        include_usage: whether the reader asked for token counts in the stream (`openai-chat`).
        fields: whether the reader wants structured answers field by field instead of as their JSON (`ide`).
    """

    run: str
    model: str
    created: datetime
    conversation: str = ""
    include_usage: bool = False
    fields: bool = False


class Encoder(Protocol):
    """One reader's bytes of one run: `start`, then `encode` for each event in order, then `end`."""

    def start(self) -> bytes:
        """What is sent before the first event."""
        ...

    def encode(self, event: events.Event) -> bytes:
        """The frames of the next event; empty when the format has nothing to say about it."""
        ...

    def skip(self, event: events.Event) -> None:
        """Take notice of an event that the reader already has."""
        ...

    def fail(self, error: events.ErrorInfo) -> bytes:
        """What is sent when reading the run breaks off before its `run-end`; `end` comes after it."""
        ...

    def end(self) -> bytes:
        """What is sent last, after `run-end` or `fail`."""
        ...


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One format.

    Attributes:
        name: as in `?dialect=`.
        media_type: the `Content-Type`.
        resumable: frames carry the cursor as `id:`, so a reader can come back with `Last-Event-ID`.
        folds: an encoder started in mid-run wants the earlier events first (`Encoder.skip`).
        heartbeat: bytes that may be sent between frames to keep proxies awake; empty where the format's
            own clients would break on them.
        headers: sent with the body, besides the content type.
    """

    name: str
    encoder: Callable[[Info], Encoder]
    media_type: str = SSE_TYPE
    resumable: bool = False
    folds: bool = True
    heartbeat: bytes = sse.HEARTBEAT
    headers: tuple[tuple[str, str], ...] = SSE_HEADERS


class Base:
    """An encoder that says nothing: what most formats share."""

    def __init__(self, info: Info) -> None:
        self.info = info

    def start(self) -> bytes:
        """See `Encoder.start`."""
        return b""

    def encode(self, event: events.Event) -> bytes:
        """See `Encoder.encode`."""
        raise NotImplementedError

    def skip(self, event: events.Event) -> None:
        """See `Encoder.skip`: the same fold, its bytes thrown away."""
        self.encode(event)

    def fail(self, error: events.ErrorInfo) -> bytes:
        """See `Encoder.fail`."""
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        return b""


class OneWay(Base):
    """An encoder of a format that cannot take anything back, nor say that a run was cancelled.

    Where shown text or a tool call is taken back it fails, and so does a run that did not complete: half an
    answer must not look like a whole one. Reasoning that is taken back stays: it is no part of the answer. Tool
    calls that the run itself answers are left out: a client would try to answer them.
    Subclasses write the parts, the finish and the error, and `show` the blocks that they write.
    """

    def __init__(self, info: Info) -> None:
        super().__init__(info)
        self.over = False
        self._shown: set[str] = set()
        self._hidden: set[str] = set()  # tool calls that are the run's
        self._whole = False  # seen from the first event on

    def part(self, event: events.Event) -> bytes:
        """The frames of an event in the middle of a run."""
        raise NotImplementedError

    def finish(self, end: events.RunEnd) -> bytes:
        """The frames of a completed run."""
        raise NotImplementedError

    def error(self, error: events.ErrorInfo) -> bytes:
        """The frames of a failure; nothing but `end` follows."""
        raise NotImplementedError

    def show(self, block: str) -> None:
        """Something of this block goes out, and cannot be taken back."""
        self._shown.add(block)

    def encode(self, event: events.Event) -> bytes:
        """See `Encoder.encode`."""
        if self.over:
            return b""
        if type(event) is events.TextDelta:
            return self.part(event)
        match event:
            case events.RunStart():
                self._whole = True
            case events.OutputReset():
                if self._whole and self._shown.isdisjoint(event.blocks):
                    return b""
                return self.fail(
                    events.ErrorInfo(
                        code="provider-error",
                        message=f"text that was already sent has been taken back ({event.reason}); ask again",
                    )
                )
            case events.RunEnd():
                failed = ending_error(event)
                if failed is not None:
                    return self.fail(failed)
                self.over = True
                return self.finish(event)
            case events.ToolCallStart(by="run"):
                self._hidden.add(event.call)
                return b""
            case events.ToolCallDelta() | events.ToolCallEnd() if event.call in self._hidden:
                return b""
        return self.part(event)

    def fail(self, error: events.ErrorInfo) -> bytes:
        """See `Encoder.fail`."""
        self.over = True
        return self.error(error)


def data(body: object) -> bytes:
    """One SSE block of one line of JSON."""
    return b"data: %b\n\n" % to_json(body)


def ending_error(end: events.RunEnd) -> events.ErrorInfo | None:
    """Why a run has no complete answer, in words; None when it completed.

    A cancelled run has no error of its own, but formats without a word for it must not show half an answer
    as a whole one.
    """
    if end.outcome == "completed":
        return None
    if end.error is not None:
        return end.error
    return events.ErrorInfo(
        code="interrupted",
        message=f"the run was {end.outcome} before the answer was complete",
        retryable=False,
    )


def callers(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of a run's result that are the caller's to answer."""
    return [call for call in result.get("tool_calls", ()) if not call.keys() & {"value", "error"}]


def arguments_text(arguments: Any) -> str:
    """The arguments of a tool call as JSON text; what was no JSON is the text itself."""
    if isinstance(arguments, str):
        return arguments
    return to_json({} if arguments is None else arguments).decode()
