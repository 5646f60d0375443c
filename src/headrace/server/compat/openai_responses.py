"""`/v1/responses`, for the official client and everything that speaks like it.

    POST /v1/responses                 a run, streamed, waited for, or in the background
    GET  /v1/responses/{id}            what it came to; `?stream=true&starting_after=N` reads its stream again
    POST /v1/responses/{id}/cancel     stops it

A response is a run: its id is `resp_` and the run's, which is also in `x-headrace-run`, so the same answer can
be read under `/v1/runs`. Unlike theirs every stream can be read again, not only one in the background, so a
run whose reader has left goes on for its grace time. Nothing is stored beside the run and its facts: `store` is
passed over, and what a later response can go on from is the conversation of the one before. Errors as in
`openai_chat`. Next: `responses_body`, what a body asks for.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Container
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from headrace import dialects, errors, events, messages
from headrace.dialects import base, openai_responses
from headrace.runlog import base as runlog_base
from headrace.runs.engine import ActiveRun
from headrace.runs.spec import RunInfo
from headrace.server import bodies, streams
from headrace.server.compat import openai_chat, responses_body, sending
from headrace.server.runs import Json, owner_of
from headrace.server.service import Service

DIALECT = dialects.get("openai-responses")
_PREFIX = "resp_"

Id = Annotated[str, Path(max_length=200, description="A response's id: `resp_` and the run's")]


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(prefix="/v1/responses", tags=["openai"])
    instructed: weakref.WeakSet[ActiveRun] = weakref.WeakSet()  # those whose first message are instructions

    @router.post("", summary="OpenAI's Responses, streaming and not", openapi_extra=_BODY)
    async def create(request: Request) -> Response:
        return await _answered(answer(request))

    @router.get("/{id}", summary="A response, or its stream from a frame on")
    async def get(
        request: Request,
        id: Id,
        stream: Annotated[bool, Query(description="Read the stream again, and follow it")] = False,
        starting_after: Annotated[
            int | None, Query(ge=0, le=2**53, description="The last `sequence_number` you have")
        ] = None,
    ) -> Response:
        return await _answered(again(request, id, stream, starting_after))

    @router.post("/{id}/cancel", summary="Stop a response; of an ended one, changes nothing")
    async def cancel(request: Request, id: Id) -> Response:
        return await _answered(stopped(request, id))

    async def answer(request: Request) -> Response:
        asked = responses_body.parse(await request.body())
        key = bodies.check_key(request.headers.get("idempotency-key"))
        owner, body, history = owner_of(request), asked.body, None
        if asked.previous is not None:
            body.conversation, history = await _thread(service, asked.previous, owner, instructed)
        elif body.conversation is not None:
            await service.check_conversation(body.conversation, owner)
            history = await service.history(body.conversation)
        started = await service.start_body(body, owner, key, history=history, check_output=False)
        active = await service.live(started.info.run, owner)
        if body.system is not None:
            instructed.add(active)
        if asked.stream:
            wish, headers = streams.Wish(dialect=DIALECT), {"x-request-id": active.run}
            return sending.EncodedStream(service, active, wish, refuse=openai_chat.refusal, headers=headers)
        if not asked.background:
            end = await sending.wait_for(active, request.receive)
            if end is None:
                return Response(status_code=499)  # the client has left: nobody reads this
            failed = sending.failure(end)
            if failed is not None:
                return openai_chat.refusal(failed)
        return _response(active.info(), previous=asked.previous)

    async def again(request: Request, id: str, stream: bool, after: int | None) -> Response:
        run, owner = run_of(id), owner_of(request)
        if not stream:
            if after is not None:
                raise bodies.bad("starting_after", "goes with stream=true")
            return _response(await service.find(run, owner))
        active = await service.live(run, owner)
        if after is None:
            return sending.EncodedStream(service, active, streams.Wish(dialect=DIALECT))
        seq = openai_responses.seq_of(after)
        runlog_base.check_cursor(run, seq, active.writer.log.last)
        wish = streams.Wish(after=seq, resumed=True, dialect=openai_responses.resumed(after))
        return sending.EncodedStream(service, active, wish)

    async def stopped(request: Request, id: str) -> Response:
        found = await service.find(run_of(id), owner_of(request))
        return _response(await service.engine.cancel(found.run))

    return router


async def _answered(answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except errors.HeadraceError as error:
        return openai_chat.refusal(error)


def run_of(id: str) -> str:
    """The run that a response is.

    Raises:
        errors.ReadError: `run-not-found`, for an id that is none of ours.
    """
    if not id.startswith(_PREFIX):
        raise errors.ReadError(f"there is no response {id[:80]!r}", code="run-not-found")
    return id.removeprefix(_PREFIX)


def _response(info: RunInfo, *, previous: str | None = None) -> Response:
    """The answer about a run: its response object."""
    told = base.Info(run=info.run, model=info.model, created=info.created)
    if info.outcome is None:
        status = "queued" if info.status == "queued" else "in_progress"
        body = openai_responses.response_body(told, status, [])
    else:
        end = events.RunEnd(
            outcome=info.outcome,
            finish_reason=info.finish_reason,
            result=info.result,
            usage=info.usage,
            error=info.error,
        )
        body = openai_responses.response_of(told, end)
    body |= {"metadata": info.metadata, "previous_response_id": previous}
    return Json(body, headers={"x-request-id": info.run, "x-headrace-run": info.run})


async def _thread(
    service: Service, previous: str, owner: str, instructed: Container[ActiveRun]
) -> tuple[str, tuple[messages.Message, ...]]:
    """The conversation of the response that one follows, and what was said up to its end.

    Of a run whose events are kept, its own messages without its instructions, which are not carried over; else
    the turns that the ledger has.

    Raises:
        errors.UsageError: `bad-request`: no such response of this owner's, or one that is not complete.
    """
    where = "previous_response_id"
    try:
        info = await service.find(run_of(previous), owner)
    except errors.ReadError as error:
        raise bodies.bad(where, f"is {previous[:80]!r}, and there is no such response") from error
    if info.outcome is None:
        raise bodies.bad(where, "has not ended yet; wait for it, or cancel it")
    if info.outcome != "completed":
        raise bodies.bad(where, f"was {info.outcome} before it was complete; go on from the one before it")
    result: dict[str, Any] = info.result or {}
    conversation = info.conversation or info.run
    calls = tuple(
        messages.ToolCall(call["id"], call["name"], call.get("arguments")) for call in base.callers(result)
    )
    text = (messages.Text(result["text"]),) if result.get("text") else ()
    active = service.engine.active(info.run)
    if active is not None:
        thread = active.spec.messages[1 if active in instructed else 0 :]
    else:  # the last of them is this answer, as far as it is text
        thread = (await service.history(conversation, until=info.run))[:-1]
    answer = messages.Message("assistant", (*text, *calls))
    return conversation, (*thread, answer) if answer.parts else thread


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["input"]},
                "examples": {
                    "ask": {"value": {"model": "demo", "input": "Hello", "stream": True}},
                    "go on": {"value": {"input": "And then?", "previous_response_id": "resp_run_01…"}},
                },
            }
        },
    }
}
