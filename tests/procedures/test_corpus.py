"""Programs that use every construct, run in every way: `procedure run`, `--json`, HTTP and as IDE events.

The same program gives the same result each way, with a provider that is told what to say (and counted), and with the
real engine. The IDE's stream is read by a state machine that knows which event may follow which, and what each has.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace import Procedure
from headrace.testing import chat, playback
from headrace.testing.server import Server

ROOT = Path(__file__).resolve().parents[2]
CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.tac"))
MODEL = "openai:gpt-4o-mini"


def said(path: Path, what: str) -> Any:
    """What a program's head says of it."""
    found = re.search(rf"^-- {what}: (.*)$", path.read_text("utf-8"), re.M)
    return None if found is None else found[1]


def inputs_of(path: Path) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(said(path, "inputs") or "{}")
    return given


class Ways:
    """Every way to run a program, against one server and one provider.

    Attributes:
        result: what came of it: `(value, None)`, or `(None, message)` where it failed.
    """

    def __init__(
        self, folder: Path, environment: dict[str, str], url: str, http: aiohttp.ClientSession
    ) -> None:
        self.folder, self.url, self.http = folder, url, http
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        self.environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)

    async def _cli(self, path: Path, *more: str) -> tuple[int, list[str], str]:
        params = [
            f"{name}={value if isinstance(value, str) else json.dumps(value)}"
            for name, value in inputs_of(path).items()
        ]
        arguments = ["procedure", "run", path.name, *(a for p in params for a in ("--param", p)), *more]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace", *arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode().splitlines(), err.decode()

    async def command(self, path: Path) -> tuple[Any, str | None]:
        code, out, err = await self._cli(path)
        if code:
            assert code == 1, err
            return None, _clear(err)
        return json.loads(out[-1]), None

    async def lines(self, path: Path) -> tuple[Any, str | None]:
        code, out, error = await self._cli(path, "--json")
        found = [json.loads(line) for line in out]
        _covered(found)
        assert found, error
        return _came(found[-1], code)

    async def over_http(self, path: Path) -> tuple[Any, str | None]:
        body = {"procedure": path.name, "inputs": inputs_of(path)}
        async with self.http.post(f"{self.url}/v1/runs", json=body) as reply:
            assert reply.status == 201, await reply.text()
            run = (await reply.json())["run"]
        found = await self._events(f"/v1/runs/{run}/events")
        _covered(found)
        async with self.http.get(f"{self.url}/v1/runs/{run}") as reply:
            info = await reply.json()
        assert (info["outcome"], info["result"]) == (found[-1]["outcome"], found[-1]["result"])
        return _came(found[-1], int(info["outcome"] != "completed"))

    async def ide(self, path: Path) -> tuple[Any, str | None]:
        found = await self._events(
            "/api/run/stream", path=path.name, inputs=json.dumps(inputs_of(path)), key=f"{path.name}-once"
        )
        check_ide(found)
        summary, last = found[-2:]
        assert last["exit_code"] == summary["exit_code"] == int(last["lifecycle_stage"] == "error")
        if last["lifecycle_stage"] == "error":
            return None, last["error"]
        return summary["result"], None

    async def _events(self, route: str, /, **params: str) -> list[dict[str, Any]]:
        async with self.http.get(self.url + route, params=params) as reply:
            assert reply.status == 200, await reply.text()
            lines = (await reply.read()).decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def _came(end: dict[str, Any], code: int) -> tuple[Any, str | None]:
    assert end["type"] == "run-end"
    assert code == int(end["outcome"] != "completed")
    return (end["result"], None) if end["outcome"] == "completed" else (None, end["error"]["message"])


def _covered(found: list[dict[str, Any]]) -> None:
    expected = 1
    for event in found:
        assert event.get("from", event["seq"]) == expected, event
        expected = event["seq"] + 1


def _clear(err: str) -> str:
    """The error of the command line, without who speaks."""
    return err.strip()


# -- the order of IDE events --------------------------------------------------------------------------------

