"""`kill -9` of the server at every step of a program: it goes on where it was, and no model is asked twice.

What asked the provider is counted at a relay before it. A question that was open is answered after the restart, over
HTTP and from the command line (the page's part is `tests/web/test_ide_page.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace.testing import chat, playback
from headrace.testing.relay import Relay
from headrace.testing.server import Server

TEN = """
a = Agent {}
local said = {}
for i = 1, 10 do said[i] = a({message = "say step " .. i}).text end
Human.approve("All there?") -- so that it has not ended when it is killed after the tenth
return said
"""
ASKS = """
a = Agent {}
local first = a("say one").text
local ok = Human.approve("Go on?")
return { first = first, ok = ok, last = a("say two").text }
"""


class House:
    """A server that can be killed, and a provider behind a relay that counts."""

    def __init__(self, folder: Path, server: Server, relay: Relay, http: aiohttp.ClientSession) -> None:
        self.folder, self.server, self.relay, self.http = folder, server, relay, http
        self.store = f"sqlite:///{folder / 'l.db'}"

    @property
    def calls(self) -> list[str]:
        """What the provider was asked, in order: the last word of the user's."""
        asked = [request.json()["messages"] for request in self.relay.requests if request.body]
        return [messages[-1]["content"] for messages in asked]

    async def start(self, program: str) -> str:
        return str((await self.post("/v1/runs", {"procedure": program}))["run"])

    async def post(self, path: str, body: Any = None, status: int | None = None) -> Any:
        async with self.http.post(self.server.url + path, json=body) as reply:
            assert reply.status == (status or reply.status), await reply.text()
            return await reply.json()

    async def until(self, run: str, wanted: Any) -> list[dict[str, Any]]:
        """The run's events up to one that is wanted."""
        found = []
        async with self.http.get(f"{self.server.url}/v1/runs/{run}/events") as events:
            async for line in events.content:
                if line.startswith(b"data: "):
                    found.append(json.loads(line[6:]))
                    if wanted(found[-1]):
                        return found
        return found

    async def again(self) -> None:
        """`kill -9`, and up again."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)


@asynccontextmanager
async def house(tmp_path: Path, **pace: float) -> AsyncIterator[House]:
    async with playback.ScriptedHTTP(chat.obey(**pace)) as provider, Relay(provider.url) as relay:
        environment = {
            "OPENAI_BASE_URL": f"{relay.url}/v1",
            "OPENAI_API_KEY": "k",
            "HEADRACE_MODEL": "openai:gpt-4o-mini",
        }
        server = Server(store=f"sqlite:///{tmp_path / 'l.db'}", environment=environment)
        await asyncio.to_thread(server.start)
        try:
            async with aiohttp.ClientSession() as http:
                yield House(tmp_path, server, relay, http)
        finally:
            await asyncio.to_thread(server.kill)


def _ended(event: dict[str, Any]) -> bool:
    return event["type"] == "run-end"


@pytest.mark.time_limit(120)
async def test_killed_after_every_step_no_model_is_asked_twice(tmp_path: Path) -> None:
    async with house(tmp_path, every=0.02) as made:
        run = await made.start(TEN)
        finished: dict[int, int] = {}
        for step in range(1, 11):
            await made.until(run, lambda e, n=step: e["type"] == "checkpoint" and e["index"] == n)
            finished[step] = made.calls.count(f"say step {step}")
            await made.again()
            # a step that was begun when the server died has no answer, so it is asked for again: that is no repeat
            asked = made.calls
            run = (await made.post(f"/v1/runs/{run}/resume", status=201))["run"]
            if step < 10:
                continue
            asks = (await made.until(run, lambda e: e["type"] == "human-request"))[-1]
            await made.post(f"/v1/runs/{run}/responses/{asks['request']}", {"value": True})
            found = await made.until(run, _ended)
        assert found[-1]["result"] == [f"step {n}" for n in range(1, 11)]
        assert made.calls == asked, "the last run asked no model at all"
        assert sum(e["type"] == "span-end" and e.get("cached", False) for e in found) == 10
        answered = list(dict.fromkeys(asked))
        assert answered == [f"say step {n}" for n in range(1, 11)]
        for number in range(1, 11):
            times = asked.count(f"say step {number}")
            assert times == finished[number], "a finished step is never asked for again"
            # once; twice only where the kill came while the call was on its way
            assert times <= 2
        assert asked.count("say step 1") == 1


@pytest.mark.time_limit(120)
async def test_killed_between_steps_each_is_asked_exactly_once(tmp_path: Path) -> None:
    """A person holds each step, so that the kill never meets a call on its way."""
    program = """
    a = Agent {}
    local said = {}
    for i = 1, 10 do
      said[i] = a({message = "say step " .. i}).text
      Human.approve("next?")
    end
    return said
    """
    async with house(tmp_path) as made:
        run = await made.start(program)
        for step in range(1, 11):
            found = await made.until(run, lambda e, n=step: e.get("request") == f"h{2 * n}")
            assert found[-1]["type"] == "human-request"
            await made.again()
            run = (await made.post(f"/v1/runs/{run}/responses/h{2 * step}", {"value": True}, 200))["run"]
        end = (await made.until(run, _ended))[-1]
        assert end["result"] == [f"step {n}" for n in range(1, 11)]
        assert made.calls == [f"say step {n}" for n in range(1, 11)], "each step was asked for exactly once"
        told = await (await made.http.get(f"{made.server.url}/api/procedure/runs/{run}")).json()
        kinds = [item["type"] for item in told["items"]]
        assert kinds == ["turn", "human-request"] * 10


async def test_waiting_survives_kill_9(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        run = await made.start(ASKS)
        await made.until(run, lambda e: e["type"] == "human-request")
        await made.again()
        again = (await made.post(f"/v1/runs/{run}/responses/h2", {"value": True}, 200))["run"]
        found = await made.until(again, _ended)
        assert found[-1]["result"] == {"first": "one", "ok": True, "last": "two"}
        assert made.calls == ["say one", "say two"]


async def test_a_question_of_a_dead_server_is_answered_at_a_terminal(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        run = await made.start(ASKS)
        await made.until(run, lambda e: e["type"] == "human-request")
        await asyncio.to_thread(made.server.kill)
        program = tmp_path / "asks.tac"
        program.write_text(ASKS)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace", "procedure", "run", str(program)),
            *("--store", made.store, "--resume", run),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OPENAI_BASE_URL": f"{made.relay.url}/v1",
                "OPENAI_API_KEY": "k",
            },
            cwd=tmp_path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(b"yes\n")
        assert process.returncode == 0, err.decode()
        assert json.loads(out.decode().splitlines()[-1]) == {"first": "one", "ok": True, "last": "two"}
        assert made.calls == ["say one", "say two"]
