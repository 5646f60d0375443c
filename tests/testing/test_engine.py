"""The engine does what the tests of everything else rely on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace import errors
from headrace.testing import bigram
from headrace.testing.engine import MODEL_NAME, Engine


async def frames(engine: Engine, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON of each `data:` line; the fixtures of the engine always write one line a frame."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{engine.url}{path}", json={"stream": True, **body}) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                data = line.decode().rstrip("\n")
                if data.startswith("data: ") and data != "data: [DONE]":
                    yield json.loads(data.removeprefix("data: "))


async def chat(engine: Engine, prompt: str = "Tell me a story", **body: Any) -> list[dict[str, Any]]:
    request = {"messages": [{"role": "user", "content": prompt}], **body}
    return [frame async for frame in frames(engine, "/v1/chat/completions", request)]


def joined(chunks: list[dict[str, Any]], key: str = "content") -> str:
    return "".join(c["choices"][0]["delta"].get(key) or "" for c in chunks if c["choices"])


def finish(chunks: list[dict[str, Any]]) -> str | None:
    return next((c["choices"][0]["finish_reason"] for c in reversed(chunks) if c["choices"]), None)


async def test_chat_completions_stream_ends_with_a_usage_chunk(engine: Engine) -> None:
    chunks = await chat(
        engine, max_tokens=20, ignore_eos=True, seed=1, stream_options={"include_usage": True}
    )
    assert finish(chunks) == "length"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    assert chunks[-1]["usage"]["prompt_tokens"] > 0
    assert chunks[0]["model"] == MODEL_NAME
    assert len(joined(chunks)) > 20


async def test_responses_stream(engine: Engine) -> None:
    body = {"input": "Tell me a story", "max_output_tokens": 12, "seed": 1}
    events = [event async for event in frames(engine, "/v1/responses", body)]
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert text
    assert text == next(e["text"] for e in events if e["type"] == "response.output_text.done")
    assert events[-1]["response"]["usage"]["output_tokens"] > 0


async def test_messages_stream(engine: Engine) -> None:
    body = {"messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 12}
    events = [event async for event in frames(engine, "/v1/messages", body)]
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    assert any(e["type"] == "content_block_delta" for e in events)
    assert next(e["usage"]["output_tokens"] for e in events if e["type"] == "message_delta") > 0


async def test_the_same_seed_gives_the_same_text(engine: Engine) -> None:
    first, again, other = [
        joined(await chat(engine, max_tokens=60, seed=seed, temperature=0.8)) for seed in (5, 5, 6)
    ]
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(4))
async def test_a_json_schema_always_holds(engine: Engine, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "count": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        },
        "required": ["name", "count", "tags"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    chunks = await chat(engine, response_format=form, seed=seed, max_tokens=400)
    value = json.loads(joined(chunks))
    assert finish(chunks) == "stop"
    assert set(value) == {"name", "count", "tags"}
    assert isinstance(value["count"], int)


async def test_tools_are_called_with_streamed_arguments(engine: Engine) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    for seed in range(8):
        chunks = await chat(engine, tools=[tool], tool_choice="required", seed=seed, max_tokens=300)
        assert finish(chunks) == "tool_calls"
        arguments: dict[int, str] = {}
        for chunk in chunks:
            for delta in chunk["choices"][0]["delta"].get("tool_calls", []) if chunk["choices"] else []:
                text = delta["function"].get("arguments", "")
                arguments[delta["index"]] = arguments.get(delta["index"], "") + text
        for text in arguments.values():
            assert set(json.loads(text)) == {"city"}
        assert arguments


async def test_it_thinks_when_asked(engine: Engine) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}, "seed": 3}
    chunks = await chat(engine, "Please think about it", **thinking)
    assert joined(chunks, "reasoning_content")
    assert joined(chunks)
    assert finish(chunks) == "stop"
    calm = {**thinking, "chat_template_kwargs": {"enable_thinking": False}}
    assert joined(await chat(engine, "Please think about it", **calm), "reasoning_content") == ""
    assert joined(await chat(engine, "Tell me a story", **thinking), "reasoning_content") == ""


async def test_a_bad_request_and_one_too_long_are_refused(engine: Engine) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{engine.base_url}/chat/completions"
        async with session.post(url, json={"messages": "no"}) as response:
            assert response.status == 400
        long = {"messages": [{"role": "user", "content": "word " * 40_000}]}
        async with session.post(url, json=long) as response:
            error = (await response.json())["error"]
            assert response.status == 400
            assert error["n_prompt_tokens"] > error["n_ctx"]


async def test_closing_the_socket_stops_the_generation(engine: Engine) -> None:
    body = {"messages": [{"role": "user", "content": "Go on"}], "max_tokens": 30_000, "ignore_eos": True}
    before = engine.tokens_predicted()
    stream = frames(engine, "/v1/chat/completions", body)
    for _ in range(20):
        await anext(stream)
    assert engine.busy() == 1
    await stream.aclose()
    seconds = await asyncio.to_thread(engine.wait_idle)
    assert seconds < 2
    assert 0 < engine.tokens_predicted() - before < 30_000


async def test_slots_answer_side_by_side(engine: Engine) -> None:
    body = {"messages": [{"role": "user", "content": "Go on"}], "max_tokens": 30_000, "ignore_eos": True}
    streams = [frames(engine, "/v1/chat/completions", body) for _ in range(3)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    assert engine.busy() == 3
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await asyncio.to_thread(engine.wait_idle)


@pytest.mark.engine
async def test_a_key_is_demanded_when_one_is_set() -> None:
    pytest.importorskip("xllamacpp")
    with Engine(parallel=1, api_key="sesame") as engine:
        async with aiohttp.ClientSession() as session:
            body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
            url = f"{engine.base_url}/chat/completions"
            for key, status in (("wrong", 401), ("sesame", 200)):
                headers = {"Authorization": f"Bearer {key}"}
                async with session.post(url, json=body, headers=headers) as response:
                    assert response.status == status
        assert engine.busy() == 0


def wait_for_death(pid: int) -> None:
    psutil = pytest.importorskip("psutil")
    try:
        psutil.Process(pid).wait(timeout=10)
    except psutil.NoSuchProcess:
        pass


@pytest.mark.engine
def test_it_dies_with_its_parent_even_when_that_is_killed() -> None:
    pytest.importorskip("xllamacpp")
    program = f"""
        import sys; sys.path[:] = {sys.path!r}
        from headrace.testing.engine import Engine
        print(Engine(parallel=1).start().pid, flush=True)
        sys.stdin.read()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_for_death(pid)


@pytest.mark.engine
def test_the_command_serves_until_sigterm() -> None:
    pytest.importorskip("xllamacpp")
    program = f"import sys; sys.path[:] = {sys.path!r}; from headrace.testing import engine; engine.main()"
    process = subprocess.Popen([sys.executable, "-c", program, "--parallel", "1"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0


@pytest.mark.engine
def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    engine = Engine(model=broken)
    with pytest.raises(errors.UsageError, match="did not start"):
        engine.start()
    with pytest.raises(errors.UsageError, match="not running"):
        engine.busy()


def test_the_cache_writes_the_model_once(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    first = bigram.cached(tmp_path)
    stamp = os.stat(first).st_mtime_ns
    assert bigram.cached(tmp_path) == first
    assert os.stat(first).st_mtime_ns == stamp
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
