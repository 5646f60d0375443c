from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace import errors
from headrace.ledger import queries, writer


class Store:
    """A table of numbers, none twice, none above 100, behind a writer."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        connection = queries.connect(self.path, read_only=False)
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY CHECK (n <= 100))")
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.connection = connection
        self.writer = writer.Writer(
            connection,
            prepare=self.prepare,
            finish=self.batches.append,
            translate=lambda e: queries.store_error(e, self.path, "write to"),
        )

    def prepare(self) -> list[int]:
        self.entered.set()
        assert self.gate.wait(10)
        return []

    def put(self, n: int) -> Callable[[list[int]], int]:
        def work(batch: list[int]) -> int:
            if n < 0:
                raise errors.UsageError("negative")
            self.connection.execute("INSERT INTO t VALUES (?)", (n,))
            batch.append(n)
            return n

        return work

    async def several(self, *numbers: int) -> list[Any]:
        """All in one batch: they gather while a first one is held up."""
        self.entered.clear()
        self.gate.clear()
        first = asyncio.create_task(self.writer.submit(lambda batch: None))
        await asyncio.to_thread(self.entered.wait, 10)
        tasks = [asyncio.create_task(self.writer.submit(self.put(n))) for n in numbers]
        await asyncio.sleep(0)
        self.gate.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    def wait_until_closing(self) -> None:
        while not self.writer._closing:
            threading.Event().wait(0.001)

    def stored(self) -> list[int]:
        return [n for (n,) in apsw.Connection(self.path).execute("SELECT n FROM t ORDER BY n")]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    s = Store(tmp_path / "a.sqlite")
    yield s
    s.gate.set()
    s.writer.close()


async def test_what_waits_is_written_in_one_transaction(store: Store) -> None:
    assert await store.several(1, 2, 3) == [1, 2, 3]
    assert store.batches == [[], [1, 2, 3]]
    assert store.stored() == [1, 2, 3]


async def test_a_refusal_concerns_one(store: Store) -> None:
    answers = await store.several(1, -1, 2)
    assert isinstance(answers.pop(1), errors.UsageError)
    assert answers == [1, 2]
    assert store.batches == [[], [1, 2]]


async def test_a_failure_is_tried_apart_from_the_others(store: Store) -> None:
    answers = await store.several(1, 101, 2, -1, 1)
    assert [a if isinstance(a, int) else type(a) for a in answers] == [
        1,
        errors.StoreError,
        2,
        errors.UsageError,
        errors.StoreError,
    ]
    assert store.stored() == [1, 2]


async def test_a_mistake_of_ours_is_told_to_who_made_it(store: Store) -> None:
    def broken(batch: list[int]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.writer.submit(broken)
    assert await store.writer.submit(store.put(1)) == 1


async def test_a_busy_file_fails_the_batch_and_no_more(store: Store, tmp_path: Path) -> None:
    store.connection.set_busy_timeout(0)
    other = queries.connect(store.path, read_only=False)
    other.execute("BEGIN IMMEDIATE")
    for answer in await asyncio.gather(
        *(store.writer.submit(store.put(n)) for n in (1, 2)), return_exceptions=True
    ):
        assert isinstance(answer, errors.StoreError)
        assert answer.retryable
    other.execute("ROLLBACK")
    assert await store.writer.submit(store.put(1)) == 1


async def test_who_finds_it_full_waits_for_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CAPACITY", 3)
    assert await store.several(*range(20)) == list(range(20))
    assert all(len(batch) <= 3 for batch in store.batches)
    assert store.stored() == list(range(20))


async def test_closing_writes_what_was_accepted_and_refuses_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CAPACITY", 3)
    store.gate.clear()
    tasks = [asyncio.create_task(store.writer.submit(store.put(n))) for n in range(10)]
    await asyncio.to_thread(store.entered.wait, 10)
    closing = asyncio.create_task(asyncio.to_thread(store.writer.close))
    await asyncio.to_thread(store.wait_until_closing)
    store.gate.set()
    await closing
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    written = [a for a in answers if isinstance(a, int)]
    assert 3 <= len(written) < 10
    assert all(isinstance(a, int | errors.UsageError) for a in answers)
    assert store.stored() == written


def test_a_loop_that_is_gone_harms_nobody(store: Store) -> None:
    async def leave() -> None:
        store.gate.clear()
        asyncio.create_task(store.writer.submit(store.put(1)))  # noqa: RUF006
        await asyncio.to_thread(store.entered.wait, 10)

    asyncio.run(leave())
    store.gate.set()
    assert asyncio.run(store.writer.submit(store.put(2))) == 2
    assert store.stored() == [1, 2]
