"""A run over WebSocket: the same events, one JSON text message each; `cancel` and `resume` come up.

    watch task: receive() ─► cancel: stop the run       ┐
                          ─► resume: a new cursor        ├─► nudge ─► pump: the only one that sends
                          ─► anything else: an error     ┘

An error is a message `{"type": "error", "error": {…}}`, then a close with 4000 + its HTTP status (4404: no such
run). After `run-end` the server closes with 1000. Pings are the protocol's own. Next: `metrics`.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from headrace import errors
from headrace.protocol import cursor
from headrace.runlog.base import Follower, Log
from headrace.server import bodies, streams
from headrace.server.service import Service

_ERROR_CLOSE = 4000


class Resume(msgspec.Struct, tag_field="type", tag="resume", forbid_unknown_fields=True):
    """Go on after a cursor."""

    after: str


class Cancel(msgspec.Struct, tag_field="type", tag="cancel", forbid_unknown_fields=True):
    """Stop the run."""


_decoder: msgspec.json.Decoder[Resume | Cancel] = msgspec.json.Decoder(Resume | Cancel)


async def serve(service: Service, run: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one WebSocket at `/v1/runs/{run}/ws`."""
    await receive()  # websocket.connect
    headers = scope["headers"]
    try:
        service.gate.check_host(headers)
        service.gate.check_site(headers)
    except errors.AccessError:
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept"})
    try:
        owner = service.gate.owner(headers)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = query.get("after", [""])[-1]
        after = cursor.parse(given, run=run) if given else 0
        interval = streams.interval_of(query.get("interval", ["0"])[-1])
        log = (await service.live(run, owner)).writer.log
        if given:
            service.engine.stats.resumes += 1
        socket = _Socket(service, log, after, interval)
    except errors.HeadraceError as error:
        await _fail(send, error)
        return
    watcher = asyncio.create_task(socket.watch(receive))
    service.readers += 1
    try:
        await socket.pump(send)
    except OSError:  # how servers say that the reader has left
        pass
    finally:
        service.readers -= 1
        socket.follower.close()
        watcher.cancel()


class _Socket:
    """One connection: a follower, and what the reader has asked for meanwhile."""

    def __init__(self, service: Service, log: Log, after: int, interval: float) -> None:
        self.gone = False
        self.error: errors.HeadraceError | None = None
        self._service = service
        self._log = log
        self._interval = interval
        self.follower: Follower = self._follow(after)

    def _follow(self, after: int) -> Follower:
        return self._log.follow(after, interval=self._interval, merge=True)

    async def pump(self, send: Send) -> None:
        """Send events until the run ends, the reader leaves, or something is wrong."""
        while not self.gone:
            if self.error is not None:
                await _fail(send, self.error)
                return
            try:
                batch = self.follower.ready()
            except errors.ReadError as error:
                await _fail(send, error)
                return
            for entry in batch:
                await send({"type": "websocket.send", "text": entry.json.decode()})
            if batch:
                continue
            if self.follower.finished:
                await send({"type": "websocket.close", "code": 1000})
                return
            await self.follower.wait()

    async def watch(self, receive: Receive) -> None:
        """Take what the reader sends."""
        while not self.gone and self.error is None:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.gone = True
            else:
                try:
                    await self._asked(message.get("text") or message.get("bytes") or b"")
                except errors.HeadraceError as error:
                    self.error = error
            self.follower.nudge()

    async def _asked(self, data: str | bytes) -> None:
        try:
            asked = _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise bodies.bad("message", f"must be a cancel or a resume: {error}") from error
        if isinstance(asked, Cancel):
            await self._service.engine.cancel(self._log.run)
            return
        old = self.follower
        new = self._follow(cursor.parse(asked.after, run=self._log.run))
        self._service.engine.stats.resumes += 1
        self.follower = new
        old.close()  # and so the pump, where it waits for the old one, wakes up


async def _fail(send: Send, error: errors.HeadraceError) -> None:
    text = msgspec.json.encode({"type": "error", "error": error.to_json()}).decode()
    await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close", "code": _ERROR_CLOSE + error.status, "reason": error.code})


def run_of(path: str) -> str | None:
    """The run whose WebSocket a path is."""
    if path.startswith("/v1/runs/") and path.endswith("/ws"):
        run = path[9:-3]
        if run and "/" not in run:
            return run
    return None
