"""`anthropic`: the events of Anthropic's Messages.

    message_start ► per block: content_block_start, deltas, content_block_stop ► message_delta ► message_stop

`event:` repeats the type, as theirs does. Token counts come once, with `message_delta`, whose counts are the
whole ones; what is not known is null there. A failure is `event: error`, after which nothing follows; see
`base.OneWay` for what else ends so. Next: `ollama`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace import events
from headrace.dialects import base
from headrace.messages import Usage

STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool-calls": "tool_use",
    "content-filter": "refusal",
}
_ERRORS: Mapping[str, str] = {
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "model-not-found": "not_found_error",
    "run-not-found": "not_found_error",
    "too-large": "request_too_large",
    "rate-limited": "rate_limit_error",
    "too-many": "rate_limit_error",
    "provider-overloaded": "overloaded_error",
    "provider-timeout": "timeout_error",
    "bad-request": "invalid_request_error",
    "context-too-long": "invalid_request_error",
    "content-blocked": "invalid_request_error",
    "usage": "invalid_request_error",
}


class AnthropicEncoder(base.OneWay):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._open: dict[str, int] = {}
        self._heads: dict[str, bytes] = {}  # by open block: its deltas up to their text
        self._count = 0
        self._argued: set[str] = set()

    def start(self) -> bytes:
        """`message_start`. No count is known yet; the true ones come with `message_delta`."""
        message = message_body(self.info, [], None, {"input_tokens": 0, "output_tokens": 0})
        return _frame({"type": "message_start", "message": message})

    def part(self, event: events.Event) -> bytes:
        """The frames of one content block."""
        match event:
            case events.TextDelta():
                self.show(event.block)
                return self._text(event.block, event.delta, {"type": "text", "text": ""}, _TEXT)
            case events.ReasoningDelta():
                return self._text(event.block, event.delta, _THINKING, _THOUGHT)
            case events.ToolCallDelta(call=call, delta=delta):
                self._argued.add(call)
                return self._arguments(call, delta)
            case events.TextStart(block=block):
                return self._begin(block, {"type": "text", "text": ""})
            case events.ReasoningStart(block=block):
                return self._begin(block, _THINKING)
            case events.ToolCallStart(call=call, name=name, block=block):
                self.show(block)
                return self._begin(call, {"type": "tool_use", "id": call, "name": name, "input": {}})
            case events.TextEnd(block=block):
                return self._close(block)
            case events.ReasoningEnd(block=block, signature=signature):
                return self._signed(block, signature) + self._close(block)
            case events.ToolCallEnd(call=call, arguments=arguments):
                rest = b""
                if call not in self._argued and arguments:
                    rest = self._arguments(call, base.arguments_text(arguments))
                return rest + self._close(call)
        return b""

    def finish(self, end: events.RunEnd) -> bytes:
        """`message_delta` with the reason and the counts, `message_stop`."""
        body = {
            "type": "message_delta",
            "delta": {"stop_reason": STOP.get(end.finish_reason or "", "end_turn"), "stop_sequence": None},
            "usage": usage_body(end.usage),
        }
        return _frame(body) + _frame({"type": "message_stop"})

    def error(self, error: events.ErrorInfo) -> bytes:
        """`error`."""
        return _frame(error_body(error.code, error.message))

    def _begin(self, key: str, block: Mapping[str, Any]) -> bytes:
        if key in self._open:
            return b""
        index = self._open[key] = self._count
        self._count += 1
        return _frame({"type": "content_block_start", "index": index, "content_block": block})

    def _text(self, block: str, text: str, opening: Mapping[str, Any], kind: bytes) -> bytes:
        head = self._heads.get(block)
        if head is not None:
            return b"%b%b}}\n\n" % (head, base.to_json(text))
        opened = b"" if block in self._open else self._begin(block, opening)
        head = self._heads[block] = _DELTA % (self._open[block], kind)
        return b"%b%b%b}}\n\n" % (opened, head, base.to_json(text))

    def _arguments(self, call: str, text: str) -> bytes:
        index = self._open.get(call)
        if index is None:
            return b""  # its name is not known: it began before this reader did
        return b"%b%b}}\n\n" % (_DELTA % (index, _INPUT), base.to_json(text))

    def _signed(self, block: str, signature: str | None) -> bytes:
        index = self._open.get(block)
        if not signature or index is None:
            return b""
        return b"%b%b}}\n\n" % (_DELTA % (index, _SIGNATURE), base.to_json(signature))

    def _close(self, key: str) -> bytes:
        self._heads.pop(key, None)
        index = self._open.pop(key, None)
        return b"" if index is None else _frame({"type": "content_block_stop", "index": index})


_THINKING = {"type": "thinking", "thinking": "", "signature": ""}
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b:'
_TEXT = b'"text_delta","text"'
_THOUGHT = b'"thinking_delta","thinking"'
_INPUT = b'"input_json_delta","partial_json"'
_SIGNATURE = b'"signature_delta","signature"'


def message_body(
    info: base.Info, content: list[Any], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    """The `message` object."""
    return {
        "id": f"msg_{info.run}",
        "type": "message",
        "role": "assistant",
        "model": info.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def usage_body(usage: Usage | None) -> dict[str, Any]:
    """Their usage object: the whole counts, null where they are not known."""
    if usage is None:
        return {"input_tokens": None, "output_tokens": None}
    body: dict[str, Any] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.cached_tokens is not None and usage.input_tokens is not None:
        # Theirs counts what was read from the cache apart.
        body["input_tokens"] = usage.input_tokens - usage.cached_tokens
        body["cache_read_input_tokens"] = usage.cached_tokens
    return body


def error_body(code: str, message: str) -> dict[str, Any]:
    """The body of an error."""
    return {"type": "error", "error": {"type": _ERRORS.get(code, "api_error"), "message": message}}


def _frame(body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), base.to_json(body))


ANTHROPIC = base.Dialect(
    name="anthropic", encoder=AnthropicEncoder, heartbeat=b'event: ping\ndata: {"type":"ping"}\n\n'
)
