"""The store on a real PostgreSQL server: the suite, processes that die, and a server that goes and comes back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.ledger import conformance

from headrace import errors, ledger
from headrace.ledger import postgres as postgres_ledger
from headrace.ledger import postgres_batch, postgres_link
from headrace.testing.postgres import Postgres

CHILD = Path(__file__).with_name("child.py")


class TestPostgres(conformance.Ledger):
    @pytest.fixture(autouse=True)
    def _server(self, postgres: Postgres) -> None:
        self.server = postgres

    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(postgres_ledger.PostgresLedger(self.server.store()))


class TestPostgresWithKey(TestPostgres):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(postgres_ledger.PostgresLedger(self.server.store(), key=b"secret"))


@pytest.fixture
def own(postgres: Postgres) -> Iterator[Postgres]:
    """A server that a test may kill."""
    with Postgres() as made:
        yield made


def child(url: str, name: str, turns: int, at_once: int = 1) -> subprocess.Popen[str]:
    """A process that writes turns, so many at a time, and tells of each write once it is acknowledged."""
    return subprocess.Popen(
        [sys.executable, str(CHILD), url, name, str(turns), "0", str(at_once)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def opened(url: str, **more: Any) -> postgres_ledger.PostgresLedger:
    return postgres_ledger.PostgresLedger(url, **{"patience": 0.3, **more})


# processes


async def test_killed_at_random_moments(postgres: Postgres) -> None:
    """kill -9 wherever it falls: what was acknowledged is there, and each turn gets exactly one ending."""
    url, rng = postgres.store(), random.Random(7)
    acknowledged: list[list[str]] = []
    for i in range(5):
        process = child(url, f"c{i % 2}", 100_000)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(rng.randrange(1, 60))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    async with conformance.closing(opened(url)) as store:
        closed = await store.recover()
        assert all((r.status, r.outcome) == ("ended", "interrupted") for r in closed)
        facts = [f async for f in store.export()]
        ids = {f.id for f in facts}
        assert all(f"{run}:{what}" in ids for what, run in acknowledged)
        runs = await store.runs(owner=None, limit=1_000_000)
        assert len(facts) == 2 * len(runs)
        assert {f.id for f in facts} == {f"{r.run}:{end}" for r in runs for end in ("user", "end")}
        assert {f.id for f in facts if f.kind == "generation-ended"} == {f"{r.run}:end" for r in closed}
        report = await store.verify()
        assert (report.ok, report.open_runs) == (True, 0), report.problems
        assert await store.recover() == []
        assert await store.verify() == report


@pytest.mark.time_limit(60)
async def test_many_processes_append_to_one_store(postgres: Postgres) -> None:
    """Ten turns at a time in each, so that a commit, of which there is one line for all, has more than one fact."""
    url = postgres.store()
    await opened(url).close()
    children = [child(url, "shared" if i < 3 else "own", 1000, at_once=10) for i in range(4)]
    outputs = await asyncio.gather(*(asyncio.to_thread(c.communicate) for c in children))
    assert [c.returncode for c in children] == [0] * 4
    assert all(out.count("\n") == 2000 for out, _ in outputs)
    async with conformance.closing(opened(url)) as store:
        report = await store.verify()
        assert (report.ok, report.facts, report.conversations, report.open_runs) == (True, 8000, 2, 0)


async def test_recover_spares_other_living_workers(postgres: Postgres) -> None:
    url = postgres.store()
    mine, theirs = opened(url), opened(url)
    async with conformance.closing(mine), conformance.closing(theirs):
        await theirs.begin(conformance.record("run_1"), "hi", {})
        assert await mine.recover() == []
        await theirs.close()
        assert [r.run for r in await mine.recover()] == ["run_1"]
        ending = (await mine.tail("c1", 1))[0]
        assert (ending.id, ending.kind, ending.content) == ("run_1:end", "generation-ended", "")
        assert ending.meta == {"outcome": "interrupted", "reason": "worker-died"}
        assert await conformance.end(mine, "run_1", "too late") == ending


async def test_a_worker_that_was_cut_off_comes_back_and_keeps_its_runs(postgres: Postgres) -> None:
    url = postgres.store()
    mine, theirs = opened(url, patience=1.5), opened(url)
    async with conformance.closing(mine), conformance.closing(theirs):
        await theirs.begin(conformance.record("run_1"), "hi", {})
        pid = theirs._writing.get_server_pid()
        await mine._on_loop(mine._writing.execute(f"SELECT pg_terminate_backend({pid})"))
        assert await mine.recover() == []
        assert (await conformance.end(theirs, "run_1", "in time")).content == "in time"


async def test_two_recover_at_once(postgres: Postgres) -> None:
    url = postgres.store()
    dead = opened(url)
    for i in range(20):
        await dead.begin(conformance.record(f"run_{i:02}"), "hi", {})
    await dead.close()
    stores = [opened(url) for _ in range(3)]
    closed = await asyncio.gather(*(s.recover() for s in stores))
    assert sorted(r.run for c in closed for r in c) == [f"run_{i:02}" for i in range(20)]
    assert (await stores[0].verify()).facts == 40
    for s in stores:
        await s.close()


async def test_the_living_close_what_a_dead_machine_left(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to start again for it."""
    monkeypatch.setattr(postgres_ledger, "LOOK_SECONDS", 0.05)
    url = postgres.store()
    dead, living = opened(url), opened(url, patience=0.05)
    await dead.begin(conformance.record("run_1"), "hi", {})
    await dead.close()
    async with conformance.closing(living):
        while (await living.tail("c1", 1))[0].kind == "user":
            await asyncio.sleep(0.02)
        assert (await living.tail("c1", 1))[0].meta["reason"] == "worker-died"


