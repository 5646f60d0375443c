"""The ledger in memory: the twin of `sqlite`, for tests and for programs that want to forget.

Same rules, same hashes, same errors, no threads and no files; one suite holds both to it. It grows with what
is written and is gone with the process, so there are no dead workers and nothing to recover. Next:
`registry`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace import errors
from headrace.ledger import base, hashing


class _Conversation(msgspec.Struct):
    head: hashing.Head
    created: datetime
    updated: datetime
    facts: list[base.Fact]
    by_id: dict[str, base.Fact]


class MemoryLedger:
    """A `base.Ledger` in this process's memory, for one event loop.

    Args:
        key: signs the seals, as in `sqlite.SqliteLedger`.
        clock: the time of new facts, UTC.
    """

    def __init__(
        self, *, key: bytes | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._key = key
        self._clock = clock
        self._conversations: dict[str, _Conversation] = {}
        self._runs: dict[str, base.RunRecord] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._total = hashing.Total(seal=hashing.total_seal(key, 0, 0, hashing.GENESIS))
        self._closed = False

    @property
    def beside(self) -> None:
        """See `base.Ledger.beside`."""
        return None

    async def begin(self, record: base.RunRecord, content: str, meta: dict[str, Any]) -> base.Fact | None:
        """See `base.Ledger.begin`."""
        self._check_open()
        base.check_begin(record)
        stored = hashing.checked_run(record)
        row = hashing.new_fact(base.user_id(record.run), base.USER, content, meta)
        if there := self._runs.get(record.run):
            return _out(self._conversations[there.conversation].by_id[row[0]])
        if record.idempotency_key is not None and (record.owner, record.idempotency_key) in self._keys:
            return None
        conversation = self._conversations.get(record.conversation)
        if conversation and conversation.head.owner not in (None, record.owner):
            raise base.foreign(record.conversation)
        self._runs[record.run] = stored
        if record.idempotency_key is not None:
            self._keys[record.owner, record.idempotency_key] = record.run
        return self._add(record.conversation, record.owner, *row)

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
        self._check_open()
        row = hashing.new_end(run, kind, content, meta, outcome, summary)
        stored = json.loads(hashing.canonical(summary, "summary"))
        record = self._runs.get(run)
        if record is None:
            raise base.not_begun(run)
        conversation = self._conversations[record.conversation]
        if record.status == base.ENDED:
            return _out(conversation.by_id[row[0]])
        record.status, record.outcome, record.summary = base.ENDED, outcome, stored
        return self._add(record.conversation, conversation.head.owner, *row)

    async def append(
        self, conversation: str, kind: str, content: str, meta: dict[str, Any], *, id: str
    ) -> base.Fact:
        """See `base.Ledger.append`."""
        self._check_open()
        row = hashing.new_append(conversation, kind, content, meta, id)
        there = self._conversations.get(conversation)
        if there and id in there.by_id:
            return _out(there.by_id[id])
        return self._add(conversation, there.head.owner if there else None, *row)

    async def recover(self) -> list[base.RunRecord]:
        """See `base.Ledger.recover`: every run here belongs to this process, which lives."""
        self._check_open()
        return []

    async def run(self, run: str) -> base.RunRecord | None:
        """See `base.Ledger.run`."""
        self._check_open()
        return copy.deepcopy(self._runs.get(run))

    async def run_by_key(self, owner: str, idempotency_key: str) -> base.RunRecord | None:
        """See `base.Ledger.run_by_key`."""
        self._check_open()
        run = self._keys.get((owner, idempotency_key))
        return copy.deepcopy(self._runs[run]) if run is not None else None

    async def runs(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[base.RunRecord]:
        """See `base.Ledger.runs`."""
        self._check_open()
        base.check_limit(limit)
        mine = (
            r
            for r in self._runs.values()
            if (owner is None or r.owner == owner) and (before is None or r.run < before)
        )
        return copy.deepcopy(sorted(mine, key=lambda r: r.run, reverse=True)[:limit])

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
        return [_out(f) for f in self._select(conversation, kinds) if f.seq > after][:limit]

    async def check(self, conversation: str) -> base.Report:
        """See `base.Ledger.check`."""
        self._check_open()
        there = self._conversations.get(conversation)
        head = there.head if there is not None else None
        return await hashing.check_conversation(self, conversation, head, self._key)

    async def tail(
        self, conversation: str, limit: int, *, kinds: Collection[str] | None = None
    ) -> list[base.Fact]:
        """See `base.Ledger.tail`."""
        base.check_limit(limit)
        return [_out(f) for f in self._select(conversation, kinds)[-limit:]]

    async def conversations(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[base.Conversation]:
        """See `base.Ledger.conversations`."""
        self._check_open()
        base.check_limit(limit)
        names = list(self._conversations)
        if before is not None:
            names = names[: names.index(before)] if before in self._conversations else []
        newest_first = (self._conversations[n] for n in reversed(names))
        return [
            base.Conversation(
                c.head.conversation, c.head.owner, c.head.count, c.head.hash, c.created, c.updated
            )
            for c in newest_first
            if owner is None or c.head.owner == owner
        ][:limit]

    async def conversation_owner(self, conversation: str) -> str | None:
        """See `base.Ledger.conversation_owner`."""
        self._check_open()
        there = self._conversations.get(conversation)
        return there.head.owner if there else None

    async def verify(self) -> base.Report:
        """See `base.Ledger.verify`."""
        self._check_open()
        problems: list[base.Problem] = []
        seals = hashing.GENESIS
        for name, c in self._conversations.items():
            rows = (
                hashing.Row(
                    f.conversation, f.seq, f.kind, f.content, hashing.canonical(f.meta), f.prev_hash, f.hash
                )
                for f in c.facts
            )
            problems += hashing.check_chain(name, rows, c.head, self._key)
            seals = hashing.add_seal(seals, c.head.seal)
        facts = sum(c.head.count for c in self._conversations.values())
        conversations = len(self._conversations)
        problems += hashing.check_total(self._total, facts, conversations, seals, self._key)
        return base.Report(
            ok=not problems,
            facts=facts,
            conversations=conversations,
            open_runs=len([r for r in self._runs.values() if r.status != base.ENDED]),
            head=self._total.seal,
            problems=problems[: base.MAX_PROBLEMS],
            more=max(0, len(problems) - base.MAX_PROBLEMS),
        )

    async def export(self, conversation: str | None = None) -> AsyncIterator[base.Fact]:
        """See `base.Ledger.export`."""
        for name in sorted(self._conversations) if conversation is None else [conversation]:
            for fact in list(self._select(name, None)):
                yield _out(fact)

    async def close(self) -> None:
        """See `base.Ledger.close`."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise errors.UsageError("the ledger has been closed; open it again")

    def _select(self, conversation: str, kinds: Collection[str] | None) -> list[base.Fact]:
        self._check_open()
        there = self._conversations.get(conversation)
        if there is None:
            return []
        return there.facts if kinds is None else [f for f in there.facts if f.kind in kinds]

    def _add(
        self, conversation: str, owner: str | None, id: str, kind: str, content: str, meta: str
    ) -> base.Fact:
        there = self._conversations.get(conversation)
        now = self._clock().astimezone(UTC)
        seq, prev_hash = (there.head.count + 1, there.head.hash) if there else (1, hashing.GENESIS)
        hash = hashing.fact_hash(conversation, seq, kind, content, meta, prev_hash)
        fact = base.Fact(conversation, seq, id, kind, content, json.loads(meta), now, prev_hash, hash)
        seal = hashing.head_seal(self._key, conversation, owner, seq, hash)
        self._total = hashing.next_total(self._key, self._total, seal, there.head.seal if there else None)
        if there is None:
            there = self._conversations[conversation] = _Conversation(
                hashing.Head(conversation, owner, 0, prev_hash, seal), now, now, [], {}
            )
        there.head = hashing.Head(conversation, owner, seq, hash, seal)
        there.updated = now
        there.facts.append(fact)
        there.by_id[id] = fact
        return _out(fact)


def _out(fact: base.Fact) -> base.Fact:
    """A fact to give away: its `meta` may be changed by who gets it."""
    return msgspec.structs.replace(fact, meta=copy.deepcopy(fact.meta))
