"""When does a person see the first words of a chat turn: streamed, and waited for? And in a long conversation?

The model is scripted and takes three seconds for its answer, a piece every 75 ms. Both turns go the whole way: the
context, the user's fact on disk, the provider, the ending on disk. Then turns with a model that answers at once, in
a conversation of a hundred facts and in a long one: what may grow is less than two milliseconds. What grows
with the conversation is its first opening, which is told beside it.
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


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory(dir=measure.ROOT, prefix=".first-token-") as folder:
        streamed, blocking = zip(*(waits(Path(folder) / f"{n}.sqlite") for n in range(rounds)), strict=True)
        yield measure.Row(
            "chat turn: to the first words, streamed",
            "ms",
            statistics.median(streamed) * 1e3,
            TIMES,
            statistics.median(blocking) * 1e3,
            "waited for",
            at_least=True,
        )
        long = 10_000 if quick else 100_000
        few, _ = asyncio.run(first_tokens(Path(folder) / "few.sqlite", 100))
        many, opening = asyncio.run(first_tokens(Path(folder) / "many.sqlite", long))
        others: dict[str, float | str] = {
            f"at 100 and at {long:,} facts": f"{few * 1e3:.2f} and {many * 1e3:.2f} ms",
            "first opening of the long one": f"{opening:.2f} s",
        }
        what = "chat turn: first token in a long conversation, grown by"
        yield measure.Row(what, "ms", (many - few) * 1e3, GROWTH_MS, others=others)


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


async def first_tokens(path: Path, facts: int) -> tuple[float, float]:
    """Seconds to the first token in a conversation of so many facts, the median; and those of its opening."""
    await sqlite.SqliteLedger(path).close()
    ledger_growth.fill(path, facts, 1)
    model = scripted.Scripted("At once.")
    async with headrace.Runtime(
        model, f"sqlite:///{path}", conversation="conv_000000", owner="ada"
    ) as runtime:
        began = time.perf_counter()
        await runtime.views()
        opening = time.perf_counter() - began
        seconds = []
        for number in range(TURNS):
            began = time.perf_counter()
            turn = await runtime.begin(f"What was said in conversation number {number}?")
            await turn.next()
            seconds.append(time.perf_counter() - began)
            await turn.result()
            await turn.close()
            await runtime.settle()
        return statistics.median(seconds), opening
