"""Events to the browsers that are connected to one's own server: as server-sent events, or over WebSockets.

    sink = SSESink()                                          # one for all readers
    StreamingResponse(sink.stream(), media_type="text/event-stream")

    sink = WebSocketSink()
    await sink.serve(websocket)                               # until the browser leaves

An event is encoded once for all. A reader sees what comes after it came; one that falls too far behind is let go,
and comes back by itself (a browser's `EventSource` does). For readers that must not miss anything, and for runs that
are resumed, there is Headrace's own server. Next: `following`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from headrace import errors
from headrace.core import events as core
from headrace.sinks.base import BaseSink, Item

_HEARTBEAT_S = 15.0


class _Reader:
    """One reader, on its own event loop."""

    def __init__(self, most: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.waiting: deque[bytes] = deque()
        self.moved = asyncio.Event()
        self.over = False
        self._most = most

    def push(self, pieces: Sequence[bytes]) -> None:
        """On the reader's loop: more to send; past its bound the reader is let go."""
        if len(self.waiting) + len(pieces) > self._most:
            self.over = True
        else:
            self.waiting.extend(pieces)
        self.moved.set()

    def end(self) -> None:
        """On the reader's loop: nothing more comes."""
        self.over = True
        self.moved.set()


class _PushSink(BaseSink):
    """What both have in common.

    Args:
        reader_buffer: events that may wait for one reader.
        options: of `BaseSink`; the interval is 20 ms here.
    """

    def __init__(self, *, reader_buffer: int = 10_000, **options: Any) -> None:
        super().__init__(**{"flush_interval": 0.02, **options})
        self._most = reader_buffer
        self._readers: set[_Reader] = set()

    @property
    def readers(self) -> int:
        """How many are connected."""
        return len(self._readers)

    async def handle_batch(self, batch: Sequence[Item]) -> None:
        """See `BaseSink.handle_batch`."""
        pieces = [core.encode(event) for _, event in batch]
        for reader in list(self._readers):
            self._tell(reader, reader.push, pieces)

    async def disconnect(self) -> None:
        """The sink stops: its readers are let go."""
        for reader in list(self._readers):
            self._tell(reader, reader.end)

    def _tell(self, reader: _Reader, call: Any, *arguments: Any) -> None:
        try:
            reader.loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # its loop is closed
            self._readers.discard(reader)

    async def _pieces(self) -> AsyncGenerator[list[bytes], None]:
        """The events as JSON, all that is there each time; nothing where a heartbeat is due."""
        self.start()
        reader = _Reader(self._most)
        self._readers.add(reader)
        try:
            while True:
                reader.moved.clear()
                if reader.waiting:
                    pieces = list(reader.waiting)
                    reader.waiting.clear()
                    yield pieces
                    continue
                if reader.over:
                    return
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await reader.moved.wait()
                except TimeoutError:
                    yield []
        finally:
            self._readers.discard(reader)


class SSESink(_PushSink):
    """Sends events to browsers as server-sent events; see the module."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body of one response: an event each; heartbeats as comments."""
        yield b"retry: 1000\n\n"
        async with contextlib.aclosing(self._pieces()) as batches:
            async for pieces in batches:
                yield b"".join([b"data: %b\n\n" % piece for piece in pieces]) or b":\n\n"


class WebSocketSink(_PushSink):
    """Sends events over WebSockets, one JSON text each; see the module."""

    async def serve(self, websocket: Any) -> None:
        """Send events to an accepted websocket until it is closed, or the sink stops.

        Args:
            websocket: of Starlette or FastAPI (`send_text`), aiohttp (`send_str`) or websockets (`send`).
        """
        send = next(
            (
                found
                for name in ("send_text", "send_str", "send")
                if (found := getattr(websocket, name, None))
            ),
            None,
        )
        if send is None:
            raise errors.UsageError(f"{type(websocket).__name__} has none of send_text, send_str and send")
        async with contextlib.aclosing(self._pieces()) as batches:
            async for pieces in batches:
                for piece in pieces:
                    try:
                        await send(piece.decode())
                    except Exception as error:  # each library has its own words for a browser that left
                        if isinstance(error, OSError | RuntimeError) or _CLOSED & _names(error):
                            return
                        raise


_CLOSED = {"WebSocketDisconnect", "ConnectionClosed", "ClientDisconnected"}


def _names(error: Exception) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}
