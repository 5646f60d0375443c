"""The scripted provider: pieces, pauses, faults and its record."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from headrace import errors, events, messages
from headrace.providers import base, scripted
from headrace.providers.scripted import (
    Call,
    Drop,
    Fail,
    Finish,
    Hang,
    Pause,
    Say,
    Scripted,
    Think,
    Usage,
    by_seed,
    by_size,
    by_word,
    whole,
)
from headrace.testing.providers import check_answer, check_provider, collect, exchange, request


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_it_passes_the_checks() -> None:
    script = [Think("Hm, well.", signature="s"), Say("Hello there, world"), Call("f", {"a": 1})]
    await check_provider(lambda: Scripted(script), model="m")
    await check_provider(lambda: Scripted([Say("a"), Fail(errors.ProviderError("x"))]), model="m", skip=_ALL)


_ALL = ("lifecycle", "whole", "leave", "cancel", "together")


async def test_every_kind_of_step() -> None:
    source = events.Source(url="https://example.org/")
    provider = Scripted(
        [
            Think("So.", signature="sig", encrypted="enc"),
            "One ",
            Say("two"),
            source,
            Call("look", {"at": "it"}),
            Call("look", "{broken", id="mine"),
            Usage(input_tokens=3, output_tokens=5, basis="reported"),
        ]
    )
    found = await collect(provider, request("m"))
    check_answer(found)
    assert found.parts == (
        messages.Reasoning("So.", "sig", "enc"),
        messages.Text("One two"),
        messages.ToolCall("call_1", "look", {"at": "it"}, '{"at": "it"}'),
        messages.ToolCall("mine", "look", "{broken", "{broken"),
    )
    assert source in found.events
    assert all(event is not source for event in found.events)  # the engine writes into events
    assert found.end is not None
    assert found.end.finish_reason == "tool-calls"
    assert found.usage == Usage(input_tokens=3, output_tokens=5, basis="reported")


@pytest.mark.parametrize(("reason", "expected"), [("length", "length"), (None, None)])
async def test_finish_ends_the_script(reason: str | None, expected: str | None) -> None:
    found = await collect(Scripted([Say("a"), Finish(reason), Say("never")]), request("m"))
    assert found.text == "a"
    assert found.end is not None
    assert found.end.finish_reason == expected


@pytest.mark.parametrize("split", [by_word, by_size(1), by_size(5), by_seed(1), by_seed(2, 3), whole])
@pytest.mark.parametrize("text", ["", "a", "Hello  big\n\nworld \n", "naïve 😀 日本語", "   "])
def test_pieces_joined_are_the_text(split: scripted.Splitter, text: str) -> None:
    pieces = split(text)
    assert "".join(pieces) == text
    assert all(pieces)
    assert pieces == split(text)


async def test_given_pieces_are_kept() -> None:
    found = await collect(Scripted([Say(pieces=["He", "llo"])]), request("m"))
    assert [e.delta for e in found.events if isinstance(e, events.TextDelta)] == ["He", "llo"]


async def test_without_delays_events_come_in_batches() -> None:
    found = await collect(Scripted([Say("word " * 1000)]), request("m"))
    assert len(found.batches) < 40
    assert max(len(batch) for batch in found.batches) <= scripted.BATCH


async def test_delays_go_through_the_given_sleep() -> None:
    clock = Clock()
    found = await collect(
        Scripted([Say("one two three", every=0.5), Pause(3), Say("four")], sleep=clock.sleep), request("m")
    )
    assert clock.slept == [0.5, 0.5, 0.5, 3]
    assert [len(batch) for batch in found.batches] == [1, 1, 1, 1, 3]
    assert found.text == "one two threefour"


async def test_stream_false_is_one_batch_after_the_whole_wait() -> None:
    clock = Clock()
    provider = Scripted([Say("one two"), Pause(2), Say(" three")], sleep=clock.sleep)
    found = await collect(provider, request("m", stream=False))
    check_answer(found)
    assert len(found.batches) == 1
    assert found.text == "one two three"
    assert clock.slept == [2]


async def test_fail_raises_after_what_was_said() -> None:
    error = errors.ProviderError("slow down", code="rate-limited")
    found = await collect(Scripted([Say("a b"), Fail(error)]), request("m"))
    assert found.error is error
    assert [e.type for e in found.events] == ["text-start", "text-delta", "text-delta"]
    assert (await collect(Scripted([Say("a"), Fail(error)]), request("m", stream=False))).batches == []


async def test_drop_is_an_incomplete_stream() -> None:
    found = await collect(Scripted([Say("a"), Drop()]), request("m"))
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "stream-incomplete"
    assert found.end is None


async def test_hang_ends_when_the_reader_leaves() -> None:
    provider = Scripted([Say("a"), Hang()])
    stream = provider.stream(request("m"), exchange(base.Timeouts(stall=None, total=None)))
    assert len(await anext(stream)) == 2
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert provider.calls[0].closed_early


@pytest.mark.parametrize(
    ("script", "timeouts", "phase", "slept"),
    [
        ([Hang()], base.Timeouts(first_chunk=7), "first-chunk", [7]),
        ([Say("a"), Hang()], base.Timeouts(stall=5), "stall", [5]),
        ([Say("a"), Pause(4), Say("b"), Pause(9)], base.Timeouts(stall=5), "stall", [4, 5]),
        ([Say("a"), Pause(4), Say("b"), Pause(9)], base.Timeouts(stall=5, total=6), "total", [4, 2]),
    ],
)
async def test_waits_past_a_time_out(
    script: list[scripted.Step], timeouts: base.Timeouts, phase: str, slept: list[float]
) -> None:
    clock = Clock()
    found = await collect(Scripted(script, sleep=clock.sleep), request("m"), timeouts)
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "provider-timeout"
    assert found.error.details["phase"] == phase
    assert clock.slept == slept


async def test_a_list_of_scripts_is_one_for_each_request() -> None:
    provider = Scripted([["first"], [Say("second")]])
    assert (await collect(provider, request("m"))).text == "first"
    assert (await collect(provider, request("m"))).text == "second"
    found = await collect(provider, request("m"))
    assert isinstance(found.error, errors.UsageError)
    assert [call.ending for call in provider.calls] == ["completed", "completed", "failed"]


async def test_a_function_sees_the_request() -> None:
    provider = Scripted(lambda asked: f"You said {asked.messages[-1].text}")
    assert (await collect(provider, request("m", "hi"))).text == "You said hi"


async def test_one_script_is_played_for_ever() -> None:
    provider = Scripted("again")
    assert [(await collect(provider, request("m"))).text for _ in range(3)] == ["again"] * 3


@pytest.mark.parametrize("prefill", ["Hel", "Hello w", "Hello world"])
async def test_a_prefill_is_gone_on_from(prefill: str) -> None:
    provider = Scripted([Say("Hello "), Say(pieces=["wor", "ld"])])
    found = await collect(provider, request("m", prefill=prefill))
    check_answer(found)
    assert prefill + found.text == "Hello world"


async def test_a_prefill_of_other_text_is_just_continued() -> None:
    assert (await collect(Scripted("the rest"), request("m", prefill="Once "))).text == "the rest"


async def test_the_record_of_calls() -> None:
    provider = Scripted("one two", name="mine", models=["a", "b"])
    asked = request("m")
    await collect(provider, asked)
    async with aclosing(provider.stream(asked, exchange())) as stream:
        async for _ in stream:
            break
    left = Scripted([Say("a b c", every=0.001)])
    async with aclosing(left.stream(asked, exchange())) as stream:
        async for _ in stream:
            break
    assert provider.requests == [asked, asked]
    assert provider.calls[0].ending == "completed"
    assert provider.calls[0].sent == 5
    assert left.calls[0].closed_early
    assert await provider.models() == ["a", "b"]
    await provider.close()
    assert provider.closed