# a server that goes


async def test_a_server_that_is_killed_loses_nothing_and_doubles_nothing(own: Postgres) -> None:
    """Writers keep writing while the server is killed and started: what they were told is there, once."""
    async with conformance.closing(opened(own.store(), patience=20)) as store:
        told: dict[str, str] = {}
        stop = asyncio.Event()

        async def talk(name: str) -> None:
            while not stop.is_set():
                r = await conformance.turn(store, "hi", "there", conversation=name)
                told[r.run] = name

        talking = [asyncio.create_task(talk(f"c{i}")) for i in range(8)]
        for _ in range(2):
            before = len(told)
            while len(told) < before + 50:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(own.kill)
            await asyncio.to_thread(own.start)
        before = len(told)
        while len(told) < before + 50:
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*talking)
        runs = await store.runs(owner=None, limit=100_000)
        assert {r.run: r.conversation for r in runs} == told
        report = await store.verify()
        assert (report.ok, report.facts, report.open_runs) == (True, 2 * len(told), 0), report.problems


async def test_while_the_server_is_gone_errors_are_typed_and_an_ending_is_owed(own: Postgres) -> None:
    async with conformance.closing(store := opened(own.store(), patience=0.5)):
        await conformance.turn(store)
        r = conformance.record()
        await store.begin(r, "hi", {})
        await asyncio.to_thread(own.stop)
        for call in (
            lambda: conformance.end(store, r.run),
            lambda: store.begin(conformance.record(), "hi", {}),
            lambda: store.facts("c1"),
            lambda: store.verify(),
        ):
            with pytest.raises(errors.StoreError) as caught:
                await call()
            assert (caught.value.code, caught.value.retryable) == ("store-unavailable", True)
        await asyncio.to_thread(own.start)
        store._loop.call_soon_threadsafe(store._owing.set)
        while len(facts := await store.facts("c1")) < 4:
            await asyncio.sleep(0.05)
        assert (facts[-1].id, facts[-1].kind) == (f"{r.run}:end", "generation-ended")
        assert facts[-1].meta == {"outcome": "failed", "reason": "store-unavailable"}
        assert (await store.verify()).ok


# batches and names


