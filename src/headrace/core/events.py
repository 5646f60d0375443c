"""Events as sinks, consumers and instrumented programs see them: small, open, the same for every kind of run.

A `HeadraceEvent` has an `event_type` and `data`. Four types have a class: `start`, `end` and `error` of a run
or of a span in it, and `token`, a piece of an output field. All others keep the name they came with. The
events of any run (`headrace.events`) become these through `FromRun`, and `to_native` gives them back: the run,
seq, span and type travel along, so a consumer at the far end of a broker still has the whole run.

Their JSON is one object: the attributes, empty ones left out. What the program put into `data` is encoded as far
as it can be; what JSON cannot hold goes as its text, because an event that cannot be sent helps nobody. Nothing
here may open a connection or know a broker. Next: `headrace.sinks.base`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from headrace import errors, events

__all__ = [
    "EndEvent",
    "ErrorEvent",
    "FromRun",
    "HeadraceEvent",
    "StartEvent",
    "StreamllEvent",
    "TokenEvent",
    "decode",
    "encode",
    "to_native",
]


class HeadraceEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that happened in a program.

    Attributes:
        event_type: what it is: `start`, `end`, `error`, `token`, a native type, or a name of one's own.
        data: what it says, JSON values.
        run: the run it belongs to; empty for an event outside of any.
        seq: its place in the run, from 1; 0 where it has none.
        span: the span it belongs to; empty for the run itself.
        operation: the name of that run or span, where it has one.
        time: when it happened, UTC; filled in when it is handed to a sink.
        context: the ids of `set_context`.
        type: the type of the native event it was made from; empty where there was none.
    """

    event_type: str
    data: dict[str, Any] = {}
    run: str = ""
    seq: int = 0
    span: str = ""
    operation: str = ""
    time: datetime | None = None
    context: dict[str, Any] = {}
    type: str = ""


StreamllEvent = HeadraceEvent

# A default that is made each time, and so is not left out of the JSON: `event_type` is always there.


class StartEvent(HeadraceEvent, kw_only=True, omit_defaults=True):
    """A run, or a span of it, begins. `data` has kind, parent, model, attributes."""

    event_type: str = msgspec.field(default_factory=lambda: "start")


class EndEvent(HeadraceEvent, kw_only=True, omit_defaults=True):
    """A run or a span has ended. `data` has outcome, result or value, usage, elapsed_ms."""

    event_type: str = msgspec.field(default_factory=lambda: "end")


class ErrorEvent(HeadraceEvent, kw_only=True, omit_defaults=True):
    """A run or a span has failed. `data` has what an end has, and the error where it is known."""

    event_type: str = msgspec.field(default_factory=lambda: "error")


class TokenEvent(HeadraceEvent, kw_only=True, omit_defaults=True):
    """A piece of an output field, while it is generated. The first four attributes are in `data` as well.

    Attributes:
        token: the text.
        token_index: its place in the field, from 0.
        field: the output field; `text` and `reasoning` for a plain answer.
        finish_reason: why the field ended, on its last token where it is known by then.
        cached: whether it is replayed from a cache.
    """

    event_type: str = msgspec.field(default_factory=lambda: "token")
    token: str = ""
    token_index: int = 0
    field: str = ""
    finish_reason: str | None = None
    cached: bool = False

    _SHARED: ClassVar[tuple[str, ...]] = ("token", "token_index", "field", "finish_reason")

    def __post_init__(self) -> None:
        data = self.data
        if "token" not in data:
            data["token"] = self.token
            data["token_index"] = self.token_index
            data["field"] = self.field
            data["finish_reason"] = self.finish_reason


_CLASSES: dict[str, type[HeadraceEvent]] = {
    "start": StartEvent,
    "end": EndEvent,
    "error": ErrorEvent,
    "token": TokenEvent,
}
_NOT_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)


