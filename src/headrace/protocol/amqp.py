"""AMQP 0-9-1 messages to frames and back, by `pamqp` (the extra `rabbitmq`); no socket, no clock.

`pamqp` has the frames; here is what lies above one: a message is three frames or more, and bytes come in any cut. The
path of an event is kept short: a publish is one `bytes`, a delivery one tuple. Next: `headrace.core.amqp`, the
connection.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from pamqp import base, body, commands, exceptions, frame, header, heartbeat

PREAMBLE = header.ProtocolHeader().marshal()
HEARTBEAT = frame.marshal(heartbeat.Heartbeat(), 0)
_HEAD = struct.Struct(">BHI")
_BODY = 3  # the kind of a frame that is a piece of a message
_MAX_FRAME = 1 << 26  # what a peer may ask us to hold


class ProtocolError(Exception):
    """Bytes that are not AMQP."""


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


Received: TypeAlias = base.Frame | Confirm | Delivery


def method(channel: int, which: base.Frame) -> bytes:
    """A method's frame."""
    return frame.marshal(which, channel)


def publish(
    channel: int,
    exchange: str,
    routing_key: str,
    content: bytes,
    *,
    message_id: str,
    frame_max: int,
    headers: Mapping[str, Any] | None = None,
) -> bytes:
    """The frames of one message: kept on disk by the broker, JSON.

    Raises:
        TypeError, ValueError: the routing key or the id has more than the 255 bytes that AMQP has for it.
    """
    properties = commands.Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id=message_id,
        headers=dict(headers) if headers else None,
    )
    frames = [
        frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=routing_key), channel),
        frame.marshal(header.ContentHeader(0, len(content), properties), channel),
    ]
    most = frame_max - 8
    frames += [
        frame.marshal(body.ContentBody(content[start : start + most]), channel)
        for start in range(0, len(content), most)
    ]
    return b"".join(frames)


class Decoder:
    """Bytes in, in any cut; what they say out. One channel."""

    def __init__(self) -> None:
        self._buffer = b""
        self._deliver: commands.Basic.Deliver | None = None
        self._properties: Any = None
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
        while size - at >= 8:
            kind, _, length = _HEAD.unpack_from(buffer, at)
            if length > _MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes")
            end = at + 8 + length
            if size < end:
                break
            if kind == _BODY and buffer[end - 1] == 0xCE:
                self._content(buffer[at + 7 : end - 1], out)
            else:
                self._frame(buffer[at:end], out)
            at = end
        self._buffer = buffer[at:]
        return out

    def _frame(self, raw: bytes, out: list[Received]) -> None:
        try:
            _, _, found = frame.unmarshal(raw)
        except (exceptions.PAMQPException, struct.error, IndexError, TypeError, ValueError) as error:
            raise ProtocolError(f"a frame that cannot be read: {error!r}") from error
        if isinstance(found, commands.Basic.Deliver):
            self._deliver = found
        elif isinstance(found, header.ContentHeader):
            self._properties, self._left, self._body = found.properties, found.body_size, []
            if not self._left:
                self._content(b"", out)
        elif isinstance(found, commands.Basic.Ack | commands.Basic.Nack):
            taken = isinstance(found, commands.Basic.Ack)
            out.append(Confirm(found.delivery_tag or 0, bool(found.multiple), taken))
        elif isinstance(found, base.Frame):
            out.append(found)

    def _content(self, piece: bytes, out: list[Received]) -> None:
        self._left -= len(piece)
        if self._left > 0:
            self._body.append(piece)
            return
        now, properties = self._deliver, self._properties
        if now is None:
            raise ProtocolError("content without a delivery")
        whole = b"".join([*self._body, piece]) if self._body else piece
        headers = properties.headers or {}
        message_id = properties.message_id or ""
        out.append(
            Delivery(
                now.delivery_tag or 0,
                bool(now.redelivered),
                now.routing_key or "",
                message_id,
                headers,
                whole,
            )
        )
        self._deliver = None
