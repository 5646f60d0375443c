"""A TCP relay that misbehaves on purpose, between Headrace and a provider or a client and Headrace.

    async with Relay(engine.url, cut(after_events=3, reset=True), PASS) as relay:
        ...                                      # the first connection breaks after three events
    assert len(relay.connections) == 2
    assert relay.connections[0].requests[0].json()["stream"] is True

What happens to a connection is a `Plan`: a `Flow` for each direction (`down` is the response, `up` the
request), or a reply that the upstream never sees. The functions `cut`, `stall`, `drop`, `end`, `slices`,
`pace`, `inject`, `reply` and `refuse` make the usual plans. The n-th connection takes the n-th plan and the
last plan goes on for ever; a function from the connection's number (from 0) to its plan does anything else.

One connection carries one exchange: the relay writes `Connection: close` into each HTTP request, so that
a client's connection pool cannot bring two requests under one plan (`keep_alive=True` leaves that out,
and is for plans that count no events; WebSocket upgrades and what is not HTTP pass as they are).

Options that count bytes work on the bytes of the wire, head and framing included. Options that count events
read the HTTP response and send each event as one chunk; an event ends at a blank line in an event stream,
and at a line end in everything else (NDJSON).

Two tasks serve a connection, one a direction. The connection is over when either ends: `_up` when the
client leaves, `_down` when the upstream does, either at its fault; the other is cancelled, then both sockets
are closed. A paced or stalled response is not read ahead (some 64 KB): the upstream feels the back-pressure.

Not here: what is known of HTTP (`framing`), servers that answer by themselves (`playback`). Next: `framing`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, assert_never
from urllib.parse import urlsplit

from headrace import errors
from headrace.testing import framing, playback

__all__ = [
    "PASS",
    "Action",
    "Connection",
    "Flow",
    "Plan",
    "Relay",
    "cut",
    "drop",
    "end",
    "inject",
    "pace",
    "refuse",
    "reply",
    "slices",
    "stall",
]

Action = Literal["close", "reset", "stall", "drop", "end"]

_READ = 1 << 14
_CAPTURE_LIMIT = 16 << 20  # bytes of requests kept for a connection


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What happens to one direction. The default passes every byte through, untouched.

    Args:
        after_bytes: do `then` after this many bytes of the wire; 0: when the first arrives, before it passes.
        after_events: do `then` after this many events (response only); 0: after the head, before the first.
        then: `close` (FIN), `reset` (RST), `stall` (nothing more for ever, both connections stay open),
            `drop` (swallow the rest and end as the sender does), `end` (a proper end of the HTTP body, too
            early; response only).
        size: bytes of the pieces that are passed on.
        seed: makes the pieces 1 to `size` bytes long at random (`size` is then 64 if not given).
        pause: seconds after each piece. Without one the receiver may find several pieces together.
        bytes_per_second: pace of the bytes.
        events_per_second: pace of the events (response only); the first comes at once.
        inject: bytes sent as if the sender had, before the event of that number (from 0; response only).
    """

    after_bytes: int | None = None
    after_events: int | None = None
    then: Action = "close"
    size: int | None = None
    seed: int | None = None
    pause: float = 0.0
    bytes_per_second: float | None = None
    events_per_second: float | None = None
    inject: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def reads_http(self) -> bool:
        """Whether this flow has to understand the response, and frames it anew."""
        counts = self.after_events is not None or self.events_per_second is not None
        return counts or bool(self.inject) or self.then == "end"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens to one connection.

    Args:
        down: upstream to client, the response.
        up: client to upstream, the request.
        reply: raw bytes sent after the whole request has arrived, instead of asking the upstream.
        refuse: reset the connection as soon as it is made.
    """

    down: Flow = Flow()
    up: Flow = Flow()
    reply: bytes | None = None
    refuse: bool = False


PASS = Plan()
"""Every byte through, untouched."""


def cut(*, after_bytes: int | None = None, after_events: int | None = None, reset: bool = False) -> Plan:
    """The response breaks off: with a FIN, or with a RST."""
    action: Action = "reset" if reset else "close"
    return Plan(down=Flow(after_bytes=after_bytes, after_events=after_events, then=action))


def stall(*, after_bytes: int | None = None, after_events: int | None = None) -> Plan:
    """A black hole: the response stops for ever and nobody is told. `after_bytes=0`: before it begins."""
    return Plan(down=Flow(after_bytes=after_bytes, after_events=after_events, then="stall"))


def drop(*, after_bytes: int | None = None, after_events: int | None = None) -> Plan:
    """The tail of the response is lost; the connection ends when the upstream ends it."""
    return Plan(down=Flow(after_bytes=after_bytes, after_events=after_events, then="drop"))


def end(*, after_events: int) -> Plan:
    """The response ends too early but properly, as HTTP sees it: only the wire's end marker is missing."""
    return Plan(down=Flow(after_events=after_events, then="end"))


