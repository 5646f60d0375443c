"""The server as a process of its own, with the real engine behind it: every wire, broken lines, kill -9, SIGTERM."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace import errors, events, ledger
from headrace.client import Client
from headrace.client.following import Patience
from headrace.testing import relay
from headrace.testing.engine import Engine as RealEngine
from headrace.testing.relay import Relay
from headrace.testing.runs import check_stream, shown
from headrace.testing.server import Server

ENDLESS = {"ignore_eos": True}
WIRES = ["openai:tiny", "openai-responses:tiny", "anthropic:tiny"]


def providers(url: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
    }


@pytest.fixture(scope="module")
def server(engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.sqlite"
    with Server(store=store, environment=providers(engine.url)) as running:
        yield running


async def collect(stream: AsyncIterator[events.Event]) -> list[events.Event]:
    return [event async for event in stream]


async def sse(url: str, path: str, **options: Any) -> tuple[aiohttp.ClientResponse, bytes]:
    async with aiohttp.ClientSession() as session:
        async with session.request(options.pop("method", "GET"), url + path, **options) as response:
            return response, await response.read()


@pytest.mark.parametrize("model", WIRES)
async def test_post_with_sse_over_every_wire(server: Server, model: str) -> None:
    body = {"model": model, "input": "tell me", "max_tokens": 80, "options": ENDLESS}
    response, data = await sse(
        server.url, "/v1/runs", method="POST", json=body, headers={"Accept": "text/event-stream"}
    )
    assert response.status in (200, 201)
    assert response.headers["Location"]
    found = [events.decode(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]
    check_stream(found)
    end = found[-1]
    assert isinstance(end, events.RunEnd)
    assert end.outcome == "completed"
    assert end.usage is not None
    assert end.usage.basis == "reported"
    _, facts = await sse(server.url, f"/v1/conversations/{end.run}/facts")
    assert shown(found) == end.result["text"]
    assert events.codec._encoder.encode(end.result["text"]) in facts


@pytest.mark.time_limit(240)
async def test_500_seeds_of_broken_lines(server: Server) -> None:
    """The line to the client is cut at random bytes; the reader has the golden text, no gap, no repeat."""
    places = asyncio.Semaphore(8)
    cuts = 0

    async def one(seed: int) -> None:
        nonlocal cuts
        dice = random.Random(seed)
        drops = dice.randint(1, 50) if seed % 10 == 0 else dice.randint(1, 6)

        def plan(number: int) -> relay.Plan:
            if number >= drops:
                return relay.PASS
            reset = dice.random() < 0.5
            return relay.cut(after_bytes=dice.randint(0, 4000), reset=reset)

        async with places, Client(server.url) as direct, Relay(server.url, plan) as broken:
            run = await direct.start("openai:tiny", "go", max_tokens=60, seed=seed, options=ENDLESS)
            patience = Patience(first=0.001, longest=0.01)
            async with Client(broken.url, patience=patience) as client:
                found = await collect(client.follow(run))
            check_stream(found)
            golden = (await direct.run(run)).result["text"]
            assert shown(found) == golden
            cuts += len(broken.connections) - 1

    await asyncio.gather(*(one(seed) for seed in range(500)))
    assert cuts > 500


async def test_stop_from_another_process_closes_the_provider(server: Server, engine: RealEngine) -> None:
    async with Client(server.url) as client:
        run = await client.start("openai:tiny", "go", max_tokens=30_000, options=ENDLESS)
        following = client.follow(run)
        async for event in following:
            if isinstance(event, events.TextDelta):
                break
        await following.aclose()
        assert engine.busy()
        info = await client.cancel(run)
        began = time.monotonic()
        while engine.busy():
            await asyncio.sleep(0.001)
        assert time.monotonic() - began < 1.0
        assert info.outcome == "cancelled"
        assert info.usage is not None
        assert info.usage.basis == "estimated"
        assert (await client.cancel(run)).elapsed_ms == info.elapsed_ms


async def test_two_tabs_and_a_frozen_one(server: Server) -> None:
    async with Client(server.url) as client, Relay(server.url, relay.stall(after_bytes=600)) as frozen:
        run = await client.start("openai:tiny", "go", max_tokens=2000, options=ENDLESS)
        async with Client(frozen.url) as stuck:
            waiting = asyncio.ensure_future(collect(stuck.follow(run)))
            one, two = await asyncio.gather(collect(client.follow(run)), collect(client.follow(run)))
            assert shown(one) == shown(two)
            check_stream(one)
            waiting.cancel()
        late = await collect(client.follow(run))
        check_stream(late)
        assert shown(late) == shown(one)


async def until_text(client: Client, run: str, deltas: int) -> None:
    following = client.follow(run)
    async for event in following:
        if isinstance(event, events.TextDelta):
            deltas -= 1
        if deltas <= 0 or isinstance(event, events.RunEnd):
            break
    await following.aclose()


async def quietly(call: Callable[[], Any]) -> Any:
    try:
        return await call()
    except (errors.HeadraceError, aiohttp.ClientError, OSError):
        return None


@pytest.mark.time_limit(240)
async def test_kill_9_at_20_random_moments(engine: RealEngine, tmp_path: Path) -> None:
    """After each restart every turn has exactly one ending, and a reader that comes back is told."""
    store = f"sqlite:///{tmp_path}/ledger.sqlite"
    dice = random.Random(9)
    async with Relay(engine.url, relay.pace(events=200)) as paced:
        server = Server(store=store, environment=providers(paced.url))
        begun: list[str] = []
        try:
            for moment in range(20):
                server.start()
                async with Client(server.url, patience=Patience(give_up=0.2)) as client:
                    asking = [
                        asyncio.ensure_future(
                            quietly(
                                lambda: client.start(dice.choice(WIRES), "go", max_tokens=40, options=ENDLESS)
                            )
                        )
                        for _ in range(4)
                    ]
                    if moment % 4:
                        begun += [run for run in await asyncio.gather(*asking) if run]
                        await quietly(partial(until_text, client, begun[-1], dice.randint(1, 60)))
                    else:
                        await asyncio.sleep(dice.random() * 0.02)
                    server.kill()
                    begun += [run for task in asking if (run := await task) and run not in begun]
            server.start()
            async with Client(server.url) as client:
                for run in begun:
                    info = await client.run(run)
                    assert info.status == "ended"
                    assert info.outcome in ("completed", "interrupted")
                    with pytest.raises(errors.ReadError) as raised:
                        await collect(client.follow(run))
                    assert raised.value.code == "retention-passed"
                    assert raised.value.details["run"]["outcome"] == info.outcome
        finally:
            server.kill()
    report = await ledger.verify_ledger(store)
    assert report.ok, report.problems
    assert report.open_runs == 0
    opened = ledger.open_ledger(store)
    endings: dict[str, int] = {}
    async for fact in opened.export():
        run, _, what = fact.id.rpartition(":")
        endings[run] = endings.get(run, 0) + (what == "end")
        assert fact.content == "" or fact.kind != "generation-ended"
    await opened.close()
    assert set(begun) <= set(endings)
    assert set(endings.values()) == {1}


async def test_sigterm_lets_live_runs_finish(engine: RealEngine) -> None:
    async with Relay(engine.url, relay.pace(events=100)) as paced:
        with Server(environment=providers(paced.url), arguments=("--grace", "20")) as server:
            async with Client(server.url) as client:
                run = await client.start("openai:tiny", "go", max_tokens=60, options=ENDLESS)
                reading = asyncio.ensure_future(collect(client.follow(run)))
                await until_text(client, run, 3)
                server.signal(15)
                found = await reading
            check_stream(found)
            assert isinstance(found[-1], events.RunEnd)
            assert found[-1].outcome == "completed"
            assert await asyncio.to_thread(server.wait) == 0


async def test_sigterm_past_the_grace_interrupts_and_says_so(engine: RealEngine) -> None:
    async with Relay(engine.url, relay.pace(events=50)) as paced:
        with Server(environment=providers(paced.url), arguments=("--grace", "0.3")) as server:
            async with Client(server.url) as client:
                run = await client.start("openai:tiny", "go", max_tokens=2000, options=ENDLESS)
                reading = asyncio.ensure_future(collect(client.follow(run)))
                await until_text(client, run, 3)
                server.signal(15)
                found = await reading
            assert isinstance(found[-1], events.RunEnd)
            assert found[-1].outcome == "interrupted"
            assert found[-1].error is not None
            assert found[-1].error.retryable
            assert await asyncio.to_thread(server.wait) == 0
