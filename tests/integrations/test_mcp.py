from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the extra mcp")

import headrace
from headrace import errors, events
from headrace.integrations import mcp
from headrace.providers.scripted import Call, Say, Scripted
from headrace.runs.tools import ToolContext, ToolError

PROGRAM = Path(__file__).with_name("mcp_server.py")


def server(**options: Any) -> mcp.Server:
    return mcp.Server("test", command=sys.executable, arguments=[str(PROGRAM)], **options)


async def called(server: mcp.Server, name: str, told: list[Any] | None = None, **arguments: Any) -> Any:
    tool = next(tool for tool in server.tools if tool.name == f"test__{name}")
    emit = (lambda *batch, span: told.extend(batch)) if told is not None else (lambda *batch, span: None)
    context = ToolContext("run", "call", "s1", emit)
    return [value async for value in tool.results(tool.check(arguments), context)][-1]


async def test_tools_are_listed_as_ours() -> None:
    async with server() as opened:
        tools = {tool.name: tool for tool in opened.tools}
        assert {"test__add", "test__odd_name__"} <= set(tools)
        assert tools["test__add"].description == "Add two numbers."
        assert tools["test__add"].parameters["properties"]["a"]["type"] == "integer"
        assert await called(opened, "add", a=1, b=2) == 3
        assert await called(opened, "odd_name__") == "fine"


async def test_arguments_are_checked_before_they_are_sent() -> None:
    async with server() as opened:
        with pytest.raises(ToolError, match=r"'b' is a required property; a: 'x' is not of type 'integer'"):
            await called(opened, "add", a="x")


async def test_nothing_of_our_environment_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with server(environment={"WANTED": "1"}, folder=str(tmp_path)) as opened:
        *names, folder = await called(opened, "variables")
    assert "WANTED" in names
    assert "PATH" in names
    assert "OPENAI_API_KEY" not in names
    assert os.path.realpath(folder) == os.path.realpath(tmp_path)


async def test_an_error_is_in_the_servers_words() -> None:
    async with server() as opened:
        with pytest.raises(ToolError, match="fails"):
            await called(opened, "fails")


async def test_a_server_that_dies_is_started_again_by_the_next_call() -> None:
    async with server() as opened:
        with pytest.raises(ToolError, match="Connection closed"):
            await called(opened, "dies")
        assert await called(opened, "add", a=2, b=2) == 4


async def test_progress_is_status() -> None:
    told: list[Any] = []
    async with server() as opened:
        assert await called(opened, "steps", told) == "done"
        await asyncio.sleep(0)
    assert [event.message for event in told if isinstance(event, events.Status)] == ["step 1", "step 2"]


async def test_only_some_tools() -> None:
    async with server(only=["add"]) as opened:
        assert [tool.name for tool in opened.tools] == ["test__add"]
    with pytest.raises(errors.UsageError, match=r"has no tool nothing; it has add,"):
        async with server(only=["nothing"]):
            pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": "no-such-program"}, "cannot be reached: FileNotFoundError"),
        (
            {"command": sys.executable, "arguments": ["-c", "import sys; sys.exit('no database')"]},
            "it said: no database",
        ),
        (
            {
                "command": sys.executable,
                "arguments": ["-c", "import time; time.sleep(60)"],
                "connect_timeout": 0.5,
            },
            "has not answered within 0.5 s",
        ),
        ({"url": "http://127.0.0.1:9/mcp"}, "cannot be reached: ConnectError"),
    ],
)
async def test_a_server_that_there_is_not(options: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.RunError, match=words) as caught:
        async with mcp.Server("test", **options):
            pass
    assert caught.value.code == "tool-failed"


def test_a_command_or_a_url() -> None:
    with pytest.raises(errors.UsageError, match="a command or a url"):
        mcp.Server("test")


async def test_over_http() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(PROGRAM), "http", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        async with mcp.Server("test", url=f"http://127.0.0.1:{port}/mcp", headers={"X-Key": "k"}) as opened:
            assert await called(opened, "add", a=40, b=2) == 42
    finally:
        process.kill()
        process.wait()


async def test_in_a_run() -> None:
    """The model calls two of its tools at once, one of which hangs; it reads both results and answers."""
    model = Scripted(
        [
            [Call("test__add", {"a": 20, "b": 22}), Call("test__hangs", {})],
            [Say("It is 42.")],
        ]
    )
    async with server(timeout=0.5) as opened:
        answer = await headrace.ask(model, "20 + 22?", tools=opened.tools)
    assert answer.text == "It is 42."
    assert answer.tool_calls[0]["value"] == 42
    assert answer.tool_calls[1]["error"] == "no result within 0.5 s"


async def test_a_call_that_wants_a_person() -> None:
    model = Scripted([[Call("test__add", {"a": 1, "b": 1})], [Say("ok")]])
    async with server(approval=True) as opened, headrace.stream(model, "?", tools=opened.tools) as run:
        async for event in run:
            if isinstance(event, events.HumanRequest):
                assert event.message == "Allow test__add(a=1, b=1)?"
                await run.respond(event.request, True)
        result = await run.result()
    assert result.tool_calls[0]["value"] == 2
