"""Ollama's own wire, `/api/chat`: https://github.com/ollama/ollama/blob/main/docs/api.md.

One JSON object a line (NDJSON); `done: true` is the end marker, on the line that also has the counts. A
complete answer without `done_reason` is a stop. A failure in the middle of an answer is a line
`{"error": …}` under the 200 that was already sent. Calls for tools come whole, often without ids.

Sampling parameters go under `options`; `tool_choice` does not exist here (`none` leaves the tools out).
Pictures must be inline: Ollama fetches nothing. An answer goes on from a last assistant message where the
model's template allows it, which nobody can ask, so `Capabilities.prefill` is False. Nothing comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.outputs import portable
from headrace.protocol import assembler, ndjson
from headrace.providers import base, common

_WHERE = "Ollama"
_FINISH: dict[str, messages.FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
}
_LEVEL = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


class Wire:
    """`base.Wire` of Ollama; the base URL is the host, such as `http://127.0.0.1:11434`."""

    name = "ollama"

    def capabilities(self, model: str) -> base.Capabilities:
        """What Ollama can do with a model; what the model itself can is not in its name."""
        return base.Capabilities(prefill=False, schema_with_tools=False, schema_flavour="ollama")

    def request(self, request: base.ModelRequest) -> base.HttpRequest:
        """The HTTP request.

        Raises:
            errors.UsageError: `bad-request`: a picture by URL, or an unknown effort.
        """
        body: dict[str, Any] = {"model": request.model, "messages": _messages(request)}
        body["stream"] = request.stream
        if request.tools and request.tool_choice != "none":
            body["tools"] = [_tool(tool) for tool in request.tools]
        if request.output_schema is not None:
            body["format"] = portable.portable(request.output_schema, "ollama").schema
        if request.reasoning_effort:
            body["think"] = _think(request.model, request.reasoning_effort)
        options: dict[str, Any] = {
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stop": list(request.stop) or None,
        }
        if options := {key: value for key, value in options.items() if value is not None}:
            body["options"] = options
        return base.HttpRequest("/api/chat", common.merge(body, request.options))

    def decoder(self, new_block: Callable[[], str]) -> Decoder:
        """A fresh decoder for one answer."""
        return Decoder(new_block)

    def error(self, status: int, body: bytes) -> errors.ProviderError | None:
        """The typed error of an answer that is not 2xx; None where the body is not Ollama's."""
        try:
            answer = msgspec.json.decode(body, type=_Failed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return None if answer.error is None else _error(answer.error, status)


def _think(model: str, effort: str) -> bool | str:
    """gpt-oss thinks in levels, every other model thinks or does not."""
    if effort in ("none", "off"):
        return False
    if effort not in _LEVEL:
        raise errors.UsageError(
            f"reasoning_effort is {effort!r}; use none, {', '.join(_LEVEL)}", code="bad-request"
        )
    return _LEVEL[effort] if "gpt-oss" in model else True


def _messages(request: base.ModelRequest) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    names = {
        part.id: part.name
        for m in request.messages
        for part in m.parts
        if isinstance(part, messages.ToolCall)
    }
    for message in request.messages:
        results = [part for part in message.parts if isinstance(part, messages.ToolResult)]
        for result in results:
            turn: dict[str, Any] = {"role": "tool", "content": result.content or result.error or ""}
            if name := result.name or names.get(result.call):
                turn["tool_name"] = name
            if result.call:
                turn["tool_call_id"] = result.call
            turns.append(turn)
        if not results or len(results) < len(message.parts):
            turns.append(_message(message))
    if request.prefill:
        turns.append({"role": "assistant", "content": request.prefill})
    return turns


def _message(message: messages.Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    thought = "".join(part.text for part in message.parts if isinstance(part, messages.Reasoning))
    if thought:
        turn["thinking"] = thought
    images = [_picture(part) for part in message.parts if isinstance(part, messages.Image)]
    if images:
        turn["images"] = images
    calls = [_call(part) for part in message.parts if isinstance(part, messages.ToolCall)]
    if calls:
        turn["tool_calls"] = calls
    return turn


def _picture(part: messages.Image) -> str:
    inline = common.inline_data(part.url)
    if inline is None:
        raise errors.UsageError(
            f"Ollama does not fetch pictures: send {part.url[:80]!r} as a data: URL", code="bad-request"
        )
    return inline[1]


def _call(part: messages.ToolCall) -> dict[str, Any]:
    body: dict[str, Any] = {"function": {"name": part.name, "arguments": common.arguments_object(part)}}
    if part.id:
        body["id"] = part.id
    return body


def _tool(tool: messages.ToolSpec) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


# --- what comes back ------------------------------------------------------------------------------------


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct, gc=False):
    message: _Message | None = None
    done: bool | None = None
    done_reason: str | None = None
    model: str | None = None
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    eval_count: int | None = None
    error: Any = None


class _Failed(msgspec.Struct, gc=False):
    error: Any = None


_lines: common.Typed[_Line] = common.Typed(_Line, _WHERE)


class Decoder(common.Decoder):
    """Events of one `/api/chat` answer; see `base.WireDecoder`."""

    def __init__(self, new_block: Callable[[], str]) -> None:
        self._ndjson = ndjson.Decoder()
        super().__init__(new_block, self._ndjson.feed)

    def _frame(self, frame: bytes, out: list[events.Event]) -> None:
        line = _lines.decode(frame)
        if line.error is not None:
            raise _error(line.error, None)
        message = line.message
        if message is not None:
            if message.thinking:
                self._blocks.reasoning(out, message.thinking)
            if message.content:
                self._blocks.text(out, message.content)
            for call in message.tool_calls or ():
                self._call(call, out)
        elif line.done is None:
            self.skipped += 1
        if line.done:
            self._finish(line, out)

    def _call(self, call: _Call, out: list[events.Event]) -> None:
        function = call.function or _Function()
        start = self._blocks.call(out, call.id, function.name or "")
        arguments = {} if function.arguments is None else function.arguments
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        if text:
            out.append(events.ToolCallDelta(call=start.call, block=start.block, delta=text))
        if isinstance(arguments, str):
            arguments = assembler.parse_arguments(arguments)
        out.append(events.ToolCallEnd(call=start.call, block=start.block, arguments=arguments))

    def _finish(self, line: _Line, out: list[events.Event]) -> None:
        self._blocks.close(out)
        if line.prompt_eval_count is not None or line.eval_count is not None:
            self.usage = messages.Usage(
                input_tokens=line.prompt_eval_count,
                output_tokens=line.eval_count,
                cached_tokens=line.prompt_eval_cached_count,
                basis="reported",
            )
        reason = _FINISH.get(line.done_reason or "stop", "other")
        if reason == "stop" and self._blocks.called:
            reason = "tool-calls"
        out.append(base.ModelEnd(finish_reason=reason, model=line.model))
        self._ended = True

    def _end(self, out: list[events.Event]) -> None:
        missing = common.incomplete(_WHERE, "done: true")
        for line in self._ndjson.close():
            try:
                self._frame(line, out)
            except errors.ProviderError as error:
                if isinstance(error.__cause__, msgspec.DecodeError):
                    raise missing from error  # a line that was cut off, not a wrong one
                raise
        if not self._ended:
            raise missing

    def whole(self, data: bytes) -> list[events.Event]:
        """A complete answer that was asked for without streaming; see `base.WireDecoder`."""
        out: list[events.Event] = []
        self._frame(data, out)
        if not self._ended:
            raise common.malformed(_WHERE, "an answer that is not done", data)
        return out


def _error(said: Any, status: int | None) -> errors.ProviderError:
    """The typed error of Ollama's one sentence (newer servers may wrap it in an object)."""
    if isinstance(said, dict):
        said = said.get("message") or said
    text = said if isinstance(said, str) else str(said)
    low = text.lower()
    if "not found" in low and "model" in low:
        code = "model-not-found"
    elif common.too_long(text):
        code = "context-too-long"
    elif "server busy" in low or "maximum pending requests" in low:
        code = "provider-overloaded"
    elif "unauthorized" in low:
        code = "auth-failed"
    elif status is None:
        code = "provider-error"
    else:
        return base.status_error(status, text)
    return errors.ProviderError(text, code=code, provider_status=status)
