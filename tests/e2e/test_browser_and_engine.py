"""A browser, a terminal and curl on one run of the real engine; EventSource over broken lines."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from headrace.client import Client
from headrace.testing import relay
from headrace.testing.engine import Engine as RealEngine
from headrace.testing.relay import Relay
from headrace.testing.server import Server

async_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "test-results/screenshots"
CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    async with async_api.async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        await opened.close()


def serving(url: str) -> Server:
    environment = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none", "HEADRACE_MODEL": "openai:tiny"}
    return Server(environment=environment)


async def a_long_answer(page: Any, client: Client) -> str:
    """Ask until an answer is long enough to be in the middle of; the engine stops when it likes."""
    for number in range(30):
        await page.get_by_label("Message", exact=True).fill(f"Tell me about modules, number {number}")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Stop").wait_for()
        run = (await client.runs(limit=1))[0].run
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and (await client.run(run)).status != "ended":
            await asyncio.sleep(0.02)
        if (await client.run(run)).status != "ended":
            return run
        await page.get_by_role("button", name="Send", exact=True).wait_for()
    raise AssertionError("the engine gave no long answer in 30 tries")


@pytest.mark.browser
@pytest.mark.time_limit(120)
async def test_page_terminal_and_curl_on_one_run(engine: RealEngine) -> None:
    """Talk to the engine on the page, reload in mid-answer, follow the same run from a terminal and with curl."""
    async with browser() as chromium, Relay(engine.url, relay.pace(events=40)) as paced:
        with serving(paced.url) as server:
            page = await chromium.new_page()
            await page.goto(server.url)
            async with Client(server.url) as client:
                run = await a_long_answer(page, client)
                command = [sys.executable, "-m", "headrace", "tail", run, "--url", server.url]
                curl = ["curl", "-sN", f"{server.url}/v1/runs/{run}/events?dialect=token"]
                tail, curled = [
                    await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
                    for words in (command, curl)
                ]
                await page.screenshot(path=_shot("engine-streaming"))
                await page.reload()
                out, _ = await tail.communicate()
                tokens, _ = await curled.communicate()
                text = (await client.run(run)).result["text"]
                await page.get_by_role("button", name="Send", exact=True).wait_for()
                await page.screenshot(path=_shot("engine-answer"))
                answer = page.get_by_role("article", name="Answer").last
                assert await answer.get_attribute("aria-busy") == "false"
                shown = await answer.inner_text()
            assert out.decode().rstrip("\n") == text.rstrip("\n")
            pieces = [
                json.loads(line[6:])["token"] for line in tokens.decode().split("\n") if '"token"' in line
            ]
            assert "".join(pieces) == text
            words = [word for word in text.split() if word.isalnum()]
            assert [word for word in words if word not in shown] == []


@pytest.mark.browser
@pytest.mark.time_limit(120)
async def test_stop_on_the_page_idles_the_engine(engine: RealEngine) -> None:
    async with browser() as chromium, Relay(engine.url, relay.pace(events=40)) as paced:
        with serving(paced.url) as server:
            page = await chromium.new_page()
            await page.goto(server.url)
            for _ in range(5):  # an answer may come to its end beside the click: then once more
                async with Client(server.url) as client:
                    run = await a_long_answer(page, client)
                    clicked = time.monotonic()
                    await page.get_by_role("button", name="Stop").click()
                    await page.get_by_text("Stopped").last.wait_for()
                    info = await client.run(run)
                connection = paced.connections[-1]
                await asyncio.wait_for(connection.wait_ended(), 5)
                if connection.closed_by == "client":
                    break
            assert connection.closed_by == "client"
            assert info.outcome == "cancelled"
            assert info.usage is not None
            assert info.usage.basis == "estimated"
            assert connection.ended_at is not None
            assert connection.ended_at - clicked < 2
            assert not engine.busy()


_LISTEN = """
(url) => new Promise((done) => {
  const got = [], source = new EventSource(url);
  source.onmessage = (event) => {
    const data = JSON.parse(event.data);
    got.push([event.lastEventId, data]);
    if (data.type === 'run-end' || data.type === 'done') { source.close(); done(got); }
  };
  source.onerror = () => { if (source.readyState === 2) done(got); };
})
"""


@pytest.mark.browser
@pytest.mark.time_limit(200)
async def test_event_source_over_broken_lines(engine: RealEngine) -> None:
    """The browser reconnects by itself: every event once, one run, the golden text. Both EventSource forms."""
    async with browser() as chromium, Relay(engine.url, relay.pace(events=150)) as paced:
        with serving(paced.url) as server:
            places = asyncio.Semaphore(5)

            async def one(seed: int) -> None:
                dice = random.Random(seed)
                drops = dice.randint(1, 3)

                def plan(number: int) -> relay.Plan:
                    return relay.cut(after_bytes=dice.randint(300, 3000)) if number < drops else relay.PASS

                async with places, Relay(server.url, plan) as broken, Client(server.url) as client:
                    page = await chromium.new_page()
                    empty = f"{broken.url}/empty"
                    await page.route(empty, lambda route: route.fulfill(body="", content_type="text/html"))
                    await page.goto(empty)
                    if seed % 2:
                        run = await client.start(
                            None, f"seed {seed}", max_tokens=60, options={"ignore_eos": True}
                        )
                        got = await page.evaluate(_LISTEN, f"/v1/runs/{run}/events")
                        seqs = [data["seq"] for _, data in got]
                        first = [data.get("from", data["seq"]) for _, data in got]
                        assert first == [1, *(seq + 1 for seq in seqs[:-1])]
                        text = "".join(data["delta"] for _, data in got if data["type"] == "text-delta")
                    else:
                        got = await page.evaluate(_LISTEN, f"/api/chat?message=seed+{seed}")
                        run = got[0][0].rpartition(".")[0]
                        assert {cursor.rpartition(".")[0] for cursor, _ in got} == {run}
                        text = "".join(data.get("content", "") for _, data in got)
                    await page.close()
                    assert text == (await client.run(run)).result["text"]

            await asyncio.gather(*(one(seed) for seed in range(20)))
            async with Client(server.url) as client:
                assert len(await client.runs(limit=100)) == 20


async def test_the_official_openai_client(engine: RealEngine) -> None:
    with serving(engine.url) as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="openai:tiny",
                messages=[{"role": "user", "content": "Hi"}],
                max_tokens=50,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"ignore_eos": True},
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.completion_tokens == 50
            assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
            async with Client(server.url) as ours:
                assert (await ours.runs(limit=1))[0].result["text"] == text
            called = await client.chat.completions.create(
                model="openai:tiny",
                messages=[{"role": "user", "content": "find it"}],
                tools=[
                    {
                        "type": "function",
                        "function": {
                            "name": "find",
                            "parameters": {
                                "type": "object",
                                "properties": {"q": {"type": "string", "maxLength": 20}},
                                "required": ["q"],
                            },
                        },
                    }
                ],
                tool_choice="required",
            )
            calls = called.choices[0].message.tool_calls
            assert calls
            assert set(json.loads(calls[0].function.arguments)) == {"q"}
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(
                    model="nobody:nothing", messages=[{"role": "user", "content": "Hi"}]
                )
            models = [model.id async for model in client.models.list()]
            assert "openai:tiny" in models


async def test_ctrl_c_in_ask_idles_the_engine(engine: RealEngine) -> None:
    async with Relay(engine.url, relay.pace(events=40)) as paced:
        # The engine stops when it likes, so an answer may be over before the signal comes: then once more.
        for attempt in range(10):
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "headrace",
                    "ask",
                    "-m",
                    "openai:tiny",
                    "--max-tokens",
                    "20000",
                    "Hi",
                ),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                stdin=asyncio.subprocess.DEVNULL,
                env={**_clean(), "OPENAI_BASE_URL": f"{paced.url}/v1", "OPENAI_API_KEY": "none"},
            )
            assert process.stdout is not None
            assert await process.stdout.read(1)
            process.send_signal(2)
            code = await process.wait()
            connection = await paced.wait_connection(attempt)
            await asyncio.wait_for(connection.wait_ended(), 5)
            assert code in (0, 130)
            if code == 130 and connection.closed_by == "client":
                break
        assert (code, connection.closed_by) == (130, "client")
    assert not engine.busy()


async def test_curl_as_the_readme_has_it(engine: RealEngine) -> None:
    with serving(engine.url) as server:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{server.url}/api/chat", params={"message": "Hi"}) as response:
                assert response.content_type == "text/event-stream"
                data = await response.text()
    frames = [json.loads(line[6:]) for line in data.split("\n") if line.startswith("data: ")]
    assert frames[0]["type"] == "text"
    assert frames[-1]["type"] == "done"


def _shot(name: str) -> Path:
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / f"{name}.png"


def _clean() -> dict[str, str]:
    source = ":".join(path for path in sys.path if path)
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": source}
