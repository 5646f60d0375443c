from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.ledger import conformance

from headrace import errors, ledger
from headrace.ledger import sqlite, writer

CHILD = Path(__file__).with_name("child.py")


class TestSqlite(conformance.Ledger):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(sqlite.SqliteLedger(tmp_path / "a.sqlite"))


class TestSqliteWithKey(conformance.Ledger):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(sqlite.SqliteLedger(tmp_path / "a.sqlite", key=b"secret"))


def child(path: Path, name: str, turns: int, *, limit: int = 0) -> subprocess.Popen[str]:
    """A process that writes turns and tells of each write once it is acknowledged."""
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), name, str(turns), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


async def test_killed_at_random_moments(tmp_path: Path) -> None:
    """kill -9 wherever it falls: what was acknowledged is there, and each turn gets exactly one ending."""
    path = tmp_path / "a.sqlite"
    rng = random.Random(7)
    acknowledged: list[list[str]] = []
    for i in range(20):
        process = child(path, f"c{i % 3}", 100_000)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(rng.randrange(1, 60))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    async with conformance.closing(sqlite.SqliteLedger(path)) as store:
        closed = await store.recover()
        assert 1 <= len(closed) <= 20 * 2
        for r in closed:
            assert (r.status, r.outcome) == ("ended", "interrupted")
            assert r == await store.run(r.run)
        facts = [f async for f in store.export()]
        ids = {f.id for f in facts}
        for what, run in acknowledged:
            assert f"{run}:{what}" in ids
        runs = await store.runs(owner=None, limit=1_000_000)
        assert {f.id for f in facts} == {f"{r.run}:{end}" for r in runs for end in ("user", "end")}
        assert len(facts) == 2 * len(runs)
        interrupted = [f for f in facts if f.kind == "generation-ended"]
        assert {f.id for f in interrupted} == {f"{r.run}:end" for r in closed}
        assert {f.content for f in interrupted} == {""}
        report = await store.verify()
        assert report.ok, report.problems
        assert report.open_runs == 0
        for _ in range(5):
            assert await store.recover() == []
        assert await store.verify() == report
        assert len(os.listdir(f"{path}-workers")) == 2  # our own, and the folder's


@pytest.mark.time_limit(120)
async def test_many_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    children = [child(path, "shared" if i < 3 else "own", 1000) for i in range(4)]
    outputs = await asyncio.gather(*(asyncio.to_thread(c.communicate) for c in children))
    assert [c.returncode for c in children] == [0] * 4
    assert all(out.count("\n") == 2000 for out, _ in outputs)
    async with conformance.closing(sqlite.SqliteLedger(path)) as store:
        report = await store.verify()
        assert (report.ok, report.facts, report.conversations, report.open_runs) == (True, 8000, 2, 0)