async def test_a_refusal_concerns_its_own_work_alone(postgres: Postgres) -> None:
    async with conformance.closing(store := opened(postgres.store())):
        await conformance.turn(store)
        calls: list[Any] = [store.begin(conformance.record(), "hi", {}) for _ in range(50)]
        calls.insert(25, store.begin(conformance.record(owner="bob"), "hi", {}))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(answers.pop(25), errors.AccessError)
        assert all(isinstance(a, ledger.Fact) for a in answers)


async def test_a_batch_that_fails_is_tried_work_by_work(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = postgres_batch.transact

    async def refuses(connection: Any, works: Any, **more: Any) -> Any:
        if any(work.new[2] == "bad" for work in works):
            raise postgres_link.asyncpg.DataError("bad")
        return await real(connection, works, **more)

    monkeypatch.setattr(postgres_batch, "transact", refuses)
    async with conformance.closing(store := opened(postgres.store())):
        texts = ["a", "bad", "b"]
        answers = await asyncio.gather(
            *(store.append("c1", "note", text, {}, id=text) for text in texts), return_exceptions=True
        )
        assert isinstance(answers[1], errors.StoreError)
        assert [f.content for f in await store.facts("c1")] == ["a", "b"]


async def test_a_cancelled_call_may_be_made_again(postgres: Postgres) -> None:
    async with conformance.closing(store := opened(postgres.store())):
        r = conformance.record()
        task = asyncio.create_task(store.begin(r, "hi", {}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await store.begin(r, "hi", {})
        assert len(await store.facts("c1")) == 1


async def test_close_writes_what_was_accepted(postgres: Postgres) -> None:
    url = postgres.store()
    store = opened(url)
    count = postgres_ledger.CAPACITY + 100
    tasks = [asyncio.create_task(store.append("c1", "n", "", {}, id=str(i))) for i in range(count)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*tasks)) == count


def test_one_ledger_serves_many_event_loops(postgres: Postgres) -> None:
    store = opened(postgres.store())
    for i in range(3):
        asyncio.run(conformance.turn(store, conversation=f"c{i}"))
    report = asyncio.run(store.verify())
    assert (report.ok, report.facts) == (True, 6)
    asyncio.run(store.close())


async def test_names_with_a_nul_are_refused_and_found_nowhere(postgres: Postgres) -> None:
    async with conformance.closing(store := opened(postgres.store())):
        for record in (conformance.record("a\x00"), conformance.record(conversation="a\x00")):
            with pytest.raises(errors.UsageError, match="NUL"):
                await store.begin(record, "", {})
        assert await store.facts("a\x00") == []
        assert await store.run("a\x00") is None


async def test_the_hashes_are_those_of_a_file(postgres: Postgres, tmp_path: Path) -> None:
    """The same facts have the same hashes and the same total in every store."""
    heads = []
    for url in (postgres.store(), f"sqlite:///{tmp_path}/a.sqlite", "memory"):
        async with conformance.closing(ledger.open_ledger(url)) as store:
            for i in range(3):
                await conformance.turn(store, f"a\x00b {i}", "yes", run=f"run_{i}")
            heads.append(((await store.verify()).head, [f.hash for f in await store.facts("c1")]))
    assert heads[0] == heads[1] == heads[2]


def test_the_command_line(postgres: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    from headrace.cli import ledger as commands

    url = postgres.store()
    for _ in range(2):  # looking makes none
        with pytest.raises(errors.StoreError, match="there is no ledger"):
            commands.show(None, url, 20, False)

    async def fill() -> None:
        async with conformance.closing(opened(url)) as store:
            await conformance.turn(store)

    asyncio.run(fill())
    for call, told in (
        (lambda: commands.verify(url, False), "good: 2 facts"),
        (lambda: commands.show(None, url, 20, False), "c1"),
        (lambda: commands.show("c1", url, 20, False), "response"),
        (lambda: commands.replay(None, url, False), "digest: "),
    ):
        assert call() == 0
        assert told in capsys.readouterr().out
