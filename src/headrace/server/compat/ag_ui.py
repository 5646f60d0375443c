"""`POST /ag-ui`: AG-UI's `RunAgentInput` in, its events out.

A thread is a conversation of the same id, and belongs to who began it. The client names its runs itself; the
events repeat its `runId`, and ours is in `x-headrace-run`. This format has no way to come back to a stream and
its client stops a run by hanging up, so that is what hanging up does (`on_disconnect: cancel`); and as it
cannot take text back, a provider that breaks off is gone on from (`failover: continue`). `forwardedProps` may
have a run's options by the names that `POST /v1/runs` has; others in it are somebody else's and passed over.
`context` goes before the messages as a system message. `state` is read by agents that have one: a run has
none, so it is neither used nor sent back. Failures of a run are `RUN_ERROR`; what is wrong with the request
has a status. Next: `plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.dialects import ag_ui
from headrace.server import bodies, streams
from headrace.server.compat import sending
from headrace.server.runs import owner_of
from headrace.server.schema import errors_for
from headrace.server.service import Service

# The same in `bodies.RunBody`.
_OPTIONS = frozenset(
    {
        "model", "temperature", "top_p", "max_tokens", "reasoning_effort", "tool_choice", "output_schema",
        "fallbacks", "failover", "on_disconnect", "timeouts", "metadata", "options",
    }
)  # fmt: skip
_MAX_ID = 200


class RunAgentInput(msgspec.Struct, kw_only=True, rename="camel"):
    """The body. Keys that later versions add are passed over."""

    thread_id: str
    run_id: str
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] | None = None
    context: list[dict[str, Any]] | None = None
    state: Any = None
    forwarded_props: Any = None


class Asked(msgspec.Struct, kw_only=True):
    """What a body asks for: the run, and what its client calls it."""

    body: bodies.RunBody
    run_id: str


_decoder = msgspec.json.Decoder(RunAgentInput)


def parse(data: bytes) -> Asked:
    """Read a `RunAgentInput`. Pure.

    Raises:
        errors.UsageError: `bad-request`, `too-large`, naming the key.
    """
    try:
        raw = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise bodies.bad_json(error) from error
    except RecursionError as error:
        raise bodies.bad("body", f"is nested more than {bodies.MAX_DEPTH} deep") from error
    if not raw.run_id or len(raw.run_id) > _MAX_ID:
        raise bodies.bad("runId", f"must be 1 to {_MAX_ID} characters")
    given = raw.forwarded_props if isinstance(raw.forwarded_props, Mapping) else {}
    known = {key: given[key] for key in given.keys() & _OPTIONS if given[key] is not None}
    known = {"on_disconnect": "cancel", "failover": "continue", **known}
    known |= {
        "conversation": raw.thread_id,
        "messages": messages_of(raw.messages),
        "tools": [_tool(tool, f"tools[{i}]") for i, tool in enumerate(raw.tools or ())],
        "system": _context(raw.context or []),
    }
    bodies.check_depth("forwardedProps", known)
    return Asked(body=bodies.parse_run(msgspec.json.encode(known)), run_id=raw.run_id)


def messages_of(raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Their messages in the form of Chat Completions. What is for the page alone (`activity`) is left out."""
    if len(raw) > bodies.MAX_MESSAGES:
        raise bodies.too_large("messages", len(raw), bodies.MAX_MESSAGES, "messages")
    out: list[dict[str, Any]] = []
    thought = ""
    for i, message in enumerate(raw):
        where = f"messages[{i}]"
        role, content = message.get("role"), message.get("content")
        match role:
            case "activity":
                continue
            case "reasoning":
                thought += content if isinstance(content, str) else ""
                continue
            case "system" | "developer" | "user":
                out.append({"role": role, "content": _content(content, f"{where}.content")})
            case "assistant":
                said = _content(content, f"{where}.content") if content else None
                made: dict[str, Any] = {"role": role, "content": said}
                made |= {"tool_calls": message["toolCalls"]} if message.get("toolCalls") else {}
                made |= {"reasoning_content": thought} if thought else {}
                thought = ""
                out.append(made)
            case "tool":
                call = message.get("toolCallId")
                if not isinstance(call, str) or not call:
                    raise bodies.bad(f"{where}.toolCallId", "is missing; a result names the call it answers")
                text = _content(content or message.get("error") or "", f"{where}.content")
                out.append({"role": role, "tool_call_id": call, "content": text})
            case _:
                raise bodies.bad(
                    f"{where}.role", f"is {role!r}; use user, assistant, system, developer, tool or reasoning"
                )
    if not out:
        raise bodies.bad("messages", "must have at least one message that a model can read")
    return out


