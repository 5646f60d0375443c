"""A provider that is told in the prompt what to say: Chat Completions over a real socket, counted, in any pace.

    async with playback.ScriptedHTTP(chat.obey()) as server:
        ...   # OPENAI_BASE_URL=f"{server.url}/v1"

The last user message that begins with `say`, `json` or `call` is the order, its parts divided by ` || `: one part for
each answer that is asked for after it. `say TEXT` and `json TEXT` answer the text, `call NAME {…}` calls a tool, and
what a tool said stands in the messages for whoever looks. Anything else is answered with "Fine, then.". Streams where
the request says so, whole where it does not. Next: `playback`, which serves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from headrace.testing.playback import Request, Response

MODEL = "gpt-4o-mini"
USAGE = {"prompt_tokens": 42, "completion_tokens": 23, "total_tokens": 65}
"""What each answer says that it took."""
_ORDER = re.compile(r"(say|json|call) ")


def obey(*, every: float = 0.0, first: float = 0.0) -> Callable[[Request], Response]:
    """Answers orders; see the module.

    Args:
        every: seconds before each piece.
        first: seconds before the first.
    """

    def answer(request: Request) -> Response:
        if not request.body:
            return Response(body={"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        body = request.json()
        parts = [parsed(_order(body["messages"]))]
        return streamed(*parts, every=every, first=first) if body.get("stream") else whole(*parts)

    return answer


def _order(messages: list[dict[str, Any]]) -> str:
    answers = 0
    for message in reversed(messages):
        if message["role"] == "assistant":
            answers += 1
        elif message["role"] == "user" and _ORDER.match(_text(message)):
            parts = _text(message).split(" || ")
            return parts[min(answers, len(parts) - 1)]
    return "say Fine, then."


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def parsed(order: str) -> tuple[str, Any]:
    """One part of an order as `streamed` takes it."""
    kind, _, rest = order.strip().partition(" ")
    if kind != "call":
        return "text", rest
    name, _, arguments = rest.partition(" ")
    return "call", (name, json.loads(arguments or "{}"))


def streamed(*parts: tuple[str, Any], every: float = 0.0, first: float = 0.0) -> Response:
    """A streamed answer: `("text", TEXT)` word by word, `("call", (NAME, ARGUMENTS))` in pieces; then the usage."""
    pieces: list[tuple[float, bytes]] = [(first, _chunk({"role": "assistant", "content": ""}))]
    finish = "stop"
    for number, (kind, value) in enumerate(parts):
        if kind == "text":
            pieces += [
                (every, _chunk({"content": word})) for word in re.findall(r"\s*\S+\s*", value) or [value]
            ]
            continue
        finish, (name, arguments) = "tool_calls", value
        function = {"name": name, "arguments": ""}
        call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        pieces.append((every, _chunk({"tool_calls": [call]})))
        text = json.dumps(arguments)
        for at in range(0, len(text), 12):
            part = {"index": 0, "function": {"arguments": text[at : at + 12]}}
            pieces.append((every, _chunk({"tool_calls": [part]})))
    pieces.append((0, _chunk({}, finish)))
    pieces.append((0, _data({**_HEAD, "choices": [], "usage": USAGE})))
    pieces.append((0, b"data: [DONE]\n\n"))
    return Response(headers={"Content-Type": "text/event-stream"}, pieces=pieces)


def whole(*parts: tuple[str, Any]) -> Response:
    """The same in one piece."""
    texts = [value for kind, value in parts if kind == "text"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    calls = [value for kind, value in parts if kind == "call"]
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(given)},
            }
            for n, (name, given) in enumerate(calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return Response(body={**_HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})


_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _data({**_HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _data(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"
