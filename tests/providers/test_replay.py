"""Recordings played back: runs with their own time, streams through their own decoder."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers import base, replay
from headrace.testing.providers import Collected, check_answer, check_provider, collect, request

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(path: Path, *steps: tuple[float, events.Event]) -> Path:
    """A run as `headrace ask --json` prints it; each step with its time in seconds."""
    lines = []
    for seq, (at, event) in enumerate(steps, 1):
        event.run, event.seq, event.time = "run_1", seq, START + timedelta(seconds=at)
        lines.append(events.encode(event) + b"\n")
    path.write_bytes(b"".join(lines))
    return path


def said(block: str, *pieces: tuple[float, str]) -> list[tuple[float, events.Event]]:
    first, last = pieces[0][0], pieces[-1][0]
    deltas: list[tuple[float, events.Event]] = [
        (at, events.TextDelta(block=block, delta=piece)) for at, piece in pieces
    ]
    return [(first, events.TextStart(block=block)), *deltas, (last, events.TextEnd(block=block))]


def run(
    *steps: tuple[float, events.Event], end: events.RunEnd | None = None
) -> list[tuple[float, events.Event]]:
    last = steps[-1][0] if steps else 0.0
    return [
        (0.0, events.RunStart(kind="answer", model="m")),
        *steps,
        (last, end or events.RunEnd(outcome="completed", finish_reason="stop")),
    ]


@pytest.fixture
def simple(tmp_path: Path) -> Path:
    return record(
        tmp_path / "run.jsonl",
        *run(
            (1.0, events.AttemptStart(attempt=1, provider="p", model="m")),
            *said("b7", (1.5, "Hel"), (1.75, "lo "), (4.0, "you")),
            (4.0, events.AttemptEnd(attempt=1, outcome="completed", reason="length")),
            (4.0, events.UsageReport(input_tokens=2, output_tokens=3, basis="reported")),
        ),
    )


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds

    async def play(self, model: str, **fields: Any) -> Collected:
        return await collect(replay.Replay(sleep=self.sleep, clock=self.time), request(model, **fields))


async def test_it_passes_the_checks(simple: Path) -> None:
    await check_provider(replay.Replay, model=f"{simple}?pace=0", failing_model="/no/such/file")


async def test_a_run_keeps_its_own_time(simple: Path) -> None:
    clock = Clock()
    found = await clock.play(str(simple))
    check_answer(found)
    assert clock.slept == [1.5, 0.25, 2.25]
    assert [event.block for event in found.events if isinstance(event, events.TextDelta)] == ["b1"] * 3
    assert found.text == "Hello you"
    assert found.end is not None
    assert found.end.finish_reason == "length"
    assert found.usage == messages.Usage(input_tokens=2, output_tokens=3, basis="reported")


async def test_a_given_pace(simple: Path) -> None:
    clock = Clock()
    await clock.play(f"{simple}?pace=4")
    assert clock.slept == [0.25] * 3


@pytest.mark.parametrize("fields", [{}, {"stream": False}])
async def test_at_once(simple: Path, fields: dict[str, Any]) -> None:
    clock = Clock()
    found = await clock.play(f"{simple}?pace=0" if not fields else str(simple), **fields)
    assert clock.slept == []
    assert len(found.batches) == 1
    assert found.text == "Hello you"


async def test_what_was_taken_back_is_left_out(tmp_path: Path) -> None:
    path = record(
        tmp_path / "run.jsonl",
        *run(
            (0, events.AttemptStart(attempt=1, provider="p", model="m")),
            *said("b1", (0, "wrong")),
            (0, events.AttemptEnd(attempt=1, outcome="failed", reason="provider-error")),
            (0, events.OutputReset(blocks=["b1"], reason="retry")),
            (0, events.AttemptStart(attempt=2, provider="p", model="m")),
            *said("b2", (0, "right")),
            (0, events.AttemptEnd(attempt=2, outcome="completed", reason="stop")),
        ),
    )
    found = await Clock().play(str(path))
    check_answer(found)
    assert found.text == "right"


async def test_an_answer_that_another_attempt_went_on_from_is_one(tmp_path: Path) -> None:
    path = record(
        tmp_path / "run.jsonl",
        *run(
            (0, events.AttemptStart(attempt=1, provider="p", model="m")),
            *said("b1", (0, "one ")),
            (0, events.AttemptEnd(attempt=1, outcome="failed", reason="stream-incomplete")),
            (0, events.AttemptStart(attempt=2, provider="p", model="m")),
            *said("b2", (0, "two")),
            (0, events.AttemptEnd(attempt=2, outcome="completed", reason="stop")),
        ),
    )
    assert (await Clock().play(str(path))).text == "one two"


async def test_a_run_with_tools_has_an_answer_for_each_round(tmp_path: Path) -> None:
    path = record(
        tmp_path / "run.jsonl",
        *run(
            (0, events.AttemptStart(attempt=1, provider="p", model="m")),
            (0, events.ToolCallStart(call="c1", name="look", block="b1")),
            (0, events.ToolCallDelta(call="c1", delta='{"a":1}', block="b1")),
            (0, events.ToolCallEnd(call="c1", arguments={"a": 1}, block="b1")),
            (0, events.AttemptEnd(attempt=1, outcome="completed", reason="tool-calls")),
            (0, events.ToolResult(call="c1", value=2)),
            (0, events.AttemptStart(attempt=2, provider="p", model="m")),
            *said("b2", (0, "It is two.")),
            (0, events.AttemptEnd(attempt=2, outcome="completed", reason="stop")),
        ),
    )
    first = await Clock().play(str(path))
    check_answer(first)
    assert first.parts == (messages.ToolCall("c1", "look", {"a": 1}, '{"a":1}'),)
    assert first.end is not None
    assert first.end.finish_reason == "tool-calls"
    thread = (
        messages.user("Hi"),
        messages.Message("assistant", first.parts),
        messages.Message("tool", (messages.ToolResult("c1", "2"),)),
    )
    for more in ((), thread[1:]):
        asked = base.ModelRequest(model=str(path), messages=(*thread, *more))
        second = await collect(replay.Replay(), asked)
        assert second.text == "It is two."


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (
            events.RunEnd(
                outcome="failed", error=events.ErrorInfo(code="rate-limited", message="slow", retryable=False)
            ),
            "rate-limited",
        ),
        (events.RunEnd(outcome="cancelled"), "stream-incomplete"),
        (events.RunEnd(outcome="interrupted"), "stream-incomplete"),
    ],
)
async def test_a_run_that_went_wrong_goes_wrong_again(tmp_path: Path, end: events.RunEnd, code: str) -> None:
    steps = [(0.0, events.TextStart(block="b1")), (0.0, events.TextDelta(block="b1", delta="half"))]
    path = record(tmp_path / "run.jsonl", *run(*steps, end=end))
    found = await Clock().play(str(path))
    assert found.text == "half"
    assert isinstance(found.error, errors.HeadraceError)
    assert found.error.code == code
    assert found.error.retryable is (code != "rate-limited")
    assert found.end is None
    whole = await Clock().play(str(path), stream=False)
    assert (whole.batches, type(whole.error)) == ([], type(found.error))


async def test_a_run_without_an_ending_is_incomplete(tmp_path: Path) -> None:
    path = record(tmp_path / "run.jsonl", *run(*said("b1", (0, "half")))[:-1])
    found = await Clock().play(str(path))
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "stream-incomplete"


CHUNK: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "model": "m"}
CHAT = b"".join(
    b"data: " + json.dumps(CHUNK | {"choices": [choice]}).encode() + b"\n\n"
    for choice in (
        {"index": 0, "delta": {"role": "assistant", "content": "Hel"}},
        {"index": 0, "delta": {"content": "lo"}},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    )
)


@pytest.mark.parametrize("name", ["any.sse", "any.sse?wire=openai-chat", "openai-chat--x.sse?pace=0"])
async def test_a_recorded_stream(tmp_path: Path, name: str) -> None:
    (tmp_path / name.partition("?")[0]).write_bytes(CHAT + b"data: [DONE]\n\n")
    clock = Clock()
    found = await clock.play(f"{tmp_path}/{name}")
    check_answer(found)
    assert found.text == "Hello"
    assert clock.slept == []


async def test_a_recorded_stream_at_a_pace(tmp_path: Path) -> None:
    (tmp_path / "a.sse").write_bytes(CHAT)
    clock = Clock()
    found = await clock.play(f"{tmp_path}/a.sse?pace=10")
    assert clock.slept == [0.1, 0.1]
    assert found.text == "Hello"


async def test_a_recorded_stream_that_broke_off(tmp_path: Path) -> None:
    (tmp_path / "a.sse").write_bytes(CHAT[: CHAT.index(b'"lo"')])
    found = await Clock().play(f"{tmp_path}/a.sse")
    assert found.text == "Hel"
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "stream-incomplete"


@pytest.mark.parametrize(
    ("name", "head", "wire"),
    [
        ("anthropic-x.sse", b"", "anthropic"),
        ("openai-responses-x.sse", b"", "openai-responses"),
        ("a.sse", b'event: message_start\ndata: {"type":"message_start"}', "anthropic"),
        ("a.sse", b'event: response.created\ndata: {"type":"response.created"}', "openai-responses"),
        ("a.sse", b'data: {"candidates": []}', "gemini"),
        ("a.ndjson", b'{"model":"m","message":{"role":"assistant","content":"x"}}', "ollama"),
        ("a.jsonl", b'{"run":"run_1","seq":1,"type":"run-start"}', "native"),
    ],
)
def test_wires_are_guessed(name: str, head: bytes, wire: str) -> None:
    assert replay.guess(name, head) == wire


@pytest.mark.parametrize(
    ("name", "content", "kind", "code"),
    [
        ("missing", None, errors.ProviderError, "model-not-found"),
        (".", None, errors.ProviderError, "model-not-found"),
        ("odd", b"root:x:0:0", errors.ProviderError, "provider-protocol"),
        ("odd?wire=native", b"root:x:0:0", errors.ProviderError, "provider-protocol"),
        ("odd?wire=smoke", b"", errors.UsageError, "usage"),
        ("odd?pace=fast", b"", errors.UsageError, "usage"),
        ("odd?pace=-1", b"", errors.UsageError, "usage"),
        ("odd?speed=1", b"", errors.UsageError, "usage"),
    ],
)
async def test_what_cannot_be_played(
    tmp_path: Path, name: str, content: bytes | None, kind: type[errors.HeadraceError], code: str
) -> None:
    if content is not None:
        (tmp_path / "odd").write_bytes(content)
    found = await Clock().play(f"{tmp_path}/{name}")
    assert isinstance(found.error, kind)
    assert found.error.code == code
    assert "root:x" not in found.error.message


async def test_every_recording_can_be_played(recordings: Path) -> None:
    rows = json.loads((recordings / "index.json").read_text())
    assert rows
    played = 0
    for path in sorted(recordings.glob("*.sse")):
        found = await collect(replay.Replay(), request(str(path)))
        if found.error is None:
            check_answer(found)
            played += 1
        else:
            assert isinstance(found.error, errors.HeadraceError), path.name
    assert played > 50
