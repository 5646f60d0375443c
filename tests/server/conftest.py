"""A real server on a free port, with scripted providers, and a client that reads what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from headrace import settings as settings_module
from headrace.ledger.memory import MemoryLedger
from headrace.protocol import sse
from headrace.providers import prices, scripted
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.server import app, runner

NO_LEDGER = object()


class Reply:
    """An answer, read to its end."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The error's code; the shape is checked on the way."""
        error = self.json["error"]
        assert set(self.json) == {"error"}
        assert set(error) == {"code", "message", "details"}
        assert error["message"]
        assert self.headers["content-type"] == "application/json"
        return str(error["code"])


class Site:
    """A running server and a client of it.

    Attributes:
        provider: plays `script` for the model `scripted`.
        gate: each `Pause` of the script waits for one `gate.release()`.
    """

    def __init__(
        self, url: str, engine: Engine, made: app.App, provider: scripted.Scripted, gate: asyncio.Semaphore
    ) -> None:
        self.url = url
        self.engine = engine
        self.app = made
        self.service = made.service
        self.provider = provider
        self.gate = gate
        self.http = aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=30))

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        async with self.http.request(method, path, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        if body is not None and "data" not in options:
            options["json"] = body
        return await self.ask("POST", path, **options)

    async def start(self, input: str = "Hello", headers: dict[str, str] | None = None, **body: Any) -> str:
        """Start a run; its id."""
        reply = await self.post("/v1/runs", {"input": input, **body}, headers=headers)
        assert reply.status == 201, reply.body
        return str(reply.json["run"])

    async def read(self, run: str, after: str = "", **options: Any) -> list[dict[str, Any]]:
        """The events of a run after a cursor, to the end of the stream."""
        headers = {**options.pop("headers", {}), **({"last-event-id": after} if after else {})}
        path = options.pop("path", f"/v1/runs/{run}/events")
        async with self.http.get(path, headers=headers, **options) as answer:
            assert answer.status == 200, await answer.text()
            return [json.loads(found.data) async for found in events_of(answer)]

    async def ended(self, run: str) -> None:
        active = self.engine.active(run)
        assert active is not None
        await active.ended.wait()


async def events_of(answer: aiohttp.ClientResponse) -> AsyncIterator[sse.SSE]:
    """The server-sent events of an answer."""
    decoder = sse.Decoder()
    async for data in answer.content.iter_any():
        for found in decoder.feed(data):
            yield found


def text_of(found: list[dict[str, Any]]) -> str:
    """The joined text, resets applied."""
    blocks: dict[str, str] = {}
    for event in found:
        if event["type"] == "text-delta":
            blocks[event["block"]] = blocks.get(event["block"], "") + event["delta"]
        elif event["type"] == "output-reset":
            for block in event["blocks"]:
                blocks.pop(block, None)
    return "".join(blocks.values())


def check_covered(found: list[dict[str, Any]], after: int = 0) -> None:
    """Every seq once, in order, and the ending last."""
    expected = after + 1
    for event in found:
        assert event.get("from", event["seq"]) == expected, event
        expected = event["seq"] + 1
    assert found[-1]["type"] == "run-end"
    assert [event["type"] for event in found].count("run-end") == 1


@contextlib.asynccontextmanager
async def _serving(
    script: Any = "Hello world",
    *,
    ledger: Any = None,
    retention: float = 3600.0,
    tools: Any = (),
    workspace: Any = None,
    **options: Any,
) -> AsyncIterator[Site]:
    gate = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        await gate.acquire()

    provider = scripted.Scripted(script, sleep=sleep)
    chosen = settings_module.Settings(**{"model": "scripted", "drain_seconds": 0.0, **options})
    registry = Registry(chosen)
    registry.register("scripted", provider)
    engine = Engine(
        registry,
        MemoryRunLog(retention=retention),
        None if ledger is NO_LEDGER else ledger or MemoryLedger(),
        price=prices.priced,
        max_running=chosen.max_concurrent_runs,
        max_queued=chosen.max_queue_length,
        grace_s=chosen.grace_seconds,
    )
    made = app.create_app(engine, chosen, registry, tools=tools, workspace=workspace)
    async with runner.listening(made) as server:
        site = Site(server.url, engine, made, provider, gate)
        try:
            yield site
        finally:
            await engine.drain(0)
            await site.http.close()
    await engine.close()


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractAsyncContextManager[Site]]:
    """`async with serving(script, **settings) as site:`"""
    return _serving


@pytest.fixture
def tools() -> Any:
    """The helpers above, for tests that cannot import them."""

    class Tools:
        events_of = staticmethod(events_of)
        text_of = staticmethod(text_of)
        check_covered = staticmethod(check_covered)
        NO_LEDGER = NO_LEDGER

    return Tools
