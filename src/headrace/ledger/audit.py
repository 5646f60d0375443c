"""Verifying a SQLite ledger: read every row of a file that may be damaged, and name those that are.

Made for bad days. The file is opened for reading only, without a worker's lock and without migrating, and
even when its end is torn off (`SQLITE_DBCONFIG_WRITABLE_SCHEMA` lets SQLite open a file that is shorter than
its header says). Names and places of facts come from the index, the facts themselves from the table: when a
page of facts is gone, the index still says which they were. What SQLite's own `integrity_check` finds is
reported too.

All in one read transaction, so that writers may go on. Rows stream through the folds of `hashing`; what is
kept is the list of heads. Blocks; `sqlite` calls it on a thread. Next: `registry`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

import apsw
import msgspec

from headrace import errors
from headrace.ledger import base, hashing, queries

T = TypeVar("T", bound=msgspec.Struct)

_SQL = queries.SQL
_BLIND_STEPS = 10_000
"""Facts looked for one by one where the index itself is torn, before the rest is given up."""


def verify(path: str, key: bytes | None = None) -> base.Report:
    """Check a ledger file. StoreError when there is none; damage is what the report is for."""
    if not os.path.exists(path):
        raise errors.StoreError(f"there is no ledger at {path!r}; mend the path", retryable=False)
    audit = _Audit(key)
    try:
        connection = _open(path)
    except apsw.Error as e:
        audit.found("", 0, f"the file: {e}")
        try:
            connection = _open(path, damaged=True)
        except apsw.Error:
            return audit.report()  # not even that: there is nothing to look into
    try:
        audit.run(connection)
    finally:
        connection.close()
    return audit.report()


def _open(path: str, *, damaged: bool = False) -> apsw.Connection:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(int(queries.BUSY_SECONDS * 1000))
        connection.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, int(damaged))
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # look, do not touch
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN; SELECT count(*) FROM ledger WHERE 0")
    except BaseException:
        connection.close()
        raise
    return connection


class _Audit:
    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._problems: list[base.Problem] = []
        self._more = 0
        self._facts = 0
        self._conversations = 0
        self._open_runs = 0
        self._head = ""

    def found(self, conversation: str, seq: int, what: str) -> None:
        if len(self._problems) < base.MAX_PROBLEMS:
            self._problems.append(base.Problem(conversation, seq, what))
        else:
            self._more += 1

    def report(self) -> base.Report:
        return base.Report(
            ok=not self._problems,
            facts=self._facts,
            conversations=self._conversations,
            open_runs=self._open_runs,
            head=self._head,
            problems=self._problems,
            more=self._more,
        )

    def run(self, connection: apsw.Connection) -> None:
        self._connection = connection
        if (check := self._try("the key cannot be read", lambda: self._one("key_check"))) and (
            check[0] != hashing.key_check(self._key)
        ):
            self.found("", 0, "the store was made with another key than the one given: seals cannot match")
        heads: dict[str, hashing.Head] = {}
        for head in self._heads():
            heads[head.conversation] = head
        self._check_total(heads)
        for name in heads:
            self._check_conversation(name, heads[name])
        self._try("facts without a head cannot be looked for", lambda: self._headless(heads))
        self._try("runs cannot be read", self._check_runs)
        self._try("the file cannot be checked", self._check_file)

    def _one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(_SQL[statement], values).fetchone()
        return row

    def _try(self, what: str, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except (apsw.Error, ValueError) as e:
            self.found("", 0, f"{what}: {e}")
            return None

    def _heads(self) -> Iterator[hashing.Head]:
        rows: Iterator[Any] | None = None
        while True:
            try:
                rows = rows or iter(self._connection.execute(_SQL["verify_heads"]))
                row = next(rows, None)
                if row is None:
                    return
                head = _typed(hashing.Head, [v.decode() if isinstance(v, bytes) else v for v in row])
            except apsw.Error as e:
                self.found("", 0, f"heads cannot be read: {e}")
                return
            except ValueError as e:
                self.found("", 0, f"a row of `heads` is damaged: {e}")
                continue
            yield head

    def _check_total(self, heads: dict[str, hashing.Head]) -> None:
        seals = hashing.GENESIS
        for head in heads.values():
            try:
                seals = hashing.add_seal(seals, head.seal)
            except ValueError:
                self.found(head.conversation, 0, f"the head's seal is no number: {head.seal!r}")
        total = self._try("the total cannot be read", self._total)
        self._head = total.seal if total else ""
        facts = sum(head.count for head in heads.values())
        for p in hashing.check_total(total, facts, len(heads), seals, self._key):
            self.found(p.conversation, p.seq, p.what)

    def _total(self) -> hashing.Total | None:
        row = self._one("total")
        return _typed(hashing.Total, row) if row else None

    def _check_conversation(self, name: str, head: hashing.Head | None) -> None:
        self._conversations += 1
        for p in hashing.check_chain(name, self._rows(name, head.count if head else 0), head, self._key):
            self.found(p.conversation, p.seq, p.what)

    def _rows(self, name: str, count: int) -> Iterator[hashing.Row | hashing.Unreadable]:
        seq = blind = 0
        while True:
            try:
                step = self._one("verify_next_row", name, seq)
            except apsw.Error as e:
                seq += 1
                blind += 1
                if seq > count:
                    return
                yield hashing.Unreadable(seq, f"the index is damaged: {e}")
                if blind == _BLIND_STEPS:
                    self.found(name, seq + 1, "gave up here: too much of the index is damaged")
                    return
                continue
            if step is None:
                return
            seq, rowid = step
            yield self._row(seq, rowid)

    def _row(self, seq: int, rowid: int) -> hashing.Row | hashing.Unreadable:
        try:
            row = self._one("verify_row", rowid)
            if row is None:
                return hashing.Unreadable(seq, "the index has it, the table has not")
            *columns, time = row
            fact = _typed(hashing.Row, [v.decode() if isinstance(v, bytes) else v for v in columns])
            datetime.fromisoformat(time.decode())
        except (apsw.Error, ValueError, AttributeError) as e:
            return hashing.Unreadable(seq, f"damaged: {e}")
        if fact.seq != seq:
            return hashing.Unreadable(seq, f"the index says {seq}, the table says {fact.seq}")
        self._facts += 1
        return fact

    def _headless(self, heads: dict[str, hashing.Head]) -> None:
        name = ""
        while (row := self._one("verify_next_conversation", name)) and row[0] is not None:
            name = row[0]
            if name not in heads:
                self._check_conversation(name, None)

    def _check_runs(self) -> None:
        for *columns, seal in self._connection.execute(_SQL["verify_runs"]):
            if seal != hashing.run_seal(self._key, columns):
                self.found(str(columns[1]), 0, f"run {columns[0]!r} does not match its seal: it was changed")
        for (name,) in self._connection.execute(_SQL["verify_lost_conversations"]):
            self.found(name, 0, "runs speak of it, but the whole conversation is missing")
        if row := self._one("verify_open_runs"):
            self._open_runs = row[0]

    def _check_file(self) -> None:
        for (text,) in self._connection.execute(_SQL["verify_file"]):
            if text != "ok":
                self.found("", 0, f"the file: {text}")


def _typed(kind: type[T], values: Sequence[Any]) -> T:
    """Columns as a struct; ValueError when damage has made other types of them."""
    return msgspec.convert(dict(zip(kind.__struct_fields__, values, strict=True)), kind)
