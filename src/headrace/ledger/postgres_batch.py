"""What one transaction on PostgreSQL does: the works that wait, all at once, by a handful of statements.

    lock the total ► read what the works ask for (runs, heads, facts) ► do the works, in memory ► write what changed

A statement costs a journey to the server, so none is made for a single work: what all of them need is read with
arrays, and what they changed is written with arrays. The works are the rules of a turn, in terms of `State`: they
refuse by raising before they change anything, and a refusal concerns that work alone. `State` is pure; `transact`
is its shell. The lock on the total makes writers of all processes stand in line, so what was read stays true.

NUL is taken out of a content on its way in and put back on its way out. Next: `postgres`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from headrace import errors
from headrace.ledger import base, hashing, postgres_link

New = tuple[str, str, str, str]
"""id, kind, content and meta of a new fact, as `hashing.new_fact` gives them."""

_SQL = postgres_link.SQL


class State:
    """What a transaction knows, and what it has changed so far."""

    def __init__(self, key: bytes | None, now: datetime, total: hashing.Total) -> None:
        self.total = total
        self.heads: dict[str, hashing.Head] = {}
        self.runs: dict[str, base.RunRecord] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.facts: dict[tuple[str, str], base.Fact] = {}
        self.of_workers: dict[str, list[str]] = {}
        self.new_facts: list[tuple[base.Fact, str]] = []
        self.new_runs: list[str] = []
        self.ended: list[str] = []
        self._key = key
        self._now = now

    def fact(self, conversation: str, id: str) -> base.Fact:
        """A fact that has to be there."""
        found = self.facts.get((conversation, id))
        if found is None:
            raise errors.StoreError(
                f"the fact {id!r} of conversation {conversation!r} is gone though its run is there; "
                "`headrace ledger verify` says what else is",
                retryable=False,
            )
        return _copy(found)

    def add(self, conversation: str, owner: str | None, new: New) -> base.Fact:
        """Add a fact at the end of its conversation, and sign the new head off."""
        id, kind, content, meta = new
        head = self.heads.get(conversation)
        seq, prev_hash = (head.count + 1, head.hash) if head else (1, hashing.GENESIS)
        hash = hashing.fact_hash(conversation, seq, kind, content, meta, prev_hash)
        seal = hashing.head_seal(self._key, conversation, owner, seq, hash)
        fact = base.Fact(conversation, seq, id, kind, content, json.loads(meta), self._now, prev_hash, hash)
        self.total = hashing.next_total(self._key, self.total, seal, head.seal if head else None)
        self.heads[conversation] = hashing.Head(conversation, owner, seq, hash, seal)
        self.facts[conversation, id] = fact
        self.new_facts.append((fact, meta))
        return _copy(fact)

    def end(self, record: base.RunRecord, outcome: str, summary: dict[str, Any], new: New) -> base.Fact:
        """Write the ending of a run, or find it."""
        if record.status == base.ENDED:
            return self.fact(record.conversation, new[0])
        head = self.heads.get(record.conversation)
        fact = self.add(record.conversation, head.owner if head else record.owner, new)
        record.status, record.outcome, record.summary = base.ENDED, outcome, summary
        if record.run not in self.new_runs:
            self.ended.append(record.run)
        return fact

    def run_rows(self, runs: Sequence[str]) -> list[tuple[Any, ...]]:
        """Runs as rows up to their seals."""
        rows = []
        for run in runs:
            record = self.runs[run]
            columns = hashing.run_columns(record)
            rows.append((*columns[:6], record.created, *columns[7:], hashing.run_seal(self._key, columns)))
        return rows


class Begin(msgspec.Struct):
    """`base.Ledger.begin`."""

    record: base.RunRecord
    new: New

    def do(self, s: State) -> base.Fact | None:
        """See `base.Ledger.begin`."""
        r = self.record
        if (there := s.runs.get(r.run)) is not None:
            return s.fact(there.conversation, self.new[0])
        if r.idempotency_key is not None and (r.owner, r.idempotency_key) in s.keys:
            return None
        head = s.heads.get(r.conversation)
        if head is not None and head.owner not in (None, r.owner):
            raise base.foreign(r.conversation)
        fact = s.add(r.conversation, r.owner, self.new)
        s.runs[r.run] = msgspec.structs.replace(r)
        s.new_runs.append(r.run)
        if r.idempotency_key is not None:
            s.keys[r.owner, r.idempotency_key] = r.run
        return fact


class End(msgspec.Struct):
    """`base.Ledger.end`."""

    run: str
    outcome: str
    summary: dict[str, Any]
    new: New

    def do(self, s: State) -> base.Fact:
        """See `base.Ledger.end`."""
        record = s.runs.get(self.run)
        if record is None:
            raise base.not_begun(self.run)
        return s.end(record, self.outcome, self.summary, self.new)


class Append(msgspec.Struct):
    """`base.Ledger.append`."""

    conversation: str
    new: New

    def do(self, s: State) -> base.Fact:
        """See `base.Ledger.append`."""
        if (self.conversation, self.new[0]) in s.facts:
            return s.fact(self.conversation, self.new[0])
        head = s.heads.get(self.conversation)
        return s.add(self.conversation, head.owner if head else None, self.new)


class Close(msgspec.Struct):
    """End all runs that a dead worker left open."""

    worker: str

    def do(self, s: State) -> list[base.RunRecord]:
        """The runs that were closed."""
        closed = []
        for run in s.of_workers.get(self.worker, []):
            record = s.runs[run]
            if record.status != base.ENDED:
                outcome, meta, summary = base.interruption()
                new = hashing.new_fact(base.end_id(run), base.GENERATION_ENDED, "", meta)
                s.end(record, outcome, summary, new)
                closed.append(msgspec.structs.replace(record))
        return closed


Work = Begin | End | Append | Close


async def transact(
    connection: Any, works: Sequence[Work], *, key: bytes | None, worker: str, now: datetime
) -> list[Any]:
    """Do the works in one transaction; returns the answer of each, an error of ours where it refused.

    Raises:
        postgres_link.FAILURES: nothing was done.
    """
    answers: list[Any] = []
    async with connection.transaction():
        total = await connection.fetchrow(_SQL["lock_total"])
        if total is None:
            raise errors.StoreError(
                "the signed-off total of the store is missing; `headrace ledger verify` says what else is",
                retryable=False,
            )
        state = State(key, now, hashing.Total(*total))
        await _load(connection, works, state)
        for work in works:
            try:
                answers.append(work.do(state))
            except errors.HeadraceError as error:
                answers.append(error)
        await _save(connection, state, worker, now)
    return answers


async def _load(connection: Any, works: Sequence[Work], s: State) -> None:
    begins = [w for w in works if isinstance(w, Begin)]
    appends = [w for w in works if isinstance(w, Append)]
    wanted = [w.record.run for w in begins] + [w.run for w in works if isinstance(w, End)]
    if wanted:
        for row in await connection.fetch(_SQL["runs_by_id"], wanted):
            s.runs[row[0]] = record_of(row)
    keys = [
        (w.record.owner, w.record.idempotency_key) for w in begins if w.record.idempotency_key is not None
    ]
    if keys:
        for owner, k, run in await connection.fetch(_SQL["runs_by_keys"], *zip(*keys, strict=True)):
            s.keys[owner, k] = run
    for work in works:
        if isinstance(work, Close):
            rows = await connection.fetch(_SQL["open_runs_of_worker"], work.worker)
            s.of_workers[work.worker] = [row[0] for row in rows]
            for row in rows:
                s.runs.setdefault(row[0], record_of(row))
    names = {w.record.conversation for w in begins} | {w.conversation for w in appends}
    names |= {record.conversation for record in s.runs.values()}
    if names:
        for row in await connection.fetch(_SQL["heads"], list(names)):
            s.heads[row[0]] = hashing.Head(*row)
    there = [(w.conversation, w.new[0]) for w in appends]
    there += [(r.conversation, base.user_id(r.run)) for w in begins if (r := s.runs.get(w.record.run))]
    there += [(r.conversation, base.end_id(r.run)) for r in s.runs.values() if r.status == base.ENDED]
    if there:
        for row in await connection.fetch(_SQL["facts_by_ids"], *zip(*there, strict=True)):
            fact = fact_of(row)
            s.facts[fact.conversation, fact.id] = fact


async def _save(connection: Any, s: State, worker: str, now: datetime) -> None:
    if not s.new_facts:
        return
    rows = []
    for fact, meta in s.new_facts:
        content, nuls = without_nuls(fact.content)
        rows.append(
            (fact.conversation, fact.seq, fact.id, fact.kind, content, meta, fact.prev_hash, fact.hash, nuls)
        )
    begun = dict.fromkeys(fact.conversation for fact, _ in s.new_facts)
    heads = [msgspec.structs.astuple(s.heads[name]) for name in begun]
    ended = [(row[0], row[9], row[10], row[11]) for row in s.run_rows(s.ended)]
    await connection.execute(
        _SQL["write"],
        now,
        *_columns(rows, 9),
        *_columns(heads, 5),
        worker,
        *_columns(s.run_rows(s.new_runs), 12),
        *_columns(ended, 4),
        *msgspec.structs.astuple(s.total),
    )


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[Sequence[Any]]:
    """Rows turned by a right angle."""
    return [*zip(*rows, strict=True)] if rows else [()] * count


def without_nuls(content: str) -> tuple[str, str | None]:
    """The content as PostgreSQL can hold it, and where its NULs were, as an array's text."""
    if "\x00" not in content:
        return content, None
    places = [str(place) for place, letter in enumerate(content) if letter == "\x00"]
    return content.replace("\x00", ""), "{" + ",".join(places) + "}"


