"""What a body of OpenAI's Responses asks for: its items as messages, its options as a run's. Pure.

What we know and cannot do is refused by name; what is about the account, the cache or storage is passed over,
because nothing of the answer changes without it; the rest goes to the provider as it is. Reasoning items come
back without what proves them to the provider that made them (`encrypted_content` is not kept), so their
summary goes along and no more. Next: `openai_responses`, the routes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace import errors
from headrace.server import bodies

# The same in `bodies.RunBody`; the last two are ours, for `extra_body`.
_SAME = ("model", "temperature", "top_p", "metadata", "fallbacks", "timeouts")
_READ = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "text", "max_output_tokens", "reasoning", "stream",
        "background", "previous_response_id", "conversation", "prompt", "top_logprobs",
    }
)  # fmt: skip
_PASSED_OVER = frozenset(
    {
        "store", "include", "truncation", "user", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "service_tier", "stream_options", "max_tool_calls",
    }
)  # fmt: skip
# Where a run's body calls something else than theirs does.
_NAMES = {
    "max_tokens": "max_output_tokens",
    "system": "instructions",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "output_schema": "text.format",
}
_TEXTS = ("input_text", "output_text", "text", "refusal")


class Asked(msgspec.Struct, kw_only=True):
    """What a body asks for: the run, what it follows, and how the answer is sent."""

    body: bodies.RunBody
    previous: str | None
    stream: bool
    background: bool


def parse(data: bytes) -> Asked:
    """Read a body of Responses.

    A run that is streamed goes on for its grace time without a reader, as its stream can be read again; one
    in the background goes on to its end; one that is waited for stops with the connection.

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
    _refuse(raw)
    stream, background = raw.get("stream") is True, raw.get("background") is True
    known: dict[str, Any] = {key: raw[key] for key in _SAME if key in raw}
    known |= {
        "messages": messages_of(raw["input"]),
        "tools": [_tool(tool, f"tools[{i}]") for i, tool in enumerate(_list(raw.get("tools", []), "tools"))],
        "options": {key: raw[key] for key in raw if key not in _SAME and key not in _READ | _PASSED_OVER},
        "on_disconnect": "continue" if background else "grace" if stream else "cancel",
        "failover": "continue",
        "system": raw.get("instructions"),
        "max_tokens": raw.get("max_output_tokens"),
        "tool_choice": raw.get("tool_choice"),
        "reasoning_effort": _object(raw.get("reasoning", {}), "reasoning").get("effort"),
        "output_schema": _schema(_object(raw.get("text", {}), "text").get("format")),
        "conversation": _conversation(raw.get("conversation")),
    }
    try:
        body = bodies.parse_run(msgspec.json.encode(known))
    except errors.UsageError as error:
        raise _renamed(error) from error
    previous = raw.get("previous_response_id")
    return Asked(body=body, previous=previous, stream=stream, background=background)


