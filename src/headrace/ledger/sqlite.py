"""The ledger on SQLite: one file in WAL mode, many processes, one writing thread and one reading thread each.

Acknowledged means on disk: a commit waits for `fsync` (`synchronous="full"`; with `"normal"` a power cut, not
a crash, may take the last commits back, and the chain still holds). Every statement on the way of a turn goes
by an index, so a turn costs the same at a hundred facts and at a million.

What one transaction keeps together (`_Transaction`): the facts, the head of each conversation, the total of
the store, and the run rows. Heads are read inside the transaction, because other processes append to the same
file; the total is read once and written once.

Here: the turn's rules in terms of rows. Not here: statements (`queries`), batching (`writer`), who is alive
(`liveness`), checking (`audit`). Twin: `memory`, held to the same behaviour by one suite. Next: `audit`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from headrace import errors, ids
from headrace.ledger import audit, base, hashing, liveness, queries, writer

T = TypeVar("T")

_SQL = queries.SQL
_EXPORT_PAGE = 200


class SqliteLedger:
    """A `base.Ledger` in a SQLite file.

    Args:
        path: the file; made, with its folder and readable by its owner only, when it is not there.
        key: signs the seals (HMAC-SHA256). A store keeps the key it was made with, or none.
        synchronous: `"full"` (default) or `"normal"`, see above.
        clock: the time of new facts, UTC.

    Raises `errors.StoreError` when the file cannot be opened, and `errors.UsageError` for the wrong key.
    Opening blocks for some milliseconds; everything else is awaited.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: bytes | None = None,
        synchronous: queries.Synchronous = "full",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = os.path.abspath(path)
        self._key = key
        self._clock = clock
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            _create_private(self.path)
            self._folder = liveness.folder_of(Path(self.path))
            with liveness.exclusive(self._folder):
                self._connection = _prepared(self.path, key, synchronous)
                self._reading = queries.connect(self.path, read_only=True)
                self._worker = liveness.Worker(self._folder, "worker_" + ids.ulid())
        except apsw.Error as e:
            raise queries.store_error(e, self.path, "open") from e
        except OSError as e:
            raise errors.StoreError(
                f"cannot open the ledger {self.path!r}: {e}; mend the path or its permissions"
            ) from e
        self._writer = writer.Writer(
            self._connection,
            prepare=self._begin_transaction,
            finish=_Transaction.finish,
            translate=lambda e: queries.store_error(e, self.path, "write to"),
        )
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="headrace-ledger-reader")
        self._auditor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="headrace-ledger-verify")
        self._closed = False

    @property
    def beside(self) -> str:
        """See `base.Ledger.beside`."""
        return self.path

    # writing

    async def begin(self, record: base.RunRecord, content: str, meta: dict[str, Any]) -> base.Fact | None:
        """See `base.Ledger.begin`."""
        base.check_begin(record)
        row = hashing.run_columns(hashing.checked_run(record))
        run_seal = hashing.run_seal(self._key, row)
        new = hashing.new_fact(base.user_id(record.run), base.USER, content, meta)

        def work(t: _Transaction) -> base.Fact | None:
            if (there := t.run(record.run)) is not None:
                return t.fact(there.conversation, new[0])
            if record.idempotency_key is not None and t.get(
                "run_by_key", record.owner, record.idempotency_key
            ):
                return None
            head = t.head(record.conversation)
            if head is not None and head.owner not in (None, record.owner):
                raise base.foreign(record.conversation)
            fact = t.add(record.conversation, head, record.owner, *new)
            t.execute("insert_run", *row, self._worker.name, run_seal)
            return fact

        return await self._writer.submit(work)

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

        def work(t: _Transaction) -> base.Fact:
            record = t.run(run)
            if record is None:
                raise base.not_begun(run)
            return t.end(record, outcome, summary, *new)

        return await self._writer.submit(work)

    async def append(
        self, conversation: str, kind: str, content: str, meta: dict[str, Any], *, id: str
    ) -> base.Fact:
        """See `base.Ledger.append`."""
        new = hashing.new_append(conversation, kind, content, meta, id)

        def work(t: _Transaction) -> base.Fact:
            if row := t.get("fact_by_id", conversation, id):
                return _fact(row)
            head = t.head(conversation)
            return t.add(conversation, head, head.owner if head else None, *new)

        return await self._writer.submit(work)

    async def recover(self) -> list[base.RunRecord]:
        """See `base.Ledger.recover`."""
        dead = await self._read(self._dead_workers)
        closed: list[base.RunRecord] = []
        for name in dead:
            closed += await self._writer.submit(functools.partial(_close_runs, name))
        await self._read(self._tidy)
        return closed

    # reading

    async def run(self, run: str) -> base.RunRecord | None:
        """See `base.Ledger.run`."""
        rows = await self._select("run", run)
        return _record(rows[0]) if rows else None

    async def run_by_key(self, owner: str, idempotency_key: str) -> base.RunRecord | None:
        """See `base.Ledger.run_by_key`."""
        rows = await self._select("run_by_key", owner, idempotency_key)
        return _record(rows[0]) if rows else None

    async def runs(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[base.RunRecord]:
        """See `base.Ledger.runs`."""
        base.check_limit(limit)
        if owner is None:
            rows = await self._select("runs", before, limit)
        else:
            rows = await self._select("runs_of_owner", before, limit, owner)
        return [_record(r) for r in rows]

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
        if kinds is None:
            rows = await self._select("facts", conversation, after, limit)
        else:
            rows = await self._select("facts_of_kinds", conversation, after, limit, json.dumps([*kinds]))
        return [_fact(r) for r in rows]

    async def check(self, conversation: str) -> base.Report:
        """See `base.Ledger.check`."""
        rows = await self._select("head", conversation)
        head = hashing.Head(*rows[0]) if rows else None
        return await hashing.check_conversation(self, conversation, head, self._key)

    async def tail(
        self, conversation: str, limit: int, *, kinds: Collection[str] | None = None
    ) -> list[base.Fact]:
        """See `base.Ledger.tail`."""
        base.check_limit(limit)
        if kinds is None:
            rows = await self._select("tail", conversation, limit)
        else:
            rows = await self._select("tail_of_kinds", conversation, limit, json.dumps([*kinds]))
        return [_fact(r) for r in reversed(rows)]

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
        return [base.Conversation(c, o, n, h, _time(a), _time(b)) for c, o, n, h, a, b in rows]

    async def conversation_owner(self, conversation: str) -> str | None:
        """See `base.Ledger.conversation_owner`."""
        rows = await self._select("head", conversation)
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

    async def verify(self) -> base.Report:
        """See `base.Ledger.verify`. On a thread and a connection of its own; nobody waits for it."""
        self._check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._auditor, audit.verify, self.path, self._key)

    async def close(self) -> None:
        """See `base.Ledger.close`."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._reader.shutdown()
        self._auditor.shutdown()
        self._reading.close()
        self._worker.close()

    # threads

    def _check_open(self) -> None:
        if self._closed:
            raise errors.UsageError("the ledger has been closed; open it again to read")

    async def _read(self, function: Callable[[], T]) -> T:
        self._check_open()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, function)
        except apsw.Error as e:
            raise queries.store_error(e, self.path, "read") from e
        except OSError as e:
            raise errors.StoreError(f"cannot look after the workers of {self.path!r}: {e}") from e
        except UnicodeDecodeError as e:
            raise errors.StoreError(
                f"the ledger {self.path!r} holds text that is not UTF-8 ({e}); it is damaged: "
                "`headrace ledger verify` says where",
                retryable=False,
            ) from e

    async def _select(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        sql = _SQL[statement]
        return await self._read(lambda: self._reading.execute(sql, values).fetchall())

    async def _next_conversation(self, name: str) -> str | None:
        rows = await self._select("next_conversation", name)
        following: str | None = rows[0][0]
        return following

    def _dead_workers(self) -> list[str]:
        with liveness.exclusive(self._folder):
            names = [name for (name,) in self._reading.execute(_SQL["open_workers"])]
            return [n for n in names if not liveness.is_alive(self._folder, n)]

    def _tidy(self) -> None:
        with liveness.exclusive(self._folder):
            liveness.tidy(self._folder)

    def _begin_transaction(self) -> _Transaction:
        return _Transaction(self._connection, self._key, self._clock().astimezone(UTC))


class _Transaction:
    """What one transaction knows; lives on the writing thread."""

    def __init__(self, connection: apsw.Connection, key: bytes | None, now: datetime) -> None:
        self._connection = connection
        self._key = key
        self._now = now
        self._total: hashing.Total | None = None

    def execute(self, statement: str, *values: Any) -> None:
        self._connection.execute(_SQL[statement], values)

    def get(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(_SQL[statement], values).fetchone()
        return row

    def all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(_SQL[statement], values).fetchall()

    def run(self, run: str) -> base.RunRecord | None:
        row = self.get("run", run)
        return _record(row) if row else None

    def fact(self, conversation: str, id: str) -> base.Fact:
        row = self.get("fact_by_id", conversation, id)
        if row is None:
            raise errors.StoreError(
                f"the fact {id!r} of conversation {conversation!r} is gone though its run is there; "
                "`headrace ledger verify` says what else is",
                retryable=False,
            )
        return _fact(row)

    def head(self, conversation: str) -> hashing.Head | None:
        row = self.get("head", conversation)
        return hashing.Head(*row) if row else None

    def add(
        self,
        conversation: str,
        head: hashing.Head | None,
        owner: str | None,
        id: str,
        kind: str,
        content: str,
        meta: str,
    ) -> base.Fact:
        """Add a fact after `head`, and sign the new head off."""
        seq, prev_hash = (head.count + 1, head.hash) if head else (1, hashing.GENESIS)
        hash = hashing.fact_hash(conversation, seq, kind, content, meta, prev_hash)
        seal = hashing.head_seal(self._key, conversation, owner, seq, hash)
        time = hashing.time_text(self._now)
        self.execute("insert_fact", conversation, seq, id, kind, content, meta, time, prev_hash, hash)
        self.execute("update_head" if head else "insert_head", conversation, owner, seq, hash, seal, time)
        total = self._total or hashing.Total(*(self.get("total") or ()))
        self._total = hashing.next_total(self._key, total, seal, head.seal if head else None)
        return base.Fact(conversation, seq, id, kind, content, json.loads(meta), self._now, prev_hash, hash)

    def end(
        self,
        record: base.RunRecord,
        outcome: str,
        summary: dict[str, Any],
        id: str,
        kind: str,
        content: str,
        meta: str,
    ) -> base.Fact:
        """Write the ending of a run, or find it; `record` is brought up to date."""
        if record.status == base.ENDED:
            return self.fact(record.conversation, id)
        head = self.head(record.conversation)
        fact = self.add(
            record.conversation, head, head.owner if head else record.owner, id, kind, content, meta
        )
        record.status, record.outcome, record.summary = base.ENDED, outcome, summary
        row = hashing.run_columns(record)
        self.execute("end_run", outcome, row[-1], hashing.run_seal(self._key, row), record.run)
        return fact

    def finish(self) -> None:
        """Sign the store off, once for all facts of the transaction."""
        if self._total is not None:
            self.execute("update_total", *msgspec.structs.astuple(self._total))


def _create_private(path: str) -> None:
    """Make the file, for its owner only. One that is there is left alone: merely opening and closing it would
    drop the locks that SQLite holds on it in this process."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass


