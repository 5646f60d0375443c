from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.playback import Response, ScriptedHTTP

Chunks = Callable[..., list[bytes]]


def provider(url: str) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none"}


def streamed(pieces: list[bytes], ending: Any = "clean", **more: Any) -> Response:
    return Response(headers={"Content-Type": "text/event-stream"}, pieces=pieces, ending=ending, **more)


def test_plain_text_in_a_pipe(headrace: Any) -> None:
    done = headrace("ask", "-m", "demo:fast", "Hi")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("*This is Headrace's built-in demo")
    assert "You said: `Hi`" in done.stdout
    assert done.stdout.endswith("\n")
    assert "\x1b" not in done.stdout


def test_json_is_one_native_event_a_line(headrace: Any) -> None:
    done = headrace("ask", "-m", "demo:fast", "--json", "Hi")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "run-start"
    assert events[-1]["type"] == "run-end"
    assert len({event["run"] for event in events}) == 1
    text = "".join(event["delta"] for event in events if event["type"] == "text-delta")
    assert text == headrace("ask", "-m", "demo:fast", "Hi").stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "prompt"),
    [
        (["Say", "hello"], None, "Say hello"),
        ([], "from a pipe\n", "from a pipe"),
        (["-"], "from a pipe", "from a pipe"),
        (["Look:"], "a diff", "Look: a diff"),
        (["Look", "-", "and say"], "a diff", "Look a diff and say"),
        (["Look:", "--file", "one.txt", "-f", "two.txt"], None, "Look: first second"),
        (["Look:", "--file", "-"], "a diff", "Look: a diff"),
    ],
)
def test_the_prompt(headrace: Any, arguments: list[str], stdin: str | None, prompt: str) -> None:
    (headrace.home / "one.txt").write_text("first")
    (headrace.home / "two.txt").write_text("second")
    done = headrace("ask", "-m", "demo:fast", *arguments, stdin=stdin)
    assert f"You said: `{prompt}`" in done.stdout, done.stderr


def test_nothing_to_ask(headrace: Any) -> None:
    for stdin in (None, "  \n"):
        done = headrace("ask", stdin=stdin)
        assert (done.returncode, done.stdout) == (2, "")
        assert "nothing to ask" in done.stderr


def test_what_cannot_be_read_is_named(headrace: Any) -> None:
    done = headrace("ask", "Hi", "--file", "missing.txt")
    assert done.returncode == 2
    assert "missing.txt" in done.stderr


def test_a_model_that_there_is_not(headrace: Any) -> None:
    done = headrace("ask", "-m", "opnai:gpt", "Hi")
    assert done.returncode == 2
    assert done.stderr.startswith("error: usage: there is no provider 'opnai'")


def test_no_key(headrace: Any) -> None:
    done = headrace("ask", "-m", "openai:gpt-4o-mini", "Hi")
    assert done.returncode == 1
    assert done.stderr.startswith("error: auth-failed: ")
    assert "OPENAI_API_KEY" in done.stderr


async def test_the_options_reach_the_provider(headrace: Any, openai_chunks: Chunks) -> None:
    async with ScriptedHTTP(streamed(openai_chunks("Hello"))) as server:
        given = ["--system", "Be brief.", "--max-tokens", "9", "--temperature", "0.5", "--seed", "7"]
        arguments = ["ask", "-m", "openai:m", *given, "Hi"]
        done = await asyncio.to_thread(headrace, *arguments, **provider(server.url))
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\n", "")
        sent = server.requests[0].json()
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        max_tokens = sent.get("max_completion_tokens", sent.get("max_tokens"))
        assert (max_tokens, sent["temperature"], sent["seed"]) == (9, 0.5, 7)


def test_tokens_arrive_while_the_model_talks(headrace: Any) -> None:
    process = headrace.start("ask", "-m", "demo", "long")
    first = process.stdout.readline()
    assert first.startswith(b"*This is")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


