"""The hot path: a run's events to one reader, as server-sent events or in any dialect, on bare ASGI.

    follower ──ready()──► frames (encoded once, shared) ──► send()          what there is goes out in one write
        ▲ wait()                                              │ blocks while the socket is full; the cursor
        │                                                     ▼ stands still and nothing is queued here
    append wakes it; so do the heartbeat timer and the watcher of the connection, by `nudge`

Three things a connection: this coroutine, a watcher that waits in `receive()` for the reader to leave (a
closed connection takes every `send` without a word), and one timer that is set again only when it fires.
The native format is the run log's own bytes; other dialects have an encoder a reader. A stream that ends
before `run-end` (the server goes down, retention passes) just ends: the reader comes back with its cursor and
is told. Next: `websocket`, the same over another wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from headrace import dialects, errors, events
from headrace.protocol import cursor
from headrace.runlog.base import Entry, Follower, Log
from headrace.runs.engine import ActiveRun
from headrace.server import access, bodies
from headrace.server.service import Service

HEARTBEAT_S = 15.0
MAX_INTERVAL_MS = 60_000
NATIVE = dialects.get("native")


class Wish(NamedTuple):
    """How a reader wants a run.

    Attributes:
        after: the last seq it has.
        resumed: whether it came with a cursor.
        interval: seconds between two frames at least.
        include_usage, fields: see `dialects.Info`.
    """

    after: int = 0
    resumed: bool = False
    interval: float = 0.0
    dialect: dialects.Dialect = NATIVE
    include_usage: bool = False
    fields: bool = False


EVERYTHING = Wish()


def wish_of(run: str, scope: Scope) -> Wish:
    """Read the query and the headers of a request.

    Raises:
        errors.ReadError: `cursor-malformed`, `cursor-foreign`.
        errors.UsageError: `bad-request`.
    """
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = access.header(scope["headers"], b"last-event-id") or query.get("after", [""])[-1]
    return Wish(
        after=cursor.parse(given, run=run) if given else 0,
        resumed=bool(given),
        interval=interval_of(query.get("interval", ["0"])[-1]),
        dialect=dialects.get(query.get("dialect", ["native"])[-1]),
        fields=flag_of("fields", query.get("fields", ["false"])[-1]),
    )


def interval_of(text: str) -> float:
    """An interval in milliseconds as seconds.

    Raises:
        errors.UsageError: `bad-request`.
    """
    if not (text.isascii() and text.isdigit()) or int(text[:9]) > MAX_INTERVAL_MS:
        raise bodies.bad("interval", f"must be milliseconds from 0 to {MAX_INTERVAL_MS}, not {text[:20]!r}")
    return int(text) / 1000


def flag_of(name: str, text: str) -> bool:
    """A query parameter that is true or false.

    Raises:
        errors.UsageError: `bad-request`.
    """
    if text not in ("true", "false", "1", "0"):
        raise bodies.bad(name, f"must be true or false, not {text[:20]!r}")
    return text in ("true", "1")


async def events_of(
    service: Service, run: str, owner: str, scope: Scope, receive: Receive, send: Send
) -> int:
    """Answer `GET /v1/runs/{run}/events`; returns the status that was sent.

    Raises:
        errors.HeadraceError: before anything was sent.
    """
    wish = wish_of(run, scope)
    active = await service.live(run, owner)
    log = active.writer.log
    if log.ended and wish.after == log.last:
        await send({"type": "http.response.start", "status": 204, "headers": _own(run, scope)})
        await send({"type": "http.response.body"})
        return 204
    await stream(service, active, scope, receive, send, wish=wish)
    return 200


async def stream(
    service: Service,
    active: ActiveRun,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    wish: Wish = EVERYTHING,
    status: int = 200,
    headers: Sequence[tuple[bytes, bytes]] = (),
    heartbeat: float = HEARTBEAT_S,
) -> None:
    """Send a run from a cursor on, to its end or until the reader leaves.

    Args:
        status, headers: of the answer; what the dialect and the run add is added.
        heartbeat: seconds of silence before a heartbeat.

    Raises:
        errors.ReadError: `cursor-ahead`, before anything was sent.
    """
    log, dialect = active.writer.log, wish.dialect
    follower = log.follow(wish.after, interval=wish.interval, merge=True)
    service.readers += 1
    service.engine.stats.resumes += wish.resumed
    reader = _Reader(follower, heartbeat if dialect.heartbeat else None)
    watcher = asyncio.create_task(reader.watch(receive))
    try:
        own = [(b"content-type", dialect.media_type.encode())]
        own += [(name.encode(), value.encode()) for name, value in dialect.headers]
        own += [*_own(log.run, scope), *headers]
        await send({"type": "http.response.start", "status": status, "headers": own})
        last = b""
        if scope.get("method") != "HEAD":
            encoder = _encoder(active, wish)
            frames = log.frames if dialect is NATIVE else _frames(encoder)
            whole = await _pump(follower, reader, send, encoder.start(), frames, dialect.heartbeat)
            last = (b"" if whole else encoder.fail(_BROKEN)) + encoder.end()
        await send({"type": "http.response.body", "body": last})
    finally:
        service.readers -= 1
        reader.close()
        follower.close()
        watcher.cancel()


async def _pump(
    follower: Follower,
    reader: _Reader,
    send: Send,
    body: bytes,
    frames: Callable[[Sequence[Entry]], bytes],
    heartbeat: bytes,
) -> bool:
    """Send what there is as it comes; False where reading broke off before the end of the run."""
    while True:
        try:
            batch = follower.ready()
        except errors.ReadError:  # retention has passed meanwhile
            return False
        if batch:
            body += frames(batch)
        if body:
            reader.sent()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body = b""
        elif follower.finished or reader.gone:
            return follower.finished
        elif not batch:
            await follower.wait()
            if reader.beat:
                reader.beat = False
                body = heartbeat
        if reader.gone:
            return False


class _Reader:
    """The watcher and the heartbeat of one connection."""

    __slots__ = ("_every", "_follower", "_loop", "_sent", "_timer", "beat", "gone")

    def __init__(self, follower: Follower, every: float | None) -> None:
        self.gone = False
        self.beat = False
        self._follower = follower
        self._every = every or 0.0
        self._loop = asyncio.get_running_loop()
        self._sent = self._loop.time()
        self._timer = self._loop.call_later(every, self._tick) if every else None

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
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        left = self._sent + self._every - self._loop.time()
        if left <= 0.01:
            self.beat = True
            self._follower.nudge()
            left = self._every
        self._timer = self._loop.call_later(left, self._tick)


def _encoder(active: ActiveRun, wish: Wish) -> dialects.Encoder:
    """An encoder that has taken notice of what the reader already has."""
    info = dialects.Info(
        run=active.run,
        model=active.spec.model,
        created=active.created,
        conversation=active.conversation,
        include_usage=wish.include_usage,
        fields=wish.fields,
    )
    encoder = wish.dialect.encoder(info)
    if wish.after and wish.dialect.folds:
        for event in before(active.writer.log, wish.after):
            encoder.skip(event)
    return encoder


def before(log: Log, after: int) -> list[events.Event]:
    """The events up to and with seq `after`; of a merged delta that reaches beyond it, the part before."""
    out: list[events.Event] = []
    rest = _read(log, after)
    for entry in _read(log, 0):
        if entry.last <= after:
            out.append(entry.event)
            continue
        if entry.first <= after:  # what is left of it, read from the cursor on, is the first of `rest`
            text: str = entry.event.delta  # type: ignore[attr-defined]
            left: str = rest[0].event.delta  # type: ignore[attr-defined]
            head = msgspec.structs.replace(entry.event, delta=text[: len(text) - len(left)], seq=after)
            out.append(head)
        break
    return out


def _read(log: Log, after: int) -> list[Entry]:
    follower = log.follow(after)
    try:
        return follower.ready()
    finally:
        follower.close()


def _frames(encoder: dialects.Encoder) -> Callable[[Sequence[Entry]], bytes]:
    def frames(batch: Sequence[Entry]) -> bytes:
        encode = encoder.encode
        return b"".join([encode(entry.event) for entry in batch])

    return frames


_BROKEN = events.ErrorInfo(
    code="retention-passed", message="the events of the run are no longer kept", retryable=False
)


def _own(run: str, scope: Scope) -> list[tuple[bytes, bytes]]:
    return [(b"x-headrace-run", run.encode()), *scope.get("headrace.headers", ())]
