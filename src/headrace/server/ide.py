"""What the IDE page asks beside runs: the files of the workspace, whether a program is right, and what ran before.

Starting, following, answering and stopping are the routes of every run. A program is checked by its own interpreter,
which stops before it acts; few are checked at the same time. Next: `procedures`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace import errors
from headrace.procedures import api as procedures
from headrace.procedures import fields, history
from headrace.procedures.host import Declared
from headrace.procedures.journal import KEY
from headrace.procedures.sandbox import Limits
from headrace.runs.spec import RunInfo
from headrace.runs.tools import Tool
from headrace.server import bodies
from headrace.server.schema import errors_for
from headrace.server.service import Service

CHECKS = 4
"""Programs that are checked at the same time."""
_CHECK_S, _CHECK_CPU_S = 10.0, 1.0
_SCANNED = 2_000  # runs that one page of the history looks at

_Path = Annotated[str, Query(max_length=1024, description="Below the workspace, with `/` between its parts")]


class _FileBody(msgspec.Struct, forbid_unknown_fields=True):
    content: str


class _CheckBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    text: str | None = None
    path: str | None = None


_file_decoder = msgspec.json.Decoder(_FileBody)
_check_decoder = msgspec.json.Decoder(_CheckBody)


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a program; `line` and `column` count from 1."""

    line: int
    column: int
    message: str


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(prefix="/api", tags=["ide"], responses=errors_for("bad-request", "unauthorized"))
    checking = asyncio.Semaphore(CHECKS)

    @router.get(
        "/workspace", summary="The files of the workspace, folders first", responses=errors_for("forbidden")
    )
    async def tree(request: Request) -> Response:
        files = service.files
        entries, more = await asyncio.to_thread(files.tree)
        return _json({"name": files.root.name, "entries": entries, "truncated": more})

    @router.get("/workspace/file", summary="A text of the workspace", responses=errors_for("forbidden"))
    async def read(request: Request, path: _Path) -> Response:
        found = await asyncio.to_thread(service.files.read, path)
        return _json(found, headers={"etag": found.etag, "cache-control": "no-cache"})

    @router.put(
        "/workspace/file",
        summary="Write a text: `If-Match` has the tag of what it replaces, `If-None-Match: *` makes a new one",
        responses=errors_for("forbidden", "too-large"),
    )
    async def write(request: Request, path: _Path) -> Response:
        body: _FileBody = bodies.decoded(_file_decoder, await request.body())
        known = request.headers.get("if-match")
        if (known is None) == (request.headers.get("if-none-match") is None):
            raise errors.UsageError(
                "say what the file replaces: 'If-Match: TAG' from when it was read, or 'If-None-Match: *' for a "
                "new one",
                code="bad-request",
                details={"where": "If-Match"},
            )
        known = None if known is None else known.removeprefix("W/")
        written = await asyncio.to_thread(service.files.write, path, body.content, known=known)
        headers = {"etag": written.etag}
        return _json({"path": path, "etag": written.etag}, 200 if known else 201, headers)

    @router.post(
        "/procedure/check",
        summary="Look at a program without running it: errors with line and column, inputs, agents, tools",
        responses=errors_for("too-large", "missing-extra"),
    )
    async def check(request: Request) -> Response:
        body: _CheckBody = bodies.decoded(_check_decoder, await request.body())
        if (body.text is None) == (body.path is None):
            raise bodies.bad("text", "or 'path' must be there, and only one of them")
        if body.text is None:
            body.text = (await asyncio.to_thread(service.files.read, body.path or "")).content
        name = (body.path or "procedure.tac").rpartition("/")[2]
        async with checking:
            memory_mb, tools = service.settings.procedure_memory_mb, tuple(service.tools.values())
            return _json(await checked(body.text, name, memory_mb, tools))

    @router.get("/procedure/runs", summary="Runs of procedures, newest first")
    async def runs(
        request: Request,
        path: Annotated[str | None, Query(max_length=1024, description="Only runs of this program")] = None,
        limit: Annotated[int, Query(ge=1, le=100, description="How many at most")] = 30,
        before: Annotated[
            str | None, Query(max_length=200, description="Only older ones: `next` of the page before")
        ] = None,
    ) -> Response:
        owner = service.only(request.scope["headrace.owner"])
        found: list[dict[str, Any]] = []
        scanned = 0
        while len(found) < limit and scanned < _SCANNED:
            some = await service.engine.list(owner=owner, before=before, limit=200)
            if not some:
                before = None
                break
            for info in some:
                scanned, before = scanned + 1, info.run
                if info.kind == "procedure":
                    about = await _about(service, info)
                    if path is None or about["path"] == path:
                        found.append(about)
                        if len(found) == limit:
                            break
        return _json({"runs": found, **({"next": before} if before else {})})

    @router.get(
        "/procedure/runs/{run}",
        summary="What a procedure's run did, from the ledger: its program, every turn in order, what it asked",
        responses=errors_for("run-not-found"),
    )
    async def story(request: Request, run: str) -> Response:
        info = await service.find(run, request.scope["headrace.owner"])
        if info.kind != "procedure" or info.conversation is None:
            raise errors.UsageError(f"{run} is no procedure", code="bad-request")
        told = await history.story(service.ledger, info.conversation, _journal_of(info))
        waits = info.outcome == "interrupted"
        return _json(
            {
                "run": info,
                "program": told.source,
                "items": told.items,
                "resumable": info.status == "ended" and info.outcome != "completed",
                "open": [item["request"] for item in told.items if waits and item.get("answered") is False],
            }
        )

    return router


