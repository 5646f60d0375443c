"""Finished values: messages and their parts, tool calls, usage, cost.

A value has no identity: two equal contents compare equal; ids, order and parents belong to the run log
and the ledger. `parse_messages` reads the role-and-content form of OpenAI's Chat Completions, the form
that HTTP bodies have; each provider turns these values into its own. Nothing here streams and nothing
here does I/O. Next: `events`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from headrace import errors

Role = Literal["system", "user", "assistant", "tool"]
Basis = Literal["reported", "estimated", "unknown"]
FinishReason = Literal["stop", "length", "tool-calls", "content-filter", "other"]


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Plain text."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning", omit_defaults=True):
    """What the model thought; `signature` or `encrypted` prove it to the provider that made it."""

    text: str
    signature: str | None = None
    encrypted: str | None = None


class Image(msgspec.Struct, frozen=True, tag_field="type", tag="image", omit_defaults=True):
    """A picture: a URL (also `data:`), and its media type where it is known."""

    url: str
    media_type: str | None = None


class ToolCall(msgspec.Struct, frozen=True, tag_field="type", tag="tool-call", omit_defaults=True):
    """A call the model asked for; `arguments` is the parsed JSON, `text` what the model wrote."""

    id: str
    name: str
    arguments: Any = None
    text: str = ""
    signature: str | None = None


class ToolResult(msgspec.Struct, frozen=True, tag_field="type", tag="tool-result", omit_defaults=True):
    """What a tool answered; `error` in words where it failed."""

    call: str
    content: str
    name: str = ""
    error: str | None = None


Part = Text | Reasoning | Image | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation: a role and its parts, in order."""

    role: Role
    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """The joined text parts."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class ToolSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool the model may call: a name, a description, and a JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens spent. What is not known is absent, never 0.

    `reasoning_tokens` are part of `output_tokens`, `cached_tokens` part of `input_tokens`. `cost` is in
    `currency`; absent when no price is known.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    basis: Basis
    cost: float | None = None
    currency: str | None = None

    def __add__(self, other: Usage) -> Usage:
        """The sum of two attempts. A cost that is unknown in one is unknown in the sum."""
        order = ("reported", "estimated", "unknown")
        return Usage(
            input_tokens=_plus(self.input_tokens, other.input_tokens),
            output_tokens=_plus(self.output_tokens, other.output_tokens),
            reasoning_tokens=_plus(self.reasoning_tokens, other.reasoning_tokens),
            cached_tokens=_plus(self.cached_tokens, other.cached_tokens),
            basis=max(self.basis, other.basis, key=order.index),
            cost=None if self.cost is None or other.cost is None else self.cost + other.cost,
            currency=self.currency if self.currency == other.currency else None,
        )


def _plus(a: int | None, b: int | None) -> int | None:
    """Add what is known; None only where neither side knows."""
    if a is None:
        return b
    return a if b is None else a + b


def user(text: str) -> Message:
    """A user message of one text."""
    return Message("user", (Text(text),))


def system(text: str) -> Message:
    """A system message of one text."""
    return Message("system", (Text(text),))


def assistant(text: str) -> Message:
    """An assistant message of one text."""
    return Message("assistant", (Text(text),))


def parse_messages(raw: Any) -> tuple[Message, ...]:
    """Read messages in OpenAI's Chat Completions form.

    Raises:
        errors.UsageError: `bad-request`, naming the message and the key that is wrong.
    """
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
        raise _bad("messages", "must be a list of at least one message")
    return tuple(_parse_message(item, f"messages[{i}]") for i, item in enumerate(raw))


def to_openai(message: Message) -> dict[str, Any]:
    """The Chat Completions form of a message: what `parse_messages` reads.

    Raises:
        errors.UsageError: `bad-request`: a tool message without a result, or with several.
    """
    if message.role == "tool":
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        if len(results) != 1:
            raise errors.UsageError(
                f"a tool message has {len(results)} results; this form takes one a message",
                code="bad-request",
            )
        return {"role": "tool", "tool_call_id": results[0].call, "content": results[0].content}
    images = [part for part in message.parts if isinstance(part, Image)]
    body: dict[str, Any] = {"role": message.role}
    if images:
        body["content"] = [
            {"type": "text", "text": part.text}
            if isinstance(part, Text)
            else {"type": "image_url", "image_url": {"url": part.url}}
            for part in message.parts
            if isinstance(part, Text | Image)
        ]
    else:
        body["content"] = message.text
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if calls:
        body["content"] = body["content"] or None
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_text(call)},
            }
            for call in calls
        ]
    return body


def arguments_text(call: ToolCall) -> str:
    """The arguments of a call as JSON text."""
    return call.text or msgspec.json.encode(call.arguments if call.arguments is not None else {}).decode()


def _parse_message(item: Mapping[str, Any], where: str) -> Message:
    if not isinstance(item, Mapping):
        raise _bad(where, "must be an object with 'role' and 'content'")
    role = item.get("role")
    if role == "developer":
        role = "system"
    if role not in ("system", "user", "assistant", "tool"):
        raise _bad(f"{where}.role", f"is {role!r}; use system, user, assistant or tool")
    parts: list[Part] = []
    content = item.get("content")
    if role == "tool":
        call = item.get("tool_call_id")
        if not isinstance(call, str) or not call:
            raise _bad(f"{where}.tool_call_id", "is missing; a tool message names the call it answers")
        text = "".join(p.text for p in _parse_content(content, where) if isinstance(p, Text))
        return Message("tool", (ToolResult(call, text, name=str(item.get("name") or "")),))
    reasoning = item.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        parts.append(Reasoning(reasoning))
    parts.extend(_parse_content(content, where))
    calls = item.get("tool_calls") or ()
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise _bad(f"{where}.tool_calls", "must be a list")
    for i, raw_call in enumerate(calls):
        parts.append(_parse_call(raw_call, f"{where}.tool_calls[{i}]"))
    return Message(role, tuple(parts))


def _parse_content(content: Any, where: str) -> Iterable[Part]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, Sequence):
        raise _bad(f"{where}.content", "must be text or a list of parts")
    parts: list[Part] = []
    for i, part in enumerate(content):
        here = f"{where}.content[{i}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("text", "input_text", "output_text", "refusal"):
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                raise _bad(here, "has no text")
            parts.append(Text(text))
        elif kind in ("image_url", "input_image"):
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, Mapping) else url
            if not isinstance(url, str):
                raise _bad(here, "has no image_url")
            parts.append(Image(url))
        else:
            raise _bad(f"{here}.type", f"is {kind!r}; use text or image_url")
    return parts


def _parse_call(raw: Any, where: str) -> ToolCall:
    function = raw.get("function") if isinstance(raw, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _bad(where, "must have an id and a function with a name")
    text = function.get("arguments") or "{}"
    id = str(raw.get("id") or "")
    if not isinstance(text, str):  # some servers and clients send the object itself
        return ToolCall(id, function["name"], text)
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = None
    return ToolCall(id, function["name"], arguments, text)


def _bad(where: str, what: str) -> errors.UsageError:
    return errors.UsageError(f"{where} {what}", code="bad-request", details={"where": where})
