"""The log in memory: numbering, waking, sealing, lagging, intervals, retention."""

from __future__ import annotations

import asyncio
import random

import pytest

from headrace import errors, events
from headrace.runlog import base
from headrace.runlog.memory import HARD_TAIL, MemoryLog, MemoryRunLog


def write(log: MemoryLog, *texts: str) -> None:
    log.append([events.TextDelta(block="b", delta=text) for text in texts])


def end(log: MemoryLog) -> None:
    log.append([events.RunEnd(outcome="completed")])


def text_of(entries: list[base.Entry]) -> str:
    return "".join(e.event.delta for e in entries if isinstance(e.event, events.TextDelta))


def check_cover(entries: list[base.Entry], after: int, last: int) -> None:
    assert [s for e in entries for s in range(e.first, e.last + 1)] == list(range(after + 1, last + 1))


async def drain(follower: object) -> list[base.Entry]:
    out: list[base.Entry] = []
    async for batch in follower:  # type: ignore[attr-defined]
        out.extend(batch)
    return out


async def test_seq_counts_from_one_and_the_frame_is_encoded_once() -> None:
    log = MemoryLog("run_1")
    write(log, "a", "b")
    entries = log.read(0)
    assert [entry.event.seq for entry in entries] == [1, 2]
    assert entries[0].frame is log.read(0)[0].frame
    assert entries[0].frame.startswith(b"id: run_1.1\ndata: {")
    assert events.decode(entries[0].json) == entries[0].event


async def test_a_follower_gets_what_was_there_and_what_comes_then_none() -> None:
    log = MemoryLog("r")
    write(log, "a")
    follower = log.follow(0)
    assert text_of(await follower.next() or []) == "a"
    reading = asyncio.ensure_future(follower.next())
    await asyncio.sleep(0)
    assert not reading.done()
    write(log, "b", "c")
    assert text_of(await reading or []) == "bc"
    end(log)
    assert len(await follower.next() or []) == 1
    assert await follower.next() is None


@pytest.mark.parametrize("seed", range(20))
async def test_any_cursor_at_any_time_gives_the_rest(seed: int) -> None:
    dice = random.Random(seed)
    log = MemoryLog("r")
    pieces = [f"<{i}>" for i in range(dice.randrange(5, 900))]
    attached = [log.follow(0) for _ in range(dice.randrange(3))]
    i = 0
    while i < len(pieces):
        step = dice.choice((1, 1, 1, 40, 300))
        write(log, *pieces[i : i + step])
        i += step
        after = dice.randrange(log.last + 1)
        entries = log.read(after)
        check_cover(entries, after, log.last)
        assert text_of(entries) == "".join(pieces[after : log.last])
        for follower in attached:
            if dice.random() < 0.5:
                follower.ready()
    end(log)
    for follower in attached:
        follower.close()
    entries = log.read(0)
    assert text_of(entries) == "".join(pieces)
    check_cover(entries, 0, log.last)


async def test_what_everybody_has_read_costs_about_its_text() -> None:
    log = MemoryLog("r")
    follower = log.follow(0)
    for _ in range(1000):
        write(log, "four")
        follower.ready()
    end(log)
    follower.ready()
    follower.close()
    assert log.size <= 3 * 4000 + 8 * 1024


async def test_a_frozen_reader_costs_a_bound_and_gets_its_deltas_merged() -> None:
    log = MemoryLog("r")
    frozen = log.follow(0)
    for _ in range(20_000):
        write(log, "four")
    assert log.size <= HARD_TAIL + 3 * 80_000 + 8 * 1024
    entries = frozen.ready()
    assert len(entries) < 1000
    assert text_of(entries) == "four" * 20_000


async def test_a_burst_larger_than_the_tail_reaches_a_reader_who_keeps_up_unmerged() -> None:
    log = MemoryLog("r")
    follower = log.follow(0)
    for _ in range(3):
        write(log, *["four"] * 2000)
        entries = follower.ready()
        assert len(entries) == 2000
        check_cover(entries, log.last - 2000, log.last)
    write(log, "x")
    assert log.size <= HARD_TAIL + 3 * 24_000  # the bursts are sealed with the next append


