"""The Python API: stream, ask, objects as models, and the blocking twins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import headrace
from headrace import errors, events
from headrace.providers.scripted import Drop, Fail, Hang, Say, Scripted


async def test_stream_text_then_result() -> None:
    async with headrace.stream(Scripted("Once upon a time"), "Tell me a story") as run:
        tokens = [token async for token in run.text()]
        result = await run.result()
    assert "".join(tokens) == result.text == "Once upon a time"
    assert len(tokens) == 4
    assert (result.outcome, result.finish_reason) == ("completed", "stop")


async def test_stream_gives_every_event_typed() -> None:
    async with headrace.stream(Scripted("a b"), "x") as run:
        found = [event async for event in run]
    assert isinstance(found[0], events.RunStart)
    assert isinstance(found[-1], events.RunEnd)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))


async def test_leaving_early_stops_the_run() -> None:
    model = Scripted([Say("a b c"), Hang()])
    async with headrace.stream(model, "x") as run:
        async for _ in run.text():
            break
    assert run.status == "ended"
    assert model.calls[0].closed_early


async def test_cancel_has_a_result() -> None:
    async with headrace.stream(Scripted([Say("a b c"), Hang()]), "x") as run:
        async for _ in run.text():
            result = await run.cancel()
            break
    assert result.outcome == "cancelled"
    assert result.usage is not None


async def test_a_failed_run_raises_after_the_last_token() -> None:
    got: list[str] = []
    run = await headrace.stream(Scripted([Say("a b"), Drop()]), "x").start()
    with pytest.raises(errors.ProviderError) as raised:
        await _collect(run, got)
    assert "".join(got) == "a b"
    assert raised.value.code == "stream-incomplete"


async def _collect(run: headrace.Run, into: list[str]) -> None:
    async for token in run.text():
        into.append(token)  # noqa: PERF401  (what came before the error counts)


async def test_text_says_what_was_taken_back() -> None:
    second = Scripted("the whole")
    broken = Scripted([Say("half"), Fail(errors.ProviderError("gone"))])
    engine = headrace.Engine(_Two(broken, second), _logs())
    async with headrace.stream("a", "x", fallbacks=["b"], engine=engine) as run:
        tokens = [token async for token in run.text()]
    resets = [token for token in tokens if isinstance(token, headrace.Retraction)]
    assert [(reset.reason, reset.blocks) for reset in resets] == [("failover", ["b1"])]
    assert "".join(tokens[tokens.index(resets[0]) :]) == "the whole"


class _Two:
    def __init__(self, a: Scripted, b: Scripted) -> None:
        self.models = {"a": a, "b": b}

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.models[name], name

    async def close(self) -> None: ...


def _logs() -> Any:
    from headrace.runlog import MemoryRunLog

    return MemoryRunLog()


async def test_ask_waits_and_takes_options() -> None:
    model = Scripted("yes")
    result = await headrace.ask(model, "x", system="Be brief.", temperature=0.2, max_tokens=5)
    request = model.requests[0]
    assert result.text == "yes"
    assert [message.role for message in request.messages] == ["system", "user"]
    assert (request.temperature, request.max_tokens) == (0.2, 5)


async def test_messages_may_be_given_whole() -> None:
    model = Scripted("yes")
    await headrace.ask(
        model,
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
    )
    assert [message.text for message in model.requests[0].messages] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("prompt", "options"), [([], {}), ([{"role": "wizard"}], {}), ("x", {"temprature": 1})]
)
async def test_wrong_use_is_told_at_once(prompt: Any, options: Any) -> None:
    with pytest.raises(errors.UsageError) as raised:
        headrace.stream("demo", prompt, **options)
    assert raised.value.code == "bad-request"


def test_blocking_stream_is_live() -> None:
    gate = threading.Event()

    class Waits:
        def generate_stream(self, thread: Any, **options: Any) -> Iterator[str]:
            yield "first"
            assert gate.wait(5)
            yield " second"

        def generate(self, thread: Any, **options: Any) -> str:
            raise AssertionError

    tokens = headrace.stream_sync(Waits(), "x").text()
    assert next(tokens) == "first"
    gate.set()
    assert list(tokens) == [" second"]


def test_closing_a_blocking_iterator_stops_the_run() -> None:
    model = Scripted([Say("a b c"), Hang()])
    tokens = headrace.stream_sync(model, "x").text()
    assert next(tokens) == "a"
    tokens.close()  # type: ignore[attr-defined]
    assert model.calls[0].closed_early


def test_blocking_with_block_and_result() -> None:
    with headrace.stream_sync(Scripted("a b"), "x") as run:
        assert "".join(run.text()) == "a b"
        assert run.result().text == "a b"
        assert isinstance(next(iter(run)), events.RunStart)
    assert headrace.ask_sync(Scripted("c"), "x").text == "c"


async def test_the_blocking_twin_works_in_a_thread_of_a_running_loop() -> None:
    def work() -> str:
        return "".join(headrace.stream_sync(Scripted("a b c"), "x").text())

    assert await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4))) == ["a b c"] * 4


def test_blocking_errors_are_the_same() -> None:
    with pytest.raises(errors.ProviderError):
        list(headrace.stream_sync(Scripted([Say("a"), Drop()]), "x").text())