def slices(size: int | None = None, *, seed: int | None = None, pause: float = 0.0) -> Plan:
    """The response comes in pieces of `size` bytes, or with a seed of 1 to `size` (64) bytes."""
    if size is None and seed is None:
        raise errors.UsageError("slices needs a size, a seed or both")
    return Plan(down=Flow(size=size, seed=seed, pause=pause))


def pace(*, events: float | None = None, bytes: float | None = None) -> Plan:
    """The response comes at so many events or bytes a second: a fast engine looks like a network model."""
    return Plan(down=Flow(events_per_second=events, bytes_per_second=bytes))


def inject(at_event: int, data: bytes) -> Plan:
    """`data` comes before the event of that number (from 0), as if the upstream had sent it."""
    return Plan(down=Flow(inject={at_event: data}))


def reply(
    status: int,
    body: bytes | str | Mapping[str, Any] | Sequence[Any] = b"",
    headers: Mapping[str, str] | None = None,
) -> Plan:
    """The relay answers itself: a dict or list becomes JSON, text becomes HTML, bytes an event stream.

    `headers` may say otherwise; `Content-Length` is added. For bytes that are not HTTP use `Plan(reply=…)`.
    """
    return Plan(reply=playback.http_bytes(status, body, headers))


def refuse() -> Plan:
    """The connection is reset as soon as it is made."""
    return Plan(refuse=True)


@dataclass(eq=False)
class Connection:
    """The record of one connection. Times are those of `time.monotonic()`."""

    number: int
    plan: Plan
    opened_at: float
    request_bytes: bytearray = field(default_factory=bytearray, repr=False)
    """What the client sent, as it sent it, up to 16 MB."""
    bytes_up: int = 0
    """Bytes passed to the upstream."""
    bytes_down: int = 0
    """Bytes passed to the client."""
    events_down: int = 0
    """Events passed to the client, where the plan counts events."""
    client_closed_at: float | None = None
    """When the client's own end of the connection was seen; None when it had not closed before `ended_at`."""
    upstream_closed_at: float | None = None
    """When the upstream's own end of the connection was seen; None as above."""
    ended_at: float | None = None
    """When the relay had closed both sides."""
    closed_by: Literal["client", "upstream", "relay"] | None = None
    """Who ended the connection; `relay` for a fault."""
    _ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def requests(self) -> list[playback.Request]:
        """The requests that arrived whole (one, unless `keep_alive`)."""
        reader = playback.RequestReader()
        reader.feed(bytes(self.request_bytes))
        return reader.requests

    async def wait_ended(self) -> None:
        """Return when the relay has closed both sides."""
        await self._ended.wait()


