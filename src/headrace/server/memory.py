"""What a conversation's facts add up to, over HTTP: mirror, graph, metrics, traces, commitments.

Views are kept for the conversations asked for last and fed what is new; `as_of` gives the state after an earlier
fact, rebuilt. Nothing here writes. Next: `probes`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from headrace.memory import mirror as mirrors
from headrace.memory import views
from headrace.server.runs import Json, owner_of
from headrace.server.schema import errors_for
from headrace.server.service import Service

KEPT = 32
"""Conversations whose views are kept."""

Name = Annotated[str, Path(max_length=200, description="A conversation's id")]
AsOf = Annotated[int | None, Query(ge=0, description="The state after this fact, instead of the present one")]


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(
        prefix="/v1/conversations/{conversation}",
        tags=["memory"],
        responses=errors_for("bad-request", "unauthorized", "run-not-found"),
    )
    kept = _Kept(service)

    @router.get(
        "/mirror", summary="Identity, commitments, directives, reflections; and the difference of two"
    )
    async def mirror(
        request: Request,
        conversation: Name,
        as_of: AsOf = None,
        since: Annotated[int | None, Query(ge=0, description="Also say what changed since this fact")] = None,
    ) -> Response:
        found = await kept.views(request, conversation, as_of)
        body = found.mirror.json()
        if since is not None:
            before = await kept.views(request, conversation, min(since, found.seq))
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
        found = (await kept.views(request, conversation, as_of)).graph
        if topic is not None:
            return Json({"seq": found.seq, "nodes": msgspec.to_builtins(found.slice(topic, limit))})
        page = found.json(after=after, limit=limit)
        if page["nodes"] and page["nodes"][-1]["seq"] < found.seq:
            page["next"] = page["nodes"][-1]["seq"]
        return Json(page)

    @router.get("/metrics", summary="Identity stability and growth, 0 to 1, and what they are made of")
    async def metrics(request: Request, conversation: Name, as_of: AsOf = None) -> Response:
        return Json((await kept.views(request, conversation, as_of)).metrics.json())

    @router.get("/traces", summary="What each of the last turns did: steps, nodes visited, durations")
    async def traces(
        request: Request,
        conversation: Name,
        limit: Annotated[int, Query(ge=1, le=100, description="How many at most")] = 20,
    ) -> Response:
        found = await kept.views(request, conversation, None)
        return Json({"traces": await views.timed(service.ledger, found.traces.last(limit))})

    @router.get("/commitments", summary="Open commitments, oldest first, and those closed last")
    async def commitments(request: Request, conversation: Name, as_of: AsOf = None) -> Response:
        state = (await kept.views(request, conversation, as_of)).mirror.json()
        return Json({"seq": state["seq"], "open": state["open"], "closed": state["closed"]})

    return router


class _Kept:
    """Views of the conversations asked for last."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._views: OrderedDict[str, tuple[views.Views, asyncio.Lock]] = OrderedDict()

    async def views(self, request: Request, conversation: str, as_of: int | None) -> views.Views:
        """The views of the caller's conversation: up to date, or as of an earlier fact.

        Raises:
            errors.ReadError: `run-not-found`, also for somebody else's.
        """
        await self._service.check_conversation(conversation, owner_of(request), new=False)
        ledger = self._service.ledger
        if as_of is not None:
            return await views.rebuild(ledger, conversation, as_of=as_of)
        found, lock = self._views.setdefault(conversation, (views.Views(), asyncio.Lock()))
        self._views.move_to_end(conversation)
        if len(self._views) > KEPT:
            self._views.popitem(last=False)
        async with lock:  # one reading for all who ask at once
            await views.follow(found, ledger, conversation)
        return found
