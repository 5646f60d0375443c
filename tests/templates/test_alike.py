"""Async, blocking, over HTTP and from the shell: the same values, the same events in the same order."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp

import headrace
from headrace import events, settings
from headrace.protocol import sse
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.testing.playback import Request, Response, ScriptedHTTP
from headrace.testing.runs import check_stream
from headrace.testing.server import Server

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (
    "<system>Be kind.</system>{{ who }}: a title. [[title]] and [[int:n|max=9]]"
    "<checkpoint>One</checkpoint>{{ title }} {{ n }} [[text*:tags]] last [[end|max_length=30]]"
)


def reply(request: Request) -> Response:
    """A model with one answer for each question; the last slot's first answer is too long."""
    asked = request.json()["messages"]
    text = asked[-1]["content"]
    if "'n'" in text:
        say = '{"value": 7}'
    elif "'tags'" in text:
        say = '{"value": ["red", "blue"]}'
    elif text == "last":
        say = "far too long " * 4
    else:
        say = f"re {len(asked)}"
    pieces = [say[i : i + 5] for i in range(0, len(say), 5)]
    frames = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    frames.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)
    return Response(body=body + b"data: [DONE]\n\n")


def told(found: list[dict[str, Any]]) -> list[Any]:
    """What must be the same: everything but ids of runs, times and numbers that are measured."""
    out = []
    texts: dict[str, str] = {}
    for event in found:
        kind = event["type"]
        if kind in ("text-delta", "field-delta"):  # how text is cut on the way is nobody's promise
            key = f"{event['span']} {event.get('block', event.get('path'))}"
            texts[key] = texts.get(key, "") + event["delta"]
            continue
        names = ("type", "span", "name", "value", "path", "outcome", "reason", "results", "attempt", "blocks")
        out.append({name: event.get(name) for name in names})
    return [*out, sorted(texts.items())]


async def test_four_ways(tmp_path: Path) -> None:
    (tmp_path / "t.hr.md").write_text(SOURCE)
    async with ScriptedHTTP(reply) as provider:
        variables = {"OPENAI_BASE_URL": f"{provider.url}/v1", "OPENAI_API_KEY": "k"}
        chosen = settings.Settings(openai_base_url=variables["OPENAI_BASE_URL"], openai_api_key="k")  # type: ignore[arg-type]

        async def by_async() -> tuple[list[dict[str, Any]], Any]:
            registry = Registry(chosen)
            engine = headrace.Engine(registry, MemoryRunLog())
            template = headrace.Template(SOURCE)
            async with template.stream("openai:m", {"who": "Ada"}, engine=engine, cache=False) as run:
                found = [event async for event in run]
                result = await run.result()
            check_stream(found)
            await engine.close()
            await registry.close()
            return [json.loads(events.encode(event)) for event in found], dict(result)

        def by_blocking() -> tuple[list[dict[str, Any]], Any]:
            registry = Registry(chosen)
            engine = headrace.Engine(registry, MemoryRunLog())
            template = headrace.Template(SOURCE)
            run = template.stream_sync("openai:m", {"who": "Ada"}, engine=engine, cache=False)
            values = list(run.values())
            found = _drained(run)
            assert [v.type for v in values][-1] == "complete"
            return found, dict(run.result())

        async def by_http() -> tuple[list[dict[str, Any]], Any]:
            server = await asyncio.to_thread(Server(environment=variables).start)
            try:
                body = {"template": SOURCE, "inputs": {"who": "Ada"}, "model": "openai:m", "cache": False}
                async with aiohttp.ClientSession(server.url) as site:
                    async with site.post(
                        "/v1/runs", json=body, headers={"accept": "text/event-stream"}
                    ) as answer:
                        decoder = sse.Decoder()
                        found = [
                            json.loads(one.data) for one in decoder.feed(await answer.read()) if one.data
                        ]
            finally:
                await asyncio.to_thread(server.kill)
            return found, found[-1]["result"]["values"]

        async def by_shell() -> tuple[list[dict[str, Any]], Any]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace", "template", "run", "t.hr.md", "-m", "openai:m",
                "--param", "who=Ada", "--json", "--no-cache", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src"), **variables},
            )  # fmt: skip
            stdout, _ = await process.communicate()
            assert process.returncode == 0
            found = [json.loads(line) for line in stdout.splitlines()]
            return found, found[-1]["result"]["values"]

        ways = [await by_async(), await asyncio.to_thread(by_blocking), await by_http(), await by_shell()]
    first_events, first_values = ways[0]
    assert first_values["n"] == 7
    assert first_values["tags"] == ["red", "blue"]
    assert any(event["type"] == "output-reset" for event in first_events)
    for found, values in ways[1:]:
        assert values == first_values
        assert told(found) == told(first_events)


def _drained(run: Any) -> list[dict[str, Any]]:
    """The events of a run that a blocking caller has read."""
    from headrace.runs import sync

    async def read() -> list[dict[str, Any]]:
        return [json.loads(events.encode(event)) async for event in run._started()]

    return sync.call(read())
