"""What several wires need: a decoder's frame, blocks in order, JSON that fails typed, options merged.

A wire's decoder subclasses `Decoder` and fills in `_frame` and `_end`. `Blocks` opens a block at its first
piece and closes it before the next one opens, so contiguous text is one block. Nothing here knows a wire,
and nothing here does I/O. Next: one file a wire.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from headrace import errors, events, messages

T = TypeVar("T")

_EXCERPT = 160


class Splitter(Protocol):
    """Cuts a byte stream into frames: `protocol.sse` (through `.data`) or `protocol.ndjson`."""

    def __call__(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete."""
        ...


class Typed(Generic[T]):
    """A msgspec JSON decoder whose failures are `provider-protocol`.

    A lone surrogate escape (half of an emoji cut by a tokenizer) is not JSON text; such a frame is read a
    second time with U+FFFD in its place, instead of failing the answer.

    Args:
        type: what a frame is decoded to.
        where: whose frame it is, for the error.
    """

    __slots__ = ("_decode", "_where")

    def __init__(self, type: Any, where: str) -> None:
        self._decode: Callable[[bytes], T] = msgspec.json.Decoder(type).decode
        self._where = where

    def decode(self, data: bytes) -> T:
        """One frame.

        Raises:
            errors.ProviderError: `provider-protocol`; its cause is a `msgspec.ValidationError` where the
                text is JSON of another shape.
        """
        try:
            return self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if not isinstance(error, msgspec.ValidationError) and b"\\u" in data:
                try:
                    return self._decode(_without_surrogates(data))
                except (ValueError, RecursionError, msgspec.MsgspecError):
                    pass
            raise self._bad(data, error) from error

    def _bad(self, data: bytes, error: Exception) -> errors.ProviderError:
        return malformed(self._where, f"what its format does not allow ({error})", data)


