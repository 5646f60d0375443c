"""Does a turn get slower as the ledger grows? What stands before the first token, and what follows the last.

Times `begin` with the last 20 facts for the context, and the ending, on a ledger of 100 facts and on one of a
million (made in bulk in the working directory, removed afterwards). What may grow is less than a millisecond: a
B-tree of a million is a level or two deeper.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import measure
from headrace import ids, ledger
from headrace.ledger import hashing, queries, sqlite

TURNS = 500
GROWTH_MS = 1.0
CONTENT = "a sentence of the usual length, more or less, said in a conversation. " * 4


def fill(path: Path, facts: int, conversations: int) -> None:
    """Write a sound ledger in bulk: every conversation gets its share, all interleaved."""
    connection = queries.connect(str(path), read_only=False)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    heads: dict[str, tuple[int, str]] = {}
    connection.execute("BEGIN")
    for i in range(facts):
        conversation = f"conv_{i % conversations:06}"
        count, prev = heads.get(conversation, (0, hashing.GENESIS))
        seq, run = count + 1, f"run_{i // 2:026}"
        kind = "user" if seq % 2 else "response"
        hash = hashing.fact_hash(conversation, seq, kind, CONTENT, "{}", prev)
        id = f"{run}:{'user' if seq % 2 else 'end'}"
        row = (conversation, seq, id, kind, CONTENT, "{}", now, prev, hash)
        connection.execute(queries.SQL["insert_fact"], row)
        if i % 2:
            columns = (run, conversation, "ada", "chat", "demo", "ended", now, "{}", None, "completed", "{}")
            seal = hashing.run_seal(None, columns)
            connection.execute(queries.SQL["insert_run"], (*columns, "nobody", seal))
        heads[conversation] = (seq, hash)
    total = hashing.GENESIS
    for conversation, (count, hash) in heads.items():
        seal = hashing.head_seal(None, conversation, "ada", count, hash)
        connection.execute(queries.SQL["insert_head"], (conversation, "ada", count, hash, seal, now))
        total = hashing.add_seal(total, seal)
    seal = hashing.total_seal(None, facts, len(heads), total)
    connection.execute(queries.SQL["update_total"], (facts, len(heads), total, seal))
    connection.execute("COMMIT")
    connection.close()


def record(conversation: str) -> ledger.RunRecord:
    return ledger.RunRecord(
        run=ids.run_id(),
        conversation=conversation,
        owner="ada",
        kind="chat",
        model="demo",
        created=datetime.now(UTC),
    )


async def turn(store: ledger.Ledger, conversation: str) -> tuple[float, float]:
    """Seconds before the first token could be asked for, and seconds for the ending."""
    r = record(conversation)
    t0 = time.perf_counter()
    await store.tail(conversation, 20)
    await store.begin(r, CONTENT, {})
    t1 = time.perf_counter()
    await store.end(r.run, "response", CONTENT, {}, outcome="completed", summary={})
    return t1 - t0, time.perf_counter() - t1


async def turns(path: Path, facts: int, conversations: int) -> dict[str, list[float]]:
    """Seconds before the first token and for the ending, of turns one after the other; and turns a second."""
    await sqlite.SqliteLedger(path).close()
    fill(path, facts, conversations)
    store = sqlite.SqliteLedger(path)
    try:
        alone = [await turn(store, f"conv_{i % conversations:06}") for i in range(TURNS)]
        started = time.perf_counter()

        async def client(i: int) -> None:
            for _ in range(10):
                await turn(store, f"conv_{i % conversations:06}")

        await asyncio.gather(*(client(i) for i in range(200)))
        rate = 2000 / (time.perf_counter() - started)
        return {"before": [a for a, _ in alone], "ending": [b for _, b in alone], "rate": [rate]}
    finally:
        await store.close()


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    facts = 30_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(dir=measure.ROOT, prefix=".ledger-growth-") as folder:
        small = asyncio.run(turns(Path(folder) / "small.sqlite", 100, 10))
        large = asyncio.run(turns(Path(folder) / "large.sqlite", facts, facts // 100))
    for part, what in (("before", "before the first token"), ("ending", "an ending")):
        few, many = (statistics.median(found[part]) * 1e3 for found in (small, large))
        worst = f"p99 {_p99(small[part]):.2f} and {_p99(large[part]):.2f} ms"
        others: dict[str, float | str] = {
            f"at 100 and at {facts:,} facts": f"{few:.2f} and {many:.2f} ms; {worst}"
        }
        if part == "ending":
            others["200 turns at once"] = f"{small['rate'][0]:,.0f} and {large['rate'][0]:,.0f} turns/s"
        yield measure.Row(f"ledger: {what}, grown by", "ms", many - few, GROWTH_MS, others=others)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1e3
