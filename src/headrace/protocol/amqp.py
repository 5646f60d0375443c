"""AMQP 0-9-1, the part of it that events need: frames to bytes and back; no socket, no clock.

Written for the path of an event: a publish is one `bytes`, a delivery is parsed in one go. What is rare (opening,
declaring) goes as `Method`s with their arguments packed by `pack`. The specification is that of amqp.org, 0-9-1,
with RabbitMQ's extensions (confirms, field types). Next: `headrace.core.amqp`, the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

PREAMBLE = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_END = b"\xce"
_HEAD = struct.Struct(">BHI")
_IDS = struct.Struct(">HH")
_LONGLONG = struct.Struct(">Q")
_CONTENT = struct.Struct(">HHQH")
_MAX_FRAME = 1 << 26  # what a peer may ask us to hold

Id: TypeAlias = tuple[int, int]
START, START_OK = (10, 10), (10, 11)
TUNE, TUNE_OK = (10, 30), (10, 31)
OPEN, OPEN_OK = (10, 40), (10, 41)
CLOSE, CLOSE_OK = (10, 50), (10, 51)
BLOCKED, UNBLOCKED = (10, 60), (10, 61)
CHANNEL_OPEN, CHANNEL_OPEN_OK = (20, 10), (20, 11)
CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 40), (20, 41)
EXCHANGE_DECLARE, EXCHANGE_DECLARE_OK = (40, 10), (40, 11)
QUEUE_DECLARE, QUEUE_DECLARE_OK = (50, 10), (50, 11)
QUEUE_BIND, QUEUE_BIND_OK = (50, 20), (50, 21)
QOS, QOS_OK = (60, 10), (60, 11)
CONSUME, CONSUME_OK = (60, 20), (60, 21)
CANCEL = (60, 30)
PUBLISH, DELIVER, ACK, NACK = (60, 40), (60, 60), (60, 80), (60, 120)
CONFIRM_SELECT, CONFIRM_SELECT_OK = (85, 10), (85, 11)


class ProtocolError(Exception):
    """Bytes that are not AMQP."""


class Method(NamedTuple):
    """A rare method, its arguments still packed."""

    id: Id
    arguments: bytes


class Confirm(NamedTuple):
    """The broker has taken (or refused) what was published, up to this number where `multiple`."""

    tag: int
    multiple: bool
    taken: bool


class Delivery(NamedTuple):
    """A message handed out by the broker."""

    tag: int
    redelivered: bool
    routing_key: str
    message_id: str
    headers: dict[str, Any]
    body: bytes


Received: TypeAlias = Method | Confirm | Delivery


def pack(form: str, *values: Any) -> bytes:
    """Arguments of a method: `B` octet or bits, `H` short, `I` long, `Q` longlong, `s` short string, `S` long
    string, `t` table."""
    out = []
    for kind, value in zip(form, values, strict=True):
        if kind == "s":
            text = value.encode()
            if len(text) > 255:
                raise ValueError(f"longer than the 255 bytes that AMQP has for it: {value[:60]!r}…")
            out.append(bytes((len(text),)) + text)
        elif kind == "S":
            out.append(struct.pack(">I", len(value)) + value)
        elif kind == "t":
            out.append(_table(value))
        else:
            out.append(struct.pack(f">{kind}", value))
    return b"".join(out)


def method(channel: int, which: Id, arguments: bytes = b"") -> bytes:
    """A method's frame."""
    return _HEAD.pack(1, channel, 4 + len(arguments)) + _IDS.pack(*which) + arguments + _END


def publish(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    *,
    message_id: str,
    frame_max: int,
    headers: Mapping[str, Any] | None = None,
) -> bytes:
    """The frames of one message: kept on disk by the broker, JSON."""
    head = method(channel, PUBLISH, pack("HssB", 0, exchange, routing_key, 0))
    flags = 0x9080 | (0x2000 if headers else 0)  # content type, delivery mode, message id; headers
    properties = b"\x10application/json%b\x02%b" % (
        _table(headers) if headers else b"",
        pack("s", message_id),
    )
    content = _CONTENT.pack(60, 0, len(body), flags) + properties
    frames = [head, _HEAD.pack(2, channel, len(content)), content, _END]
    most = frame_max - 8
    for start in range(0, len(body), most):
        piece = body[start : start + most]
        frames += (_HEAD.pack(3, channel, len(piece)), piece, _END)
    return b"".join(frames)


