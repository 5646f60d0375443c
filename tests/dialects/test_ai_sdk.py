"""The AI SDK's stream: its client's rules, and the message it ends up with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace import dialects, events
from headrace.dialects.ai_sdk import AiSdkEncoder
from headrace.protocol import sse


class Client:
    """A message as their client builds it; a delta or an end without its start is refused."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.open: dict[str, dict[str, Any]] = {}
        self.step: int | None = None
        self.ending: list[str] = []
        self.data: list[dict[str, Any]] = []

    def take(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        assert not self.ending or kind == "finish" or (self.ending == ["error"] and kind == "finish-step"), (
            kind
        )
        match kind:
            case "start":
                assert body["messageId"]
            case "start-step":
                assert self.step is None
                self.step = len(self.parts)
            case "finish-step":
                assert self.step is not None
                self.step = None
            case "reset-step":
                del self.parts[self.step :]
                self.open.clear()
            case "text-start" | "reasoning-start":
                assert body["id"] not in self.open
                part = {"type": kind.removesuffix("-start"), "text": ""}
                self.open[body["id"]] = part
                self.parts.append(part)
            case "text-delta" | "reasoning-delta":
                part = self.open[body["id"]]
                assert part["type"] == kind.removesuffix("-delta")
                part["text"] += body["delta"]
            case "text-end" | "reasoning-end":
                del self.open[body["id"]]
            case "tool-input-start":
                part = {"type": "tool", "id": body["toolCallId"], "name": body["toolName"], "text": ""}
                self.open[body["toolCallId"]] = part
                self.parts.append(part)
            case "tool-input-delta":
                self.open[body["toolCallId"]]["text"] += body["inputTextDelta"]
            case "tool-input-available" | "tool-input-error":
                part = self.open.pop(body["toolCallId"], None)
                if part is None:  # without a start the client makes the part here
                    part = {"type": "tool", "id": body["toolCallId"], "name": body["toolName"]}
                    self.parts.append(part)
                part["input"] = body["input"]
            case "tool-output-available" | "tool-output-error":
                part = next(p for p in self.parts if p.get("id") == body["toolCallId"])
                part["output"] = body.get("output", body.get("errorText"))
            case "error" | "abort" | "finish":
                self.ending.append(kind)
            case "source-url":
                assert body["sourceId"]
                assert body["url"]
            case "source-document":
                assert body["sourceId"]
                assert body["mediaType"]
                assert body["title"]
            case "file":
                assert body["url"]
                assert body["mediaType"]
            case _:
                assert kind.startswith("data-")
                self.data.append(body)

    def text(self) -> str:
        return "".join(part["text"] for part in self.parts if part["type"] == "text")


def _read(data: bytes) -> Client:
    client = Client()
    *blocks, done = sse.Decoder().feed(data)
    assert done.data == b"[DONE]"
    for block in blocks:
        assert block.event == ""
        assert block.id is None
        client.take(msgspec.json.decode(block.data))
    assert client.step is None
    return client


def test_the_message_is_the_answer(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    end = batch[-1]
    client = _read(encode("ai-sdk", batch))
    assert (
        client.ending
        == {
            "completed": ["finish"],
            "failed": ["error", "finish"],
            "cancelled": ["abort"],
        }[end.outcome]
    )
    assert client.text() == end.result["text"]
    calls = [
        {"id": part["id"], "name": part["name"], "arguments": part["input"]}
        for part in client.parts
        if part["type"] == "tool"
    ]
    assert calls == end.result.get("tool_calls", [])
    assert not client.open


def _encoder(info: dialects.Info) -> tuple[AiSdkEncoder, bytes]:
    encoder = AiSdkEncoder(info)
    opening = encoder.start() + encoder.encode(events.RunStart(kind="answer", model="demo"))
    return encoder, opening + encoder.encode(events.AttemptStart(attempt=1, provider="p", model="demo"))


def test_what_stands_of_a_step_is_sent_again(info: dialects.Info) -> None:
    encoder, data = _encoder(info)
    for event in (
        events.ReasoningStart(block="b1"),
        events.ReasoningDelta(block="b1", delta="Hm."),
        events.ReasoningEnd(block="b1"),
        events.TextStart(block="b2"),
        events.TextDelta(block="b2", delta="The answer "),
        events.TextEnd(block="b2"),
        events.ToolCallStart(call="c1", name="f", block="b3"),
        events.ToolCallDelta(call="c1", delta='{"a', block="b3"),
        events.ToolCallEnd(call="c1", block="b3"),
        events.AttemptEnd(attempt=1, outcome="failed"),
        events.OutputReset(blocks=["b1", "b3"], reason="failover"),
        events.AttemptStart(attempt=2, provider="q", model="spare"),
        events.TextStart(block="b4"),
        events.TextDelta(block="b4", delta="is 42."),
        events.TextEnd(block="b4"),
        events.AttemptEnd(attempt=2, outcome="completed"),
        events.RunEnd(outcome="completed", finish_reason="stop"),
    ):
        data += encoder.encode(event)
    client = _read(data + encoder.end())
    assert client.text() == "The answer is 42."
    assert [part["type"] for part in client.parts] == ["text", "text"]


def test_attempts_side_by_side_share_a_step(info: dialects.Info) -> None:
    encoder, data = _encoder(info)
    for event in (
        events.TextStart(block="b1", span="s1"),
        events.TextDelta(block="b1", delta="one", span="s1"),
        events.AttemptStart(attempt=2, provider="p", model="demo", span="s2"),
        events.TextStart(block="b2", span="s2"),
        events.TextDelta(block="b2", delta="lost", span="s2"),
        events.TextEnd(block="b2", span="s2"),
        events.OutputReset(blocks=["b2"], reason="retry", span="s2"),
        events.TextDelta(block="b1", delta=" and two", span="s1"),
        events.TextEnd(block="b1", span="s1"),
        events.RunEnd(outcome="completed", finish_reason="stop"),
    ):
        data += encoder.encode(event)
    assert _read(data + encoder.end()).text() == "one and two"


def test_what_an_earlier_step_showed_cannot_be_taken_back(info: dialects.Info) -> None:
    encoder, data = _encoder(info)
    for event in (
        events.TextStart(block="b1"),
        events.TextDelta(block="b1", delta="one"),
        events.TextEnd(block="b1"),
        events.AttemptStart(attempt=2, provider="p", model="demo"),
        events.OutputReset(blocks=["b1"], reason="validation"),
        events.TextDelta(block="b9", delta="never"),
    ):
        data += encoder.encode(event)
    client = _read(data + encoder.end())
    assert client.ending == ["error", "finish"]


def test_everything_else_has_a_part(info: dialects.Info) -> None:
    encoder, data = _encoder(info)
    for event in (
        events.ToolCallStart(call="c1", name="f", block="b1"),
        events.ToolCallEnd(call="c1", block="b1", arguments="{broken"),
        events.ToolResult(call="c1", error="no such thing"),
        events.ToolResult(call="unknown", value=1),
        events.Source(url="https://example.org", title="E"),
        events.Source(text="a page"),
        events.File(url="data:,x"),
        events.Output(value={"n": 1}),
        events.Status(message="Waiting"),
        events.Custom(name="my event!", data=[1]),
        events.HumanRequest(request="h1", kind="approve", message="May I?"),
        events.UsageReport(basis="unknown"),
        events.RunEnd(outcome="completed"),
    ):
        data += encoder.encode(event)
    client = _read(data + encoder.end())
    assert [part["type"] for part in client.data] == [
        "data-output", "data-status", "data-my-event-", "data-human-request",
    ]  # fmt: skip
    assert client.data[-1]["data"]["message"] == "May I?"
    assert client.parts[0]["output"] == "no such thing"


def test_the_header_their_client_wants() -> None:
    assert dict(dialects.get("ai-sdk").headers)["x-vercel-ai-ui-message-stream"] == "v1"


def test_a_reader_that_resumes_has_the_same_message(
    name: str, scenario: Callable, info: dialects.Info
) -> None:
    batch = scenario(name)
    whole, half = AiSdkEncoder(info), AiSdkEncoder(info)
    sent = [whole.encode(event) for event in batch]
    for after in range(len(batch)):
        half = AiSdkEncoder(info)
        for event in batch[:after]:
            half.skip(event)
        assert [half.encode(event) for event in batch[after:]] == sent[after:]