async def test_recover_spares_other_living_workers(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    mine, theirs = sqlite.SqliteLedger(path), sqlite.SqliteLedger(path)
    async with conformance.closing(mine), conformance.closing(theirs):
        await theirs.begin(conformance.record("run_1"), "hi", {})
        assert await mine.recover() == []
        await theirs.close()
        assert [r.run for r in await mine.recover()] == ["run_1"]
        ending = (await mine.tail("c1", 1))[0]
        assert (ending.id, ending.kind, ending.content) == ("run_1:end", "generation-ended", "")
        assert ending.meta == {"outcome": "interrupted", "reason": "worker-died"}
        late = await conformance.end(mine, "run_1", "too late")
        assert late == ending


async def test_two_recover_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    dead = sqlite.SqliteLedger(path)
    for i in range(50):
        await dead.begin(conformance.record(f"run_{i:02}"), "hi", {})
    await dead.close()
    stores = [sqlite.SqliteLedger(path) for _ in range(3)]
    closed = await asyncio.gather(*(s.recover() for s in stores))
    assert sorted(r.run for c in closed for r in c) == [f"run_{i:02}" for i in range(50)]
    assert (await stores[0].verify()).facts == 100
    for s in stores:
        await s.close()


async def test_a_full_disk_is_a_typed_error_and_facts_stay_readable(tmp_path: Path) -> None:
    async with conformance.closing(store := sqlite.SqliteLedger(tmp_path / "a.sqlite")):
        await conformance.turn(store)
        before = await store.facts("c1")
        pages = store._connection.pragma("page_count")
        store._connection.pragma("max_page_count", pages + 20)
        big = conformance.record(conversation="c2")
        small = [conformance.record(conversation="c1") for _ in range(3)]
        answers = await asyncio.gather(
            store.begin(small[0], "hi", {}),
            store.begin(big, "x" * 1_000_000, {}),
            store.begin(small[1], "hi", {}),
            return_exceptions=True,
        )
        assert isinstance(answers[1], errors.StoreError)
        assert answers[1].code == "store-unavailable"
        assert "make room" in str(answers[1])
        assert isinstance(answers[0], ledger.Fact)
        assert isinstance(answers[2], ledger.Fact)
        assert await store.run(big.run) is None
        assert (await store.facts("c1"))[:2] == before
        assert (await store.verify()).ok
        store._connection.pragma("max_page_count", 1_000_000)
        assert await store.begin(big, "x" * 1_000_000, {})
        assert (await store.verify()).ok


async def test_a_disk_that_fails(tmp_path: Path) -> None:
    """The kernel refuses the write (a file size limit): a typed error, nothing half written, reads go on."""
    path = tmp_path / "a.sqlite"
    process = child(path, "c1", 100_000, limit=300_000)
    out, _ = await asyncio.to_thread(process.communicate)
    *acknowledged, last = out.splitlines()
    assert process.returncode == 0
    assert last == f"store-unavailable {len(acknowledged)}"
    async with conformance.closing(sqlite.SqliteLedger(path)) as store:
        await store.recover()
        report = await store.verify()
        assert report.ok, report.problems
        ids = {f.id async for f in store.export()}
        assert {":".join(reversed(line.split())) for line in acknowledged} <= ids


async def test_a_refused_fact_leaves_its_batch_alone(tmp_path: Path) -> None:
    async with conformance.closing(store := sqlite.SqliteLedger(tmp_path / "a.sqlite")):
        await conformance.turn(store, owner="ada")
        good = [conformance.record() for _ in range(50)]
        calls = [store.begin(r, "hi", {}) for r in good]
        calls.insert(25, store.begin(conformance.record(owner="bob"), "hi", {}))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(answers.pop(25), errors.AccessError)
        assert all(isinstance(a, ledger.Fact) for a in answers)


async def test_a_cancelled_call_may_be_made_again(tmp_path: Path) -> None:
    async with conformance.closing(store := sqlite.SqliteLedger(tmp_path / "a.sqlite")):
        r = conformance.record()
        task = asyncio.create_task(store.begin(r, "hi", {}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await store.begin(r, "hi", {})
        assert len(await store.facts("c1")) == 1


async def test_close_writes_what_was_accepted(tmp_path: Path) -> None:
    store = sqlite.SqliteLedger(tmp_path / "a.sqlite")
    tasks = [asyncio.create_task(store.append("c1", "n", "", {}, id=str(i))) for i in range(writer.CAPACITY)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*tasks)) == writer.CAPACITY
    assert sorted(os.listdir(tmp_path)) == ["a.sqlite", "a.sqlite-workers"]


def test_one_ledger_serves_many_event_loops(tmp_path: Path) -> None:
    store = sqlite.SqliteLedger(tmp_path / "a.sqlite")
    for i in range(3):
        asyncio.run(conformance.turn(store, conversation=f"c{i}"))
    report = asyncio.run(store.verify())
    assert (report.ok, report.facts) == (True, 6)
    asyncio.run(store.close())


async def test_plain_sqlite_reads_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    async with conformance.closing(sqlite.SqliteLedger(path)) as store:
        await conformance.turn(store, "wie geht's? 🎉", "gut")
    with sqlite3.connect(path) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(ledger)")]
        rows = db.execute("SELECT kind, content, meta FROM ledger ORDER BY seq").fetchall()
    db.close()
    assert ", ".join(columns) == "conversation, seq, id, kind, content, meta, time, prev_hash, hash"
    assert rows == [("user", "wie geht's? 🎉", "{}"), ("response", "gut", "{}")]


async def test_opening_a_second_time_leaves_the_first_its_locks(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it. Then another process could
    take itself for the last one, and the write-ahead log for its own to remove."""
    path = tmp_path / "a.sqlite"
    async with conformance.closing(sqlite.SqliteLedger(path)) as store:
        await conformance.turn(store)
        await sqlite.SqliteLedger(path).close()
        code = (
            "import fcntl, sys; f = open(sys.argv[1], 'r+b')\n"
            "try: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)  # SQLite's SHARED range\n"
            "except OSError: sys.exit(7)"
        )
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path))
        assert await other.wait() == 7


async def test_opening_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    async with conformance.closing(store := sqlite.SqliteLedger(tmp_path / "a.sqlite")):
        store._connection.execute("BEGIN IMMEDIATE")
        await sqlite.SqliteLedger(tmp_path / "a.sqlite").close()
        store._connection.execute("ROLLBACK")


async def test_the_key_must_be_the_one_it_was_made_with(tmp_path: Path) -> None:
    await sqlite.SqliteLedger(tmp_path / "k", key=b"one").close()
    await sqlite.SqliteLedger(tmp_path / "n").close()
    for name, key in [("k", b"two"), ("k", None), ("n", b"one")]:
        with pytest.raises(errors.UsageError, match="key"):
            sqlite.SqliteLedger(tmp_path / name, key=key)
    await sqlite.SqliteLedger(tmp_path / "k", key=b"one").close()


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database" * 1000)
    with pytest.raises(errors.StoreError, match="not a SQLite database"):
        sqlite.SqliteLedger(tmp_path / "text")
    with pytest.raises(errors.StoreError, match="cannot open"):
        sqlite.SqliteLedger(tmp_path)
    with pytest.raises(errors.StoreError, match="cannot open"):
        sqlite.SqliteLedger(tmp_path / "text" / "a.sqlite")


async def test_only_its_owner_reads_a_new_file(tmp_path: Path) -> None:
    await sqlite.SqliteLedger(tmp_path / "new" / "a.sqlite").close()
    assert (tmp_path / "new" / "a.sqlite").stat().st_mode & 0o077 == 0


async def test_the_clock_is_an_argument(tmp_path: Path) -> None:
    then = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    async with conformance.closing(sqlite.SqliteLedger(tmp_path / "a", clock=lambda: then)) as store:
        fact = await store.append("c1", "note", "", {}, id="n")
        assert fact.time == then
        assert await store.facts("c1") == [fact]