FIELDS = {
    "execution": {"lifecycle_stage"},
    "agent_turn": {"agent_name", "stage"},
    "agent_stream_chunk": {"agent_name", "chunk_text", "accumulated_text"},
    "agent_stream_reset": {"agent_name", "reason", "accumulated_text"},
    "tool_call_started": {"agent_name", "call_id", "tool_name"},
    "tool_call_arguments": {"agent_name", "call_id", "tool_name", "arguments_delta"},
    "tool_call": {"agent_name", "call_id", "tool_name", "tool_args"},
    "tool_result": {"agent_name", "call_id", "tool_name", "tool_result", "error", "duration_ms"},
    "cost": {
        *("agent_name", "model", "provider", "prompt_tokens", "completion_tokens", "total_tokens"),
        *("prompt_cost", "completion_cost", "total_cost", "duration_ms", "latency_ms", "response_data"),
    },
    "checkpoint_created": {"checkpoint_position", "checkpoint_type"},
    "execution_summary": {"result", "total_cost", "total_tokens", "iterations", "tools_used", "exit_code"},
    "log": {"level", "message"},
    "hitl_request": {"request_id", "request_type", "message", "options", "default_value"},
    "hitl_response": {"request_id", "value"},
    "status": {"message"},
}


class Turn:
    """An agent's turn, as far as its events have come."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: dict[str, dict[str, Any]] = {}


def check_ide(found: list[dict[str, Any]]) -> None:
    """Read a stream of IDE events as a machine: each state says what may come next."""
    assert {event["procedure_id"] for event in found} == {found[0]["procedure_id"]}
    for event in found:
        assert event["timestamp"]
        missing = FIELDS[event["event_type"]] - event.keys()
        assert not missing, (event["event_type"], missing)
    first, *middle, summary, last = found
    assert (first["event_type"], first["lifecycle_stage"]) == ("execution", "start")
    assert (summary["event_type"], last["event_type"]) == ("execution_summary", "execution")
    assert last["lifecycle_stage"] in ("complete", "error")
    open_turns: dict[str, Turn] = {}
    follows: tuple[str, str] | None = None  # what has to come next, and whose it is
    turns = 0
    for event in middle:
        kind, name = event["event_type"], event.get("agent_name", "")
        if follows is not None:
            assert (kind, name) == follows, f"{kind} came where {follows} had to"
            follows = None
        if kind == "agent_turn" and event["stage"] == "started":
            assert name not in open_turns, f"{name} began twice"
            open_turns[name] = Turn()
        elif kind == "agent_turn":
            done = open_turns.pop(name)
            assert (
                all("args" in call and call["ended"] for call in done.calls.values())
                or event["stage"] == "failed"
            )
            follows = ("cost", name)
            turns += 1
            ended = (done, event)
        elif kind == "cost":
            turn, before = ended
            assert event["duration_ms"] == before["duration_ms"] > 0
            check_cost(event, turn)
            if before["stage"] == "completed":
                follows = ("checkpoint_created", name)
        elif kind.startswith(("agent_stream", "tool_")):
            check_part(kind, event, open_turns[name])
        else:
            assert kind in ("checkpoint_created", "log", "hitl_request", "hitl_response", "status"), kind
    assert follows is None
    assert not open_turns
    assert summary["iterations"] == turns


def check_part(kind: str, event: dict[str, Any], turn: Turn) -> None:
    """Something inside a turn."""
    if kind == "agent_stream_chunk":
        turn.text += event["chunk_text"]
        assert event["chunk_text"]
        assert event["accumulated_text"] == turn.text
    elif kind == "agent_stream_reset":
        assert turn.text.startswith(event["accumulated_text"])
        turn.text = event["accumulated_text"]
        assert event["reason"]
    elif kind == "tool_call_started":
        turn.calls[event["call_id"]] = {"text": "", "ended": False}
    elif kind == "tool_call_arguments":
        call = turn.calls[event["call_id"]]
        assert "args" not in call, "arguments form before they are whole"
        call["text"] += event["arguments_delta"]
    elif kind == "tool_call":
        call = turn.calls[event["call_id"]]
        call["args"] = event["tool_args"]
        try:
            whole = json.loads(call["text"] or "{}")
        except ValueError:  # cut off by max_tokens: it is shown as it is
            whole = call["text"]
        assert event["tool_args"] == whole
    else:
        assert kind == "tool_result"
        turn.calls[event["call_id"]]["ended"] = True


def check_cost(cost: dict[str, Any], turn: Turn) -> None:
    """What a turn took: the provider's own figures."""
    if cost["total_tokens"] is not None:
        assert cost["total_tokens"] == cost["prompt_tokens"] + cost["completion_tokens"]
    if isinstance(cost["response_data"], str) and turn.text:
        assert turn.text.endswith(cost["response_data"]), "the joined pieces are the final text"
    if turn.text:
        assert 0 < cost["latency_ms"] <= cost["duration_ms"]


