"""Tools of MCP servers of `headrace.toml` in programs: required, and named by agents; at a terminal and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace.testing import chat, playback
from headrace.testing.server import Server

pytest.importorskip("mcp", reason="the extra mcp is not installed")

SERVER = Path(__file__).resolve().parents[1] / "integrations" / "mcp_server.py"
REQUIRED = """
local add = require("headrace.tools.calc__add")
local sum = add({ a = 2, b = 3 })
local ok, problem = pcall(add, { a = "two" })
return { sum = sum, ok = ok, problem = problem, count = add.call_count(), last = add.last_result() }
"""
NAMED = """
local add = require("headrace.tools.calc__add")
one = Agent { tools = { "calc__add" } }
two = Agent { tools = { add } }
local said = { one("call calc__add {\\"a\\": 2, \\"b\\": 3} || say done").text }
said[2] = two("call calc__add {\\"a\\": 4, \\"b\\": 3} || say done too").text
return { said = said, called = add.called(), last = add.last_result() }
"""
ASKS = """
local add = require("headrace.tools.safe__add")
return add({ a = 1, b = 1 })
"""
THERE = {"sum": 5, "ok": False, "count": 2, "last": 5}


def settled(folder: Path) -> None:
    command = f"command = {json.dumps(sys.executable)}\nargs = [{json.dumps(str(SERVER))}]\n"
    text = f"[mcp.calc]\n{command}\n[mcp.safe]\n{command}approval = true\n"
    (folder / "headrace.toml").write_text(text)


async def at_a_terminal(
    folder: Path, program: str, typed: bytes = b"", url: str = "http://127.0.0.1:9"
) -> tuple[int, str, str]:
    (folder / "p.tac").write_text(program)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace", "procedure", "run", "p.tac", "--model", "openai:gpt-4o-mini"),
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "k",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(typed)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _came(value: dict[str, Any]) -> None:
    assert {key: value[key] for key in THERE} == THERE
    assert value["problem"].startswith("p.tac:4: ") or value["problem"].startswith("procedure.tac:4: ")


@pytest.mark.time_limit(60)
async def test_at_a_terminal(tmp_path: Path) -> None:
    settled(tmp_path)
    async with playback.ScriptedHTTP(chat.obey()) as provider:
        code, out, err = await at_a_terminal(tmp_path, REQUIRED)
        assert code == 0, err
        _came(json.loads(out.splitlines()[-1]))
        code, out, err = await at_a_terminal(tmp_path, NAMED, url=provider.url)
        assert code == 0, err
        assert json.loads(out.splitlines()[-1]) == {"said": ["done", "done too"], "called": True, "last": 7}
        assert '→ calc__add {"a":2,"b":3}' in err
        assert "← 5" in err
        offered = [request.json()["tools"] for request in provider.requests if request.body]
        assert {tool["function"]["name"] for tools in offered for tool in tools} == {"calc__add"}
        assert all(
            tool["function"]["parameters"]["required"] == ["a", "b"] for tools in offered for tool in tools
        )
    for typed, code in ((b"yes\n", 0), (b"no\n", 1)):
        done, out, err = await at_a_terminal(tmp_path, ASKS, typed)
        assert (done, 'Allow safe__add({"a":1,"b":1})?' in err) == (code, True), err
        assert (out.splitlines()[-1:] == ["2"]) == (code == 0)
        assert ("p.tac:3: a person did not allow this call of safe__add" in err) == (code == 1)


@pytest.mark.time_limit(90)
async def test_over_http_and_the_approval_outlives_the_server(tmp_path: Path) -> None:
    (tmp_path / "config" / "headrace").mkdir(parents=True)
    settled(tmp_path / "config" / "headrace")
    async with playback.ScriptedHTTP(chat.obey()) as provider, aiohttp.ClientSession() as http:
        server = Server(
            store=f"sqlite:///{tmp_path / 'l.db'}",
            environment={
                "OPENAI_BASE_URL": f"{provider.url}/v1",
                "OPENAI_API_KEY": "k",
                "HEADRACE_MODEL": "openai:gpt-4o-mini",
                "XDG_CONFIG_HOME": str(tmp_path / "config"),
            },
            arguments=("--tool", "mcp:calc", "--tool", "mcp:safe"),
        )
        await asyncio.to_thread(server.start)

        async def post(path: str, body: Any) -> Any:
            async with http.post(server.url + path, json=body) as reply:
                assert reply.status < 300, await reply.text()
                return await reply.json()

        async def until(run: str, kind: str) -> dict[str, Any]:
            async with http.get(f"{server.url}/v1/runs/{run}/events") as lines:
                async for line in lines.content:
                    if line.startswith(b"data: ") and json.loads(line[6:])["type"] == kind:
                        return json.loads(line[6:])
            raise AssertionError(f"there was no {kind}")

        try:
            run = (await post("/v1/runs", {"procedure": REQUIRED}))["run"]
            _came((await until(run, "run-end"))["result"])
            run = (await post("/v1/runs", {"procedure": NAMED}))["run"]
            assert (await until(run, "run-end"))["result"]["last"] == 7
            look = await post("/api/procedure/check", {"text": NAMED})
            assert look["ok"], look
            look = await post("/api/procedure/check", {"text": 'a = Agent { tools = { "calc__nothing" } }'})
            assert "there is no tool 'calc__nothing'" in look["errors"][0]["message"]

            run = (await post("/v1/runs", {"procedure": ASKS}))["run"]
            asked = await until(run, "human-request")
            assert asked["message"] == 'Allow safe__add({"a":1,"b":1})?'
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            again = (await post(f"/v1/runs/{run}/responses/{asked['request']}", {"value": True}))["run"]
            assert again != run
            assert (await until(again, "run-end"))["result"] == 2
        finally:
            await asyncio.to_thread(server.kill)
