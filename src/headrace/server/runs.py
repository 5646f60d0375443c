"""The routes under `/v1/runs`: start, list, look at, stop, answer.

The event stream of a run is in `streams` and does not pass the framework; it stands here for the schema's
sake. Next: `conversations`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.runs.questions import NoSuchRequest
from headrace.server import access, bodies, procedures, streams
from headrace.server.schema import EVENTS, START, errors_for
from headrace.server.service import Service, Started

RunId = Annotated[
    str, Path(max_length=200, description="A run's id", examples=["run_01JD0000000000000000000000"])
]


class Json(Response):
    """A JSON answer, by msgspec."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode any value that msgspec knows."""
        return msgspec.json.encode(content)


class EventStream(Response):
    """The answer to a POST that wants the events at once."""

    def __init__(self, service: Service, started: Started, headers: dict[str, str]) -> None:
        super().__init__(status_code=201, headers=headers)
        self._service = service
        self._started = started

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        active = self._started.active
        assert active is not None
        own = [(k, v) for k, v in self.raw_headers if k not in (b"content-length", b"x-headrace-run")]
        await streams.stream(
            self._service, active, scope, receive, send, status=self.status_code, headers=own
        )


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=errors_for("bad-request", "unauthorized"))

    @router.post("", status_code=201, summary="Start a run", **START)
    async def start(request: Request) -> Response:
        body = bodies.parse_run(await request.body())
        key = bodies.check_key(request.headers.get("idempotency-key"))
        started = await service.start_body(body, owner_of(request), key)
        run = started.info.run
        headers = {"location": f"/v1/runs/{run}", "x-headrace-run": run}
        if started.repeated:
            headers["idempotent-replayed"] = "true"
        if wants_events(request.headers.raw):
            if started.active is None:
                await service.live(run, owner_of(request))
            return EventStream(service, started, headers)
        return Json(
            {
                "run": run,
                "status": started.info.status,
                "events": f"/v1/runs/{run}/events",
                "conversation": started.info.conversation,
            },
            status_code=201,
            headers=headers,
        )

    @router.get("", summary="List runs, newest first")
    async def list_runs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="How many at most")] = 50,
        before: Annotated[
            str | None,
            Query(max_length=200, description="Only runs older than this one: `next` of the page before"),
        ] = None,
    ) -> Response:
        owner = service.only(owner_of(request))
        found = await service.engine.list(owner=owner, before=before, limit=limit + 1)
        page: dict[str, Any] = {"runs": found[:limit]}
        if len(found) > limit:
            page["next"] = found[limit - 1].run
        return Json(page)

    @router.get(
        "/{run}", summary="A run, and when it has ended its result", responses=errors_for("run-not-found")
    )
    async def get_run(request: Request, run: RunId) -> Response:
        return Json(await service.find(run, owner_of(request)))

    @router.post(
        "/{run}/cancel",
        summary="Stop a run; again, or after its end, changes nothing",
        responses=errors_for("run-not-found"),
    )
    async def cancel(request: Request, run: RunId) -> Response:
        await service.find(run, owner_of(request))
        return Json(await service.engine.cancel(run))

    @router.post(
        "/{run}/responses/{asked}",
        summary="Answer a question that a run has for a person",
        responses=errors_for("run-not-found"),
    )
    async def respond(request: Request, run: RunId, asked: str) -> Response:
        value = bodies.parse_response(await request.body())
        owner = owner_of(request)
        await service.find(run, owner)
        try:
            await service.engine.respond(run, asked, value)
            going = run
        except NoSuchRequest:
            going = await procedures.respond(service, run, asked, value, owner)
        return Json({"run": going, "request": asked, "events": f"/v1/runs/{going}/events"})

    @router.get(
        "/{run}/events",
        summary="The events of a run, as server-sent events",
        **EVENTS,
    )
    async def events(request: Request, run: RunId) -> Response:
        raise AssertionError("served before the framework is reached")

    return router


def owner_of(request: Request) -> str:
    """Whose request this is; the app has found it out."""
    owner: str = request.scope["headrace.owner"]
    return owner


def wants_events(headers: access.RawHeaders) -> bool:
    """Whether the answer shall be an event stream."""
    return "text/event-stream" in (access.header(headers, b"accept") or "")
