"""Does a turn get slower as the ledger grows? And what do turns cost, alone and two hundred at once?

    python benchmarks/ledger_growth.py [FACTS]

Times what stands before the first token of a chat turn (`begin`, and the last 20 facts for the context), and
the ending, on a ledger of 100 facts and on one of FACTS (default 1,000,000; made in bulk under the working
directory, removed afterwards). The bar: at a million within 2 ms of a hundred.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from headrace import ids, ledger
from headrace.ledger import hashing, queries, sqlite

TURNS = 500
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
        row = (conversation, seq, f"{run}:{i}", kind, CONTENT, "{}", now, prev, hash)
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


def told(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1e6:7.0f} µs   p99 {cuts[98] * 1e6:7.0f} µs"


async def measure(path: Path, facts: int, conversations: int) -> None:
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
        print(f"{facts:>9,} facts, {conversations:,} conversations")
        print(f"    before the first token   {told([a for a, _ in alone])}")
        print(f"    ending                   {told([b for _, b in alone])}")
        print(f"    200 at once              {rate:,.0f} turns/s ({2 * rate:,.0f} facts/s)")
        started = time.perf_counter()
        report = await store.verify()
        took = time.perf_counter() - started
        print(f"    verify                   {took:.1f} s for {report.facts:,} facts, ok: {report.ok}")
    finally:
        await store.close()


async def main(facts: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.getcwd(), prefix=".ledger-growth-") as folder:
        await measure(Path(folder) / "small.sqlite", 100, 10)
        await measure(Path(folder) / "large.sqlite", facts, max(10, facts // 100))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