def _without_surrogates(data: bytes) -> bytes:
    text = json.dumps(json.loads(data), ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


class Blocks:
    """The blocks of one answer, one text or reasoning block open at a time.

    Attributes:
        kind: what is open: `text`, `reasoning`, or nothing.
        block: its id.
    """

    __slots__ = ("_calls", "_new", "block", "kind")

    def __init__(self, new_block: Callable[[], str]) -> None:
        self._new = new_block
        self._calls: set[str] = set()
        self.kind = ""
        self.block = ""

    def text(self, out: list[events.Event], delta: str) -> None:
        """More text, in the open text block or a new one. Nothing for an empty piece."""
        if delta:
            if self.kind != "text":
                self.open_text(out)
            out.append(events.TextDelta(block=self.block, delta=delta))

    def open_text(self, out: list[events.Event]) -> None:
        """Have a text block open."""
        if self.kind != "text":
            self.close(out)
            self.kind, self.block = "text", self._new()
            out.append(events.TextStart(block=self.block))

    def reasoning(self, out: list[events.Event], delta: str) -> None:
        """More reasoning, in the open reasoning block or a new one. Nothing for an empty piece."""
        if delta:
            self.open_reasoning(out)
            out.append(events.ReasoningDelta(block=self.block, delta=delta))

    def open_reasoning(self, out: list[events.Event]) -> None:
        """Have a reasoning block open."""
        if self.kind != "reasoning":
            self.close(out)
            self.kind, self.block = "reasoning", self._new()
            out.append(events.ReasoningStart(block=self.block))

    def close(
        self, out: list[events.Event], *, signature: str | None = None, encrypted: str | None = None
    ) -> None:
        """Close what is open. A proof goes on the end of the open reasoning, else into a block of its own."""
        if signature or encrypted:
            self.open_reasoning(out)
        kind, block = self.kind, self.block
        self.kind = self.block = ""
        if kind == "text":
            out.append(events.TextEnd(block=block))
        elif kind == "reasoning":
            out.append(events.ReasoningEnd(block=block, signature=signature, encrypted=encrypted))

    def call(self, out: list[events.Event], id: str | None, name: str) -> events.ToolCallStart:
        """Close what is open and begin a tool call; one without an id of its own is `call_<block>`."""
        self.close(out)
        block = self._new()
        if not id or id in self._calls:
            id = f"call_{block}"
        self._calls.add(id)
        start = events.ToolCallStart(call=id, name=name, block=block)
        out.append(start)
        return start

    @property
    def called(self) -> bool:
        """Whether the model asked for a tool."""
        return bool(self._calls)


class Decoder:
    """Bytes of one answer in, events out; the part of `base.WireDecoder` that all wires share.

    An error inside the stream does not swallow the events before it: they are returned first, and the error
    is raised by the next call of `feed` (also of `feed(b"")`) or `close`. So every cut of the bytes gives the
    same events and then the same error.

    Attributes:
        usage: tokens as far as the provider has reported them.
        skipped: frames of types this decoder does not know.
    """

    def __init__(self, new_block: Callable[[], str], split: Splitter) -> None:
        self.usage: messages.Usage | None = None
        self.skipped = 0
        self._blocks = Blocks(new_block)
        self._split = split
        self._failure: errors.ProviderError | None = None
        self._ended = False

    def feed(self, data: bytes) -> list[events.Event]:
        """Take the next bytes of a streamed answer; see `base.WireDecoder`."""
        if self._failure is not None:
            raise self._failure
        out: list[events.Event] = []
        try:
            for frame in self._split(data):
                if self._ended:
                    break
                self._frame(frame, out)
        except errors.ProviderError as error:
            self._failure = error
            if not out:
                raise
        return out

    def close(self) -> list[events.Event]:
        """The bytes have ended; see `base.WireDecoder`."""
        if self._failure is not None:
            raise self._failure
        out: list[events.Event] = []
        if not self._ended:
            self._end(out)
        return out

    def _frame(self, frame: bytes, out: list[events.Event]) -> None:
        raise NotImplementedError

    def _end(self, out: list[events.Event]) -> None:
        """The bytes ended without the end marker: close what may be closed, or raise `incomplete`."""
        raise NotImplementedError


def malformed(where: str, what: str, data: bytes) -> errors.ProviderError:
    """The error of bytes that are not their wire's, with the beginning of them."""
    excerpt = data[:_EXCERPT].decode("utf-8", "replace")
    return errors.ProviderError(f"{where} sent {what}: {excerpt!r}", code="provider-protocol")


def incomplete(where: str, marker: str) -> errors.ProviderError:
    """The error of a stream that ended cleanly, but not as its wire ends."""
    return errors.ProviderError(
        f"the stream of {where} ended without {marker}; the answer may be cut short", code="stream-incomplete"
    )


def merge(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` on top of `body`; objects are merged key by key, everything else is replaced."""
    out = dict(body)
    for key, value in options.items():
        below = out.get(key)
        out[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return out


def inline_data(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a `data:` URL (RFC 2397), or None for another URL."""
    if not url.startswith("data:"):
        return None
    head, _, payload = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if "base64" not in parameters:
        payload = base64.b64encode(unquote_to_bytes(payload)).decode()
    return media_type or "text/plain", payload


def arguments_object(call: messages.ToolCall) -> dict[str, Any]:
    """The arguments of a call as the object that a wire demands; text that is none is handed back in one."""
    value = call.arguments
    if value is None and call.text:
        try:
            value = msgspec.json.decode(call.text)
        except (msgspec.DecodeError, RecursionError):
            value = call.text
    if isinstance(value, dict):
        return value
    return {} if value is None else {"INVALID_JSON": value}


def system_text(conversation: tuple[messages.Message, ...]) -> str:
    """The system messages, wherever they stand, as one text."""
    return "\n\n".join(text for m in conversation if m.role == "system" and (text := m.text))


_TOO_LONG = re.compile(
    r"(prompt|input|request|conversation)\b.{0,40}\btoo (long|large)"
    r"|exceed\w*\b.{0,60}\b(context|maximum number of tokens|token limit|context window)"
    r"|(context|token)\b.{0,40}\b(exceed|too long|overflow)"
    r"|context[ _]length",
    re.IGNORECASE | re.DOTALL,
)


def too_long(message: str) -> bool:
    """Whether a provider's message says that the input does not fit in the model's context."""
    return _TOO_LONG.search(message) is not None
