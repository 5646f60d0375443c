"""The AI SDK's UI messages as messages in the form of Chat Completions. Pure.

A UI message is what a page shows: an assistant's has all its steps in one, with each tool call and its result
in one part. Here a step becomes an assistant's message and the results of its calls. Left out is what is for
the page alone (`data-*`, sources, custom parts) and what no model can go on from: a call that has no result
yet, files that an assistant made. Files of a user's other than pictures are refused. Next: `ag_ui`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.server import bodies

_FOR_THE_PAGE = ("data-", "source-")
_SHOWN = frozenset({"custom", "reasoning-file"})


def convert(raw: Any) -> list[dict[str, Any]]:
    """Read UI messages.

    Raises:
        errors.UsageError: `bad-request`, `too-large`, naming the message and the part.
    """
    if not isinstance(raw, list) or not raw:
        raise bodies.bad("messages", "must be a list of at least one message")
    if len(raw) > bodies.MAX_MESSAGES:
        raise bodies.too_large("messages", len(raw), bodies.MAX_MESSAGES, "messages")
    out: list[dict[str, Any]] = []
    for i, message in enumerate(raw):
        where = f"messages[{i}]"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ("system", "user", "assistant"):
            raise bodies.bad(f"{where}.role", f"is {role!r}; use system, user or assistant")
        parts = message.get("parts")
        if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
            raise bodies.bad(f"{where}.parts", "must be a list of parts, each with a type")
        out += _assistant(parts, where) if role == "assistant" else _said(role, parts, where)
    if not out:
        raise bodies.bad("messages", "have nothing that a model can read")
    return out


def _said(role: str, parts: list[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """What a user said or a system message."""
    content: list[dict[str, Any]] = []
    for i, part in enumerate(parts):
        here, kind = f"{where}.parts[{i}]", part.get("type")
        if kind == "text":
            content.append({"type": "text", "text": _text(part, "text", here)})
        elif kind == "file":
            media = _text(part, "mediaType", here)
            if role != "user" or not media.startswith("image/"):
                raise bodies.bad(here, f"is a file of type {media[:80]!r}; pictures of users' are available")
            content.append({"type": "image_url", "image_url": {"url": _text(part, "url", here)}})
        elif not _is_for_the_page(kind):
            raise bodies.bad(f"{here}.type", f"is {kind!r}; a {role} message has text and file")
    return [{"role": role, "content": content}] if content else []


def _assistant(parts: list[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """An assistant's message: a message a step, each with the results of its calls."""
    out: list[dict[str, Any]] = []
    text, thought = "", ""
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def flush() -> None:
        nonlocal text, thought
        if text or calls:
            made: dict[str, Any] = {"role": "assistant", "content": text or None}
            made |= {"reasoning_content": thought} if thought else {}
            made |= {"tool_calls": list(calls)} if calls else {}
            out.extend([made, *results])
        text, thought = "", ""
        calls.clear()
        results.clear()

    for i, part in enumerate(parts):
        here, kind = f"{where}.parts[{i}]", part.get("type")
        if kind == "step-start":
            flush()
        elif kind == "text":
            if calls:  # said after the results of its calls
                flush()
            text += _text(part, "text", here)
        elif kind == "reasoning":
            thought += _text(part, "text", here)
        elif isinstance(kind, str) and (kind.startswith("tool-") or kind == "dynamic-tool"):
            result = _result(part)
            if result is not None:
                id = _text(part, "toolCallId", here)
                name = _text(part, "toolName", here) if kind == "dynamic-tool" else kind.removeprefix("tool-")
                arguments = part.get("input", part.get("rawInput"))
                function = {"name": name, "arguments": _json({} if arguments is None else arguments)}
                calls.append({"id": id, "type": "function", "function": function})
                results.append({"role": "tool", "tool_call_id": id, "content": result})
        elif kind != "file" and not _is_for_the_page(kind):
            raise bodies.bad(
                f"{here}.type",
                f"is {kind!r}; an assistant message has text, reasoning, file, tool-* and others",
            )
    flush()
    return out


def _result(part: Mapping[str, Any]) -> str | None:
    """What a call came to, in words for the model; None while it has not."""
    match part.get("state"):
        case "output-available":
            output = part.get("output")
            return output if isinstance(output, str) else _json(output)
        case "output-error":
            return str(part.get("errorText") or "the tool failed")
        case "output-denied":
            return "the user did not allow this call"
    return None


def _is_for_the_page(kind: Any) -> bool:
    return isinstance(kind, str) and (kind.startswith(_FOR_THE_PAGE) or kind in _SHOWN)


def _text(part: Mapping[str, Any], key: str, where: str) -> str:
    value = part.get(key)
    if not isinstance(value, str):
        raise bodies.bad(f"{where}.{key}", "is missing, or is no text")
    return value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
