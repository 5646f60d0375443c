"""AG-UI: the order that its client verifies, and the messages that come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace import dialects, events
from headrace.dialects.ag_ui import AgUiEncoder
from headrace.protocol import sse


class Client:
    """Their rules: a start before everything, no second start of an open id, nothing open at the finish."""

    def __init__(self) -> None:
        self.state = "new"
        self.open: dict[tuple[str, str], str] = {}
        self.messages: dict[str, str] = {}
        self.calls: dict[str, list[str]] = {}
        self.results: dict[str, str] = {}
        self.custom: dict[str, Any] = {}

    def take(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        assert self.state in ("new", "running"), f"{kind} after the end"
        if self.state == "new":
            assert kind in ("RUN_STARTED", "RUN_ERROR")
        match kind:
            case "RUN_STARTED":
                assert self.state == "new"
                assert body["threadId"]
                assert body["runId"]
                self.state = "running"
            case "RUN_FINISHED":
                assert not self.open
                self.state = "finished"
            case "RUN_ERROR":
                assert body["message"]
                self.state = "error"
            case "STEP_STARTED":
                self._start("step", body["stepName"])
            case "STEP_FINISHED":
                del self.open["step", body["stepName"]]
            case "TOOL_CALL_START":
                self._start("call", body["toolCallId"])
                self.calls[body["toolCallId"]] = [body["toolCallName"], ""]
            case "TOOL_CALL_ARGS":
                assert ("call", body["toolCallId"]) in self.open
                self.calls[body["toolCallId"]][1] += body["delta"]
            case "TOOL_CALL_END":
                del self.open["call", body["toolCallId"]]
            case "TOOL_CALL_RESULT":
                assert body["messageId"] not in self.messages
                self.results[body["toolCallId"]] = body["content"]
            case "CUSTOM":
                self.custom[body["name"]] = body["value"]
            case _:
                self._message(kind, body)

    def _message(self, kind: str, body: dict[str, Any]) -> None:
        family, _, step = kind.rpartition("_")
        id = body["messageId"]
        if step == "START":
            self._start(family, id)
            if family == "TEXT_MESSAGE":
                assert body["role"] == "assistant"
                self.messages[id] = ""
        elif step == "CONTENT":
            assert (family, id) in self.open
            assert body["delta"]
            if family == "TEXT_MESSAGE":
                self.messages[id] += body["delta"]
        else:
            assert step == "END"
            del self.open[family, id]

    def _start(self, family: str, id: str) -> None:
        assert (family, id) not in self.open
        self.open[family, id] = id


def _read(data: bytes) -> Client:
    client = Client()
    for block in sse.Decoder().feed(data):
        client.take(msgspec.json.decode(block.data))
    return client


def test_the_order_is_legal_and_the_messages_are_the_answer(
    name: str, scenario: Callable, encode: Callable
) -> None:
    batch = scenario(name)
    end = batch[-1]
    client = _read(encode("ag-ui", batch))
    taken_back = any(isinstance(event, events.OutputReset) for event in batch)
    if end.outcome != "completed" or taken_back:
        assert client.state == "error"
        return
    assert client.state == "finished"
    assert "".join(client.messages.values()) == end.result["text"]
    calls = [
        {"id": id, "name": name, "arguments": msgspec.json.decode(arguments)}
        for id, (name, arguments) in client.calls.items()
    ]
    assert calls == end.result.get("tool_calls", [])


def test_results_and_sources(scenario: Callable, encode: Callable) -> None:
    client = _read(encode("ag-ui", scenario("server-tool")))
    assert msgspec.json.decode(client.results["call_1"]) == {"sky": "clear"}
    assert client.custom["source"]["url"] == "https://example.org/sky"


def test_spans_are_steps_even_with_the_same_name(info: dialects.Info) -> None:
    encoder = AgUiEncoder(info)
    data = encoder.start()
    for event in (
        events.RunStart(kind="template", model="demo"),
        events.SpanStart(span="s1", kind="slot", name="title"),
        events.SpanStart(span="s2", kind="slot", name="title"),
        events.SpanStart(span="s3", kind="step"),
        events.SpanEnd(span="s1", outcome="completed"),
        events.TextDelta(block="b1", delta=""),
        events.SpanEnd(span="s2", outcome="completed"),
        events.SpanEnd(span="s3", outcome="completed"),
        events.SpanEnd(span="s9", outcome="completed"),
        events.Custom(name="mine", data=1),
        events.Output(value={"n": 1}),
        events.ToolResult(call="nobody's", value=1),
        events.RunEnd(outcome="completed"),
    ):
        data += encoder.encode(event)
    client = _read(data + encoder.end())
    assert client.state == "finished"
    assert client.custom == {"mine": 1, "output": {"n": 1}}


def test_a_run_without_a_conversation_is_its_own_thread(info: dialects.Info) -> None:
    alone = msgspec.structs.replace(info, conversation="")
    assert f'"threadId":"{info.run}"'.encode() in AgUiEncoder(alone).start()
