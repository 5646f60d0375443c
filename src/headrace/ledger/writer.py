"""Group commit: one thread owns the writing connection, and writes all that is waiting in one transaction.

    callers (any event loop) ──► waiting ──► thread: BEGIN IMMEDIATE, every work, COMMIT ──► answers

A commit costs an `fsync` however much is in it, so under load each caller pays a part of one. While a
transaction runs, the next batch gathers; nobody waits for a timer, and a lone caller is served at once.

What a work may do: read, refuse by raising an error of `errors` *before* it writes anything, or write and
return. A refusal concerns that work alone. Whatever else goes wrong rolls the transaction back, and each work
of the batch is tried again in a transaction of its own: one that does not fit on the disk cannot take the
others with it. A file that is busy for too long, or that will not commit, fails the whole batch.

Bounds: at most `CAPACITY` works wait; callers beyond that wait for room, holding only what they hold anyway.
Answers go back with one `call_soon_threadsafe` a batch and event loop. Not here: what is written (`sqlite`).
Next: `liveness`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import apsw
import msgspec

from headrace import errors

T = TypeVar("T")
Transaction = TypeVar("Transaction")

CAPACITY = 1024
"""Works that may wait, and so the largest batch."""


class _Job(msgspec.Struct):
    work: Callable[[Any], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = None


class Writer:
    """The writing side of a store.

    Args:
        connection: the writing connection; from now on the thread's own, closed by `close`.
        prepare: called after BEGIN; its value is what every work of the transaction is given.
        finish: called with that value before COMMIT.
        translate: makes an error of our tree from one of SQLite.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        prepare: Callable[[], Transaction],
        finish: Callable[[Transaction], None],
        translate: Callable[[apsw.Error], errors.HeadraceError],
    ) -> None:
        self._connection = connection
        self._prepare = prepare
        self._finish = finish
        self._translate = translate
        self._waiting: deque[_Job] = deque()
        self._for_room: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="headrace-ledger-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[Transaction], T]) -> T:
        """Have `work` done in the next transaction; returns when that is committed."""
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._closing:
                    raise errors.UsageError("the ledger has been closed; open it again to write")
                if len(self._waiting) < CAPACITY:
                    future: asyncio.Future[T] = loop.create_future()
                    self._waiting.append(_Job(work, future, loop))
                    self._changed.notify()
                    break
                room: asyncio.Future[None] = loop.create_future()
                self._for_room.append((loop, room))
            await room
        return await future

    def close(self) -> None:
        """Write what was accepted, then end the thread and close the connection. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                batch = list(self._waiting)
                self._waiting.clear()
                rooms = list(self._for_room)
                self._for_room.clear()
            if batch:
                self._write(batch)
            _answer(batch, rooms)
            if not batch and not rooms:
                self._connection.close()
                return

    def _write(self, batch: list[_Job]) -> None:
        try:
            self._transact(batch)
        except apsw.BusyError as e:
            for job in batch:
                job.error = self._translate(e)
        except Exception as e:
            if len(batch) > 1:
                for job in batch:
                    self._write([job])
            else:
                batch[0].error = self._translate(e) if isinstance(e, apsw.Error) else e

    def _transact(self, batch: list[_Job]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            transaction = self._prepare()
            for job in batch:
                job.result = job.error = None
                try:
                    job.result = job.work(transaction)
                except errors.HeadraceError as e:
                    job.error = e
            self._finish(transaction)
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _answer(batch: list[_Job], rooms: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]) -> None:
    loops: dict[asyncio.AbstractEventLoop, tuple[list[_Job], list[asyncio.Future[None]]]] = {}
    for job in batch:
        loops.setdefault(job.loop, ([], []))[0].append(job)
    for loop, room in rooms:
        loops.setdefault(loop, ([], []))[1].append(room)
    for loop, (jobs, futures) in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, jobs, futures)
        except RuntimeError:
            pass  # the loop is closed: nobody is left to tell, and what was written stays written


def _resolve(jobs: list[_Job], rooms: list[asyncio.Future[None]]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # the caller was cancelled
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
    for room in rooms:
        if not room.done():
            room.set_result(None)