async def test_a_reader_far_behind_is_handed_few_large_deltas() -> None:
    log = MemoryLog("r")
    follower = log.follow(0, merge=True)
    log.append([events.TextDelta(block="b", delta=f"{i} ") for i in range(300)])
    (entry,) = follower.ready()
    assert (entry.first, entry.last) == (1, 300)
    write(log, "x", "y")
    assert len(follower.ready()) == 2


async def test_readers_with_an_interval_are_woken_together_and_share_bytes() -> None:
    log = MemoryLog("r")
    readers = [log.follow(0, interval=0.02) for _ in range(3)]
    write(log, "a")
    assert [text_of(await r.next() or []) for r in readers] == ["a"] * 3
    first = [asyncio.ensure_future(r.next()) for r in readers]
    await asyncio.sleep(0)
    write(log, "-")
    assert [text_of(await r or []) for r in first] == ["-"] * 3
    waiting = [asyncio.ensure_future(r.next()) for r in readers]
    await asyncio.sleep(0)
    for piece in "bcd":
        write(log, piece)
        await asyncio.sleep(0)
    batches = [await w or [] for w in waiting]
    assert [text_of(b) for b in batches] == ["bcd"] * 3
    assert all(len(b) == 1 for b in batches)
    assert batches[0][0] is batches[1][0]
    assert log.frames(batches[0]) is log.frames(batches[1])
    last = asyncio.ensure_future(readers[0].next())
    await asyncio.sleep(0)
    end(log)
    assert await last


async def test_a_cancelled_reader_does_not_disturb_the_others() -> None:
    log = MemoryLog("r")
    one, two = log.follow(0), log.follow(0)
    first = asyncio.ensure_future(one.next())
    second = asyncio.ensure_future(two.next())
    await asyncio.sleep(0)
    first.cancel()
    write(log, "a")
    assert text_of(await second or []) == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_number_of_readers_is_told() -> None:
    log = MemoryLog("r")
    seen: list[int] = []
    log.on_followers = seen.append
    one, two = log.follow(0), log.follow(0)
    one.close()
    one.close()
    two.close()
    assert seen == [1, 2, 1, 0]


async def test_a_cursor_from_the_future_is_refused() -> None:
    log = MemoryLog("r")
    write(log, "a")
    with pytest.raises(errors.ReadError) as raised:
        log.follow(2)
    assert raised.value.code == "cursor-ahead"
    assert raised.value.details == {"last": 1}


async def test_retention_answers_gone_not_silence() -> None:
    logs = MemoryRunLog(retention=0.01)
    dropped: list[str] = []
    logs.on_drop = dropped.append
    log = logs.create("r")
    slow = log.follow(0)
    write(log, "a")
    end(log)
    logs.ended("r")
    while not dropped:
        await asyncio.sleep(0.005)
    with pytest.raises(errors.ReadError) as raised:
        logs.get("r")
    assert raised.value.code == "retention-passed"
    with pytest.raises(errors.ReadError):
        slow.ready()
    with pytest.raises(errors.ReadError) as unknown:
        logs.get("never")
    assert unknown.value.code == "run-not-found"


async def test_ended_runs_are_bounded_in_bytes() -> None:
    logs = MemoryRunLog(retention=100, max_bytes=200_000)
    for i in range(20):
        log = logs.create(f"r{i}")
        write(log, "x" * 30_000)
        end(log)
        logs.ended(f"r{i}")
    with pytest.raises(errors.ReadError):
        logs.get("r0")
    assert logs.get("r19").ended
    await logs.close()


async def test_drain_by_iteration() -> None:
    log = MemoryLog("r")
    reading = asyncio.ensure_future(drain(log.follow(0)))
    await asyncio.sleep(0)
    for i in range(10):
        write(log, str(i))
        await asyncio.sleep(0)
    end(log)
    assert text_of(await reading) == "0123456789"
