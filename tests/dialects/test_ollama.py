"""Ollama's lines, read line by line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from headrace import dialects, events
from headrace.dialects import ollama
from headrace.messages import Usage


def test_the_lines_are_the_answer(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    end = batch[-1]
    data = encode("ollama", batch)
    assert data.endswith(b"\n")
    lines = [msgspec.json.decode(line) for line in data.splitlines()]
    last = lines.pop()
    assert all(line["done"] is False and line["model"] == "demo" for line in lines)
    taken_back = any(isinstance(event, events.OutputReset) for event in batch)
    if end.outcome != "completed" or taken_back:
        assert set(last) == {"error"}
        return
    messages = [line["message"] for line in lines]
    assert last["done"] is True
    assert "".join(m["content"] for m in messages) == end.result["text"]
    assert "".join(m.get("thinking", "") for m in messages) == end.result.get("reasoning", "")
    calls = [call for m in messages for call in m.get("tool_calls", ())]
    assert [{"id": c["id"], **c["function"]} for c in calls] == end.result.get("tool_calls", [])


def test_the_last_line_has_what_is_known(info: dialects.Info) -> None:
    def last(**more: object) -> dict:
        end = events.RunEnd(outcome="completed", **more)
        return msgspec.json.decode(ollama.OllamaEncoder(info).encode(end))

    bare = last(finish_reason="length")
    assert bare["done_reason"] == "length"
    assert not {"eval_count", "prompt_eval_count", "total_duration"} & set(bare)
    assert datetime.fromisoformat(bare["created_at"]) == info.created
    full = last(elapsed_ms=1.5, usage=Usage(basis="reported", input_tokens=3, output_tokens=4))
    assert (full["prompt_eval_count"], full["eval_count"], full["total_duration"]) == (3, 4, 1_500_000)


def test_it_is_ndjson() -> None:
    assert dialects.get("ollama").media_type == "application/x-ndjson"
