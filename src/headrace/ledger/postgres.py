"""The ledger on PostgreSQL: many processes on many machines, one store, the same rules and hashes as SQLite.

Acknowledged means committed, and a commit waits for the server's disk. A store has an event loop of its own on one
thread, as the SQLite store has its threads: it can be used from any event loop, and what it does delays none.

    callers ──► waiting ──► one writing connection: all that waits goes into one transaction ──► answers
            ──► up to four reading connections

**Who is alive.** Each worker holds an advisory lock on its writing connection, for life; the server lets go of it
when the connection ends, so also when the process or its machine dies. A worker whose connection was cut comes
back within half a second. So a worker is dead whose lock is free at two looks `patience` apart. Every store looks
now and then, not only when it is opened: turns of a machine that never comes back are closed by the others.

**When the server goes.** Writes are tried again on new connections until `patience` has passed, then fail with
`store-unavailable`; ids make a write that was committed before the answer was lost the same write. An ending that
could not be written is owed, and written, as failed, when the server is back.

Here: the public calls, the thread, the queue. Not here: statements and connections (`postgres_link`), what a
transaction does (`postgres_batch`), checking (`postgres_audit`). Next: `registry`.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import structlog

from headrace import errors, ids, settings
from headrace.ledger import base, hashing, postgres_audit, postgres_batch, postgres_link

T = TypeVar("T")

CAPACITY = 1024
"""Works that may wait, and so the largest batch; callers beyond that wait for room."""
READERS = 4
PATIENCE = 5.0
"""Seconds: see above."""
LOOK_SECONDS = 30.0
"""How often a store looks for dead workers."""

_RETRY_SECONDS = 0.2
_SQL = postgres_link.SQL
_EXPORT_PAGE = 200

log = structlog.get_logger("headrace.ledger")


class _Job(msgspec.Struct):
    work: postgres_batch.Work
    future: asyncio.Future[Any]
    until: float


class PostgresLedger:
    """A `base.Ledger` in a PostgreSQL database.

    Args:
        url: `postgresql://user@host:port/database`, with `?schema=NAME` for another schema than `headrace`.
        key: signs the seals (HMAC-SHA256). A store keeps the key it was made with, or none.
        clock: the time of new facts, UTC.
        patience: seconds that writes wait for a server that is gone, and that dead workers are given to come back.

    Raises `errors.StoreError` when the server cannot be reached, and `errors.UsageError` for the wrong key.
    Opening blocks; everything else is awaited.
    """

    def __init__(
        self,
        url: str,
        *,
        key: bytes | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = PATIENCE,
    ) -> None:
        self.place = postgres_link.parse(url)
        self.worker = "worker_" + ids.ulid()
        self._key = key
        self._clock = clock
        self._patience = patience
        self._closed = False
        self._waiting: deque[_Job] = deque()
        self._room = asyncio.Semaphore(CAPACITY)
        self._something = asyncio.Event()
        self._reading = asyncio.Semaphore(READERS)
        self._idle: list[Any] = []
        self._writing: Any = None
        self._link = asyncio.Lock()
        self._accepted = 0
        self._owed: set[str] = set()
        self._owing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-ledger", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self._stop()
            raise

    @property
    def beside(self) -> str:
        """See `base.Ledger.beside`: among the user's data, by the name of the store."""
        return str(
            settings.data_dir() / f"postgresql-{hashlib.sha256(self.place.shown.encode()).hexdigest()[:16]}"
        )

    # writing

    async def begin(self, record: base.RunRecord, content: str, meta: dict[str, Any]) -> base.Fact | None:
        """See `base.Ledger.begin`."""
        base.check_begin(record)
        stored = hashing.checked_run(record)
        new = hashing.new_fact(base.user_id(record.run), base.USER, content, meta)
        postgres_link.check_nul(
            run=stored.run,
            conversation=stored.conversation,
            owner=stored.owner,
            kind=stored.kind,
            model=stored.model,
            idempotency_key=stored.idempotency_key,
        )
        found: base.Fact | None = await self._submit(postgres_batch.Begin(stored, new))
        return found

    async def end(
        self,
        run: str,
        kind: str,
        content: str,
        meta: dict[str, Any],
        *,
        outcome: str,
        summary: dict[str, Any],
    ) -> base.Fact:
        """See `base.Ledger.end`."""
        new = hashing.new_end(run, kind, content, meta, outcome, summary)
        postgres_link.check_nul(run=run, outcome=outcome)
        fact: base.Fact = await self._submit(postgres_batch.End(run, outcome, summary, new))
        return fact

    async def append(
        self, conversation: str, kind: str, content: str, meta: dict[str, Any], *, id: str
    ) -> base.Fact:
        """See `base.Ledger.append`."""
        new = hashing.new_append(conversation, kind, content, meta, id)
        postgres_link.check_nul(conversation=conversation, kind=kind, id=id)
        fact: base.Fact = await self._submit(postgres_batch.Append(conversation, new))
        return fact

    async def recover(self) -> list[base.RunRecord]:
        """See `base.Ledger.recover`. Takes `patience` where a worker may be dead."""
        return await self._on_loop(self._recover())

    # reading

    async def run(self, run: str) -> base.RunRecord | None:
        """See `base.Ledger.run`."""
        rows = await self._select("runs_by_id", [run])
        return postgres_batch.record_of(rows[0]) if rows else None

    async def run_by_key(self, owner: str, idempotency_key: str) -> base.RunRecord | None:
        """See `base.Ledger.run_by_key`."""
        rows = await self._select("run_by_key", owner, idempotency_key)
        return postgres_batch.record_of(rows[0]) if rows else None

    async def runs(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[base.RunRecord]:
        """See `base.Ledger.runs`."""
        base.check_limit(limit)
        if owner is None:
            rows = await self._select("runs", before, limit)
        else:
            rows = await self._select("runs_of_owner", before, limit, owner)
        return [postgres_batch.record_of(r) for r in rows]

    async def facts(
        self,
        conversation: str,
        *,
        after: int = 0,
        limit: int = 1000,
        kinds: Collection[str] | None = None,
    ) -> list[base.Fact]:
        """See `base.Ledger.facts`."""
        base.check_limit(limit)
        rows = await self._select("facts", conversation, after, limit, None if kinds is None else [*kinds])
        return [postgres_batch.fact_of(r) for r in rows]

    async def check(self, conversation: str) -> base.Report:
        """See `base.Ledger.check`."""
        rows = await self._select("heads", [conversation])
        head = hashing.Head(*rows[0]) if rows else None
        return await hashing.check_conversation(self, conversation, head, self._key)

    async def tail(
        self, conversation: str, limit: int, *, kinds: Collection[str] | None = None
    ) -> list[base.Fact]:
        """See `base.Ledger.tail`."""
        base.check_limit(limit)
        rows = await self._select("tail", conversation, limit, None if kinds is None else [*kinds])
        return [postgres_batch.fact_of(r) for r in reversed(rows)]

    async def conversations(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[base.Conversation]:
        """See `base.Ledger.conversations`."""
        base.check_limit(limit)
        number = None
        if before is not None:
            found = await self._select("conversation_number", before)
            if not found:
                return []
            number = found[0][0]
        if owner is None:
            rows = await self._select("conversations", number, limit)
        else:
            rows = await self._select("conversations_of_owner", number, limit, owner)
        return [base.Conversation(*row) for row in rows]

    async def conversation_owner(self, conversation: str) -> str | None:
        """See `base.Ledger.conversation_owner`."""
        rows = await self._select("heads", [conversation])
        return rows[0][1] if rows else None

    async def export(self, conversation: str | None = None) -> AsyncIterator[base.Fact]:
        """See `base.Ledger.export`. Reads a page at a time and holds no transaction open meanwhile."""
        name = conversation if conversation is not None else await self._next_conversation("")
        while name is not None:
            after = 0
            while page := await self.facts(name, after=after, limit=_EXPORT_PAGE):
                for fact in page:
                    yield fact
                after = page[-1].seq
            name = None if conversation is not None else await self._next_conversation(name)

    async def _next_conversation(self, name: str) -> str | None:
        rows = await self._select("next_conversation", name)
        following: str | None = rows[0][0]
        return following

    async def verify(self) -> base.Report:
        """See `base.Ledger.verify`. On a connection of its own, in one snapshot; nobody waits for it."""
        return await self._on_loop(postgres_audit.verify(self.place, self._key))

    async def close(self) -> None:
        """See `base.Ledger.close`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), self._loop))
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # the store's own event loop: everything below runs there

    async def _on_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            coroutine.close()
            raise errors.UsageError("the ledger has been closed; open it again")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def _open(self) -> None:
        try:
            connection = await postgres_link.connect(self.place)
            try:
                await postgres_link.migrate(connection, self.place, self._key)
            finally:
                connection.terminate()
            await self._linked()
        except postgres_link.FAILURES as e:
            raise postgres_link.store_error(e, self.place, "open") from e
        self._tasks = [asyncio.create_task(task()) for task in (self._write_on, self._stay, self._look)]

    async def _close(self) -> None:
        """Write what was accepted, then go."""
        for task in self._tasks[1:]:  # all but the writer
            task.cancel()
        self._something.set()
        await asyncio.wait(self._tasks)
        for connection in [self._writing, *self._idle]:
            if connection is not None:
                connection.terminate()

    async def _linked(self) -> Any:
        """The writing connection, with this worker's lock; a new one where it broke."""
        async with self._link:
            if self._writing is None or self._writing.is_closed():
                connection = await postgres_link.connect(self.place)
                try:
                    await connection.execute(_SQL["live"], postgres_link.lock_key("worker", self.worker))
                except BaseException:
                    connection.terminate()
                    raise
                self._writing = connection
            return self._writing

    async def _stay(self) -> None:
        """Keep the worker's lock: come back at once when the connection broke."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                await self._linked()
            except postgres_link.FAILURES:
                continue  # the server is not back yet

    async def _look(self) -> None:
        """Now and then: pay what is owed, and close what dead workers left."""
        while True:
            try:
                await asyncio.wait_for(self._owing.wait(), LOOK_SECONDS)
            except TimeoutError:
                pass  # the usual case: nothing is owed
            self._owing.clear()
            try:
                for run in list(self._owed):
                    await self._pay(run)
                for record in await self._recover():
                    log.warning("a run of a dead worker was closed", run=record.run)
            except errors.StoreError as error:
                log.warning("the ledger cannot be looked after", error=error.message)

    async def _pay(self, run: str) -> None:
        """Write an ending that could not be written in its time. Its readers were told that the run failed."""
        meta = {"outcome": "failed", "reason": "store-unavailable"}
        new = hashing.new_fact(base.end_id(run), base.GENERATION_ENDED, "", meta)
        await self._queue(postgres_batch.End(run, "failed", {"outcome": "failed"}, new))

    async def _recover(self) -> list[base.RunRecord]:
        dead = await self._dead()
        if dead:
            await asyncio.sleep(self._patience)
            dead &= await self._dead()
        closed: list[base.RunRecord] = []
        for name in sorted(dead):
            closed += await self._queue(postgres_batch.Close(name))
        return closed

    async def _dead(self) -> set[str]:
        """Workers that have open runs and no connection."""
        names = {row[0] for row in await self._fetch("open_workers")} - {self.worker}
        if not names:
            return set()
        living = {row[0] for row in await self._fetch("living")}
        return {name for name in names if postgres_link.lock_key("worker", name) not in living}

    async def _submit(self, work: postgres_batch.Work) -> Any:
        return await self._on_loop(self._queue(work))

    async def _queue(self, work: postgres_batch.Work) -> Any:
        self._accepted += 1
        try:
            await self._room.acquire()
            future: asyncio.Future[Any] = self._loop.create_future()
            self._waiting.append(_Job(work, future, time.monotonic() + self._patience))
            self._something.set()
        finally:
            self._accepted -= 1
        return await future

    async def _write_on(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            batch = list(self._waiting)
            self._waiting.clear()
            if batch:
                await self._write(batch)
                for _ in batch:
                    self._room.release()
            elif self._closed and not self._accepted:
                return
            if self._closed:
                self._something.set()
                await asyncio.sleep(0)  # those that waited for room go on

    async def _write(self, batch: list[_Job]) -> None:
        """All in one transaction; each alone where that does not work; again where the server is gone."""
        while True:
            try:
                answers = await self._transact(batch)
            except postgres_link.LOST as e:
                late = [job for job in batch if time.monotonic() >= job.until]
                batch = [job for job in batch if time.monotonic() < job.until]
                for job in late:
                    self._answer(job, e)
                if not batch:
                    return
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as e:
                if len(batch) == 1 or isinstance(e, postgres_link.BUSY):
                    for job in batch:
                        self._answer(job, e)
                else:
                    for job in batch:
                        await self._write([job])
                return
            else:
                for job, answer in zip(batch, answers, strict=True):
                    self._answer(job, answer)
                return

    def _answer(self, job: _Job, answer: Any) -> None:
        if isinstance(job.work, postgres_batch.End):
            if isinstance(answer, postgres_link.FAILURES):
                self._owed.add(job.work.run)
                self._owing.set()
            else:
                self._owed.discard(job.work.run)
        if job.future.done():
            return  # the caller was cancelled
        if isinstance(answer, postgres_link.FAILURES):
            job.future.set_exception(postgres_link.store_error(answer, self.place, "write to"))
        elif isinstance(answer, BaseException):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)

    async def _transact(self, batch: list[_Job]) -> list[Any]:
        connection = await self._linked()
        try:
            return await postgres_batch.transact(
                connection,
                [job.work for job in batch],
                key=self._key,
                worker=self.worker,
                now=self._clock().astimezone(UTC),
            )
        except postgres_link.LOST:
            connection.terminate()
            raise

    async def _select(self, statement: str, *values: Any) -> list[Any]:
        return await self._on_loop(self._fetch(statement, *values))

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        """Read; a second time on a new connection where the first was found broken."""
        for value in values:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and ("\x00" in text or _surrogate(text)):
                    return []  # nothing of that name can be there
        async with self._reading:
            try:
                try:
                    return await self._fetch_once(statement, *values)
                except postgres_link.LOST:
                    self._idle.clear()
                    return await self._fetch_once(statement, *values)
            except postgres_link.FAILURES as e:
                raise postgres_link.store_error(e, self.place, "read") from e
            except UnicodeDecodeError as e:
                raise errors.StoreError(
                    f"the ledger {self.place.shown} holds text that is not UTF-8 ({e}); it is damaged: "
                    "`headrace ledger verify` says where",
                    retryable=False,
                ) from e

    async def _fetch_once(self, statement: str, *values: Any) -> list[Any]:
        connection = None
        while self._idle and (connection is None or connection.is_closed()):
            connection = self._idle.pop()
        if connection is None or connection.is_closed():
            connection = await postgres_link.connect(self.place)
        try:
            found: list[Any] = await connection.fetch(_SQL[statement], *values)
        except BaseException:
            connection.terminate()
            raise
        self._idle.append(connection)
        return found


def _surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text) if not text.isascii() else False