# -- the ways -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def ways(folder: Path, provider_url: str) -> AsyncIterator[Ways]:
    for path in CORPUS:
        shutil.copy(path, folder / path.name)
    environment = {"OPENAI_BASE_URL": f"{provider_url}/v1", "OPENAI_API_KEY": "k", "HEADRACE_MODEL": MODEL}
    server = Server(environment=environment, arguments=("--workspace", str(folder)))
    await asyncio.to_thread(server.start)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            yield Ways(folder, environment, server.url, http)
    finally:
        await asyncio.to_thread(server.kill)


async def _every_way(made: Ways, path: Path) -> dict[str, tuple[Any, str | None]]:
    """One program, every way; two at the same time."""
    first = await asyncio.gather(made.command(path), made.ide(path))
    second = await asyncio.gather(made.lines(path), made.over_http(path))
    return dict(zip(("command", "ide", "lines", "http"), (*first, *second), strict=True))


def _agree(path: Path, found: dict[str, tuple[Any, str | None]]) -> None:
    value, problem = found["http"]
    for way, (other, wrong) in found.items():
        assert other == value, f"{path.name}: {way} gave {other!r}, http {value!r}"
        if problem is None:
            assert wrong is None, f"{path.name}: {way} failed: {wrong}"
        else:
            assert wrong is not None, f"{path.name}: {way} did not fail"
            assert problem in wrong, f"{path.name}: {way} failed with {wrong!r}, http with {problem!r}"


@pytest.mark.time_limit(240)
async def test_the_same_result_each_way(tmp_path: Path) -> None:
    assert len(CORPUS) >= 20
    async with playback.ScriptedHTTP(chat.obey()) as provider, ways(tmp_path, provider.url) as made:
        for path in CORPUS:
            found = await _every_way(made, path)
            _agree(path, found)
            value, problem = found["http"]
            expected = said(path, "expect-error")
            if expected is None:
                assert problem is None, (path.name, problem)
                assert value == json.loads(said(path, "expect")), path.name
            else:
                assert problem == expected
                assert value is None
        for request in provider.requests:
            if request.body:
                body = request.json()
                quiet = "all at once" in str(body["messages"])
                assert ("stream" not in body) == quiet, "disable_streaming asks without stream"


@pytest.mark.time_limit(300)
async def test_the_same_result_each_way_on_the_real_engine(engine: Any, tmp_path: Path) -> None:
    async with ways(tmp_path, engine.url) as made:
        for path in CORPUS:
            found = await _every_way(made, path)
            _agree(path, found)
            if said(path, "expect-error") is None and said(path, "real") is None:
                assert found["http"][1] is None, (path.name, found["http"][1])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
async def test_every_program_passes_the_check(path: Path) -> None:
    await Procedure.from_file(path).check()


async def test_quiet_agents_send_no_piece_and_their_cost_is_whole(tmp_path: Path) -> None:
    async with playback.ScriptedHTTP(chat.obey(every=0.01, first=0.05)) as provider:
        async with ways(tmp_path, provider.url) as made:
            quiet = await made._events("/api/run/stream", path="11_quiet.tac")
            assert "agent_stream_chunk" not in {event["event_type"] for event in quiet}
            (cost,) = [event for event in quiet if event["event_type"] == "cost"]
            assert (cost["prompt_tokens"], cost["completion_tokens"], cost["total_tokens"]) == (42, 23, 65)
            assert cost["response_data"] == "all at once"
            assert cost["total_cost"] > 0
            spoken = await made._events("/api/run/stream", path="06_tool.tac")
            (cost,) = [event for event in spoken if event["event_type"] == "cost"]
            assert (cost["prompt_tokens"], cost["completion_tokens"]) == (84, 46), "of both calls"
            assert cost["latency_ms"] >= 50, "the first token came no sooner than the provider sent it"
            assert cost["duration_ms"] >= 100
            forming = [event for event in spoken if event["event_type"] == "tool_call_arguments"]
            assert len(forming) > 1, "arguments are seen while they form"
