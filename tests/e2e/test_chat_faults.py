"""A chat with a memory under every fault: whatever breaks, each `user` has one ending and the chain holds."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace import errors
from headrace.ledger import open_ledger
from headrace.memory import views
from headrace.memory.runtime import Runtime
from headrace.protocol.retry import RetryPolicy
from headrace.providers.base import Timeouts
from headrace.providers.scripted import Pause, Say, Scripted
from headrace.testing.engine import Engine as RealEngine
from headrace.testing.playback import Response, ScriptedHTTP
from headrace.testing.postgres import Postgres
from headrace.testing.runs import engine_for
from headrace.testing.server import Server

ROOT = Path(__file__).resolve().parents[2]


def sse(*texts: str, done: bool = True) -> bytes:
    """A Chat Completions stream."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    if done:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return (data + ("data: [DONE]\n\n" if done else "")).encode()


EVENTS = {"content-type": "text/event-stream"}
HALF = sse("Half an ans", done=False)
FAULTS = {
    "error": (Response(500, body={"error": {"message": "broken"}}), "provider-error"),
    "error after 200": (
        Response(headers=EVENTS, pieces=[HALF, b'data: {"error":{"message":"broken"}}\n\n']), "provider-error",
    ),
    "reset": (Response(headers=EVENTS, pieces=[HALF], ending="reset"), "stream-incomplete"),
    "cut": (Response(headers=EVENTS, pieces=[HALF], ending="cut"), "stream-incomplete"),
    "truncation": (Response(headers=EVENTS, pieces=[HALF]), "stream-incomplete"),
    "stall": (Response(headers=EVENTS, pieces=[HALF], ending="hang"), "provider-timeout"),
    "empty": (Response(headers=EVENTS, body=b""), "stream-incomplete"),
    "garbage": (Response(headers=EVENTS, pieces=[HALF, b"data: {{{\n\n"]), "provider-protocol"),
    "no stream at all": (Response(headers=EVENTS, body=b"<html>busy</html>"), "stream-incomplete"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_provider_does(fault: str, tmp_path: Path) -> None:
    answer, code = FAULTS[fault]
    url = f"sqlite:///{tmp_path}/a.sqlite"
    ledger = open_ledger(url)
    async with ScriptedHTTP(answer, Response(headers=EVENTS, body=sse("All ", "well."))) as provider:
        runs = engine_for(ledger=ledger, openai_base_url=f"{provider.url}/v1", openai_api_key="none")
        more: dict[str, Any] = {
            "retry": RetryPolicy(attempts=1),
            "timeouts": Timeouts(connect=5, first_chunk=0.5, stall=0.3, total=10),
        }
        async with Runtime("openai:tiny", engine=runs, **more) as runtime:
            seen: list[str] = []
            with pytest.raises(errors.HeadraceError) as caught:
                seen.extend([piece async for piece in runtime.stream("Hello")])
            assert caught.value.code == code
            assert await runtime.ask("Again?") == "All well."
            facts = await runtime.facts()
            assert [f.kind for f in facts] == ["user", "generation-ended", "user", "response"]
            assert (facts[1].content, facts[1].meta["outcome"]) == ("", "failed")
            assert facts[1].meta["reason"] == code
            sent = provider.requests[1].json()["messages"]
            assert "Half" not in json.dumps(sent)
        await runs.close()
    assert (await _report(url)).ok


async def _report(url: str) -> Any:
    from headrace.ledger import verify_ledger

    return await verify_ledger(url)


# the server is killed


async def chat(session: aiohttp.ClientSession, url: str, name: str, text: str, told: set[str]) -> None:
    """One turn, as far as it goes; notes the run when the whole answer has come."""
    body = {"message": text, "conversation": name, "model": "demo:fast"}
    try:
        async with session.post(f"{url}/chat/stream", json=body) as response:
            data = await response.read()
            if data.rstrip().endswith(b"[DONE]"):
                told.add(response.headers["x-headrace-run"])
    except aiohttp.ClientError:
        pass  # the server was killed: what this is about


async def killed(url: str, rounds: int, environment: dict[str, str] | None = None) -> set[str]:
    """Kill the server at random moments of turns; the runs whose answers had come whole."""
    dice, told = random.Random(11), set[str]()
    with Server(store=url, environment=environment) as server:
        for number in range(rounds):
            async with aiohttp.ClientSession() as session:
                if number % 2:  # every other time one is in mid-answer for certain
                    slow = {"message": "Tell me", "conversation": "c0", "model": "demo"}
                    begun = await session.post(f"{server.url}/chat/stream", json=slow)
                    await begun.content.readline()
                talking = [
                    asyncio.create_task(chat(session, server.url, f"c{i}", f"turn {number}", told))
                    for i in range(3)
                ]
                await asyncio.sleep(dice.random() ** 2 * 0.25)
                server.kill()
                await asyncio.gather(*talking)
            server.start()
        assert server.terminate() == 0
    return told


async def check_survivors(url: str, told: set[str]) -> None:
    ledger = open_ledger(url)
    try:
        await ledger.recover()
        facts = [fact async for fact in ledger.export()]
        endings = Counter(
            f.id.removesuffix(":end") for f in facts if f.kind in ("response", "generation-ended")
        )
        assert set(endings) == {f.id.removesuffix(":user") for f in facts if f.kind == "user"}
        assert set(endings.values()) == {1}
        responses = {f.id.removesuffix(":end") for f in facts if f.kind == "response"}
        assert told <= responses
        assert all(not f.content for f in facts if f.kind == "generation-ended")
        assert {f.kind for f in facts} >= {"user", "generation-ended"}
        report = await ledger.verify()
        assert (report.ok, report.open_runs) == (True, 0), report.problems
        for name in ("c0", "c1", "c2"):
            async with Runtime("demo:fast", ledger, conversation=name) as runtime:
                assert (await runtime.views()).digest() == (await views.rebuild(ledger, name)).digest()
    finally:
        await ledger.close()


@pytest.mark.slow
@pytest.mark.time_limit(240)
async def test_the_server_is_killed_at_30_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    await check_survivors(f"sqlite:///{path}", await killed(f"sqlite:///{path}", 30))
    page = (ROOT / "docs/ledger.md").read_text(encoding="utf-8")
    script = next(code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "check.py" in code)

    def stranger() -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert re.fullmatch(r"\d+ facts in 3 conversations: sound\n", await asyncio.to_thread(stranger))


@pytest.mark.time_limit(120)
async def test_the_server_on_postgresql_is_killed(postgres: Postgres) -> None:
    url = postgres.store()
    await check_survivors(url, await killed(url, 2))


async def test_the_same_chat_on_postgresql_and_in_a_file(postgres: Postgres, tmp_path: Path) -> None:
    """After the first token others see the `user` only; the same turns have the same hashes and views."""
    found = []
    script = ["First", Pause(1), Say(" last\nCOMMIT: water the plants")]
    for url in (postgres.store(), f"sqlite:///{tmp_path}/a.sqlite"):
        gate = asyncio.Event()
        other = open_ledger(url)
        scripted = Scripted(script, sleep=lambda s, gate=gate: gate.wait())
        async with Runtime(scripted, url, consistency="strict") as runtime:
            turn = await runtime.begin("Hello")
            assert await turn.next() == ["First"]
            assert [f.kind for f in await other.facts("main")] == ["user"]
            gate.set()
            await turn.result()
            await turn.close()
            await runtime.ask("And now?")
            await runtime.settle()
            facts = await other.facts("main")
            assert [f.kind for f in facts] == ["user", "response", "commitment"] * 2
            found.append(([f.hash for f in facts], (await runtime.views()).digest()))
        await other.close()
        assert (await _report(url)).ok
    assert found[0] == found[1]


# the reader goes, and Stop


async def test_the_reader_goes_and_stop(tmp_path: Path) -> None:
    """A reader that leaves stops nothing by itself; Stop does, at once; both turns have one ending."""
    url = f"sqlite:///{tmp_path}/a.sqlite"
    with Server(store=url) as server:
        async with aiohttp.ClientSession(server.url) as session:
            body = {"message": "Tell me", "conversation": "c", "model": "demo"}
            async with session.post("/chat/stream", json={**body, "on_disconnect": "cancel"}) as left:
                await left.content.readline()
            async with session.post("/chat/stream", json=body) as stopped:
                await stopped.content.readline()
                run = stopped.headers["x-headrace-run"]
                async with session.post(f"/v1/runs/{run}/cancel") as answer:
                    assert (await answer.json())["outcome"] == "cancelled"
        server.terminate()
    ledger = open_ledger(url)
    facts = await ledger.facts("c")
    assert sorted(f.kind for f in facts) == ["generation-ended"] * 2 + ["user"] * 2
    assert {f.meta.get("outcome") for f in facts} == {None, "cancelled"}
    await ledger.close()


# the real engine


async def test_an_engine_stopped_by_max_tokens_three_times_gives_one_reply(
    engine: RealEngine, tmp_path: Path
) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/a.sqlite")
    runs = engine_for(ledger=ledger, openai_base_url=f"{engine.url}/v1", openai_api_key="none")
    more: dict[str, Any] = {"max_tokens": 12, "options": {"ignore_eos": True}, "continuations": 3}
    async with Runtime("openai:tiny", engine=runs, **more) as runtime:
        pieces = [piece async for piece in runtime.stream("Go on")]
        asked, response = await runtime.facts()
        assert (asked.kind, response.kind) == ("user", "response")
        assert "".join(pieces) == response.content
        parts = response.meta["parts"]
        assert [part["finish_reason"] for part in parts] == ["length"] * 4
        assert sum(part["characters"] for part in parts) == len(response.content)
        assert not any(isinstance(piece, Exception) for piece in pieces)
    await runs.close()