async def test_ctrl_c_closes_the_provider_and_exits_130(headrace: Any, openai_chunks: Chunks) -> None:
    pieces = openai_chunks("One ", "two", finish=None)
    async with ScriptedHTTP(streamed(pieces, "hang")) as server:
        process = headrace.start("ask", "-m", "openai:m", "--json", "Hi", variables=provider(server.url))
        seen = b""
        while b'"two"' not in seen:
            seen += await asyncio.to_thread(process.stdout.readline)
        process.send_signal(signal.SIGINT)
        await server.wait_left()
        rest, errors = await asyncio.to_thread(process.communicate, timeout=30)
        end = json.loads(rest.splitlines()[-1])
        assert (end["type"], end["outcome"]) == ("run-end", "cancelled")
        assert process.returncode == 130
        assert b"Traceback" not in errors


async def test_ctrl_c_works_though_nobody_reads(headrace: Any, openai_chunks: Chunks) -> None:
    pieces = openai_chunks("x" * 1_000_000, finish=None)
    async with ScriptedHTTP(streamed(pieces, "hang")) as server:
        process = headrace.start("ask", "-m", "openai:m", "Hi", variables=provider(server.url))
        assert await asyncio.to_thread(process.stdout.read, 1) == b"x"  # the pipe is full from here on
        process.send_signal(signal.SIGINT)
        await server.wait_left()
        assert await asyncio.to_thread(process.wait, 30) == 130
        process.stdout.close()
        process.stderr.close()


async def test_an_answer_that_breaks_off_fails(headrace: Any, openai_chunks: Chunks) -> None:
    async with ScriptedHTTP(streamed(openai_chunks("Half an", finish=None), "reset")) as server:
        done = await asyncio.to_thread(headrace, "ask", "-m", "openai:m", "Hi", **provider(server.url))
        assert done.returncode == 1
        assert done.stdout == "Half an\n"
        assert done.stderr.startswith("error: ")


async def test_a_fallback_takes_over(headrace: Any, openai_chunks: Chunks) -> None:
    async with ScriptedHTTP(streamed(openai_chunks("Half an", finish=None), "cut")) as server:
        arguments = ["ask", "-m", "openai:m", "--fallback", "demo:fast", "Hi"]
        done = await asyncio.to_thread(headrace, *arguments, **provider(server.url))
        assert done.returncode == 0
        assert "taken back (failover)" in done.stderr
        assert done.stdout.startswith("Half an\n*This is")

        path = headrace.home / "answer.txt"
        with path.open("wb") as file:
            process = headrace.start(*arguments, stdout=file, variables=provider(server.url))
            await asyncio.to_thread(process.communicate, timeout=30)
        assert path.read_text().startswith("*This is"), "a file is cut back to where the answer began"


async def test_a_cut_answer_says_so(headrace: Any, openai_chunks: Chunks) -> None:
    async with ScriptedHTTP(streamed(openai_chunks("And then", finish="length"))) as server:
        done = await asyncio.to_thread(headrace, "ask", "-m", "openai:m", "Hi", **provider(server.url))
        assert done.returncode == 0
        assert "--max-tokens" in done.stderr


async def test_a_pipe_has_the_bytes_as_they_are(headrace: Any, openai_chunks: Chunks) -> None:
    text = "\x1b[31mred\x00 \x9b \r\n 世界 👩‍👩‍👧"
    async with ScriptedHTTP(streamed(openai_chunks(*text))) as server:
        process = headrace.start("ask", "-m", "openai:m", "Hi", variables=provider(server.url))
        output, _ = await asyncio.to_thread(process.communicate, timeout=30)
        assert output == text.encode() + b"\n"


def test_a_schema_gives_json(headrace: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    Path(headrace.home / "s.json").write_text(json.dumps(schema))
    done = headrace("ask", "-m", "demo:fast", "--schema", "s.json", "Hi")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout)["n"], int)


