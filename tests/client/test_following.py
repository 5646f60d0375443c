"""Coming back: a run log in memory, served as bytes, with lines that break wherever the dice say."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from headrace import errors, events
from headrace.client import following
from headrace.protocol import lifecycle, sse
from headrace.runlog.base import Entry
from headrace.runlog.memory import MemoryLog

RUN = "run_01ARZ3NDEKTSV4RRFFQ69G5FAV"
LOST = errors.ProviderError("the line broke", code="provider-unreachable")


def _story(seed: int) -> list[events.Event]:
    """A run with two blocks, hostile text, and deltas of all sizes."""
    dice = random.Random(seed)
    alphabet = ["a", " ", "\n", "é", "🌊", "data: x\n\n", "id: 9\r\n", "\u2028", '"', "\0"]
    batch: list[events.Event] = [events.RunStart(kind="answer", model="demo")]
    for block in ("b1", "b2"):
        batch.append(events.TextStart(block=block))
        for _ in range(dice.randint(1, 40)):
            text = "".join(dice.choices(alphabet, k=dice.randint(1, 6)))
            batch.append(events.TextDelta(block=block, delta=text))
        batch.append(events.TextEnd(block=block))
    text = "".join(event.delta for event in batch if isinstance(event, events.TextDelta))
    batch.append(events.RunEnd(outcome="completed", result={"text": text}))
    return batch


class Server:
    """Serves a log that grows while it is read; every line breaks after some bytes, in pieces of any size."""

    def __init__(self, seed: int, *, merge: bool) -> None:
        self.dice = random.Random(seed)
        self.story = _story(seed)
        self.log = MemoryLog(RUN)
        self.merge = merge
        self.opened: list[int] = []
        self.sent: list[Entry] = []

    def _grow(self) -> None:
        count = self.dice.randint(1, 12)
        batch, self.story = self.story[:count], self.story[count:]
        if batch:
            self.log.append(batch)

    @asynccontextmanager
    async def open(self, after: int) -> AsyncIterator[AsyncIterator[bytes] | None]:
        self.opened.append(after)
        if self.dice.random() < 0.1:
            raise LOST
        self._grow()
        if self.log.ended and after == self.log.last:
            yield None
            return
        async with aclosing(self._bytes(after)) as chunks:
            yield chunks

    async def _bytes(self, after: int) -> AsyncIterator[bytes]:
        left = self.dice.choice([self.dice.randint(0, 400), self.dice.randint(0, 4000)])
        pending = sse.retry(1000)
        if self.dice.random() < 0.2:  # somebody in between sends again what was sent
            pending += b"".join(entry.frame for entry in self.sent[-2:] if entry.last <= after)
        read_from = after
        while True:
            entries = self.log.read_merged(read_from) if self.merge else self.log.read(read_from)
            if entries:
                read_from = entries[-1].last
                self.sent += entries
                pending += b"".join(entry.frame for entry in entries)
            if self.dice.random() < 0.1:
                pending += sse.HEARTBEAT
            while pending:
                size = min(self.dice.randint(1, 90), left)
                piece, pending = pending[:size], pending[size:]
                left -= len(piece)
                if piece:
                    yield piece
                if left == 0:
                    if self.dice.random() < 0.5:
                        raise LOST
                    return
            if self.log.ended:
                return
            self._grow()


async def _nap(seconds: float) -> None:
    assert 0.05 <= seconds <= 2.0


async def _read(open_stream: Callable[[int], Any], **options: Any) -> list[events.Event]:
    got: list[events.Event] = []
    async with aclosing(following.batches(open_stream, RUN, sleep=_nap, **options)) as source:
        async for batch in source:
            assert batch
            got += batch
    return got


@pytest.mark.parametrize("merge", [False, True], ids=["single", "merged"])
async def test_whatever_breaks_the_text_is_the_answer(merge: bool) -> None:
    breaks = 0
    for seed in range(500):
        server = Server(seed, merge=merge)
        golden = "".join(e.delta for e in server.story if isinstance(e, events.TextDelta))
        got = await _read(server.open, dice=random.Random(seed).random)
        assert "".join(e.delta for e in got if isinstance(e, events.TextDelta)) == golden, seed
        assert isinstance(got[-1], events.RunEnd), seed
        seq, table = 0, lifecycle.Lifecycle()
        for event in got:
            assert (getattr(event, "from_seq", None) or event.seq) == seq + 1, seed
            seq = event.seq
            table.check(event)
        assert table.ended
        breaks += len(server.opened) - 1
    assert breaks > 1000


@asynccontextmanager
async def _refused(after: int) -> AsyncIterator[AsyncIterator[bytes] | None]:
    raise errors.ReadError("the run is no longer kept", code="retention-passed")
    yield None


async def test_a_refusal_is_told_at_once() -> None:
    with pytest.raises(errors.ReadError, match="no longer kept"):
        await _read(_refused)


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


async def test_given_up_after_the_time_without_success() -> None:
    @asynccontextmanager
    async def dead(after: int) -> AsyncIterator[AsyncIterator[bytes] | None]:
        raise LOST
        yield None

    clock = Clock()
    source = following.batches(
        dead, RUN, patience=following.Patience(give_up=10), sleep=clock.sleep, clock=clock, dice=lambda: 1.0
    )
    with pytest.raises(errors.ProviderError, match="the line broke"):
        await anext(source)
    assert clock.naps[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert 8 < clock.now <= 10


async def test_a_heartbeat_is_success_and_half_an_event_is_not() -> None:
    served = [sse.HEARTBEAT, b"id: x\ndata: {", sse.HEARTBEAT, b"data: {"]

    @asynccontextmanager
    async def waiting(after: int) -> AsyncIterator[AsyncIterator[bytes] | None]:
        async def chunks() -> AsyncIterator[bytes]:
            yield served.pop(0) if served else b"retry: 1000\n\n"

        yield chunks()

    clock = Clock()
    source = following.batches(
        waiting, RUN, patience=following.Patience(give_up=3), sleep=clock.sleep, clock=clock, dice=lambda: 1.0
    )
    with pytest.raises(errors.ProviderError) as caught:
        await anext(source)
    assert caught.value.code == "stream-incomplete"
    assert clock.naps[:6] == [0.1, 0.2, 0.1, 0.2, 0.4, 0.8]


def test_the_server_may_ask_for_a_longer_pause() -> None:
    patience = following.Patience()
    busy = errors.ProviderError("busy", retry_after=7)
    assert patience.pause(1, busy, lambda: 0.0) == 7
    assert patience.pause(1, errors.ProviderError("busy", retry_after=900), lambda: 0.0) == 30
    assert patience.pause(5000, LOST, lambda: 1.0) == 2.0


async def test_leaving_early_closes_the_line() -> None:
    closed = []

    @asynccontextmanager
    async def line(after: int) -> AsyncIterator[AsyncIterator[bytes] | None]:
        log = MemoryLog(RUN)
        log.append([events.RunStart(kind="answer", model="demo")])

        async def chunks() -> AsyncIterator[bytes]:
            yield log.read(0)[0].frame

        try:
            yield chunks()
        finally:
            closed.append(after)

    async with aclosing(following.batches(line, RUN)) as source:
        await anext(source)
    assert closed == [0]
