"""The hot path: a run's events to one reader as server-sent events, on bare ASGI.

    follower ──ready()──► frames (encoded once, shared) ──► send()          what there is goes out in one write
        ▲ wait()                                              │ blocks while the socket is full; the cursor
        │                                                     ▼ stands still and nothing is queued here
    append wakes it; so do the heartbeat timer and the watcher of the connection, by `nudge`

Three things a connection: this coroutine, a watcher that waits in `receive()` for the reader to leave (a
closed connection takes every `send` without a word), and one timer that is set again only when it fires.
A stream that ends before `run-end` (the server goes down, retention passes) just ends: the reader comes back
with its cursor and is told. Next: `websocket`, the same over another wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from headrace import errors
from headrace.protocol import cursor, sse
from headrace.runlog.base import Follower, Log
from headrace.server import access, bodies
from headrace.server.service import Service

HEARTBEAT_S = 15.0
RETRY_MS = 1000
MAX_INTERVAL_MS = 60_000
DIALECTS = ("native",)

_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Query:
    """How a reader wants a run: where from, how often, in which format."""

    __slots__ = ("after", "dialect", "interval", "resumed")

    def __init__(self, run: str, scope: Scope) -> None:
        """Read the query and the headers of a request.

        Raises:
            errors.ReadError: `cursor-malformed`, `cursor-foreign`.
            errors.UsageError: `bad-request`.
        """
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = access.header(scope["headers"], b"last-event-id") or query.get("after", [""])[-1]
        self.after = cursor.parse(given, run=run) if given else 0
        self.resumed = bool(given)
        self.interval = interval_of(query.get("interval", ["0"])[-1])
        self.dialect = query.get("dialect", ["native"])[-1]
        if self.dialect not in DIALECTS:
            raise bodies.bad(
                "dialect", f"{self.dialect[:40]!r} is not known; there are {', '.join(DIALECTS)}"
            )


def interval_of(text: str) -> float:
    """An interval in milliseconds as seconds.

    Raises:
        errors.UsageError: `bad-request`.
    """
    if not (text.isascii() and text.isdigit()) or int(text[:9]) > MAX_INTERVAL_MS:
        raise bodies.bad("interval", f"must be milliseconds from 0 to {MAX_INTERVAL_MS}, not {text[:20]!r}")
    return int(text) / 1000


async def events(service: Service, run: str, owner: str, scope: Scope, receive: Receive, send: Send) -> int:
    """Answer `GET /v1/runs/{run}/events`; returns the status that was sent.

    Raises:
        errors.HeadraceError: before anything was sent.
    """
    query = Query(run, scope)
    log = await service.log(run, owner)
    if log.ended and query.after == log.last:
        await send({"type": "http.response.start", "status": 204, "headers": _own(run, scope)})
        await send({"type": "http.response.body"})
        return 204
    await stream(service, log, query, scope, receive, send)
    return 200


async def stream(
    service: Service,
    log: Log,
    query: Query | None,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    status: int = 200,
    headers: Sequence[tuple[bytes, bytes]] = (),
    heartbeat: float = HEARTBEAT_S,
) -> None:
    """Send a log from a cursor on, to its end or until the reader leaves.

    Args:
        query: None is everything, at once.

    Raises:
        errors.ReadError: `cursor-ahead`, before anything was sent.
    """
    after = query.after if query is not None else 0
    follower = log.follow(after, interval=query.interval if query is not None else 0.0, merge=True)
    if query is not None and query.resumed:
        service.engine.stats.resumes += 1
    reader = _Reader(follower, heartbeat)
    watcher = asyncio.create_task(reader.watch(receive))
    service.readers += 1
    try:
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*_HEADERS, *_own(log.run, scope), *headers],
            }
        )
        if scope.get("method") != "HEAD":
            await _pump(log, follower, reader, send)
        await send({"type": "http.response.body"})
    finally:
        service.readers -= 1
        reader.close()
        follower.close()
        watcher.cancel()


async def _pump(log: Log, follower: Follower, reader: _Reader, send: Send) -> None:
    body = sse.retry(RETRY_MS)
    while True:
        try:
            batch = follower.ready()
        except errors.ReadError:  # retention has passed meanwhile: the reader comes back and is told
            return
        if batch:
            body += log.frames(batch)
        if body:
            reader.sent()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body = b""
            if reader.gone:
                return
            continue
        if follower.finished or reader.gone:
            return
        await follower.wait()
        if reader.beat:
            reader.beat = False
            body = sse.HEARTBEAT


class _Reader:
    """The watcher and the heartbeat of one connection."""

    __slots__ = ("_every", "_follower", "_loop", "_sent", "_timer", "beat", "gone")

    def __init__(self, follower: Follower, every: float) -> None:
        self.gone = False
        self.beat = False
        self._follower = follower
        self._every = every
        self._loop = asyncio.get_running_loop()
        self._sent = self._loop.time()
        self._timer = self._loop.call_later(every, self._tick)

    async def watch(self, receive: Receive) -> None:
        """Wait until the reader leaves."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._follower.nudge()

    def sent(self) -> None:
        """Something goes out now: no heartbeat is due for a while."""
        self._sent = self._loop.time()

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _tick(self) -> None:
        left = self._sent + self._every - self._loop.time()
        if left <= 0.01:
            self.beat = True
            self._follower.nudge()
            left = self._every
        self._timer = self._loop.call_later(left, self._tick)


def _own(run: str, scope: Scope) -> list[tuple[bytes, bytes]]:
    return [(b"x-headrace-run", run.encode()), *scope.get("headrace.headers", ())]