def _hook(value: Any) -> Any:
    """A value that JSON has no form for: a model's own JSON form, else its text."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_hook)
_plain = msgspec.json.Decoder(dict[str, Any])
_token = msgspec.json.Decoder(TokenEvent)
_TOKEN = b'{"event_type":"token",'


def encode(event: HeadraceEvent) -> bytes:
    """The event as one JSON object, UTF-8. Never fails: what JSON cannot hold goes as its text."""
    try:
        return _encoder.encode(event)
    except Exception:  # a value of the program's, or its own JSON form, may raise anything
        body = {name: getattr(event, name) for name in event.__struct_fields__}
        return _encoder.encode({name: _told(value) for name, value in body.items() if value})


def decode(data: bytes | bytearray | memoryview | str) -> HeadraceEvent:
    """Read one event; the class is that of its `event_type`.

    Raises:
        errors.ProviderError: `provider-protocol`, where it is not the JSON of an event.
    """
    try:
        if isinstance(data, bytes) and data.startswith(_TOKEN):  # nearly all of them
            return _token.decode(data)
        body = _plain.decode(data)
        cls = _CLASSES.get(body.get("event_type", ""), HeadraceEvent)
        return msgspec.convert(body, cls)
    except (*_NOT_JSON, TypeError) as error:
        raise errors.ProviderError(
            f"an event of a sink could not be read: {error}", code="provider-protocol"
        ) from error


class FromRun:
    """Makes the events of one run into `HeadraceEvent`s, in order. A fold: one for each run.

    A merged delta (of a reader that fell far behind) is one token event, whose `token_index` is that of its
    first token.
    """

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], int] = {}
        self._names: dict[str, str] = {}

    def __call__(self, event: events.Event) -> HeadraceEvent:
        """The event for sinks; keys that this version does not know are kept in `data`."""
        kind = type(event)
        if kind is events.TextDelta or kind is events.ReasoningDelta:
            return self._token(event)
        if kind is events.FieldDelta and not (event.extra and "part_of" in event.extra):
            return self._token(event)
        data = events.to_dict(event)
        for name in _BASE:
            data.pop(name, None)
        cls, event_type = HeadraceEvent, event.type
        if isinstance(event, events.RunStart | events.SpanStart):
            cls, event_type = StartEvent, "start"
            self._names[event.span] = getattr(event, "name", "") or event.kind
        elif isinstance(event, events.RunEnd | events.SpanEnd):
            failed = event.outcome == "failed"
            cls, event_type = (ErrorEvent, "error") if failed else (EndEvent, "end")
        return cls(
            event_type=event_type,
            data=data,
            run=event.run,
            seq=event.seq,
            span=event.span,
            operation=self._names.get(event.span, ""),
            time=event.time,
            type=event.type,
        )

    def _token(self, event: Any) -> TokenEvent:
        data: dict[str, Any] = {}
        if isinstance(event, events.FieldDelta):
            field, index = event.path.removeprefix("/"), event.index
            data["path"] = event.path
        else:
            field = "text" if isinstance(event, events.TextDelta) else "reasoning"
            key = (event.span, event.block)
            index = self._next.get(key, 0)
            first = event.from_seq or event.seq
            self._next[key] = index + 1 + event.seq - first
            data["block"] = event.block
        if event.from_seq is not None:
            data["from"] = event.from_seq
        extra = event.extra or {}
        data.update(extra)
        return TokenEvent(
            token=event.delta,
            token_index=index,
            field=field,
            finish_reason=extra.get("finish_reason"),
            cached=bool(extra.get("cached")),
            data=data,
            run=event.run,
            seq=event.seq,
            span=event.span,
            operation=self._names.get(event.span, ""),
            time=event.time,
            type=event.type,
        )


_BASE = ("type", "run", "seq", "time", "span")


def to_native(event: HeadraceEvent) -> events.Event:
    """The native event it was made from; one that was not made from any becomes `custom`.

    Raises:
        errors.ProviderError: `provider-protocol`: it says that it was made from one, but lacks what that one has.
    """
    made = _native(event)
    made.time = event.time
    return made


def _native(event: HeadraceEvent) -> events.Event:
    base = {"run": event.run, "seq": event.seq, "span": event.span}
    base = {name: value for name, value in base.items() if value}
    if not event.type:
        return events.from_dict({**base, "type": "custom", "name": event.event_type, "data": event.data})
    data = dict(event.data)
    if isinstance(event, TokenEvent):
        for name in TokenEvent._SHARED:
            if data.get(name) is None or name != "finish_reason":
                data.pop(name, None)
        data["delta"] = event.token
        if event.type == "field-delta":
            data["index"] = event.token_index
    return events.from_dict({**base, **data, "type": event.type})


def _told(value: Any, depth: int = 0) -> Any:
    """A value as JSON values whatever it is; lone surrogates become U+FFFD, what is nested too deep its text."""
    if value is None or isinstance(value, bool | int | float | datetime):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict) and depth < 50:
        return {_text(key): _told(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < 50:
        return [_told(item, depth + 1) for item in value]
    try:
        return _told(msgspec.to_builtins(value, enc_hook=_hook), depth + 1) if depth < 50 else "…"
    except Exception:  # as in `encode`
        return _text(value)


def _text(value: Any) -> str:
    try:
        text = str(value)
    except Exception:  # as in `encode`
        return f"<{type(value).__name__}>"
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
