"""Responses: every event has the official client's type, and their order passes its state machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from headrace import dialects, events
from headrace.dialects import openai_responses
from headrace.protocol import sse

_EVENT = pydantic.TypeAdapter(ResponseStreamEvent)


class Client:
    """Builds the output from deltas alone, refuses illegal steps, compares with what closing events say."""

    def __init__(self) -> None:
        self.created = False
        self.ended: dict[str, Any] | None = None
        self.items: dict[int, dict[str, Any]] = {}
        self.open: dict[int, str] = {}
        self.number = -1

    def take(self, name: str, body: dict[str, Any]) -> None:
        assert name == body["type"]
        assert self.ended is None, f"{name} after the end"
        assert body["sequence_number"] > self.number
        self.number = body["sequence_number"]
        _EVENT.validate_python(body)
        family, _, step = name.removeprefix("response.").rpartition(".")
        if name == "response.created":
            assert not self.created
            self.created = True
            return
        assert self.created
        if name in ("response.completed", "response.incomplete", "response.failed"):
            self.ended = body["response"]
            Response.model_validate(self.ended)
            if step != "failed":
                assert not self.open
            return
        if name == "response.in_progress":
            return
        index = body["output_index"]
        if name == "response.output_item.added":
            assert index == len(self.items)
            self.items[index] = {"id": body["item"]["id"], "kind": body["item"]["type"], "text": ""}
            self.open[index] = body["item"]["type"]
            return
        assert index in self.open, f"{name} for an item that is not open"
        item = self.items[index]
        assert body.get("item_id", item["id"]) == item["id"]
        if name == "response.output_item.done":
            item["done"] = body["item"]
            del self.open[index]
        elif step == "delta":
            item["text"] += body["delta"]
        elif step == "done" and "part" not in family:
            assert body.get("text", body.get("arguments")) == item["text"] or not item["text"]
            item["text"] = body.get("text", body.get("arguments"))


def _read(data: bytes) -> Client:
    client = Client()
    for block in sse.Decoder().feed(data):
        client.take(block.event, msgspec.json.decode(block.data))
    return client


def test_the_order_is_legal_and_the_text_is_the_answer(
    name: str, scenario: Callable, encode: Callable
) -> None:
    batch = scenario(name)
    end = batch[-1]
    client = _read(encode("openai-responses", batch))
    assert client.ended is not None
    if end.outcome != "completed" or any(isinstance(event, events.OutputReset) for event in batch):
        assert client.ended["status"] == "failed"
        assert client.ended["error"]["message"]
        return
    assert client.ended["output"] == [item["done"] for item in client.items.values()]
    texts = [item["text"] for item in client.items.values() if item["kind"] == "message"]
    assert "".join(texts) == end.result["text"]
    calls = [
        {
            "id": item["done"]["call_id"],
            "name": item["done"]["name"],
            "arguments": msgspec.json.decode(item["text"]),
        }
        for item in client.items.values()
        if item["kind"] == "function_call"
    ]
    assert calls == end.result.get("tool_calls", [])


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("tool-calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content-filter", "incomplete", "content_filter"),
    ],
)
def test_why_it_ended(reason: str, status: str, why: str | None, info: dialects.Info) -> None:
    encoder = openai_responses.ResponsesEncoder(info)
    start = events.RunStart(kind="answer", model="demo", seq=1)
    end = events.RunEnd(outcome="completed", finish_reason=reason, seq=2)
    client = _read(encoder.start() + encoder.encode(start) + encoder.encode(end) + encoder.end())
    assert client.ended is not None
    assert client.ended["status"] == status
    assert (client.ended["incomplete_details"] or {}).get("reason") == why


def test_numbers_do_not_depend_on_merging(scenario: Callable, info: dialects.Info) -> None:
    batch = scenario("story")
    merged = [event for event in batch if event.seq not in (4, 5)]
    merged[3] = events.TextDelta(block="b1", delta="…", run=info.run, seq=6, from_seq=4)
    numbers = []
    for each in (batch, merged):
        encoder = openai_responses.ResponsesEncoder(info)
        blocks = sse.Decoder().feed(encoder.start() + b"".join(map(encoder.encode, each)))
        numbers.append([msgspec.json.decode(block.data)["sequence_number"] for block in blocks])
    assert set(numbers[1]) < set(numbers[0])
    assert numbers[1][-1] == numbers[0][-1]
    assert {openai_responses.seq_of(number) for number in numbers[0]} <= {0, *range(1, len(batch) + 1)}


@pytest.mark.parametrize("which", ["story", "tools", "failed"])
def test_a_reader_that_has_some_frames_gets_exactly_the_others(
    scenario: Callable, info: dialects.Info, which: str
) -> None:
    batch = scenario(which)
    whole = openai_responses.ResponsesEncoder(info)
    frames = sse.Decoder().feed(whole.start() + b"".join(map(whole.encode, batch)))
    for i, frame in enumerate(frames):
        number = msgspec.json.decode(frame.data)["sequence_number"]
        seq = openai_responses.seq_of(number)
        encoder = openai_responses.resumed(number).encoder(info)
        for event in batch[:seq]:
            encoder.skip(event)
        rest = encoder.start() + b"".join(map(encoder.encode, batch[seq:]))
        assert [found.data for found in sse.Decoder().feed(rest)] == [found.data for found in frames[i + 1 :]]


@pytest.mark.parametrize("which", ["story", "tools", "failed", "cancelled"])
def test_the_object_of_a_run_is_made_of_its_end_alone(
    scenario: Callable, info: dialects.Info, which: str
) -> None:
    (end,) = [event for event in scenario(which) if isinstance(event, events.RunEnd)]
    found = openai_responses.response_of(info, end)
    Response.model_validate(found)
    assert found["status"] == end.outcome
    assert (found["error"] is not None) == (end.outcome == "failed")
    assert [item["call_id"] for item in found["output"] if item["type"] == "function_call"] == [
        call["id"] for call in end.result.get("tool_calls", ())
    ]
