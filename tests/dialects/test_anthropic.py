"""Anthropic's events: names, order and what a client accumulates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace import dialects, errors, events
from headrace.dialects import anthropic
from headrace.messages import Usage
from headrace.protocol import sse


class Client:
    """Accumulates a message as their client does; refuses illegal steps."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.open: dict[int, list[str]] = {}
        self.stopped = False
        self.reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None

    def take(self, name: str, body: dict[str, Any]) -> None:
        assert name == body["type"]
        assert not self.stopped, f"{name} after the end"
        match name:
            case "message_start":
                assert self.message is None
                self.message = body["message"]
            case "content_block_start":
                assert self.message is not None
                assert body["index"] == len(self.message["content"])
                self.message["content"].append(dict(body["content_block"]))
                self.open[body["index"]] = []
            case "content_block_delta":
                self._delta(body["index"], body["delta"])
            case "content_block_stop":
                pieces = self.open.pop(body["index"])
                block = self.message["content"][body["index"]]
                if block["type"] == "tool_use" and pieces:
                    block["input"] = msgspec.json.decode("".join(pieces))
            case "message_delta":
                assert not self.open
                self.reason, self.usage = body["delta"]["stop_reason"], body["usage"]
            case "message_stop":
                assert self.reason is not None
                self.stopped = True
            case "error":
                self.error, self.stopped = body["error"], True
            case _:
                raise AssertionError(name)

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        assert index in self.open
        block = self.message["content"][index]
        match delta["type"], block["type"]:
            case "text_delta", "text":
                block["text"] += delta["text"]
            case "thinking_delta", "thinking":
                block["thinking"] += delta["thinking"]
            case "signature_delta", "thinking":
                block["signature"] = delta["signature"]
            case "input_json_delta", "tool_use":
                self.open[index].append(delta["partial_json"])
            case other:
                raise AssertionError(other)


def _read(data: bytes) -> Client:
    client = Client()
    for block in sse.Decoder().feed(data):
        client.take(block.event, msgspec.json.decode(block.data))
    assert client.stopped
    return client


def test_the_order_is_legal_and_the_text_is_the_answer(
    name: str, scenario: Callable, encode: Callable
) -> None:
    batch = scenario(name)
    end = batch[-1]
    client = _read(encode("anthropic", batch))
    taken_back = any(isinstance(event, events.OutputReset) for event in batch)
    assert (client.error is not None) == (end.outcome != "completed" or taken_back)
    if client.error is not None:
        return
    content = client.message["content"]
    assert "".join(b["text"] for b in content if b["type"] == "text") == end.result["text"]
    assert "".join(b["thinking"] for b in content if b["type"] == "thinking") == end.result.get(
        "reasoning", ""
    )
    calls = [
        {"id": b["id"], "name": b["name"], "arguments": b["input"]}
        for b in content
        if b["type"] == "tool_use"
    ]
    assert calls == end.result.get("tool_calls", [])


def test_signature_reason_and_usage(scenario: Callable, encode: Callable) -> None:
    client = _read(encode("anthropic", scenario("tools")))
    assert client.message["content"][0] == {
        "type": "thinking",
        "thinking": "Let me look.",
        "signature": "c2ln",
    }
    assert client.reason == "tool_use"
    assert client.usage == {"input_tokens": 8, "output_tokens": 7, "cache_read_input_tokens": 4}


def test_counts_that_are_not_known_are_null() -> None:
    assert anthropic.usage_body(None) == {"input_tokens": None, "output_tokens": None}
    assert anthropic.usage_body(Usage(basis="unknown"))["output_tokens"] is None


def test_every_code_has_one_of_their_types() -> None:
    for code in errors.CODES:
        assert anthropic.error_body(code, "why")["error"]["type"].endswith(("_error", "_too_large"))
    assert anthropic.error_body("provider-overloaded", "")["error"]["type"] == "overloaded_error"


def test_a_ping_may_come_anywhere() -> None:
    (ping,) = sse.Decoder().feed(dialects.get("anthropic").heartbeat)
    assert (ping.event, msgspec.json.decode(ping.data)) == ("ping", {"type": "ping"})
