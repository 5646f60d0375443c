"""`/api/chat`, for `useChat` and everything else that reads the AI SDK's UI message stream.

    POST /api/chat                 {"id", "messages", …}: a run of that chat, streamed
    GET  /api/chat/{chat}/stream   the chat's running answer from its first part on; 204 when nothing runs
    POST /api/chat/{chat}/stop     stops it

A chat is a conversation of the same id, and belongs to who began it. Closing the page, a reload and `stop()` of
this client are all the same: the connection goes. So a run goes on for its grace time, which is what makes
`resume` work, and only `POST …/stop` means stop; a page that does not resume sends `"on_disconnect":"cancel"`.
A failure is an `error` part with its reason in words: this client shows the raw body of an HTTP error. Only
what is wrong with the request itself has a status. Next: `ui_messages`, how their messages are read.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from headrace import dialects, messages
from headrace.server import bodies, streams
from headrace.server.compat import sending, ui_messages
from headrace.server.runs import Json, owner_of
from headrace.server.schema import errors_for
from headrace.server.service import Service

DIALECT = dialects.get("ai-sdk")

Chat = Annotated[str, Path(max_length=200, description="The chat's id: a conversation of yours")]

# The same in `bodies.RunBody`: for a transport's `body`.
_SAME = frozenset(
    {
        "model", "system", "temperature", "top_p", "max_tokens", "reasoning_effort", "tools", "tool_choice",
        "fallbacks", "failover", "on_disconnect", "grace", "timeouts", "metadata", "options", "memory",
    }
)  # fmt: skip
_THEIRS = frozenset({"id", "messages", "message", "trigger", "messageId"})


class Asked(msgspec.Struct, kw_only=True):
    """What a body asks for; `whole`: its messages are the whole chat, not only the newest."""

    body: bodies.RunBody
    whole: bool


def parse(data: bytes) -> Asked:
    """Read a body of the AI SDK's chat transport.

    Their own client sends all messages; one that is set up to send only the newest, as `message`, has the
    chat's turns so far put before it.

    Raises:
        errors.UsageError: `bad-request`, `too-large`, naming the key.
    """
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise bodies.bad_json(error) from error
    except RecursionError as error:
        raise bodies.bad("body", f"is nested more than {bodies.MAX_DEPTH} deep") from error
    raw = {key: value for key, value in raw.items() if value is not None}
    for key in raw.keys() - _SAME - _THEIRS:
        raise bodies.bad(key, f"is not known here; there are {', '.join(sorted(_SAME | _THEIRS))}")
    if not isinstance(raw.get("id"), str):
        raise bodies.bad("id", "is missing: the chat's id")
    if ("messages" in raw) == ("message" in raw):
        raise bodies.bad("messages", "or 'message' must be there, and only one of them")
    whole = "messages" in raw
    bodies.check_depth("messages", raw.get("messages", raw.get("message")))
    thread = ui_messages.convert(raw["messages"] if whole else [raw["message"]])
    known = {key: raw[key] for key in raw.keys() & _SAME}
    known = {"failover": "continue", **known, "conversation": raw["id"], "messages": thread}
    if raw.get("memory"):  # what was said before is in the ledger: only the newest message counts
        known["input"] = _newest(known.pop("messages"))
        whole = True
    return Asked(body=bodies.parse_run(msgspec.json.encode(known)), whole=whole)


def _newest(thread: list[dict[str, Any]]) -> str:
    """The text of the last message, which has to be a user's and nothing but text."""
    last = thread[-1] if thread else {}
    content = last.get("content")
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        content = "\n".join(part["text"] for part in content)
    if last.get("role") != "user" or not isinstance(content, str):
        raise bodies.bad("memory", "goes with a last message of the user's that is text")
    return content


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter(
        prefix="/api/chat", tags=["ai-sdk"], responses=errors_for("bad-request", "unauthorized")
    )

    @router.post(
        "",
        summary="The AI SDK's chat: UI messages in, a UI message stream out",
        responses=errors_for("forbidden", "too-large", "too-many"),
        openapi_extra=_BODY,
    )
    async def ask(request: Request) -> Response:
        asked = parse(await request.body())
        key = bodies.check_key(request.headers.get("idempotency-key"))
        owner, history = owner_of(request), None
        if not asked.whole:
            history = await _turns(service, asked.body, owner)
        started = await service.start_body(asked.body, owner, key, history=history)
        active = await service.live(started.info.run, owner)
        return sending.EncodedStream(service, active, streams.Wish(dialect=DIALECT))

    @router.get(
        "/{chat}/stream",
        summary="The running answer of a chat, from its beginning",
        responses={204: {"description": "Nothing runs in this chat; its turns are at /v1/conversations."}},
    )
    async def resume(request: Request, chat: Chat) -> Response:
        owner = owner_of(request)
        running = service.running_in(chat, owner)
        if not running:
            return Response(status_code=204)
        active = await service.live(running[0].run, owner)
        return sending.EncodedStream(service, active, streams.Wish(resumed=True, dialect=DIALECT))

    @router.post("/{chat}/stop", summary="Stop what runs in a chat; where nothing does, changes nothing")
    async def stop(request: Request, chat: Chat) -> Response:
        running = service.running_in(chat, owner_of(request))
        return Json({"stopped": [(await service.engine.cancel(active.run)).run for active in running]})

    return router


async def _turns(service: Service, body: bodies.RunBody, owner: str) -> tuple[messages.Message, ...]:
    """The turns so far of the chat that a newest message goes on with."""
    assert body.conversation is not None
    await service.check_conversation(body.conversation, owner)
    return await service.history(body.conversation)


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["id"]},
                "examples": {
                    "ask": {
                        "value": {
                            "id": "chat-1",
                            "messages": [
                                {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
                            ],
                        }
                    }
                },
            }
        },
    }
}
