"""What a program can do with its run: calls at the same time, calls that show nothing, a result of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers.base import ModelRequest
from headrace.providers.scripted import Drop, Say, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.context import Context
from headrace.runs.engine import Engine
from headrace.runs.handle import Run
from headrace.runs.spec import Returned, RunSpec
from headrace.testing.runs import check_stream


class Models:
    def __init__(self, provider: Scripted) -> None:
        self.provider = provider

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.provider, name

    async def close(self) -> None:
        await self.provider.close()


async def play(provider: Scripted, program: Any, **spec: Any) -> tuple[list[events.Event], events.RunEnd]:
    engine = Engine(Models(provider), MemoryRunLog())
    active = await engine.start(RunSpec(model="one", **spec), program)
    found = [event async for event in Run(engine, active)]
    check_stream(found)
    end = found[-1]
    assert isinstance(end, events.RunEnd)
    await engine.close()
    return found, end


async def test_calls_at_the_same_time_keep_apart() -> None:
    """Also when both fail in the middle and go on with another model."""
    meet = asyncio.Barrier(2)

    async def sleep(seconds: float) -> None:
        await meet.wait()

    def script(request: ModelRequest) -> list[Any]:
        who = request.messages[-1].text
        if request.model == "one":
            return [Say(f"{who} wrong", every=1.0), Drop()]
        return [Say(f"{who} right", every=1.0)]

    async def program(context: Context) -> list[Any]:
        async def ask(who: str) -> Any:
            async with context.span("slot", who) as span:
                return await context.call(messages=[messages.user(who)], names=("one", "two"), span=span.id)

        answers = await asyncio.gather(ask("a"), ask("b"))
        return [[answer.text, answer.attempts, len(answer.blocks)] for answer in answers]

    found, end = await play(Scripted(script, sleep=sleep), program)
    assert end.result["value"] == [["a right", 2, 1], ["b right", 2, 1]]
    resets = [event for event in found if isinstance(event, events.OutputReset)]
    assert sorted(event.span for event in resets) == ["s1", "s2"]
    assert sorted(event.attempt for event in found if isinstance(event, events.AttemptStart)) == [1, 2, 3, 4]


async def test_a_call_that_shows_nothing_is_still_reported() -> None:
    taped: list[events.Event] = []

    async def program(context: Context) -> str:
        answer = await context.call(messages=[messages.user("x")], shown=False, tap=taped.extend)
        assert answer.blocks == ()
        return answer.text

    found, end = await play(Scripted("one two"), program)
    assert end.result == {"text": "", "value": "one two"}
    assert not [event for event in found if isinstance(event, events.TextDelta)]
    assert [event.outcome for event in found if isinstance(event, events.AttemptEnd)] == ["completed"]
    assert "".join(event.delta for event in taped if isinstance(event, events.TextDelta)) == "one two"


async def test_a_hidden_call_falls_over_like_any_other() -> None:
    def script(request: ModelRequest) -> list[Any]:
        return [Say("half"), Drop()] if request.model == "one" else [Say("whole")]

    async def program(context: Context) -> str:
        return (await context.call(messages=[messages.user("x")], shown=False)).text

    found, end = await play(Scripted(script), program, fallbacks=("two",))
    assert end.result["value"] == "whole"
    assert not [event for event in found if isinstance(event, events.OutputReset)]


@pytest.mark.parametrize("fails", [False, True])
async def test_fields_and_what_was_done_before_a_failure(fails: bool) -> None:
    async def program(context: Context) -> Returned:
        context.value = Returned({"values": {"a": 1}}, beside=True)
        if fails:
            raise errors.RunError("no", code="tool-failed")
        return Returned({"values": {"a": 2}}, beside=True)

    _, end = await play(Scripted("x"), program)
    assert end.result == {"text": "", "values": {"a": 1 if fails else 2}}