class Relay:
    """The relay; an async context manager that listens on 127.0.0.1.

    Args:
        upstream: `http://HOST:PORT`, `HOST:PORT` or `(HOST, PORT)`.
        plans: see the module; none passes everything.
        port: to listen on; 0 takes a free one.
        keep_alive: leave requests as they are, so that one connection may carry several.
    """

    def __init__(
        self,
        upstream: str | tuple[str, int],
        *plans: Plan | Callable[[int], Plan],
        port: int = 0,
        keep_alive: bool = False,
    ) -> None:
        self._host, self._upstream_port = _address(upstream)
        self._plans = plans or (PASS,)
        self.port = port
        self._keep_alive = keep_alive
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()
        self.connections: list[Connection] = []
        """Every connection since the start, in the order they were made."""

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[playback.Request]:
        """The requests of all connections, in order."""
        return [request for connection in self.connections for request in connection.requests]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_READ)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.break_now()

    async def break_now(self) -> None:
        """Reset every live connection, on both sides, and return when they are closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_connection(self, number: int) -> Connection:
        """Return connection `number` (from 0) as soon as it is made."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.connections) > number)
        return self.connections[number]

    # -- one connection -----------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        number = len(self.connections)
        chosen = self._plans[min(number, len(self._plans) - 1)]
        plan = chosen if isinstance(chosen, Plan) else chosen(number)
        connection = Connection(number, plan, time.monotonic())
        self.connections.append(connection)
        client = _Side(reader, writer)
        upstream: _Side | None = None
        try:
            async with self._news:
                self._news.notify_all()
            if plan.refuse:
                client.reset = True
                connection.closed_by = "relay"
            elif plan.reply is not None:
                await self._serve(connection, client, _Side.saying(plan.reply))
            else:
                upstream = await self._connect()
                await self._serve(connection, client, upstream)
        except asyncio.CancelledError:  # by break_now or the end of the relay, for whom this is an answer
            client.reset = True
            if upstream is not None:
                upstream.reset = True
        except ConnectionError:  # no upstream: the client sees its connection end
            connection.closed_by = "upstream"
        finally:
            client.close()
            if upstream is not None:
                upstream.close()
            connection.ended_at = time.monotonic()
            connection._ended.set()

    async def _connect(self) -> _Side:
        """Connect with a small receive buffer, so that a slow client slows the upstream down."""
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * _READ)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self._host, self._upstream_port))
            return _Side(*await asyncio.open_connection(sock=sock, limit=_READ))
        except BaseException:
            sock.close()
            raise

    async def _serve(self, connection: Connection, client: _Side, upstream: _Side) -> None:
        ready = asyncio.Event()  # set when a scripted reply may go: the request has arrived
        up = asyncio.create_task(self._up(connection, client, upstream, ready))
        down = asyncio.create_task(self._down(connection, client, upstream, ready))
        try:
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        for task in done:
            task.result()

    async def _up(self, connection: Connection, client: _Side, upstream: _Side, ready: asyncio.Event) -> None:
        flow = connection.plan.up
        sink = _Sink(flow, upstream)
        rewriter = None if self._keep_alive else framing.CloseHeader()
        arrived = playback.RequestReader()
        while data := await client.read():
            room = _CAPTURE_LIMIT - len(connection.request_bytes)
            connection.request_bytes += data[:room]
            if connection.plan.reply is not None:
                arrived.feed(data)
                if arrived.requests:
                    ready.set()
                continue
            if sink.swallows:
                continue  # read on, so that the client's leaving is still seen
            data = rewriter.feed(data) if rewriter else data
            try:
                fault = await sink.send(data)
            except ConnectionError:
                upstream.reset = True
                client.reset = True
                connection.upstream_closed_at = time.monotonic()
                connection.closed_by = connection.closed_by or "upstream"
                return
            connection.bytes_up = sink.sent
            if fault in ("close", "reset", "end"):
                upstream.reset = fault == "reset"
                connection.closed_by = connection.closed_by or "relay"
                return
        connection.client_closed_at = time.monotonic()
        connection.closed_by = connection.closed_by or "client"
        upstream.reset = client.was_reset

    async def _down(
        self, connection: Connection, client: _Side, upstream: _Side, ready: asyncio.Event
    ) -> None:
        flow = connection.plan.down
        if connection.plan.reply is not None:
            await ready.wait()
        sink = _Sink(flow, client)
        source = _http_events(upstream, flow) if flow.reads_http else _raw(upstream)
        fault: Action | None = None
        try:
            async for piece in source:
                if fault == "drop":
                    continue
                if fault is None:
                    fault = await sink.send(piece.data, event=piece.event, head=piece.head)
                    connection.bytes_down, connection.events_down = sink.sent, sink.events
                match fault:
                    case "stall":
                        await _for_ever()
                    case "close" | "reset":
                        client.reset = fault == "reset"
                        connection.closed_by = connection.closed_by or "relay"
                        return
                    case "end":
                        await client.write(b"0\r\n\r\n")
                        connection.closed_by = connection.closed_by or "relay"
                        return
                    case "drop" | None:
                        pass
                    case _:
                        assert_never(fault)
        except ConnectionError:  # the client went away while we wrote to it
            connection.client_closed_at = time.monotonic()
            connection.closed_by = connection.closed_by or "client"
            upstream.reset = True
            return
        finally:
            await source.aclose()
        connection.upstream_closed_at = time.monotonic()
        connection.closed_by = connection.closed_by or "upstream"
        client.reset = upstream.was_reset


async def _for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _address(upstream: str | tuple[str, int]) -> tuple[str, int]:
    if isinstance(upstream, tuple):
        return upstream
    parts = urlsplit(upstream if "//" in upstream else f"//{upstream}")
    if parts.hostname is None or parts.port is None:
        raise errors.UsageError(f"{upstream!r} is no address: give http://HOST:PORT or (HOST, PORT)")
    return parts.hostname, parts.port


