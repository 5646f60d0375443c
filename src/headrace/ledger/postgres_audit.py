"""Verifying a ledger on PostgreSQL: read every row of a store that may be damaged, and name those that are.

All in one snapshot on a connection of its own, so that writers may go on and nothing is changed. Facts come a page
at a time and stream through the folds of `hashing`. A page that cannot be read (a torn block, bytes that are no
UTF-8 any more) is read again fact by fact, each under a savepoint, so that exactly those are named that are lost.

The server's own checks (page checksums, `pg_amcheck`) are the operator's: see docs/ledger.md. Next: `registry`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.ledger import base, hashing, postgres_batch, postgres_link
from headrace.ledger.postgres_link import SQL

_PAGE = 500
_BROKEN: tuple[type[BaseException], ...] = (*postgres_link.FAILURES, UnicodeDecodeError, ValueError)


async def verify(place: postgres_link.Place, key: bytes | None = None) -> base.Report:
    """Check a store. StoreError when there is none; damage is what the report is for."""
    connection = await postgres_link.existing(place)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            audit = _Audit(connection, key)
            await audit.run()
            return audit.report()
    except postgres_link.LOST as e:
        raise postgres_link.store_error(e, place, "verify") from e
    finally:
        connection.terminate()


class _Audit:
    def __init__(self, connection: object, key: bytes | None) -> None:
        self._connection: Any = connection
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

    async def run(self) -> None:
        check = await self._rows("the key cannot be read", "key_check")
        if check and check[0][0] != hashing.key_check(self._key):
            self.found("", 0, "the store was made with another key than the one given: seals cannot match")
        rows = await self._rows("heads cannot be read", "verify_heads")
        heads = {row[0]: hashing.Head(*row) for row in rows}
        await self._check_total(heads)
        for name, head in heads.items():
            await self._check_conversation(name, head)
        for (name,) in await self._rows("facts without a head cannot be looked for", "verify_headless"):
            await self._check_conversation(name, None)
        await self._check_runs()

    async def _rows(self, what: str, statement: str, *values: object) -> list[Any]:
        """What a statement gives; nothing, and a problem, where it fails."""
        try:
            async with self._connection.transaction():
                found: list[Any] = await self._connection.fetch(SQL[statement], *values)
                return found
        except _BROKEN as e:
            if self._connection.is_closed():
                raise
            self.found("", 0, f"{what}: {e}")
            return []

    async def _check_total(self, heads: dict[str, hashing.Head]) -> None:
        seals = hashing.GENESIS
        for head in heads.values():
            try:
                seals = hashing.add_seal(seals, head.seal)
            except ValueError:
                self.found(head.conversation, 0, f"the head's seal is no number: {head.seal!r}")
        rows = await self._rows("the total cannot be read", "verify_total")
        total = hashing.Total(*rows[0]) if rows else None
        self._head = total.seal if total else ""
        facts = sum(head.count for head in heads.values())
        for p in hashing.check_total(total, facts, len(heads), seals, self._key):
            self.found(p.conversation, p.seq, p.what)

    async def _check_conversation(self, name: str, head: hashing.Head | None) -> None:
        self._conversations += 1
        chain = hashing.Chain(name)
        count = head.count if head else 0
        while True:
            rows = await self._page(name, chain.last, count)
            for row in rows:
                for p in chain.feed(row):
                    self.found(p.conversation, p.seq, p.what)
                self._facts += isinstance(row, hashing.Row)
            if not rows:
                break
        for p in chain.end(head, self._key):
            self.found(p.conversation, p.seq, p.what)

    async def _page(self, name: str, after: int, count: int) -> list[hashing.Row | hashing.Unreadable]:
        try:
            async with self._connection.transaction():
                found = await self._connection.fetch(SQL["facts"], name, after, _PAGE, None)
            return [_row(fact) for fact in found]
        except _BROKEN:
            if self._connection.is_closed():
                raise
        rows: list[hashing.Row | hashing.Unreadable] = []
        seq = after
        while len(rows) < _PAGE and seq < count:
            seq += 1
            try:
                async with self._connection.transaction():
                    found = await self._connection.fetch(SQL["verify_fact"], name, seq)
                rows += [_row(fact) for fact in found]
            except _BROKEN as e:
                if self._connection.is_closed():
                    raise
                rows.append(hashing.Unreadable(seq, f"damaged: {e}"))
        return rows

    async def _check_runs(self) -> None:
        last = ""
        while rows := await self._rows("runs cannot be read", "verify_runs", last, _PAGE):
            for *columns, seal in rows:
                last = columns[0]
                columns[6] = hashing.time_text(columns[6])
                if seal != hashing.run_seal(self._key, columns):
                    self.found(str(columns[1]), 0, f"run {last!r} does not match its seal: it was changed")
        for (name,) in await self._rows("runs cannot be read", "verify_lost_conversations"):
            self.found(name, 0, "runs speak of it, but the whole conversation is missing")
        for (count,) in await self._rows("runs cannot be read", "verify_open_runs"):
            self._open_runs = count


def _row(fact: Any) -> hashing.Row:
    """A fact as `hashing` checks it; ValueError when damage has made other types of its columns."""
    conversation, seq, _, kind, content, meta, _, prev_hash, hash, nuls = fact
    content = postgres_batch.with_nuls(content, nuls)
    values = (conversation, seq, kind, content, meta, prev_hash, hash)
    return msgspec.convert(dict(zip(hashing.Row.__struct_fields__, values, strict=True)), hashing.Row)
