"""Procedures over HTTP: bodies to runs, answers of people, going on after a restart, and the IDE's stream.

Programs that come over HTTP have no `File`: a client's text does not write to the server's disk. `path` names a
program below the folder that the server was started in. Next: `server.compat`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace import dialects, errors
from headrace.procedures import api as procedures
from headrace.procedures import files
from headrace.procedures.journal import Source
from headrace.procedures.sandbox import Limits
from headrace.protocol import cursor
from headrace.runlog import base as runlog_base
from headrace.runs.spec import Program, RunSpec
from headrace.server import bodies, streams
from headrace.server.compat import sending
from headrace.server.schema import errors_for
from headrace.server.service import Service
from headrace.settings import Settings

SUFFIXES = (".tac", ".lua")


def extras(settings: Settings) -> procedures.Extras:
    """What programs get here: the limits of the settings, and no files."""
    return procedures.Extras(
        limits=Limits(
            wall_s=settings.procedure_wall_s,
            cpu_s=settings.procedure_cpu_s,
            memory_mb=settings.procedure_memory_mb,
        )
    )


async def prepared(
    service: Service, body: bodies.RunBody, owner: str, key: str | None, fingerprint: str | None
) -> tuple[RunSpec, Program]:
    """The run that a body with `procedure` asks for.

    Raises:
        errors.UsageError: `bad-request`, `too-large`.
    """
    text = body.procedure
    if not isinstance(text, str) or not text.strip():
        raise bodies.bad("procedure", "must be the text of a program, or the path of one")
    name = "procedure.tac"
    if "\n" not in text and text.endswith(SUFFIXES):
        name, text = Path(text).name, await asyncio.to_thread(read_program, text)
    if len(text) > procedures.MAX_PROGRAM:
        raise bodies.too_large("procedure", len(text), procedures.MAX_PROGRAM, "characters")
    source = Source(text=text, name=name, inputs=body.inputs)
    spec = RunSpec(
        kind="procedure",
        model=body.model or service.registry.default_model(),
        on_disconnect="cancel" if body.on_disconnect == "cancel" else "continue",
        deadline_s=body.deadline,
        metadata=body.metadata,
        conversation=body.conversation,
        owner=owner,
        idempotency_key=key,
        fingerprint=fingerprint,
    )
    return spec, procedures.program(service.engine, source, extras(service.settings))


def read_program(path: str) -> str:
    """The text of a program below the working directory.

    Raises:
        errors.UsageError: `bad-request`: it is not there, or somewhere else.
    """
    if not path.endswith(SUFFIXES):
        raise bodies.bad("path", f"must end in {' or '.join(SUFFIXES)}")
    try:
        return str(files.act(Path.cwd(), {"op": "read", "path": path}))
    except files.FileRefused as error:
        raise bodies.bad("path", f"cannot be read: {error.message}") from error


async def respond(service: Service, run: str, request: str, value: Any, owner: str) -> str:
    """Answer a question; the run that goes on with the answer."""
    return await procedures.respond(
        service.engine, run, request, value, extras(service.settings), owner=service.only(owner)
    )


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(tags=["procedures"], responses=errors_for("bad-request", "unauthorized"))

    @router.post(
        "/v1/runs/{run}/resume",
        status_code=201,
        summary="Go on with a procedure that did not come to its end, as a new run; nothing is done twice",
        responses=errors_for("run-not-found"),
    )
    async def resume(request: Request, run: str) -> Response:
        owner = _owner_of(request)
        active = await procedures.resume(
            service.engine, run, extras(service.settings), owner=service.only(owner)
        )
        return Response(
            msgspec.json.encode(
                {"run": active.run, "status": active.status, "events": f"/v1/runs/{active.run}/events"}
            ),
            status_code=201,
            media_type="application/json",
            headers={"location": f"/v1/runs/{active.run}", "x-headrace-run": active.run},
        )

    @router.get(
        "/api/run/stream",
        summary="Run a procedure and stream it as IDE events; a reconnect goes on in the same run",
        responses=errors_for("run-not-found", "retention-passed"),
    )
    async def stream(
        request: Request,
        path: Annotated[str, Query(description="A program below the server's working directory")] = "",
        inputs: Annotated[str, Query(description="The inputs, as a JSON object")] = "{}",
        model: Annotated[str | None, Query(description="Of agents that name none")] = None,
        key: Annotated[str | None, Query(description="The same key is the same run")] = None,
    ) -> Response:
        owner, ide = _owner_of(request), dialects.get("ide")
        last = request.headers.get("last-event-id")
        if last:
            run = last.rpartition(".")[0]
            if not run:
                raise errors.ReadError(f"the cursor {last[:80]!r} names no run", code="cursor-malformed")
            after = cursor.parse(last, run=run)
            active = await service.live(run, owner)
            log = active.writer.log
            if log.ended and after == log.last:
                return Response(status_code=204, headers={"x-headrace-run": run})  # the browser stops asking
            runlog_base.check_cursor(run, after, log.last)
            wish = streams.Wish(after=after, resumed=True, dialect=ide)
            return sending.EncodedStream(service, active, wish)
        if not path:
            raise bodies.bad("path", "is missing: /api/run/stream?path=…")
        try:
            given = msgspec.json.decode(inputs)
        except msgspec.DecodeError as error:
            raise bodies.bad("inputs", f"is not JSON: {error}") from error
        text = await asyncio.to_thread(read_program, path)
        body = bodies.parse_run(msgspec.json.encode({"procedure": text, "inputs": given, "model": model}))
        started = await service.start_body(body, owner, bodies.check_key(key))
        active = await service.live(started.info.run, owner)
        return sending.EncodedStream(service, active, streams.Wish(dialect=ide))

    return router


def _owner_of(request: Request) -> str:
    owner: str = request.scope["headrace.owner"]
    return owner
