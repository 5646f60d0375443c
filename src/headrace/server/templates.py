"""Templates over HTTP: those that the server keeps, by name, and what an editor wants to know of a text.

A text that came with a request touches no file and asks nobody but its models. A template that the server keeps
(`serve --templates DIR`) is its operator's: it may include files and use types in files. Neither may use actions
that read files or the network, since what they are given comes from outside. Next: `procedures`.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from msgspec import Meta
from starlette.responses import Response

from headrace import errors
from headrace.runs.spec import Program
from headrace.server import bodies
from headrace.server.runs import Json
from headrace.server.schema import errors_for
from headrace.server.service import Service
from headrace.templates import describe, faults
from headrace.templates.api import CONCURRENCY, SUFFIXES, Template

MAX_LISTED = 1000
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*\Z", re.ASCII)


class CheckBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/templates/check`."""

    template: Annotated[str, Meta(min_length=1)]
    inputs: dict[str, Any] | None = None


_check_decoder = msgspec.json.Decoder(CheckBody)


def find(folder: Path | None, name: str) -> Path | None:
    """The file of a template that the server keeps; None where `name` is none of them.

    Raises:
        errors.UsageError: `bad-request`: it has the form of a name, and there is no such template.
    """
    if len(name) > 200 or not _NAME.match(name):
        return None
    if folder is None:
        if not name.endswith(SUFFIXES):
            return None
        raise bodies.bad("template", f"{name!r} is a name, and this server keeps no templates")
    base = folder.resolve()
    for suffix in ("", *SUFFIXES):
        path = (base / f"{name}{suffix}").resolve()
        if path.name.endswith(SUFFIXES) and path.is_relative_to(base) and path.is_file():
            return path
    raise bodies.bad("template", f"{name!r} is none of this server's templates; GET /v1/templates has them")


def load(folder: Path | None, text: str) -> Template:
    """The template of a text, or of a name.

    Raises:
        faults.TemplateError: with all that is wrong.
        errors.UsageError: `bad-request`: there is none of that name.
    """
    path = find(folder, text)
    return Template(text, files=False) if path is None else Template(path, outside=False)


async def program(service: Service, body: bodies.RunBody) -> Program:
    """The program of a run with `template`.

    Raises:
        errors.UsageError: `template-error`, with every fault in `details.errors`; `bad-request`.
    """
    template = await asyncio.to_thread(load, service.settings.templates, body.template or "")
    return template.execution(
        body.inputs,
        strict=body.strict,
        stop_at=body.stop_at,
        stream=body.stream,
        cache=body.cache,
        max_concurrency=body.max_concurrency or CONCURRENCY,
    )


def checked(folder: Path | None, text: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `POST /v1/templates/check` answers: see `describe.describe`, with `marks` beside it."""
    path = find(folder, text)
    source = text if path is None else path.read_text("utf-8")
    try:
        template = load(folder, text)
        missing = template.check(inputs).errors if inputs is not None else []
        found = describe.describe(template.plan, missing)
    except faults.TemplateError as error:
        found = describe.wrong(error)
    return {**found, "marks": describe.marks(source)}


def listed(folder: Path | None) -> list[dict[str, Any]]:
    """The templates that the server keeps, by name."""
    if folder is None or not folder.is_dir():
        return []
    found = []
    for path in folder.rglob("*"):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
        name = path.relative_to(folder).as_posix().removesuffix(suffix or "")
        if suffix and path.is_file() and _NAME.match(name):
            found.append({"name": name, "size": path.stat().st_size})
    return sorted(found, key=lambda one: str(one["name"]))[:MAX_LISTED]


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(
        prefix="/v1/templates", tags=["templates"], responses=errors_for("bad-request", "unauthorized")
    )
    folder = service.settings.templates

    @router.get("", summary="The templates that the server keeps")
    async def list_templates() -> Response:
        return Json({"templates": await asyncio.to_thread(listed, folder)})

    @router.post(
        "/check",
        summary="What a template says and what is wrong with it, without running it",
        responses=errors_for("too-large"),
    )
    async def check(request: Request) -> Response:
        body: CheckBody = bodies.decoded(_check_decoder, await request.body())
        limit = service.settings.max_prompt_chars
        if len(body.template) > limit:
            raise bodies.too_large("template", len(body.template), limit, "characters")
        return Json(await asyncio.to_thread(checked, folder, body.template, body.inputs))

    @router.get("/{name:path}", summary="A template that the server keeps: its text, and what it says")
    async def get_template(
        name: Annotated[str, InPath(max_length=200, description="Its path in the folder, without suffix")],
    ) -> Response:
        path = await asyncio.to_thread(find, folder, name)
        if path is None:
            raise bodies.bad("name", f"{name[:130]!r} is not the name of a template")
        try:
            source = await asyncio.to_thread(path.read_text, "utf-8")
        except (OSError, UnicodeError) as error:
            raise errors.UsageError(
                f"the template {name!r} cannot be read: {error}", code="bad-request"
            ) from error
        return Json({"name": name, "source": source, **await asyncio.to_thread(checked, folder, name)})

    return router
