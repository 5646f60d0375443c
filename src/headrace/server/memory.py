"""What a conversation's facts add up to, over HTTP: mirror, graph, metrics, traces, commitments, the next context.

The views are those of the conversation's runtime (`remembering`), fed what is new; `as_of` gives the state after an
earlier fact, rebuilt. The one route that does something starts a reflection. Next: `probes`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from headrace.memory import graph as graphs
from headrace.memory import mirror as mirrors
from headrace.memory import views
from headrace.server import bodies
from headrace.server.runs import EventStream, Json, owner_of, wants_events
from headrace.server.schema import errors_for
from headrace.server.service import Service

Name = Annotated[str, Path(max_length=200, description="A conversation's id")]
Seq = Annotated[int, Query(ge=0, description="A fact of the conversation; 0 is before the first")]
AsOf = Annotated[int | None, Query(ge=0, description="The state after this fact, instead of the present one")]


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(
        prefix="/v1/conversations/{conversation}",
        tags=["memory"],
        responses=errors_for("bad-request", "unauthorized", "run-not-found"),
    )

    async def found_views(request: Request, conversation: str, as_of: int | None) -> views.Views:
        """The views of the caller's conversation."""
        owner = owner_of(request)
        await service.check_conversation(conversation, owner, new=False)
        return await service.memories.views(conversation, owner, as_of)

    @router.get(
        "/mirror", summary="Identity, commitments, directives, reflections; and the difference of two"
    )
    async def mirror(
        request: Request,
        conversation: Name,
        as_of: AsOf = None,
        since: Annotated[int | None, Query(ge=0, description="Also say what changed since this fact")] = None,
    ) -> Response:
        found = await found_views(request, conversation, as_of)
        body = found.mirror.json()
        if since is not None:
            before = await found_views(request, conversation, min(since, found.seq))
            body["changed"] = mirrors.diff(before.mirror, found.mirror)
        return Json(body)

    @router.get("/graph", summary="The memory graph: a page of it, or what is nearest to a topic")
    async def graph(
        request: Request,
        conversation: Name,
        as_of: AsOf = None,
        topic: Annotated[str | None, Query(max_length=2000, description="Only what is near to it")] = None,
        after: Annotated[int, Query(ge=0, description="`next` of the page before")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000, description="Nodes at most")] = 200,
    ) -> Response:
        found = (await found_views(request, conversation, as_of)).graph
        if topic is not None:
            near = found.slice(topic, limit)
            ids = {node.id for node in near}
            linked = [edge for node in near for edge in found.between(node.seq - 1, node.seq)]
            edges = [edge for edge in linked if edge.source in ids and edge.target in ids]
            return Json({"seq": found.seq, **msgspec.to_builtins({"nodes": near, "edges": edges})})
        page = found.json(after=after, limit=limit)
        if page["nodes"] and page["nodes"][-1]["seq"] < found.seq:
            page["next"] = page["nodes"][-1]["seq"]
        return Json(page)

    @router.get("/metrics", summary="Identity stability and growth, 0 to 1, and what they are made of")
    async def metrics(request: Request, conversation: Name, as_of: AsOf = None) -> Response:
        return Json((await found_views(request, conversation, as_of)).metrics.json())

    @router.get("/traces", summary="What each of the last turns did: steps, nodes visited, durations")
    async def traces(
        request: Request,
        conversation: Name,
        limit: Annotated[int, Query(ge=1, le=100, description="How many at most")] = 20,
    ) -> Response:
        found = await found_views(request, conversation, None)
        return Json({"traces": await views.timed(service.ledger, found.traces.last(limit))})

    @router.get("/commitments", summary="Open commitments, oldest first, and those closed last")
    async def commitments(request: Request, conversation: Name, as_of: AsOf = None) -> Response:
        state = (await found_views(request, conversation, as_of)).mirror.json()
        return Json({"seq": state["seq"], "open": state["open"], "closed": state["closed"]})

    @router.get("/diff", summary="What changed between two states: mirror, graph, metrics")
    async def diff(request: Request, conversation: Name, since: Seq = 0, until: AsOf = None) -> Response:
        after = await found_views(request, conversation, until)
        before = await found_views(request, conversation, min(since, after.seq))
        return Json(
            {
                "from": before.seq,
                "to": after.seq,
                "mirror": mirrors.diff(before.mirror, after.mirror),
                "graph": graphs.diff(before.graph, after.graph),
                "metrics": {"before": before.metrics.json(), "after": after.metrics.json()},
            }
        )

    @router.get("/context", summary="What a message would be sent with now, and which memory is in it")
    async def context(
        request: Request,
        conversation: Name,
        text: Annotated[str, Query(max_length=20_000, description="The message")] = "",
    ) -> Response:
        owner = owner_of(request)
        await service.check_conversation(conversation, owner, new=False)
        built = await service.memories.of(conversation, owner).context(text)
        return Json(
            {
                "seq": built.seq,
                "nodes": built.nodes,
                "parts": [{"name": name, "text": part} for name, part in built.parts],
                "messages": [{"role": m.role, "content": m.text} for m in built.messages],
            }
        )

    @router.get(
        "/verify", summary="Recompute every hash of this conversation, and hold it against its sealed end"
    )
    async def verify(request: Request, conversation: Name) -> Response:
        await service.check_conversation(conversation, owner_of(request), new=False)
        report = await service.ledger.check(conversation)
        found = {"ok": report.ok, "facts": report.facts, "hash": report.head}
        return Json({**found, "problems": report.problems, "more": report.more})

    @router.post(
        "/reflect",
        status_code=201,
        summary="Have the model look back; what it says becomes a fact when it is complete",
        responses=errors_for("forbidden", "too-many"),
    )
    async def reflect(request: Request, conversation: Name) -> Response:
        raw = await request.body()
        try:
            asked = msgspec.json.decode(raw or b"{}", type=ReflectBody)
        except msgspec.DecodeError as error:
            raise bodies.bad_json(error) from error
        started = await service.reflect(conversation, owner_of(request), asked.model)
        run = started.info.run
        headers = {"location": f"/v1/runs/{run}", "x-headrace-run": run}
        if wants_events(request.headers.raw):
            return EventStream(service, started, headers)
        told: dict[str, Any] = {"run": run, "status": started.info.status, "events": f"/v1/runs/{run}/events"}
        return Json({**told, "conversation": conversation}, status_code=201, headers=headers)

    return router


class ReflectBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST …/reflect`; none is the same as an empty one."""

    model: str | None = None
