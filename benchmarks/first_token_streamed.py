"""When does a person see the first words of a chat turn: streamed, and waited for? And in a long conversation?

The model is scripted and takes three seconds for its answer, a piece every 75 ms. Both turns go the whole way: the
context, the user's fact on disk, the provider, the ending on disk. Then turns with a model that answers at once, in
a conversation of a hundred facts and in one of a million: what may grow is less than two milliseconds. The first
opening ever reads all of it; the next stands on its snapshot. Also: whether a follow-up holds the next turn up, and
two hundred conversations at once on one file.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import headrace
from benchmarks import ledger_growth, measure
from headrace.ledger import sqlite
from headrace.providers import scripted

PIECES = 40
SECONDS = 3.0
TIMES = 15.0
TURNS = 100
GROWTH_MS = 2.0
OPENING_MS = 50.0
APPEND_MS = 250.0


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory(dir=measure.ROOT, prefix=".first-token-") as folder:
        streamed, blocking = zip(
            *[waits(Path(folder) / f"{n}.sqlite") for n in range(rounds + 1)][1:], strict=True
        )
        yield measure.Row(
            "chat turn: to the first words, streamed",
            "ms",
            statistics.median(streamed) * 1e3,
            TIMES,
            statistics.median(blocking) * 1e3,
            "waited for",
            at_least=True,
        )
        long = 20_000 if quick else 1_000_000
        few, _, _ = asyncio.run(first_tokens(Path(folder) / "few.sqlite", 100))
        many, first, again = asyncio.run(first_tokens(Path(folder) / "many.sqlite", long))
        others: dict[str, float | str] = {
            f"at 100 and at {long:,} facts": f"{few * 1e3:.2f} and {many * 1e3:.2f} ms",
            "first opening of the long one, ever": f"{first:.1f} s",
        }
        what = "chat turn: first token in a long conversation, grown by"
        yield measure.Row(what, "ms", (many - few) * 1e3, GROWTH_MS, others=others)
        yield measure.Row(
            f"chat: opening a conversation of {long:,} facts again", "ms", again * 1e3, OPENING_MS
        )
        idle, busy = asyncio.run(after_follow_ups(Path(folder) / "follow.sqlite"))
        others = {"without and with": f"{idle * 1e3:.2f} and {busy * 1e3:.2f} ms"}
        what = "chat turn: first token right after a follow-up of 10 markers, later by"
        yield measure.Row(what, "ms", (busy - idle) * 1e3, GROWTH_MS, others=others)
        rate, p99 = asyncio.run(crowd(Path(folder) / "crowd.sqlite", 200, 5 if quick else 20))
        others = {"turns a second": f"{rate:,.0f}"}
        yield measure.Row(
            f"chat: {200} conversations at once, p99 of an append", "ms", p99 * 1e3, APPEND_MS, others=others
        )


def waits(path: Path) -> tuple[float, float]:
    """Seconds to the first words: of a turn that streams, and of one that is waited for."""
    answer = [scripted.Say("".join(f"word{n:02} " for n in range(PIECES)), every=SECONDS / PIECES)]
    with headrace.Runtime(scripted.Scripted(answer), f"sqlite:///{path}") as runtime:
        began = time.perf_counter()
        pieces = runtime.handle_user_stream("Tell me a story")
        next(iter(pieces))
        streamed = time.perf_counter() - began
        for _ in pieces:
            pass
        began = time.perf_counter()
        runtime.handle_user("Tell me another")
        return streamed, time.perf_counter() - began


async def first_tokens(path: Path, facts: int) -> tuple[float, float, float]:
    """Seconds to the first token in a conversation of so many facts (median), of its first opening, and the next."""
    await sqlite.SqliteLedger(path).close()
    ledger_growth.fill(path, facts, 1)
    openings = []
    for _ in range(2):
        async with _runtime(path, scripted.Scripted("At once.")) as runtime:
            began = time.perf_counter()
            await runtime.views()
            openings.append(time.perf_counter() - began)
    first = openings[0]
    async with _runtime(path, scripted.Scripted("At once.")) as runtime:
        seconds = []
        for number in range(TURNS):
            seconds.append(await _first_token(runtime, f"What was said in conversation number {number}?"))
            await runtime.settle()
        return statistics.median(seconds), first, openings[1]


async def after_follow_ups(path: Path) -> tuple[float, float]:
    """Seconds to the first token when nothing is left to do, and while the last turn's follow-up is under way."""
    model = scripted.Scripted("\n".join(["At once.", *(f"COMMIT: promise {n}" for n in range(10))]))
    found: dict[bool, list[float]] = {True: [], False: []}
    async with _runtime(path, model) as runtime:
        for number in range(TURNS):
            wait = number % 2 == 0
            if wait:
                await runtime.settle()
            found[wait].append(await _first_token(runtime, f"And number {number}?"))
    return statistics.median(found[True]), statistics.median(found[False])


async def crowd(path: Path, conversations: int, turns: int) -> tuple[float, float]:
    """Turns a second of so many conversations at once on one file, and the p99 of what waits for an append."""
    store = sqlite.SqliteLedger(path)
    seconds: list[float] = []

    async def talk(number: int) -> None:
        for _ in range(turns):
            record = ledger_growth.record(f"conv_{number:06}")
            began = time.perf_counter()
            await store.begin(record, ledger_growth.CONTENT, {})
            middle = time.perf_counter()
            await store.end(
                record.run, "response", ledger_growth.CONTENT, {}, outcome="completed", summary={}
            )
            seconds.extend((middle - began, time.perf_counter() - middle))

    began = time.perf_counter()
    await asyncio.gather(*(talk(number) for number in range(conversations)))
    took = time.perf_counter() - began
    await store.close()
    return conversations * turns / took, statistics.quantiles(seconds, n=100)[98]


def _runtime(path: Path, model: scripted.Scripted) -> headrace.Runtime:
    return headrace.Runtime(model, f"sqlite:///{path}", conversation="conv_000000", owner="ada")


async def _first_token(runtime: headrace.Runtime, text: str) -> float:
    began = time.perf_counter()
    turn = await runtime.begin(text)
    await turn.next()
    seconds = time.perf_counter() - began
    await turn.result()
    await turn.close()
    return seconds
