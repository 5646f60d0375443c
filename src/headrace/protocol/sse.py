"""Server-sent events, both ways, as WHATWG HTML §9.2 has them; bytes in, events out.

`Decoder` splits a byte stream into events whatever the cuts: a byte order mark, CR, LF and CRLF, comments,
data on several lines, ids with NUL (ignored), `retry`. A line or an event larger than its bound is refused
instead of being kept for ever; the events before it come first. The usual event of a provider is one `data:`
line, LF, and a blank line: it is taken as it stands, without looking into it.
`frame` writes one event. No sockets here. Next: `ndjson`.
"""

from __future__ import annotations

import codecs

import msgspec

from headrace import errors

MAX_EVENT_BYTES = 8 * 1024 * 1024


class SSE(msgspec.Struct, frozen=True, gc=False):
    """One event as it came: `data` joined with LF, the `event` name if one was given, the id in force."""

    data: bytes
    event: str = ""
    id: str | None = None


class Decoder:
    """Incremental decoder of one `text/event-stream` body.

    Args:
        max_event_bytes: bound on one line and on the data of one event; past it `feed` raises.
        last_id: the id in force from the connection before, when this one goes on from it.

    Attributes:
        last_id: the last event id in force (what a client sends as `Last-Event-ID`); an id counts from the
            blank line that ends its block, so an event that was cut off is asked for again.
        retry_ms: the reconnection time the server asked for, if any.
        comments: how many comment lines were seen (heartbeats).
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._id = last_id  # of the block that is being read
        self.retry_ms: int | None = None
        self.comments = 0
        self._max = max_event_bytes
        self._parts: list[bytes] = []  # pieces of an unfinished line, so that byte-by-byte input is linear
        self._size = 0
        self._started = False
        self._after_cr = False
        self._data: list[bytes] = []
        self._data_size = 0
        self._event = b""
        self._failure: errors.ProviderError | None = None

    def feed(self, data: bytes) -> list[SSE]:
        """Take the next bytes; return the events they complete.

        Raises:
            errors.ProviderError: `provider-protocol` when a line or an event passes the bound. Where the
                same bytes hold whole events before it, those are returned and the next call raises.
        """
        if self._failure is not None:
            raise self._failure
        out: list[SSE] = []
        try:
            self._take(data, out)
        except errors.ProviderError as error:
            self._failure = error
            if not out:
                raise
        return out

    def _take(self, data: bytes, out: list[SSE]) -> None:
        if not data:
            return
        if self._parts:
            self._size += len(data)
            self._parts.append(data)
            if self._started and b"\n" not in data and b"\r" not in data:
                if self._size > self._max:
                    raise self._too_large()
                return
            data = b"".join(self._parts)
            self._parts.clear()
        if not self._started:
            if len(data) < 3 and codecs.BOM_UTF8.startswith(data):
                self._keep(data)
                return
            self._started = True
            if data.startswith(codecs.BOM_UTF8):
                data = data[3:]
        if self._after_cr and data:
            self._after_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._any_line_ends(data, out)
        else:
            self._line_feeds(data, out)

    def _line_feeds(self, data: bytes, out: list[SSE]) -> None:
        """The usual case: no CR anywhere. A block of one `data:` line is taken whole."""
        lines = data.split(b"\n")
        rest = lines.pop()
        fresh = not (self._data or self._event) and self._id == self.last_id
        last_id, limit, alone = self.last_id, self._max, b""
        for line in lines:
            if not line:
                if alone:
                    out.append(SSE(alone[6:], "", last_id))
                    alone = b""
                else:
                    self._dispatch(out)
                    fresh, last_id = True, self.last_id
            elif fresh and not alone and line[:6] == b"data: " and len(line) <= limit:
                alone = line
            else:
                if alone:
                    self._line(alone, out)
                    alone = b""
                self._line(line, out)
                fresh = False
        if alone:
            self._line(alone, out)
        self._keep(rest)

    def _any_line_ends(self, data: bytes, out: list[SSE]) -> None:
        """Lines that end in CR, LF or CRLF. A CR at the very end may be half of a CRLF."""
        self._after_cr = data.endswith(b"\r")
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop()
        for line in lines:
            self._line(line, out)
        self._keep(rest)

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._parts.append(rest)
        self._size = len(rest)
        if self._size > self._max:
            raise self._too_large()

    def _line(self, line: bytes, out: list[SSE]) -> None:
        if not line:
            self._dispatch(out)
            return
        if len(line) > self._max:
            raise self._too_large()
        name, colon, value = line.partition(b":")
        if not name and colon:
            self.comments += 1
            return
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data_size += len(value) + 1
            if self._data_size > self._max:
                raise self._too_large()
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)

    def _dispatch(self, out: list[SSE]) -> None:
        """A blank line: the block is whole."""
        self.last_id = self._id
        if self._data:
            out.append(SSE(b"\n".join(self._data), self._event.decode("utf-8", "replace"), self._id))
            self._data.clear()
            self._data_size = 0
        self._event = b""

    @property
    def pending(self) -> bool:
        """Whether bytes or lines of an unfinished event are held (such an event is never dispatched)."""
        return bool(self._parts or self._data)

    def _too_large(self) -> errors.ProviderError:
        self._parts.clear()
        self._data.clear()
        return errors.ProviderError(
            f"a server-sent event is larger than {self._max:,} bytes",
            code="provider-protocol",
            retryable=False,
            details={"max_event_bytes": self._max},
        )


HEARTBEAT = b": hb\n\n"


def frame(data: bytes, *, id: str | None = None, event: str | None = None) -> bytes:
    """One event on the wire. `data` may hold line ends; `id` and `event` may not.

    Raises:
        ValueError: `id` or `event` holds CR, LF or (id) NUL.
    """
    head = b""
    if id is not None:
        if "\n" in id or "\r" in id or "\0" in id:
            raise ValueError(f"an event id cannot hold line ends or NUL: {id!r}")
        head = b"id: " + id.encode() + b"\n"
    if event is not None:
        if "\n" in event or "\r" in event:
            raise ValueError(f"an event name cannot hold line ends: {event!r}")
        head += b"event: " + event.encode() + b"\n"
    if b"\n" in data or b"\r" in data:
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
    return head + b"data: " + data + b"\n\n"


def retry(milliseconds: int) -> bytes:
    """The block that sets a client's reconnection time."""
    return b"retry: %d\n\n" % milliseconds