def with_nuls(content: str, places: Sequence[int] | None) -> str:
    """The content as it was."""
    if not places:
        return content
    parts, at = [], 0
    for number, place in enumerate(places):
        parts += [content[at : place - number], "\x00"]
        at = place - number
    return "".join([*parts, content[at:]])


def fact_of(row: Sequence[Any]) -> base.Fact:
    """A row as a fact."""
    conversation, seq, id, kind, content, meta, time, prev_hash, hash, nuls = row
    return base.Fact(
        conversation, seq, id, kind, with_nuls(content, nuls), json.loads(meta), time, prev_hash, hash
    )


def record_of(row: Sequence[Any]) -> base.RunRecord:
    """A row as a run."""
    run, conversation, owner, kind, model, status, created, metadata, idempotency_key, outcome, summary = row
    return base.RunRecord(
        run=run,
        conversation=conversation,
        owner=owner,
        kind=kind,
        model=model,
        status=status,
        created=created,
        metadata=json.loads(metadata),
        idempotency_key=idempotency_key,
        outcome=outcome,
        summary=json.loads(summary) if summary is not None else None,
    )


def _copy(fact: base.Fact) -> base.Fact:
    """A fact to give away: `meta` may be changed by who gets it, and one fact may be given to several."""
    return msgspec.structs.replace(fact, meta=json.loads(json.dumps(fact.meta)))
