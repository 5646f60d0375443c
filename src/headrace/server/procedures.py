"""Procedures over HTTP: bodies to runs, answers of people, going on after a restart, and the IDE's stream.

What stands for files is the workspace (`workspace`): a path names a program in it, and `File` is kept in it; where
there is none, there are no files. Next: `server.compat`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace import dialects, errors
from headrace.procedures import api as procedures
from headrace.procedures.journal import Source
from headrace.procedures.sandbox import Limits
from headrace.protocol import cursor
from headrace.runlog import base as runlog_base
from headrace.runs.spec import Program, RunSpec
from headrace.server import bodies, streams
from headrace.server.compat import sending
from headrace.server.schema import errors_for
from headrace.server.service import Service
from headrace.server.workspace import PROGRAMS, WRITES


class _ResumeBody(msgspec.Struct, forbid_unknown_fields=True):
    procedure: str | None = None


_resume_decoder = msgspec.json.Decoder(_ResumeBody)


def extras(service: Service) -> procedures.Extras:
    """What programs get here: the limits of the settings, the server's tools, the texts of the workspace."""
    settings = service.settings
    return procedures.Extras(
        root=None if service.workspace is None else service.workspace.root,
        writes=WRITES,
        tools=tuple(service.tools.values()),
        limits=Limits(
            wall_s=settings.procedure_wall_s,
            cpu_s=settings.procedure_cpu_s,
            memory_mb=settings.procedure_memory_mb,
        ),
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
    text, name, path = await program_of(service, text)
    if len(text) > procedures.MAX_PROGRAM:
        raise bodies.too_large("procedure", len(text), procedures.MAX_PROGRAM, "characters")
    source = Source(text=text, name=name, inputs=body.inputs, path=path)
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
    return spec, procedures.program(service.engine, source, extras(service))


async def program_of(service: Service, given: str) -> tuple[str, str, str]:
    """A program's text, its file's name and its path in the workspace; from the text itself, or from the path.

    Raises:
        errors.UsageError: `bad-request`: it is not there, or somewhere else.
        errors.AccessError: `forbidden`: there is no workspace.
    """
    if "\n" in given or not given.endswith(PROGRAMS):
        return given, "procedure.tac", ""
    found = await asyncio.to_thread(service.files.read, given)
    return found.content, given.rpartition("/")[2], given


async def respond(service: Service, run: str, request: str, value: Any, owner: str) -> str:
    """Answer a question; the run that goes on with the answer."""
    return await procedures.respond(
        service.engine, run, request, value, extras(service), owner=service.only(owner)
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
        body: _ResumeBody = bodies.decoded(_resume_decoder, await request.body() or b"{}")
        text = None if body.procedure is None else (await program_of(service, body.procedure))[0]
        active = await procedures.resume(
            service.engine, run, extras(service), owner=service.only(owner), text=text
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
        path: Annotated[str, Query(description="A program in the workspace")] = "",
        inputs: Annotated[str, Query(description="The inputs, as a JSON object")] = "{}",
        model: Annotated[str | None, Query(description="Of agents that name none")] = None,
        key: Annotated[str | None, Query(description="The same key is the same run")] = None,
        fields: Annotated[
            str, Query(description="true: answers with an `output` field by field instead of as their JSON")
        ] = "false",
    ) -> Response:
        owner, ide = _owner_of(request), dialects.get("ide")
        by_field = streams.flag_of("fields", fields)
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
            wish = streams.Wish(after=after, resumed=True, dialect=ide, fields=by_field)
            return sending.EncodedStream(service, active, wish)
        if not path:
            raise bodies.bad("path", "is missing: /api/run/stream?path=…")
        try:
            given = msgspec.json.decode(inputs)
        except msgspec.DecodeError as error:
            raise bodies.bad("inputs", f"is not JSON: {error}") from error
        if not path.endswith(PROGRAMS):
            raise bodies.bad("path", f"must end in {' or '.join(PROGRAMS)}")
        body = bodies.parse_run(msgspec.json.encode({"procedure": path, "inputs": given, "model": model}))
        started = await service.start_body(body, owner, bodies.check_key(key))
        active = await service.live(started.info.run, owner)
        return sending.EncodedStream(service, active, streams.Wish(dialect=ide, fields=by_field))

    return router


def _owner_of(request: Request) -> str:
    owner: str = request.scope["headrace.owner"]
    return owner