async def test_an_answer_that_is_not_json_fails(headrace: Any, openai_chunks: Chunks) -> None:
    Path(headrace.home / "s.json").write_text('{"type": "object"}')
    async with ScriptedHTTP(streamed(openai_chunks("Sure, here is"))) as server:
        done = await asyncio.to_thread(
            headrace, "ask", "-m", "openai:m", "--schema", "s.json", "Hi", **provider(server.url)
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("note: an answer was taken back")
        assert "\nerror: output-rejected: " in done.stderr
        assert len(server.requests) == 3


async def test_an_answer_that_does_not_fit_is_asked_for_again(headrace: Any, openai_chunks: Chunks) -> None:
    Path(headrace.home / "s.json").write_text('{"type": "array", "items": {"type": "integer"}}')
    async with ScriptedHTTP(
        streamed(openai_chunks('{"value": ["one"')), streamed(openai_chunks('{"value": [1, 2]}'))
    ) as server:
        done = await asyncio.to_thread(
            headrace, "ask", "-m", "openai:m", "--schema", "s.json", "Hi", **provider(server.url)
        )
        assert (done.returncode, done.stdout) == (0, "[1,2]\n")
        assert done.stderr == "note: an answer was taken back (early-reject); asking again\n"


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '{"type": "nothing"}'])
def test_a_schema_that_is_none(headrace: Any, text: str) -> None:
    Path(headrace.home / "s.json").write_text(text)
    done = headrace("ask", "--schema", "s.json", "Hi")
    assert done.returncode == 2
    assert "s.json" in done.stderr


def test_reasoning_is_not_part_of_the_answer(headrace: Any) -> None:
    done = headrace("ask", "-m", "demo:fast", "think")
    assert "I am a script" not in done.stdout + done.stderr
    done = headrace("ask", "-m", "demo:fast", "--reasoning", "think")
    assert "I am a script" not in done.stdout
    assert "I am a script" in done.stderr


TOOLS = '''
import headrace

@headrace.tool
def depth(river: str) -> str:
    """How deep a river is."""
    return f"{river}: 2 m"

@headrace.tool
def broken(river: str) -> str:
    """Breaks."""
    raise RuntimeError("the gauge is gone")

@headrace.tool(approval=True)
def open_gate() -> str:
    """Open the gate."""
    return "open"
'''


def test_a_tool_from_a_file(headrace: Any) -> None:
    (headrace.home / "river.py").write_text(TOOLS)
    done = headrace("ask", "-m", "demo:fast", "--json", "--tool", "river.py:depth", "How deep?")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    call = next(event for event in events if event["type"] == "tool-call-end")
    result = next(event for event in events if event["type"] == "tool-result")
    assert result["value"] == f"{call['arguments']['river']}: 2 m"


def test_a_tool_that_raises_is_one_line(headrace: Any) -> None:
    (headrace.home / "river.py").write_text(TOOLS)
    command = ("ask", "-m", "demo:fast", "--tool", "river.py:broken", "How deep?")
    done = headrace(*command)
    assert done.returncode == 0, done.stderr
    assert "the gauge is gone" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    told = headrace("--debug", *command)
    assert "Traceback" not in told.stdout
    assert "Traceback" in told.stderr


@pytest.mark.parametrize(
    ("more", "said"), [((), "a person did not allow this call"), (("--yes",), "open_gate")]
)
def test_a_call_that_wants_leave(headrace: Any, more: tuple[str, ...], said: str) -> None:
    (headrace.home / "river.py").write_text(TOOLS)
    done = headrace("ask", "-m", "demo:fast", "--tool", "river.py:open_gate", *more, "Open it")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert ("allowed: Allow open_gate()?" in done.stderr) == bool(more)
    assert ("nobody is asked: Allow open_gate()?" in done.stderr) == (not more)


def test_a_person_at_the_terminal_allows_it(headrace: Any, screenful: Any) -> None:
    (headrace.home / "river.py").write_text(TOOLS)
    command = ("ask", "-m", "demo:fast", "--tool", "river.py:open_gate", "Open it")
    with headrace.terminal(*command) as tty:
        tty.until("Allow open_gate()? [y/N]")
        tty.type("y\n")
        assert tty.end() == 0
    screen = screenful(80)
    screen.feed(tty.seen.partition("\ndemo:fast · ")[0])
    assert "· open_gate → open" in screen.text


def test_a_tool_that_there_is_not(headrace: Any) -> None:
    done = headrace("ask", "-m", "demo:fast", "--tool", "nothing.py", "Hi")
    assert done.returncode == 2
    assert "the tools of 'nothing.py' cannot be loaded" in done.stderr