class Decoder:
    """Bytes in, in any cut; what they say out. One channel."""

    def __init__(self) -> None:
        self._buffer = b""
        self._deliver: tuple[int, bool, str] | None = None
        self._message_id = ""
        self._headers: dict[str, Any] = {}
        self._left = 0
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> list[Received]:
        """What is complete now; heartbeats are nothing.

        Raises:
            ProtocolError: these are no frames.
        """
        buffer = self._buffer + data if self._buffer else data
        size = len(buffer)
        if buffer[:4] == b"AMQP":
            raise ProtocolError("the broker speaks another version of AMQP")
        out: list[Received] = []
        at = 0
        try:
            while size - at >= 8:
                kind, _, length = _HEAD.unpack_from(buffer, at)
                end = at + 7 + length
                if length > _MAX_FRAME:
                    raise ProtocolError(f"a frame of {length} bytes")
                if size <= end:
                    break
                if buffer[end] != 0xCE:
                    raise ProtocolError("a frame without its end")
                if kind == 3:
                    self._content(buffer[at + 7 : end], out)
                elif kind == 2:
                    self._header(buffer, at + 7, out)
                elif kind == 1:
                    self._method(buffer, at + 7, end, out)
                elif kind != 8:
                    raise ProtocolError(f"a frame of the unknown kind {kind}")
                at = end + 1
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise ProtocolError(f"a frame that ends too early: {error}") from error
        self._buffer = buffer[at:]
        return out

    def _method(self, buffer: bytes, at: int, end: int, out: list[Received]) -> None:
        which = _IDS.unpack_from(buffer, at)
        at += 4
        if which == DELIVER:
            at += 1 + buffer[at]
            (tag,) = _LONGLONG.unpack_from(buffer, at)
            redelivered = bool(buffer[at + 8] & 1)
            at += 9
            at += 1 + buffer[at]
            self._deliver = (tag, redelivered, buffer[at + 1 : at + 1 + buffer[at]].decode())
        elif which in (ACK, NACK):
            (tag,) = _LONGLONG.unpack_from(buffer, at)
            out.append(Confirm(tag, bool(buffer[at + 8] & 1), which == ACK))
        else:
            out.append(Method(which, buffer[at:end]))

    def _header(self, buffer: bytes, at: int, out: list[Received]) -> None:
        _, _, self._left, flags = _CONTENT.unpack_from(buffer, at)
        at += 14
        self._message_id, self._headers, self._body = "", {}, []
        for bit in range(15, 6, -1):  # the properties up to the message id, in their order
            if not flags >> bit & 1:
                continue
            if bit == 13:
                self._headers, at = table(buffer, at)
            elif bit in (12, 11):
                at += 1
            else:
                text = buffer[at + 1 : at + 1 + buffer[at]]
                at += 1 + len(text)
                if bit == 7:
                    self._message_id = text.decode("utf-8", "replace")
        if not self._left:
            self._content(b"", out)

    def _content(self, piece: bytes, out: list[Received]) -> None:
        self._left -= len(piece)
        if self._left > 0:
            self._body.append(piece)
            return
        body = b"".join([*self._body, piece]) if self._body else piece
        if self._deliver is None:
            raise ProtocolError("content without a delivery")
        out.append(Delivery(*self._deliver, self._message_id, self._headers, body))
        self._deliver = None


def table(buffer: bytes, at: int = 0) -> tuple[dict[str, Any], int]:
    """A table of fields, and where it ends.

    Raises:
        ProtocolError: a field of a type that there is not.
    """
    (length,) = struct.unpack_from(">I", buffer, at)
    at += 4
    end = at + length
    found: dict[str, Any] = {}
    while at < end:
        name = buffer[at + 1 : at + 1 + buffer[at]].decode("utf-8", "replace")
        at += 1 + buffer[at]
        found[name], at = _value(buffer, at)
    return found, end


_FIXED = {
    b"b": "b", b"B": "B", b"s": "h", b"u": "H", b"I": "i", b"i": "I", b"l": "q", b"f": "f", b"d": "d",
    b"T": "Q",
}  # fmt: skip


def _value(buffer: bytes, at: int) -> tuple[Any, int]:
    kind = buffer[at : at + 1]
    at += 1
    if kind in _FIXED:
        form = struct.Struct(f">{_FIXED[kind]}")
        return form.unpack_from(buffer, at)[0], at + form.size
    if kind == b"t":
        return bool(buffer[at]), at + 1
    if kind == b"V":
        return None, at
    if kind == b"F":
        return table(buffer, at)
    if kind == b"D":
        scale, number = struct.unpack_from(">Bi", buffer, at)
        return number / 10**scale, at + 5
    if kind not in (b"S", b"x", b"A"):
        raise ProtocolError(f"a field of the unknown type {kind!r}")
    (length,) = struct.unpack_from(">I", buffer, at)
    at += 4
    end = at + length
    if kind == b"S":
        return buffer[at:end].decode("utf-8", "replace"), end
    if kind == b"x":
        return buffer[at:end], end
    items = []
    while at < end:
        item, at = _value(buffer, at)
        items.append(item)
    return items, end


def _table(fields: Mapping[str, Any]) -> bytes:
    out = []
    for name, value in fields.items():
        key = pack("s", name)
        if isinstance(value, bool):
            out.append(key + b"t" + bytes((value,)))
        elif isinstance(value, int):
            out.append(key + b"l" + struct.pack(">q", value))
        elif isinstance(value, datetime):
            out.append(key + b"T" + struct.pack(">Q", int(value.timestamp())))
        elif isinstance(value, Mapping):
            out.append(key + b"F" + _table(value))
        else:
            out.append(key + b"S" + pack("S", str(value).encode("utf-8", "replace")))
    joined = b"".join(out)
    return struct.pack(">I", len(joined)) + joined
