"""Snapshots on disk: with what came since they are a rebuild from zero, and never believed against the ledger."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.ledger.memory import MemoryLedger
from headrace.ledger.sqlite import SqliteLedger
from headrace.memory import graph, shelf, views
from headrace.memory.runtime import Runtime
from headrace.providers.callable import DummyChat
from headrace.providers.scripted import Scripted

TOPICS = ("water the plants", "weirs", "answer quickly, see the balcony", "")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_snapshot_and_what_came_since_are_a_rebuild(
    histories: Any, written: Any, data: st.DataObject
) -> None:
    facts = written(data.draw(histories))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(facts)), max_size=3)))
    with tempfile.TemporaryDirectory() as folder:
        kept = shelf.Shelf(f"{folder}/views")
        for cut in [*cuts, len(facts)]:
            state = kept.load("c") or views.Views()
            for fact in facts[:cut]:
                state.apply(fact)
            if cut in cuts and state.seq:
                kept.save("c", state)
        whole = views.of_facts(facts)
        assert state.digests() == whole.digests()
        assert (state.hash, state.unfollowed, state.recent) == (whole.hash, whole.unfollowed, whole.recent)
        assert graph.diff(views.of_facts(facts[:3]).graph, state.graph) == graph.diff(
            views.of_facts(facts[:3]).graph, whole.graph
        )
        for text in TOPICS:
            for limit in (1, 3, 30):
                assert state.graph.slice(text, limit) == whole.graph.slice(text, limit)
        assert state.graph.json(after=2, limit=4) == whole.graph.json(after=2, limit=4)
        kept.close()


class Counting(SqliteLedger):
    """Counts the facts that are read."""

    read = 0

    async def facts(self, *given: Any, **more: Any) -> Any:
        found = await super().facts(*given, **more)
        self.read += len(found)
        return found


async def talked(path: Path, turns: int) -> None:
    async with Runtime(DummyChat("COMMIT: water the plants"), f"sqlite:///{path}") as runtime:
        for number in range(turns):
            await runtime.ask(f"turn {number} about Oslo")
        await runtime.settle()


async def opened(path: Path) -> tuple[int, str, str]:
    """How many facts opening reads, the digest of the views, and the context."""
    ledger = Counting(path)
    async with Runtime(DummyChat(), ledger) as runtime:
        found = await runtime.views()
        read, digest = ledger.read, found.digest()
        context = (await runtime.context("What of Oslo and the plants?")).text
        assert digest == (await views.rebuild(ledger, "main")).digest()
    shelf.close(ledger)
    await ledger.close()
    return read, digest, context


async def test_opening_reads_what_came_since(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    await talked(path, 100)
    read, digest, context = await opened(path)
    assert read <= shelf.EVERY + 1
    file = Path(f"{path}-views")
    assert file.stat().st_mode & 0o077 == 0
    for other in tmp_path.glob("a.sqlite-views*"):
        other.unlink()
    assert await opened(path) == (300, digest, context)  # without it: all of them, and the same


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE states SET hash = 'no'",
        "UPDATE states SET state = x'00'",
        "UPDATE states SET fold = 'of another version'",
        "UPDATE states SET seq = seq + 5",
        "DELETE FROM states",
    ],
)
async def test_a_snapshot_that_does_not_fit_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.sqlite"
    await talked(path, 60)
    _, digest, context = await opened(path)
    with sqlite3.connect(f"{path}-views") as db:
        db.execute(damage)
    db.close()
    read, *found = await opened(path)
    assert (read >= 180, found) == (True, [digest, context])


async def test_a_snapshot_of_another_ledger_is_not_taken(tmp_path: Path) -> None:
    await talked(tmp_path / "a.sqlite", 60)
    await talked(tmp_path / "b.sqlite", 30)
    for ending in ("-views", "-views-wal", "-views-shm"):
        if (source := tmp_path / f"a.sqlite{ending}").exists():
            source.rename(tmp_path / f"b.sqlite{ending}")
    read, _, _ = await opened(tmp_path / "b.sqlite")
    assert read == 90


async def test_a_file_that_is_none_costs_time_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    await talked(path, 20)
    _, digest, context = await opened(path)
    for other in tmp_path.glob("a.sqlite-views*"):
        other.unlink()
    Path(f"{path}-views").write_text("not a database" * 1000)
    with pytest.raises(errors.StoreError, match="delete the file"):
        shelf.Shelf(f"{path}-views")
    assert await opened(path) == (60, digest, context)


async def test_two_that_share_a_shelf(tmp_path: Path) -> None:
    """Each saves now and then; each has the views of all facts, and the other's saving is noticed."""
    path = tmp_path / "a.sqlite"
    one, other = SqliteLedger(path), SqliteLedger(path)
    model = Scripted("Yes, about Oslo.")
    async with Runtime(model, one) as first, Runtime(model, other) as second:
        for number in range(40):
            await (first if number % 3 else second).ask(f"turn {number}")
            await first.settle()
        for runtime in (first, second):
            found = await runtime.views()
            whole = await views.rebuild(one, "main")
            assert found.digests() == whole.digests()
            assert found.graph.slice("Oslo") == whole.graph.slice("Oslo")
    await one.close()
    await other.close()


async def test_moved_on_between_the_look_and_the_look_up(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    await talked(path, 40)
    ledger = SqliteLedger(path)
    async with Runtime(DummyChat(), ledger) as runtime:
        found = await runtime.views()
        ahead = shelf.of(ledger).load("main")  # type: ignore[union-attr]
        assert ahead is not None
        await views.follow(ahead, ledger, "main")
        shelf.of(ledger).save("main", ahead)  # type: ignore[union-attr]
        with pytest.raises(shelf.Stale):
            found.graph.slice("Oslo plants")
        assert "Oslo" in (await runtime.context("Oslo?")).text
        with pytest.raises(shelf.Stale):
            shelf.of(ledger).save("main", found)  # type: ignore[union-attr]
    await ledger.close()


def test_a_ledger_in_memory_has_none() -> None:
    assert shelf.of(MemoryLedger()) is None
    assert asyncio.run(_seq(MemoryLedger())) == 0


async def _seq(ledger: MemoryLedger) -> int:
    async with Runtime(DummyChat(), ledger) as runtime:
        return (await runtime.views()).graph.since