def _prepared(path: str, key: bytes | None, synchronous: queries.Synchronous) -> apsw.Connection:
    connection = queries.connect(path, read_only=False, synchronous=synchronous)
    try:
        queries.migrate(connection)
        check = hashing.key_check(key)
        seal = hashing.total_seal(key, 0, 0, hashing.GENESIS)
        if (there := connection.execute(_SQL["key_check"]).fetchone()) is None:
            connection.execute(_SQL["insert_total"], (hashing.GENESIS, seal, check))
        elif there != (check,):
            raise errors.UsageError(
                f"the ledger {path!r} was made with {'another key, or with none' if key else 'a key'}; "
                "open it as it was made"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _close_runs(worker: str, t: _Transaction) -> list[base.RunRecord]:
    """End all runs that a dead worker left open."""
    closed = []
    for (run,) in t.all("open_runs_of_worker", worker):
        record = t.run(run)
        assert record is not None
        outcome, meta, summary = base.interruption()
        new = hashing.new_fact(base.end_id(run), base.GENERATION_ENDED, "", meta)
        t.end(record, outcome, summary, *new)
        closed.append(record)
    return closed


def _record(row: tuple[Any, ...]) -> base.RunRecord:
    run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary = row
    return base.RunRecord(
        run=run,
        conversation=conversation,
        owner=owner,
        kind=kind,
        model=model,
        status=status,
        created=_time(created),
        metadata=json.loads(metadata),
        idempotency_key=idempotency_key,
        outcome=outcome,
        summary=json.loads(summary) if summary is not None else None,
    )


def _fact(row: tuple[Any, ...]) -> base.Fact:
    conversation, seq, id, kind, content, meta, time, prev_hash, hash = row
    return base.Fact(conversation, seq, id, kind, content, json.loads(meta), _time(time), prev_hash, hash)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
