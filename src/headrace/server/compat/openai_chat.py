"""`POST /v1/chat/completions`, for the official client and everything that speaks like it.

What the body asks for becomes an ordinary run; the run's id is in `x-headrace-run`, so the same answer can be
read, resumed or stopped under `/v1/runs`. A client that hangs up stops the run: this format has no way to come
back. A provider that breaks off in mid-answer is gone on from, not started again (`failover: continue`),
because the format cannot take text back. Keys we do not know are passed to the provider as they are; what we
know and cannot do is refused by name. Errors have OpenAI's shape and the status its client maps to an
exception; `x-should-retry: false` keeps it from trying again where that cannot help. Next: `plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace import dialects, errors
from headrace.dialects import openai_chat
from headrace.dialects.openai_errors import error_body
from headrace.server import bodies, failures, streams
from headrace.server.compat import sending
from headrace.server.runs import Json, owner_of
from headrace.server.service import Service

DIALECT = dialects.get("openai-chat")

# The same in `bodies.RunBody`; the last three are ours, for `extra_body`.
_SAME = (
    "model", "temperature", "top_p", "seed", "stop", "reasoning_effort", "tools", "tool_choice", "metadata",
    "fallbacks", "timeouts", "conversation",
)  # fmt: skip
# About the account, the cache or the network: nothing of the answer changes without them.
_PASSED_OVER = frozenset(
    {
        "user", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "prediction", "stream_options", "stream", "messages", "n", "response_format", "max_tokens",
        "max_completion_tokens", "modalities", "logprobs", "top_logprobs",
    }
)  # fmt: skip


class Asked(msgspec.Struct, kw_only=True):
    """What a body asks for: the run, and how the answer is sent."""

    body: bodies.RunBody
    stream: bool
    include_usage: bool


def parse(data: bytes) -> Asked:
    """Read a body of Chat Completions. Pure.

    Raises:
        errors.UsageError: `bad-request`, naming the key.
    """
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise bodies.bad_json(error) from error
    raw = {key: value for key, value in raw.items() if value is not None}
    _refuse(raw)
    known: dict[str, Any] = {key: raw[key] for key in _SAME if key in raw}
    if "messages" not in raw:
        raise bodies.bad("messages", "is missing")
    limit = raw.get("max_completion_tokens", raw.get("max_tokens"))
    if limit is not None:
        known["max_tokens"] = limit
    schema = _schema(raw.get("response_format"))
    if schema is not None:
        known["output_schema"] = schema
    options = {key: raw[key] for key in raw if key not in _SAME and key not in _PASSED_OVER}
    body = bodies.parse_run(
        msgspec.json.encode(
            {
                **known,
                "messages": raw["messages"],
                "options": options,
                "on_disconnect": "cancel",
                "failover": "continue",
            }
        )
    )
    stream_options = raw.get("stream_options")
    include = isinstance(stream_options, Mapping) and stream_options.get("include_usage") is True
    return Asked(body=body, stream=raw.get("stream") is True, include_usage=include)


def _refuse(raw: Mapping[str, Any]) -> None:
    """What we know and cannot do."""
    if raw.get("n", 1) != 1:
        raise bodies.bad("n", "must be 1; ask again for another answer")
    if raw.get("logprobs") or raw.get("top_logprobs"):
        raise bodies.bad("logprobs", "are not available")
    if "audio" in raw or set(raw.get("modalities") or ()) - {"text"}:
        raise bodies.bad("modalities", "other than text are not available")
    if "functions" in raw or "function_call" in raw:
        raise bodies.bad("functions", "are of an older form; use tools and tool_choice")


def _schema(raw: Any) -> dict[str, Any] | None:
    """The JSON Schema of a `response_format`, None for plain text."""
    kind = raw.get("type") if isinstance(raw, Mapping) else raw
    if kind is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    form = raw.get("json_schema") if isinstance(raw, Mapping) and kind == "json_schema" else None
    schema = form.get("schema") if isinstance(form, Mapping) else None
    if not isinstance(schema, dict):
        raise bodies.bad(
            "response_format", "must be of type text, json_object, or json_schema with a json_schema.schema"
        )
    return schema


def refusal(error: errors.HeadraceError) -> Response:
    """An error in OpenAI's shape. A model whose provider there is not is to its clients a model not found."""
    if error.code == "usage" and "provider" in error.details:
        error = errors.error_for("model-not-found", error.message)
    where = error.details.get("where")
    body = error_body(error.code, error.message, param=where if isinstance(where, str) else None)
    headers = {name.decode(): value.decode() for name, value in failures.headers(error)}
    headers.pop("content-type", None)
    headers["x-should-retry"] = "true" if error.retryable else "false"
    return Json(body, status_code=error.status, headers=headers)


def routes(service: Service) -> APIRouter:
    """The route, for one service."""
    router = APIRouter(prefix="/v1/chat", tags=["openai"])

    @router.post("/completions", summary="OpenAI's Chat Completions, streaming and not")
    async def completions(request: Request) -> Response:
        try:
            return await answer(request)
        except errors.HeadraceError as error:
            return refusal(error)

    async def answer(request: Request) -> Response:
        asked = parse(await request.body())
        key = bodies.check_key(request.headers.get("idempotency-key"))
        owner = owner_of(request)
        started = await service.start_body(asked.body, owner, key, check_output=False)
        active = await service.live(started.info.run, owner)
        wish = streams.Wish(dialect=DIALECT, include_usage=asked.include_usage)
        headers = {"x-request-id": active.run}
        if asked.stream:
            return sending.EncodedStream(service, active, wish, refuse=refusal, headers=headers)
        end = await sending.wait_for(active, request.receive)
        if end is None:
            return Response(status_code=499)  # the client has left: nobody reads this
        failed = sending.failure(end)
        if failed is not None:
            return refusal(failed)
        body = openai_chat.completion(sending.info_of(active), end)
        return Json(body, headers={**headers, "x-headrace-run": active.run})

    return router
