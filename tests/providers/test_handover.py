"""From a thread to the loop: order, bound, one wake a look, and a reader that leaves."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from headrace import errors
from headrace.providers import base, handover


async def test_everything_comes_in_order_and_in_batches() -> None:
    channel: handover.Handover[int] = handover.Handover(1000)

    def work() -> None:
        for number in range(500):
            assert channel.put(number)
        channel.end()

    thread = handover.start(work, "test")
    await asyncio.to_thread(thread.join)
    assert await channel.take() == list(range(500))
    assert await channel.take() == []
    assert await channel.take() == []


async def test_the_loop_is_woken_once_for_all_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    woken: list[object] = []
    real = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *a, **k: (woken.append(a), real(*a, **k))[1])
    channel: handover.Handover[int] = handover.Handover(1000)
    for number in range(100):
        channel.put(number)
    assert len(woken) == 1
    assert len(await channel.take()) == 100


async def test_a_full_one_makes_the_thread_wait() -> None:
    channel: handover.Handover[int] = handover.Handover(3)
    reached: list[int] = []

    def work() -> None:
        for number in range(10):
            channel.put(number)
            reached.append(number)
        channel.end()

    handover.start(work, "test")
    got: list[int] = []
    while items := await channel.take():
        assert len(items) <= 3
        assert len(reached) <= len(got) + 3 + 3
        got += items
    assert got == list(range(10))


async def test_an_error_comes_after_the_last_item() -> None:
    channel: handover.Handover[int] = handover.Handover()
    channel.put(1)
    channel.end(ValueError("end"))
    assert await channel.take() == [1]
    with pytest.raises(ValueError, match="end"):
        await channel.take()


async def test_a_reader_that_leaves_frees_a_waiting_thread() -> None:
    channel: handover.Handover[int] = handover.Handover(1)
    answers: list[bool] = []
    waiting = threading.Event()

    def work() -> None:
        answers.append(channel.put(1))
        waiting.set()
        answers.append(channel.put(2))

    thread = handover.start(work, "test")
    await asyncio.to_thread(waiting.wait)
    channel.leave()
    await asyncio.to_thread(thread.join)
    assert answers == [True, False]
    assert channel.left
    assert not channel.put(3)


def test_a_closed_loop_frees_the_thread() -> None:
    made: list[handover.Handover[int]] = []

    async def make() -> None:
        made.append(handover.Handover(1))

    asyncio.run(make())
    assert not made[0].put(1)
    assert not made[0].put(2)


async def test_context_variables_are_carried_over() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    seen: list[str] = []
    thread = handover.start(lambda: seen.append(variable.get()), "test")
    await asyncio.to_thread(thread.join)
    assert seen == ["set"]


@pytest.mark.parametrize(
    ("timeouts", "phases"),
    [
        (base.Timeouts(first_chunk=0.01, stall=None, total=None), ["first-chunk"]),
        (base.Timeouts(first_chunk=None, stall=0.01, total=None), [None, "stall"]),
        (base.Timeouts(first_chunk=None, stall=None, total=0.01), ["total"]),
        (base.Timeouts(first_chunk=None, stall=None, total=None), [None, None]),
    ],
)
async def test_the_limits_of_an_exchange(timeouts: base.Timeouts, phases: list[str | None]) -> None:
    limits = handover.Limits(timeouts, "test")
    for phase in phases:
        if phase is None:
            assert await limits.within(asyncio.sleep(0, "value")) == "value"
            continue
        with pytest.raises(errors.ProviderError) as caught:
            await limits.within(asyncio.get_running_loop().create_future())
        assert caught.value.code == "provider-timeout"
        assert caught.value.details == {"phase": phase, "seconds": 0.01}


async def test_a_time_out_of_ones_own_is_not_a_limit() -> None:
    async def fails() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await handover.Limits(base.Timeouts(), "test").within(fails())
