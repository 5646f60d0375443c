"""`kill -9` while a program waits for a person: the server comes back, the answer counts, nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from headrace.testing.server import Server

PROGRAM = """
a = Agent { model = "demo" }
local first = a("one").text
local ok = Human.approve("Go on?")
return { first = first, ok = ok }
"""


async def test_waiting_survives_kill_9(tmp_path: Path) -> None:
    with Server(store=f"sqlite:///{tmp_path / 'l.db'}") as server:
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{server.url}/v1/runs", json={"procedure": PROGRAM}) as reply:
                run = (await reply.json())["run"]
            first = request = ""
            async with http.get(f"{server.url}/v1/runs/{run}/events") as events:
                async for line in events.content:
                    if not line.startswith(b"data: "):
                        continue
                    event = json.loads(line[6:])
                    first += event.get("delta", "")
                    if event["type"] == "human-request":
                        request = event["request"]
                        break
        server.kill()
        server.start()
        async with aiohttp.ClientSession() as http:
            url = f"{server.url}/v1/runs/{run}/responses/{request}"
            async with http.post(url, json={"value": True}) as reply:
                assert reply.status == 200, await reply.text()
                again = (await reply.json())["run"]
            attempts, end = 0, {}
            async with http.get(f"{server.url}/v1/runs/{again}/events") as events:
                async for line in events.content:
                    if line.startswith(b"data: "):
                        event = json.loads(line[6:])
                        attempts += event["type"] == "attempt-start"
                        end = event
        assert end["result"] == {"first": first, "ok": True}
        assert attempts == 0  # no model was called again
