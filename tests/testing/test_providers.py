"""The checks themselves: each finds the fault it is there for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from headrace import errors, events
from headrace.providers import base
from headrace.providers.scripted import Drop, Fail, Say, Scripted
from headrace.testing.providers import check_provider, collect, request

Batches = list[list[events.Event]]


class Faulty(Scripted):
    """A provider that hands over what it is told to."""

    def __init__(self, make: Callable[[base.ModelRequest], Batches]) -> None:
        super().__init__()
        self._make = make

    async def stream(  # type: ignore[override]
        self, asked: base.ModelRequest, record: base.Exchange
    ) -> AsyncIterator[list[events.Event]]:
        for batch in self._make(asked):
            yield batch


def text(block: str = "b1", words: str = "hi") -> list[events.Event]:
    return [
        events.TextStart(block=block),
        events.TextDelta(block=block, delta=words),
        events.TextEnd(block=block),
    ]


def end(reason: str | None = "stop") -> base.ModelEnd:
    return base.ModelEnd(finish_reason=reason)


FAULTS: dict[str, tuple[Callable[[base.ModelRequest], Batches], str]] = {
    "no end": (lambda asked: [text()], "one ModelEnd, there were 0"),
    "two ends": (lambda asked: [[*text(), end(), end()]], "one ModelEnd, there were 2"),
    "end too early": (lambda asked: [[end(), *text()]], "not the last"),
    "left open": (lambda asked: [[*text()[:2], end()]], "left open"),
    "delta without start": (lambda asked: [[*text()[1:], end()]], "not open"),
    "empty batch": (lambda asked: [[], [*text(), end()]], "empty batch"),
    "empty delta": (lambda asked: [[*text(words=""), end()]], "empty text-delta"),
    "empty answer": (lambda asked: [[end()]], "empty"),
    "block twice": (lambda asked: [[*text(), *text(), end()]], "not a new one"),
    "foreign finish reason": (lambda asked: [[*text(), end("end_turn")]], "finish reason"),
    "written already": (
        lambda asked: [[events.Status(message="x", seq=3), *text(), end()]],
        "filled in",
    ),
    "whole in pieces": (lambda asked: [text(), [end()]], "instead of one"),
    "whole differs": (
        lambda asked: [[*text(words="streamed" if asked.stream else "whole"), end()]],
        "another text",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_found(name: str) -> None:
    make, words = FAULTS[name]
    with pytest.raises(AssertionError, match=words):
        await check_provider(lambda: Faulty(make), model="m")


class SlowToLeave(Scripted):
    async def stream(  # type: ignore[override]
        self, asked: base.ModelRequest, record: base.Exchange
    ) -> AsyncIterator[list[events.Event]]:
        try:
            yield text()
            yield [end()]
        finally:
            await asyncio.sleep(0.05)


async def test_leaving_slowly_is_found() -> None:
    with pytest.raises(AssertionError, match="leave"):
        await check_provider(SlowToLeave, model="m", close_seconds=0.01, skip=("whole",))


async def test_a_failing_answer_must_fail_with_a_typed_error() -> None:
    def make(step: object) -> Callable[[], Scripted]:
        return lambda: Scripted(lambda asked: [Say("a"), step] if asked.model == "bad" else "fine")  # type: ignore[list-item]

    await check_provider(make(Drop()), model="m", failing_model="bad")
    with pytest.raises(AssertionError, match="not a typed one"):
        await check_provider(make(Fail(ValueError("x"))), model="m", failing_model="bad")
    with pytest.raises(AssertionError, match="did not"):
        await check_provider(make(Say("b")), model="m", failing_model="bad")


async def test_each_provider_is_closed() -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(Scripted("hello"))
        return made[-1]

    await check_provider(make, model="m")
    assert len(made) == 7
    assert all(provider.closed for provider in made)


async def test_collect_keeps_the_error() -> None:
    failure = errors.ProviderError("x")
    found = await collect(Scripted([Say("a"), Fail(failure)]), request("m"))
    assert found.error is failure
    assert found.text == "a"
    assert found.end is None