def _content(raw: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, list):
        raise bodies.bad(where, "must be text or a list of parts")
    out: list[dict[str, Any]] = []
    for i, part in enumerate(raw):
        here = f"{where}[{i}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            out.append({"type": "text", "text": part["text"]})
        elif kind in ("image", "binary"):
            out.append({"type": "image_url", "image_url": {"url": _picture(part, here)}})
        else:
            raise bodies.bad(f"{here}.type", f"is {kind!r}; use text, or image with a source of url or data")
    return out


def _picture(part: Mapping[str, Any], where: str) -> str:
    """The URL of a picture: of an `image` part, or of a `binary` one, which earlier versions have."""
    source = part.get("source")
    if part["type"] == "binary":
        data = part.get("data")
        kind = "data" if data else "url"
        source = {"type": kind, "value": data or part.get("url"), "mimeType": part.get("mimeType")}
        if not str(part.get("mimeType")).startswith("image/"):
            raise bodies.bad(where, f"is of type {part.get('mimeType')!r}; pictures are available")
    if not isinstance(source, Mapping) or not isinstance(source.get("value"), str):
        raise bodies.bad(where, "has no source with a value")
    if source.get("type") == "data":
        return f"data:{source.get('mimeType')};base64,{source['value']}"
    if source.get("type") != "url":
        raise bodies.bad(where, "has a source that is not kept here; send it as url or data")
    url: str = source["value"]
    return url


def _tool(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A tool as Chat Completions has it: theirs is flat."""
    if not isinstance(raw.get("name"), str):
        raise bodies.bad(where, "has no name")
    function = {key: raw[key] for key in ("name", "description", "parameters") if raw.get(key) is not None}
    return {"type": "function", "function": function}


def _context(raw: list[dict[str, Any]]) -> str | None:
    """What the page tells of itself, as a text for the model."""
    if not raw:
        return None
    lines = [f"{item.get('description')}: {item.get('value')}" for item in raw]
    return "What the application says of where the user is:\n\n" + "\n".join(lines)


def routes(service: Service) -> APIRouter:
    """The route, for one service."""
    router = APIRouter(tags=["ag-ui"], responses=errors_for("bad-request", "unauthorized"))

    @router.post(
        "/ag-ui",
        summary="AG-UI: a run's input in, its events out",
        responses=errors_for("forbidden", "too-large", "too-many"),
        openapi_extra=_BODY,
    )
    async def run(request: Request) -> Response:
        asked = parse(await request.body())
        key = bodies.check_key(request.headers.get("idempotency-key"))
        owner = owner_of(request)
        started = await service.start_body(asked.body, owner, key)
        active = await service.live(started.info.run, owner)
        wish = streams.Wish(dialect=ag_ui.named(asked.run_id))
        return sending.EncodedStream(service, active, wish)

    return router


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["threadId", "runId", "messages"]},
                "examples": {
                    "ask": {
                        "value": {
                            "threadId": "thread-1",
                            "runId": "run-1",
                            "messages": [{"id": "m1", "role": "user", "content": "Hello"}],
                            "tools": [],
                            "context": [],
                            "state": {},
                            "forwardedProps": {"model": "demo"},
                        }
                    }
                },
            }
        },
    }
}