def _refuse(raw: Mapping[str, Any]) -> None:
    """What is missing, and what we know and cannot do."""
    if "input" not in raw:
        raise bodies.bad("input", "is missing; send a text or a list of items")
    if "prompt" in raw:
        raise bodies.bad("prompt", "templates are not kept here; send instructions and input")
    if raw.get("top_logprobs"):
        raise bodies.bad("top_logprobs", "are not available")
    previous = raw.get("previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise bodies.bad("previous_response_id", "must be the id of a response")
    if previous is not None and "conversation" in raw:
        raise bodies.bad("previous_response_id", "and conversation cannot both be there; send one of them")


def messages_of(raw: Any) -> list[dict[str, Any]]:
    """Input as messages in the form of Chat Completions. Calls join the assistant's message they follow."""
    if isinstance(raw, str):
        if not raw:
            raise bodies.bad("input", "is empty")
        return [{"role": "user", "content": raw}]
    items = _list(raw, "input")
    if not items:
        raise bodies.bad("input", "must be a text or a list of at least one item")
    if len(items) > bodies.MAX_MESSAGES:
        raise bodies.too_large("input", len(items), bodies.MAX_MESSAGES, "items")
    out: list[dict[str, Any]] = []
    thought = ""
    for i, item in enumerate(items):
        where = f"input[{i}]"
        kind = _object(item, where).get("type", "message" if "role" in item else None)
        if kind == "reasoning":
            thought += "".join(str(part.get("text") or "") for part in item.get("summary") or ())
            continue
        if kind == "message":
            message = _message(item, where)
        elif kind == "function_call":
            message = {"role": "assistant", "content": None, "tool_calls": [_call(item, where)]}
            if not thought and out and out[-1]["role"] == "assistant":
                out[-1].setdefault("tool_calls", []).extend(message["tool_calls"])
                continue
        elif kind == "function_call_output":
            message = _result(item, where)
        elif kind == "item_reference":
            raise bodies.bad(where, "refers to an item that is not kept; send the item itself")
        else:
            raise bodies.bad(
                f"{where}.type",
                f"is {kind!r}; use message, reasoning, function_call or function_call_output",
            )
        if thought and message["role"] == "assistant":
            message["reasoning_content"], thought = thought, ""
        out.append(message)
    if not out:
        raise bodies.bad("input", "has no message")
    return out


def _message(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise bodies.bad(f"{where}.role", f"is {role!r}; use user, assistant, system or developer")
    return {"role": role, "content": _content(item.get("content"), f"{where}.content")}


def _content(raw: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(raw, str):
        return raw
    out: list[dict[str, Any]] = []
    for i, part in enumerate(_list(raw, where)):
        here = f"{where}[{i}]"
        kind = _object(part, here).get("type")
        if kind in _TEXTS:
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                raise bodies.bad(here, "has no text")
            out.append({"type": "text", "text": text})
        elif kind == "input_image":
            if not isinstance(part.get("image_url"), str):
                raise bodies.bad(here, "has no image_url; files are not kept here")
            out.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        else:
            raise bodies.bad(f"{here}.type", f"is {kind!r}; use input_text, output_text or input_image")
    return out


def _call(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    call, name, arguments = item.get("call_id"), item.get("name"), item.get("arguments", "")
    if not isinstance(call, str) or not isinstance(name, str) or not isinstance(arguments, str):
        raise bodies.bad(where, "must have a call_id, a name, and arguments as JSON text")
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    call = item.get("call_id")
    if not isinstance(call, str) or not call:
        raise bodies.bad(f"{where}.call_id", "is missing; an output names the call it answers")
    return {"role": "tool", "tool_call_id": call, "content": _content(item.get("output"), f"{where}.output")}


def _tool(raw: Any, where: str) -> dict[str, Any]:
    """A tool as Chat Completions has it: theirs is flat."""
    kind = _object(raw, where).get("type")
    if kind != "function":
        raise bodies.bad(where, f"is of type {str(kind)[:40]!r}; only functions that you run are available")
    function = {
        key: raw[key] for key in ("name", "description", "parameters", "strict") if raw.get(key) is not None
    }
    return {"type": "function", "function": function}


def _schema(raw: Any) -> dict[str, Any] | None:
    """The JSON Schema of a `text.format`, None for plain text."""
    form = {} if raw is None else _object(raw, "text.format")
    kind = form.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema" or not isinstance(form.get("schema"), dict):
        raise bodies.bad("text.format", "must be of type text, json_object, or json_schema with a schema")
    schema: dict[str, Any] = form["schema"]
    return schema


def _conversation(raw: Any) -> Any:
    """A conversation's id: theirs is the id or an object with it."""
    return raw.get("id") if isinstance(raw, Mapping) else raw


def _object(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise bodies.bad(where, "must be an object")
    return raw


def _list(raw: Any, where: str) -> Sequence[Any]:
    if not isinstance(raw, list):
        raise bodies.bad(where, "must be a list")
    return raw


def _renamed(error: errors.UsageError) -> errors.UsageError:
    """The error with the name that their client knows."""
    where = error.details.get("where")
    name = _NAMES.get(where) if isinstance(where, str) else None
    if name is None:
        return error
    message = error.message.replace(f"$.{where}`", f"$.{name}`")
    if message.startswith((f"{where} ", f"{where}:")):
        message = name + message[len(str(where)) :]
    return errors.UsageError(message, code=error.code, details={**error.details, "where": name})
