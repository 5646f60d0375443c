"""`openai-chat`: chunks of OpenAI's Chat Completions, byte for byte what its official client expects.

    role chunk ► content, reasoning_content and tool_calls deltas ► finish_reason ► [usage] ► [DONE]

Nothing but data blocks: the client breaks on a block without data, so no ids, no `retry:`, no comments.
A failure is `data: {"error":{…}}`, on which the client raises; so is a cancelled run, and text that is taken
back (`base.OneWay`). `completion` is the answer without streaming. Next: `openai_responses`.
"""

from __future__ import annotations

from typing import Any

from headrace import events
from headrace.dialects import base
from headrace.dialects.openai_errors import error_body
from headrace.messages import Usage

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool-calls": "tool_calls",
    "content-filter": "content_filter",
}


class OpenAIChatEncoder(base.OneWay):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (
                base.to_json(completion_id(info)),
                int(info.created.timestamp()),
                base.to_json(info.model),
            )
        )
        self._tail = b'],"usage":null}\n\n' if info.include_usage else b"]}\n\n"
        open_delta = self._head + b'{"index":0,"delta":{'
        self._close = b'},"finish_reason":null}' + self._tail
        self._role = open_delta + b'"role":"assistant","content":""' + self._close
        self._text = open_delta + b'"content":'
        self._reasoning = open_delta + b'"reasoning_content":'
        self._call = open_delta + b'"tool_calls":[{"index":%d,'
        self._calls: dict[str, int] = {}
        self._argued: set[str] = set()  # calls whose arguments were sent, at least in part

    def start(self) -> bytes:
        """The role chunk."""
        return self._role

    def part(self, event: events.Event) -> bytes:
        """Text, reasoning, tool calls."""
        match event:
            case events.TextDelta():
                self.show(event.block)
                return b"%b%b%b" % (self._text, base.to_json(event.delta), self._close)
            case events.ReasoningDelta():
                return b"%b%b%b" % (self._reasoning, base.to_json(event.delta), self._close)
            case events.ToolCallDelta():
                return self._arguments(event.call, event.delta)
            case events.ToolCallStart():
                return self._call_start(event)
            case events.ToolCallEnd(call=call, arguments=arguments):
                if call not in self._argued and arguments is not None:
                    return self._arguments(call, base.arguments_text(arguments))
        return b""

    def _call_start(self, event: events.ToolCallStart) -> bytes:
        index = self._calls.setdefault(event.call, len(self._calls))
        self.show(event.block)
        return b'%b"id":%b,"type":"function","function":{"name":%b,"arguments":""}}]%b' % (
            self._call % index,
            base.to_json(event.call),
            base.to_json(event.name),
            self._close,
        )

    def _arguments(self, call: str, text: str) -> bytes:
        self._argued.add(call)
        index = self._calls.setdefault(call, len(self._calls))
        return b'%b"function":{"arguments":%b}}]%b' % (self._call % index, base.to_json(text), self._close)

    def finish(self, end: events.RunEnd) -> bytes:
        """The finish reason, and the usage where it was asked for."""
        finish = b'%b{"index":0,"delta":{},"finish_reason":%b}%b' % (
            self._head,
            base.to_json(finish_reason(end)),
            self._tail,
        )
        if not self.info.include_usage:
            return finish
        return b'%b%b],"usage":%b}\n\n' % (finish, self._head, base.to_json(usage_body(end.usage)))

    def error(self, error: events.ErrorInfo) -> bytes:
        """The error, in-band."""
        return base.data(error_body(error.code, error.message))

    def end(self) -> bytes:
        """The end marker."""
        return b"data: [DONE]\n\n"


def completion(info: base.Info, end: events.RunEnd) -> dict[str, Any]:
    """The `chat.completion` object of a run that completed."""
    result: dict[str, Any] = end.result or {}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": base.arguments_text(call.get("arguments"))},
        }
        for call in base.callers(result)
    ]
    text = result.get("text", "")
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    message["refusal"] = None
    if result.get("reasoning"):
        message["reasoning_content"] = result["reasoning"]
    if calls:
        message["tool_calls"] = calls
    body: dict[str, Any] = {
        "id": completion_id(info),
        "object": "chat.completion",
        "created": int(info.created.timestamp()),
        "model": info.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(end)}],
    }
    usage = usage_body(end.usage)
    if usage is not None:
        body["usage"] = usage
    return body


def completion_id(info: base.Info) -> str:
    """The id their objects have: made of the run's."""
    return f"chatcmpl-{info.run}"


def finish_reason(end: events.RunEnd) -> str:
    """Their word for why the answer ended."""
    return FINISH.get(end.finish_reason or "", "stop")


def usage_body(usage: Usage | None) -> dict[str, Any] | None:
    """Their usage object; None where the counts are not known, which is never told as 0."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    body: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        body["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return body


OPENAI_CHAT = base.Dialect(name="openai-chat", encoder=OpenAIChatEncoder, heartbeat=b"")
