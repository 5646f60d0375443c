"""Chat Completions chunks: read with the official client's own types, and with its accumulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headrace import dialects, events
from headrace.dialects import openai_chat
from headrace.messages import Usage


def _chunks(body: bytes) -> list[dict[str, Any]]:
    """Data blocks and nothing else, `[DONE]` last."""
    blocks = body.split(b"\n\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    assert blocks.pop() == b"data: [DONE]"
    return [msgspec.json.decode(block[6:]) for block in blocks]


def _parse(chunk: dict[str, Any]) -> ChatCompletionChunk:
    return ChatCompletionChunk.model_validate(chunk, strict=True)


def _fold(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client keeps: text, calls by index, the finish, the error. Checks the order on the way."""
    got: dict[str, Any] = {"text": "", "calls": {}, "finish": None, "usage": None, "error": None}
    for i, chunk in enumerate(chunks):
        assert got["error"] is None, "something came after the error"
        if "error" in chunk:
            got["error"] = chunk["error"]
            continue
        parsed = _parse(chunk)
        if not parsed.choices:
            assert got["finish"], "usage comes after the finish"
            got["usage"] = parsed.usage
            continue
        assert got["finish"] is None, "a delta came after the finish"
        choice = parsed.choices[0]
        assert (choice.delta.role == "assistant") == (i == 0)
        got["text"] += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            if call.id:
                assert call.index == len(got["calls"])
                got["calls"][call.index] = [call.id, call.function.name, ""]
            got["calls"][call.index][2] += call.function.arguments
        got["finish"] = choice.finish_reason
    return got


def test_what_a_client_makes_of_it(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    end = batch[-1]
    got = _fold(_chunks(encode("openai-chat", batch)))
    taken_back = any(isinstance(event, events.OutputReset) for event in batch)
    assert (got["error"] is not None) == (end.outcome != "completed" or taken_back)
    if got["error"] is not None:
        assert got["finish"] is None
        return
    assert got["text"] == end.result["text"]
    assert got["finish"] == {"stop": "stop", "tool-calls": "tool_calls"}[end.finish_reason]
    calls = [
        {"id": id, "name": name, "arguments": msgspec.json.decode(arguments)}
        for id, name, arguments in got["calls"].values()
    ]
    assert calls == end.result.get("tool_calls", [])
    assert (got["usage"] is None) == (end.usage is None)


def test_reasoning_and_usage(scenario: Callable, encode: Callable) -> None:
    chunks = _chunks(encode("openai-chat", scenario("tools")))
    reasoning = [c["choices"][0]["delta"].get("reasoning_content", "") for c in chunks if c["choices"]]
    assert "".join(reasoning) == "Let me look."
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 7,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_usage_is_only_told_when_asked_for(scenario: Callable, info: dialects.Info) -> None:
    encoder = openai_chat.OpenAIChatEncoder(msgspec.structs.replace(info, include_usage=False))
    chunks = _chunks(encoder.start() + b"".join(map(encoder.encode, scenario("story"))) + encoder.end())
    assert all("usage" not in chunk for chunk in chunks)


def test_unknown_usage_is_never_zero() -> None:
    assert openai_chat.usage_body(None) is None
    assert openai_chat.usage_body(Usage(basis="unknown")) is None
    assert openai_chat.usage_body(Usage(basis="reported", output_tokens=3)) is None


@pytest.mark.parametrize("shown", [True, False])
def test_only_shown_text_can_be_taken_back(shown: bool, info: dialects.Info) -> None:
    encoder = openai_chat.OpenAIChatEncoder(info)
    encoder.encode(events.RunStart(kind="answer", model="demo"))
    encoder.encode(events.TextStart(block="b1"))
    encoder.encode(events.ReasoningDelta(block="b2", delta="hm"))
    if shown:
        encoder.encode(events.TextDelta(block="b1", delta="x"))
    assert bool(encoder.encode(events.OutputReset(blocks=["b1", "b2"], reason="retry"))) is shown
    assert bool(encoder.encode(events.TextDelta(block="b3", delta="y"))) is not shown


def test_the_whole_answer(name: str, scenario: Callable, info: dialects.Info) -> None:
    end = scenario(name)[-1]
    body = openai_chat.completion(info, end)
    parsed = ChatCompletion.model_validate(msgspec.json.decode(msgspec.json.encode(body)), strict=True)
    message = parsed.choices[0].message
    assert (message.content or "") == end.result["text"]
    calls = [
        {"id": c.id, "name": c.function.name, "arguments": msgspec.json.decode(c.function.arguments)}
        for c in message.tool_calls or ()
    ]
    assert calls == end.result.get("tool_calls", [])