class _Side:
    """One socket of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        self._reader = reader
        self._writer = writer
        if writer is not None:
            writer.transport.set_write_buffer_limits(high=0)  # drained means: all of it is in the kernel
        self.reset = False
        """Close with a RST when the time comes."""
        self.was_reset = False
        """The peer ended with a RST."""

    @classmethod
    def saying(cls, data: bytes) -> _Side:
        """A side without a socket, which says `data` and ends."""
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return cls(reader, None)

    async def read(self) -> bytes:
        """Some bytes; none when the peer has closed or reset the connection."""
        try:
            return await self._reader.read(_READ)
        except ConnectionError:
            self.was_reset = True
            return b""

    async def write(self, data: bytes) -> None:
        """Write and wait until the buffer is low again.

        Raises:
            ConnectionError: the peer is gone.
        """
        if self._writer is not None:
            self._writer.write(data)
            await self._writer.drain()

    def close(self) -> None:
        if self._writer is None:
            return
        if self.reset:
            playback.abort(self._writer)
        else:
            self._writer.close()


class _Sink:
    """The writing half of a flow: slices, paces and counts, and says when the fault is due."""

    def __init__(self, flow: Flow, target: _Side) -> None:
        self._flow = flow
        self._target = target
        self._rng = random.Random(flow.seed)
        self._next_event_at = 0.0
        self.sent = 0
        self.events = 0
        self.swallows = False
        """The fault was due and nothing passes any more, though the connection lives."""

    async def send(self, data: bytes, *, event: bool = False, head: bool = False) -> Action | None:
        """Pass `data` on; return the action when its time has come (the rest of `data` is then lost)."""
        flow = self._flow
        if event and flow.events_per_second is not None:
            await self._keep_pace(1 / flow.events_per_second)
        room = None if flow.after_bytes is None else flow.after_bytes - self.sent
        due = room is not None and len(data) >= room
        for piece in self._cut(data[:room] if due else data):
            await self._target.write(piece)
            self.sent += len(piece)
            if flow.bytes_per_second is not None:
                await asyncio.sleep(len(piece) / flow.bytes_per_second)
            if flow.size is not None or flow.seed is not None:
                await asyncio.sleep(flow.pause)
        self.events += event
        due = due or ((event or head) and self.events == flow.after_events)
        self.swallows = due and flow.then in ("stall", "drop")
        return flow.then if due else None

    async def _keep_pace(self, interval: float) -> None:
        """Wait for the next beat; after a delay the beats start anew, so that no burst follows."""
        now = time.monotonic()
        self._next_event_at = max(self._next_event_at, now)
        await asyncio.sleep(self._next_event_at - now)
        self._next_event_at += interval

    def _cut(self, data: bytes) -> list[bytes]:
        flow = self._flow
        if flow.seed is not None:
            return playback.pieces(data, size=flow.size or 64, seed=self._rng.getrandbits(32))
        size = flow.size
        if flow.bytes_per_second is not None:
            beat = max(1, int(flow.bytes_per_second / 20))  # twenty pieces a second look steady
            size = min(size or beat, beat)
        return [data] if size is None or not data else playback.pieces(data, size=size)


@dataclass(frozen=True, slots=True)
class _Piece:
    data: bytes
    event: bool = False
    head: bool = False


async def _raw(upstream: _Side) -> AsyncGenerator[_Piece, None]:
    while data := await upstream.read():
        yield _Piece(data)


async def _http_events(upstream: _Side, flow: Flow) -> AsyncGenerator[_Piece, None]:
    """One response again, chunked, one event a chunk. A body that breaks off breaks off here too."""
    response = framing.ResponseReader()
    number = 0
    while not response.complete:
        data = await upstream.read()
        response.feed(data)
        if response.head:
            yield _Piece(response.head, head=True)
            response.head = b""
        for event in response.take_events():
            if number in flow.inject:
                yield _Piece(framing.chunk(flow.inject[number]))
            yield _Piece(framing.chunk(event), event=True)
            number += 1
        if not data and not response.complete:
            return
    if number in flow.inject:
        yield _Piece(framing.chunk(flow.inject[number]))
    yield _Piece(b"0\r\n\r\n")
    while await upstream.read():
        pass  # until it closes, as its request asked it to
