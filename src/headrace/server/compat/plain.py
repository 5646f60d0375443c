"""The two plainest chats: five lines of JavaScript with `EventSource`, and a POST that is read line by line.

`GET /api/chat?message=…` starts a run and streams it in the dialect `text`. Every frame has the cursor, so the
browser's own reconnect, which repeats the whole URL, is known by its `Last-Event-ID`: it goes on in the run the
cursor names and never starts another. `key=` makes even a reconnect safe that lost its line before the first
byte: the same key is the same run. A GET that starts something is guarded like the other routes: a page of
another site cannot ask.

`POST /chat/stream` streams in the dialect `token`; its reader cannot come back, but the run's id is in
`x-headrace-run` and the run goes on for its grace time. With a `conversation` its turns have a memory (see
docs/memory.md), unless the body says `"memory": false`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace import dialects, errors
from headrace.protocol import cursor
from headrace.runlog import base as runlog_base
from headrace.runs.spec import OnDisconnect
from headrace.server import bodies, streams
from headrace.server.compat import sending
from headrace.server.runs import owner_of
from headrace.server.schema import errors_for
from headrace.server.service import Service


class ChatBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /chat/stream`."""

    message: str
    conversation: str | None = None
    model: str | None = None
    memory: bool | None = None
    on_disconnect: OnDisconnect = "grace"


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(tags=["plain"], responses=errors_for("bad-request", "unauthorized"))

    async def stream(request: Request, asked: dict[str, Any], key: str | None, name: str) -> Response:
        owner = owner_of(request)
        given = {name: value for name, value in asked.items() if value is not None}
        body = bodies.parse_run(msgspec.json.encode(given))
        started = await service.start_body(body, owner, key)
        active = await service.live(started.info.run, owner)
        return sending.EncodedStream(service, active, streams.Wish(dialect=dialects.get(name)))

    async def resume(request: Request, last: str) -> Response:
        run = last.rpartition(".")[0]
        if not run:
            raise errors.ReadError(f"the cursor {last[:80]!r} names no run", code="cursor-malformed")
        after = cursor.parse(last, run=run)
        active = await service.live(run, owner_of(request))
        log = active.writer.log
        if log.ended and after == log.last:
            return Response(status_code=204, headers={"x-headrace-run": run})  # the browser stops asking
        runlog_base.check_cursor(run, after, log.last)
        wish = streams.Wish(after=after, resumed=True, dialect=dialects.get("text"))
        return sending.EncodedStream(service, active, wish)

    @router.get(
        "/api/chat",
        summary="Ask by EventSource; a reconnect goes on in the same run",
        responses=errors_for("run-not-found", "retention-passed"),
    )
    async def ask(
        request: Request,
        message: Annotated[str, Query(description="What the user says")] = "",
        model: Annotated[str | None, Query(description="Default: the server's model")] = None,
        conversation: Annotated[
            str | None, Query(description="A conversation of yours; its turns so far are sent along")
        ] = None,
        memory: Annotated[
            bool, Query(description="With `conversation`: the turn is told what the conversation adds up to")
        ] = False,
        key: Annotated[str | None, Query(description="The same key is the same run")] = None,
    ) -> Response:
        last = request.headers.get("last-event-id")
        if last is not None:
            return await resume(request, last)
        if not message:
            raise bodies.bad("message", "is missing: /api/chat?message=…")
        asked = {
            "input": message,
            "model": model or None,
            "conversation": conversation or None,
            "memory": memory,
        }
        return await stream(request, asked, bodies.check_key(key), "text")

    @router.post("/chat/stream", summary="Ask by POST; one small object a token")
    async def post(request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=ChatBody)
        except msgspec.DecodeError as error:
            raise bodies.bad_json(error) from error
        body = {
            "input": asked.message,
            "model": asked.model,
            "conversation": asked.conversation,
            "memory": asked.conversation is not None if asked.memory is None else asked.memory,
            "on_disconnect": asked.on_disconnect,
        }
        key = bodies.check_key(request.headers.get("idempotency-key"))
        return await stream(request, body, key, "token")

    return router