async def _about(service: Service, info: RunInfo) -> dict[str, Any]:
    """A run as a line of the history."""
    program = None
    if service.engine.ledger is not None and info.conversation is not None:
        program = await history.source(service.engine.ledger, info.conversation, _journal_of(info))
    about = {
        "run": info.run,
        "name": program.name if program else "",
        "path": program.path if program else "",
        "status": info.status,
        "outcome": info.outcome,
        "created": info.created,
        "elapsed_ms": info.elapsed_ms,
        "cost": info.cost,
        "currency": info.currency,
        "resumes": info.metadata.get("resumes"),
    }
    return {key: value for key, value in about.items() if value is not None}


def _journal_of(info: RunInfo) -> str:
    return str(info.metadata.get(KEY) or info.run)


async def checked(text: str, name: str, memory_mb: int = 256, tools: Sequence[Tool] = ()) -> dict[str, Any]:
    """What a look at a program finds, as the page gets it.

    Args:
        tools: those of the server, which agents may name.

    Raises:
        errors.UsageError: `too-large`.
        errors.MissingExtra: there is no Lua.
    """
    limits = Limits(wall_s=_CHECK_S, cpu_s=_CHECK_CPU_S, memory_mb=memory_mb)
    procedure = procedures.Procedure(text, name=name, limits=limits, tools=tools)
    try:
        declared = await procedure.check()
    except errors.UsageError as error:
        if error.code != "procedure-error":
            raise
        found = error.details.get("problems")
        if found is None:
            return {"ok": False, "errors": [problem(text, name, error)]}
        return {"ok": False, "errors": [_placed(text, one["line"], one["message"]) for one in found]}
    return {"ok": True, "errors": [], **_declared(declared, text)}


def problem(text: str, name: str, error: errors.HeadraceError) -> Problem:
    """An error with its place: Lua tells the line and, at most, the word before which it stopped."""
    message = error.message
    place = re.match(rf"{re.escape(name)}:(\d+): ", message)
    line = int(place[1]) if place else error.details.get("line") or 1
    return _placed(text, line, message[place.end() :] if place else message.removeprefix(f"{name}: "))


def _placed(text: str, line: int, message: str) -> Problem:
    lines = text.split("\n")
    line = max(1, min(line, len(lines)))
    shown = lines[line - 1]
    column = len(shown) - len(shown.lstrip()) + 1
    word = re.search(r"near '(.+)'$", message) or re.search(r"no (\w+) \(a variable", message)
    if word is not None and word[1] in shown:
        column = shown.index(word[1]) + 1
    return Problem(line, column, message)


def _declared(declared: Declared, text: str) -> dict[str, Any]:
    def place(name: str) -> int:  # a Lua table has no order; the text has
        found = re.search(rf"\b{re.escape(name)}\b[\"'\]]*\s*=", text)
        return len(text) if found is None else found.start()

    inputs = declared.inputs or {}
    return {
        "inputs": _fields({name: inputs[name] for name in sorted(inputs, key=place)}),
        "outputs": _fields(declared.outputs),
        "agents": [
            {
                "name": agent.name,
                "model": agent.config.model,
                "provider": agent.config.provider,
                "streaming": not agent.config.disable_streaming,
            }
            for agent in declared.agents.values()
        ],
        "tools": declared.tools,
        "specifications": len(declared.specifications),
    }


def _fields(found: dict[str, fields.Field] | None) -> dict[str, Any]:
    """Declared fields as the page makes a form of them: what is not said is not there."""
    return {name: _field(field) for name, field in (found or {}).items()}


def _field(field: fields.Field) -> dict[str, Any]:
    out: dict[str, Any] = {"type": field.kind, "required": field.required}
    for name in ("default", "enum", "min", "max", "pattern"):
        if getattr(field, name) is not None:
            out[name] = getattr(field, name)
    if field.description:
        out["description"] = field.description
    if field.items is not None:
        out["items"] = _field(field.items)
    if field.properties is not None:
        out["properties"] = _fields(field.properties)
    return out


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(value), status_code=status, media_type="application/json", headers=headers
    )
