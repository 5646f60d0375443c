"""What the relay understands of HTTP/1.1: enough to end a connection after one exchange, and to count events.

Bytes in, bytes out; no socket and no clock. A request gets `Connection: close`; a response is taken apart
into head and events, so that `relay` can send each event as one chunk, leave some out or put some in.

Next: `relay`.
"""

from __future__ import annotations

import httptools

__all__ = ["CloseHeader", "ResponseReader", "chunk"]

_HEAD_LIMIT = 1 << 16


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class CloseHeader:
    """Writes `Connection: close` into the head of an HTTP/1.1 request, unless it asks for an upgrade."""

    def __init__(self) -> None:
        self._held: bytes | None = b""

    def feed(self, data: bytes) -> bytes:
        """Take in bytes of the client; return those to pass on (none while the head is incomplete)."""
        if self._held is None:
            return data
        self._held += data
        head, gap, rest = self._held.partition(b"\r\n\r\n")
        line, _, _ = head.partition(b"\r\n")
        looks_like_http = b"\r\n" not in head or line.endswith((b"HTTP/1.1", b"HTTP/1.0"))
        if not gap and looks_like_http and len(self._held) < _HEAD_LIMIT and self._held[:1].isupper():
            return b""  # the head is not complete yet
        held, self._held = self._held, None
        lines = head.split(b"\r\n")
        if not gap or not looks_like_http or any(x.lower().startswith(b"upgrade:") for x in lines):
            return held
        kept = [x for x in lines if not x.lower().startswith(b"connection:")]
        return b"\r\n".join([*kept, b"Connection: close", b"", rest])


class ResponseReader:
    """Response bytes in; a head that announces chunks, whole events and the end out."""

    def __init__(self) -> None:
        self.head = b""
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._reason = b""
        self._lines: list[bytes] = []
        self._is_sse = False
        self._until_close = True
        self._ended = False
        self._body = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> None:
        """Take in bytes of the wire; none means that the peer has closed."""
        if data:
            self._parser.feed_data(data)
        else:
            self._ended = True
            self.complete = self.complete or self._until_close

    def take_events(self) -> list[bytes]:
        """The events that are complete; at the end of the body also what is left."""
        found = []
        marks = (b"\n\n", b"\r\n\r\n", b"\r\r") if self._is_sse else (b"\n",)
        while True:
            ends = [at + len(m) for m in marks if (at := self._body.find(m, max(0, self._scanned - 3))) >= 0]
            if not ends:
                break
            found.append(bytes(self._body[: min(ends)]))
            del self._body[: min(ends)]
            self._scanned = 0
        self._scanned = len(self._body)
        if self._ended and self._body:
            found.append(bytes(self._body))
            self._body.clear()
        return found

    # called by the parser
    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._is_sse = b"event-stream" in value.lower()
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._until_close = False
        else:
            self._lines.append(name + b": " + value)

    def on_headers_complete(self) -> None:
        status = b"HTTP/1.1 %d %b" % (self._parser.get_status_code(), self._reason)
        self.head = b"\r\n".join([status, *self._lines, b"Transfer-Encoding: chunked", b"", b""])

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.complete = self._ended = True
