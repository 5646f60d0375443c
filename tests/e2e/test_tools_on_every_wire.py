"""Two tools in parallel, then an answer, over every wire: what the second request says is that wire's own format."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import events, settings
from headrace.protocol.json import Parser
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.testing.playback import Request, Response, ScriptedHTTP

SSE = {"Content-Type": "text/event-stream"}


def frames(*bodies: Any, done: bool = False) -> list[bytes]:
    made = []
    for body in bodies:
        named = f"event: {body['type']}\n" if isinstance(body, dict) and "type" in body else ""
        made.append(f"{named}data: {json.dumps(body)}\n\n".encode())
    return [*made, b"data: [DONE]\n\n"] if done else made


def openai_chat(calls: bool) -> list[bytes]:
    def chunk(delta: Any, finish: str | None = None) -> Any:
        return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    if not calls:
        return frames(chunk({"content": "Four and mild."}), chunk({}, "stop"), done=True)
    begin = [
        {"index": n, "id": f"c{n}", "function": {"name": name, "arguments": ""}}
        for n, name in enumerate(("add", "weather"))
    ]
    parts = [(0, '{"a": 2'), (1, '{"ci'), (0, ', "b": 2}'), (1, 'ty": "Ulm"}')]
    deltas = [chunk({"tool_calls": [{"index": n, "function": {"arguments": text}}]}) for n, text in parts]
    return frames(
        chunk({"role": "assistant", "content": "Let me see."}),
        chunk({"tool_calls": begin}),
        *deltas,
        chunk({}, "tool_calls"),
        done=True,
    )


def openai_responses(calls: bool) -> list[bytes]:
    done = {
        "type": "response.completed",
        "response": {"id": "r", "model": "m", "status": "completed", "output": [], "usage": None},
    }
    made: list[Any] = [{"type": "response.created", "response": {"id": "r", "model": "m"}}]
    if not calls:
        item: Any = {"type": "message", "id": "m1", "role": "assistant", "content": []}
        made += [
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {
                "type": "response.output_text.delta",
                "output_index": 0,
                "content_index": 0,
                "item_id": "m1",
                "delta": "Four and mild.",
            },
            {"type": "response.output_item.done", "output_index": 0, "item": item},
        ]
        return frames(*made, done)
    for n, (name, arguments) in enumerate((("add", '{"a": 2, "b": 2}'), ("weather", '{"city": "Ulm"}'))):
        item = {"type": "function_call", "id": f"f{n}", "call_id": f"c{n}", "name": name, "arguments": ""}
        made.append({"type": "response.output_item.added", "output_index": n, "item": item})
        for text in (arguments[:5], arguments[5:]):
            made.append(
                {
                    "type": "response.function_call_arguments.delta",
                    "output_index": n,
                    "item_id": f"f{n}",
                    "delta": text,
                }
            )
        whole = item | {"arguments": arguments}
        made.append({"type": "response.output_item.done", "output_index": n, "item": whole})
    return frames(*made, done)


def anthropic(calls: bool) -> list[bytes]:
    blocks: list[tuple[Any, list[Any]]] = [
        (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": "Let me see." if calls else "Four and mild."}],
        )
    ]
    if calls:
        for n, (name, arguments) in enumerate((("add", '{"a": 2, "b": 2}'), ("weather", '{"city": "Ulm"}'))):
            block = {"type": "tool_use", "id": f"c{n}", "name": name, "input": {}}
            halves = (arguments[:6], arguments[6:])
            blocks.append((block, [{"type": "input_json_delta", "partial_json": text} for text in halves]))
    made: list[Any] = [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "model": "m",
                "role": "assistant",
                "content": [],
                "usage": {"input_tokens": 1},
            },
        }
    ]
    for index, (block, deltas) in enumerate(blocks):
        made.append({"type": "content_block_start", "index": index, "content_block": block})
        made += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        made.append({"type": "content_block_stop", "index": index})
    reason = "tool_use" if calls else "end_turn"
    made.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}})
    return frames(*made, {"type": "message_stop"})


def gemini(calls: bool) -> list[bytes]:
    def chunk(*parts: Any, finish: str | None = None) -> Any:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [*parts]}, "index": 0}
        return {"candidates": [candidate | ({"finishReason": finish} if finish else {})]}

    if not calls:
        return frames(chunk({"text": "Four and "}), chunk({"text": "mild."}, finish="STOP"))
    return frames(
        chunk({"text": "Let me see."}),
        chunk({"functionCall": {"name": "add", "args": {"a": 2, "b": 2}}, "thoughtSignature": "c2ln"}),
        chunk({"functionCall": {"name": "weather", "args": {"city": "Ulm"}}}, finish="STOP"),
    )


def ollama(calls: bool) -> list[bytes]:
    def line(**message: Any) -> bytes:
        body = {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": False}
        return json.dumps(body).encode() + b"\n"

    end = json.dumps({"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop"}).encode()
    if not calls:
        return [line(content="Four and "), line(content="mild."), end + b"\n"]
    wanted = [
        {"function": {"name": "add", "arguments": {"a": 2, "b": 2}}},
        {"function": {"name": "weather", "arguments": {"city": "Ulm"}}},
    ]
    return [line(content="Let me see."), *[line(tool_calls=[call]) for call in wanted], end + b"\n"]


def said_in_chat(body: Any) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def said_in_responses(body: Any) -> list[str]:
    return [item["output"] for item in body["input"] if item.get("type") == "function_call_output"]


def said_in_anthropic(body: Any) -> list[str]:
    assert body["messages"][-1]["role"] == "user"
    made = []
    for part in body["messages"][-1]["content"]:
        assert part["type"] == "tool_result"
        content = part["content"]
        made.append(content if isinstance(content, str) else content[0]["text"])
    return made


def said_in_gemini(body: Any) -> list[str]:
    model, results = body["contents"][-2:]
    assert [part["functionCall"]["name"] for part in model["parts"][1:]] == ["add", "weather"]
    assert model["parts"][1]["thoughtSignature"] == "c2ln"
    return [part["functionResponse"]["response"]["result"] for part in results["parts"]]


WIRES: dict[str, tuple[str, Callable[[bool], list[bytes]], dict[str, str], Callable[[Any], list[str]]]] = {
    "openai": ("openai_base_url", openai_chat, SSE, said_in_chat),
    "openai-responses": ("openai_base_url", openai_responses, SSE, said_in_responses),
    "anthropic": ("anthropic_base_url", anthropic, SSE, said_in_anthropic),
    "gemini": ("gemini_base_url", gemini, SSE, said_in_gemini),
    "ollama": ("ollama_host", ollama, {"Content-Type": "application/x-ndjson"}, said_in_chat),
}


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def weather(city: str) -> dict[str, str]:
    """The weather."""
    return {"city": city, "sky": "mild"}


@pytest.mark.parametrize("wire", WIRES)
async def test_two_calls_and_an_answer(wire: str) -> None:
    place, answer, headers, said = WIRES[wire]
    requests: list[Any] = []

    def respond(request: Request) -> Response:
        requests.append(json.loads(request.body))
        return Response(headers=headers, pieces=answer(len(requests) == 1), ending="clean")

    async with ScriptedHTTP(respond) as model:
        keys = {"openai_api_key": "k", "anthropic_api_key": "k", "gemini_api_key": "k"}
        registry = Registry(settings.Settings(**{place: model.url, **keys}))  # type: ignore[arg-type]
        engine = Engine(registry, MemoryRunLog())
        try:
            async with headrace.stream(
                f"{wire}:m", "2 + 2, and Ulm?", tools=[add, weather], engine=engine
            ) as run:
                seen = [event async for event in run]
                result = await run.result()
        finally:
            await engine.close()
            await registry.close()
    assert result.outcome == "completed", result.error
    assert result.finish_reason == "stop"
    assert result.text.endswith("Four and mild.")
    assert [(call["name"], call["value"]) for call in result.tool_calls] == [
        ("add", 4),
        ("weather", {"city": "Ulm", "sky": "mild"}),
    ]
    assert len(requests) == 2
    four, mild = said(requests[1])
    assert (str(four), json.loads(mild) if isinstance(mild, str) else mild) == (
        "4",
        {"city": "Ulm", "sky": "mild"},
    )

    # the deltas of each call are its arguments, also for a machine that reads them as they come
    parsers: dict[str, Parser] = {}
    for event in seen:
        if isinstance(event, events.ToolCallStart):
            parsers[event.call] = Parser()
        elif isinstance(event, events.ToolCallDelta):
            parsers[event.call].feed(event.delta)
        elif isinstance(event, events.ToolCallEnd):
            parsers[event.call].close()
            assert parsers[event.call].value == event.arguments
    assert len(parsers) == 2
