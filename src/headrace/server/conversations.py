"""Reading the ledger over HTTP: conversations, their facts and turns, and whether it is intact.

A turn is a user's message and its one ending, as the facts `<run>:user` and `<run>:end` have them.
Nothing here writes. Next: `memory`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from headrace.ledger import base as ledger_base
from headrace.memory import markers as marker_lines
from headrace.server.runs import Json, owner_of
from headrace.server.schema import errors_for
from headrace.server.service import Service

_TURN_KINDS = frozenset({ledger_base.USER}) | ledger_base.ENDINGS

Name = Annotated[str, Path(max_length=200, description="A conversation's id")]
After = Annotated[int, Query(ge=0, description="Only what comes after this `seq`: `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most")]


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(prefix="/v1", tags=["ledger"], responses=errors_for("bad-request", "unauthorized"))
    verifying = asyncio.Lock()

    @router.get("/conversations", summary="List conversations, newest first")
    async def list_conversations(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="How many at most")] = 50,
        before: Annotated[str | None, Query(max_length=200, description="`next` of the page before")] = None,
    ) -> Response:
        owner = service.only(owner_of(request))
        found = await service.ledger.conversations(owner=owner, before=before, limit=limit + 1)
        page: dict[str, Any] = {"conversations": [_conversation(c) for c in found[:limit]]}
        if len(found) > limit:
            page["next"] = found[limit - 1].conversation
        return Json(page)

    @router.get(
        "/conversations/{conversation}",
        summary="A conversation at its present end",
        responses=errors_for("run-not-found"),
    )
    async def get_conversation(request: Request, conversation: Name) -> Response:
        await service.check_conversation(conversation, owner_of(request), new=False)
        first = await service.ledger.facts(conversation, limit=1)
        last = await service.ledger.tail(conversation, 1)
        return Json(
            {
                "conversation": conversation,
                "count": last[0].seq,
                "hash": last[0].hash,
                "created": first[0].time,
                "updated": last[0].time,
            }
        )

    @router.get(
        "/conversations/{conversation}/facts",
        summary="The facts of a conversation, in order",
        responses=errors_for("run-not-found"),
    )
    async def facts(
        request: Request,
        conversation: Name,
        after: After = 0,
        limit: Limit = 200,
        kind: Annotated[list[str] | None, Query(description="Only facts of these kinds")] = None,
        last: Annotated[
            bool, Query(description="The last facts instead of the first; `after` is not used")
        ] = False,
        markers: Annotated[
            bool, Query(description="False: responses without their marker lines, as their readers saw them")
        ] = True,
    ) -> Response:
        await service.check_conversation(conversation, owner_of(request), new=False)
        if last:
            found = await service.ledger.tail(conversation, limit, kinds=kind)
        else:
            found = await service.ledger.facts(conversation, after=after, limit=limit + 1, kinds=kind)
        page: dict[str, Any] = {"facts": found[:limit] if markers else _unmarked(found[:limit])}
        if len(found) > limit:
            page["next"] = found[limit - 1].seq
        return Json(page)

    @router.get(
        "/conversations/{conversation}/turns",
        summary="The turns of a conversation, in order",
        responses=errors_for("run-not-found"),
    )
    async def turns(request: Request, conversation: Name, after: After = 0, limit: Limit = 100) -> Response:
        await service.check_conversation(conversation, owner_of(request), new=False)
        users = await service.ledger.facts(
            conversation, after=after, limit=limit + 1, kinds={ledger_base.USER}
        )
        page: dict[str, Any] = {"turns": await _turns(service, conversation, users[:limit], after)}
        if len(users) > limit:
            page["next"] = users[limit - 1].seq
        return Json(page)

    @router.get(
        "/ledger/facts",
        summary="The facts of a conversation, in order",
        responses=errors_for("run-not-found"),
    )
    async def ledger_facts(
        request: Request,
        conversation: Annotated[str, Query(max_length=200)],
        after: After = 0,
        limit: Limit = 200,
        kind: Annotated[list[str] | None, Query()] = None,
        last: bool = False,
        markers: bool = True,
    ) -> Response:
        return await facts(request, conversation, after, limit, kind, last, markers)

    @router.get("/ledger/verify", summary="Recompute every hash; `ok` says whether all is as it was written")
    async def verify(request: Request) -> Response:
        async with verifying:  # it reads the whole ledger: one at a time
            report = await service.ledger.verify()
        body = {name: getattr(report, name) for name in report.__struct_fields__}
        if service.gate.locked:  # a key learns whether, and what of its own; not whose else
            mine = []
            for problem in report.problems:
                owner = await service.ledger.conversation_owner(problem.conversation)
                if owner == owner_of(request):
                    mine.append(problem)
            body = {"ok": report.ok, "head": report.head, "problems": mine}
        return Json(body)

    return router


def _unmarked(facts: list[ledger_base.Fact]) -> list[ledger_base.Fact]:
    return [
        msgspec.structs.replace(fact, content=marker_lines.strip(fact.content))
        if fact.kind == ledger_base.RESPONSE
        else fact
        for fact in facts
    ]


def _conversation(found: ledger_base.Conversation) -> dict[str, Any]:
    return {
        "conversation": found.conversation,
        "count": found.count,
        "hash": found.hash,
        "created": found.created,
        "updated": found.updated,
    }


async def _turns(
    service: Service, conversation: str, users: list[ledger_base.Fact], after: int
) -> list[dict[str, Any]]:
    """Users' messages with their endings, which stand anywhere behind them."""
    if not users:
        return []
    found = {fact.id.removesuffix(":user"): _turn(fact) for fact in users}
    wanted = set(found)
    while wanted:
        facts = await service.ledger.facts(conversation, after=after, kinds=ledger_base.ENDINGS)
        if not facts:
            break
        for fact in facts:
            run = fact.id.removesuffix(":end")
            if run in wanted:
                wanted.discard(run)
                found[run].update(_ending(fact))
        after = facts[-1].seq
    return list(found.values())


def _turn(fact: ledger_base.Fact) -> dict[str, Any]:
    return {
        "run": fact.id.removesuffix(":user"),
        "seq": fact.seq,
        "time": fact.time,
        "user": fact.content,
        "model": fact.meta.get("model"),
    }


def _ending(fact: ledger_base.Fact) -> dict[str, Any]:
    ending: dict[str, Any] = {"outcome": fact.meta.get("outcome"), "ended": fact.time}
    if fact.kind == ledger_base.RESPONSE:
        ending["response"] = fact.content
    for name in ("finish_reason", "usage", "reason"):
        if fact.meta.get(name) is not None:
            ending[name] = fact.meta[name]
    return ending
