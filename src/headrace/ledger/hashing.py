"""The pure core of the ledger: canonical JSON, the hash of a fact, seals, and the fold that checks a chain.

Rules:

1. No storage, no clock, no ids: text and numbers in, text and problems out.
2. What is hashed is written here once and told in docs/ledger.md, from which a stranger recomputes it.

The hash of a fact is SHA-256 over the canonical JSON of `content, conversation, kind, meta, prev_hash, seq`.
Canonical JSON: keys sorted by code point, no spaces, UTF-8 with only `"`, `\\` and control characters
escaped. `meta` is stored as canonical text and goes into the hash as that very text.

A chain alone cannot tell that its end is missing. So each conversation has a head, sealed: the SHA-256 of
its name, owner, count and last hash; and the store has a total: the number of facts and of conversations, and
the sum of all seals, sealed again. A sum, because it follows one changed head without reading the others.
Runs have no chain, for they change; each row has a seal. With a key, a seal is an HMAC, and only who has the
key can make one.

A lone surrogate has no UTF-8, so text that holds one is refused (`errors.UsageError`): a provider's decoder
has to put U+FFFD in its place before anybody sees the text. NUL is text like any other. Next: `queries`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace import errors
from headrace.ledger import base

_PAGE = 200  # facts read at a time
GENESIS = "0" * 64
"""`prev_hash` of the first fact of a conversation."""

_SUM = 1 << 256


class Head(msgspec.Struct, frozen=True):
    """The signed-off end of a conversation."""

    conversation: str
    owner: str | None
    count: int
    hash: str
    seal: str


class Total(msgspec.Struct, frozen=True):
    """The signed-off state of a whole store."""

    facts: int = 0
    conversations: int = 0
    sum: str = GENESIS
    """The sum of all heads' seals modulo 2^256, as 64 hexadecimal digits."""
    seal: str = ""


class Row(msgspec.Struct, frozen=True):
    """A fact as it is stored, for checking: `meta` is the text, nothing is trusted."""

    conversation: str
    seq: int
    kind: str
    content: str
    meta: str
    prev_hash: str
    hash: str


class Unreadable(msgspec.Struct, frozen=True):
    """A fact that is there and cannot be read."""

    seq: int
    why: str


def canonical(value: Any, what: str = "meta") -> str:
    """The canonical JSON text of `value`; UsageError when it is not JSON or holds a lone surrogate."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as e:
        raise errors.UsageError(
            f"{what} must be JSON with finite numbers and text for keys, to be hashed: {e}"
        ) from e
    return check_text(text, what)


def check_text(text: str, what: str) -> str:
    """`text` itself; UsageError when it holds a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise errors.UsageError(
            f"{what} holds a lone surrogate, {text[e.start : e.start + 1]!r} at character {e.start}, which "
            f"no UTF-8 can carry; mend it with text.encode('utf-16', 'surrogatepass')"
            ".decode('utf-16', 'replace') before it is shown to anybody"
        ) from e
    return text


def new_fact(id: str, kind: str, content: str, meta: dict[str, Any]) -> tuple[str, str, str, str]:
    """The columns of a new fact that do not depend on the chain, checked; `meta` as its canonical text."""
    check_text(id, "id")
    check_text(kind, "kind")
    check_text(content, "content")
    return id, kind, content, canonical(meta)


def new_end(
    run: str, kind: str, content: str, meta: dict[str, Any], outcome: str, summary: dict[str, Any]
) -> tuple[str, str, str, str]:
    """The fact of a run's ending, refused before anything is written where it is none; see `base.Ledger.end`."""
    base.check_end(kind)
    made = new_fact(base.end_id(run), kind, content, meta)
    canonical(summary, "summary")
    check_text(outcome, "outcome")
    return made


def new_append(
    conversation: str, kind: str, content: str, meta: dict[str, Any], id: str
) -> tuple[str, str, str, str]:
    """A fact of its own, refused before anything is written where it is none; see `base.Ledger.append`."""
    base.check_append(conversation, kind, id)
    check_text(conversation, "the conversation's name")
    return new_fact(id, kind, content, meta)


def checked_run(record: base.RunRecord) -> base.RunRecord:
    """A copy of a record to be stored: text and JSON that can be, UTC, not ended."""
    for name in ("run", "conversation", "owner", "kind", "model", "status", "idempotency_key"):
        check_text(getattr(record, name) or "", name)
    return msgspec.structs.replace(
        record,
        created=record.created.astimezone(UTC),
        metadata=json.loads(canonical(record.metadata, "metadata")),
        outcome=None,
        summary=None,
    )


def run_columns(r: base.RunRecord) -> tuple[str | None, ...]:
    """A run as the columns that its seal covers, as text."""
    summary = None if r.summary is None else canonical(r.summary, "summary")
    return (
        *(r.run, r.conversation, r.owner, r.kind, r.model, r.status, time_text(r.created)),
        *(canonical(r.metadata, "metadata"), r.idempotency_key, r.outcome, summary),
    )


def time_text(time: datetime) -> str:
    """A time in UTC as it is written and sealed."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def fact_hash(conversation: str, seq: int, kind: str, content: str, meta: str, prev_hash: str) -> str:
    """The hash of a fact; `meta` is its canonical text."""
    text = (
        f'{{"content":{_string(content)},"conversation":{_string(conversation)},"kind":{_string(kind)},'
        f'"meta":{meta},"prev_hash":{_string(prev_hash)},"seq":{seq}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()


_string: Callable[[str], str] = json.JSONEncoder(ensure_ascii=False).encode


def head_seal(key: bytes | None, conversation: str, owner: str | None, count: int, hash: str) -> str:
    """The seal of a conversation's head."""
    return _seal(key, ["head", conversation, owner, count, hash])


def run_seal(key: bytes | None, columns: Sequence[Any]) -> str:
    """The seal of a run, over its columns as they are stored."""
    return _seal(key, ["run", *columns])


def next_total(key: bytes | None, total: Total, seal: str, instead_of: str | None) -> Total:
    """The total after one fact: its conversation's head has the seal `seal` now."""
    facts = total.facts + 1
    conversations = total.conversations + (instead_of is None)
    sum = add_seal(total.sum, seal, instead_of=instead_of)
    return Total(facts, conversations, sum, total_seal(key, facts, conversations, sum))


def total_seal(key: bytes | None, facts: int, conversations: int, sum: str) -> str:
    """The seal of the whole store."""
    return _seal(key, ["total", facts, conversations, sum])


def key_check(key: bytes | None) -> str:
    """A word that tells one key from another, and from none, without giving it away."""
    return _seal(key, ["key"])


def add_seal(sum: str, seal: str, *, instead_of: str | None = None) -> str:
    """The sum of seals after one was added, or put in the place of an older one."""
    value = int(sum, 16) + int(seal, 16) - (int(instead_of, 16) if instead_of else 0)
    return format(value % _SUM, "064x")


class Chain:
    """A fold over the facts of a conversation, in order, that finds what is wrong.

    A changed fact is named once: the fact after it is held against both the hash that is written and the hash
    that ought to be.
    """

    def __init__(self, conversation: str) -> None:
        self.last = 0
        self._conversation = conversation
        # what the next prev_hash may be; None: the fact before is unknown
        self._accepted: set[str] | None = {GENESIS}

    def feed(self, row: Row | Unreadable) -> Iterator[base.Problem]:
        """Take the next fact; yields what is wrong with it, and what is missing before it."""
        if row.seq > self.last + 1:
            yield self._problem(self.last + 1, _missing(self.last + 1, row.seq - 1))
            self._accepted = None
        self.last = row.seq
        if isinstance(row, Unreadable):
            yield self._problem(row.seq, f"cannot be read: {row.why}")
            self._accepted = None
            return
        faults = []
        if row.conversation != self._conversation:
            faults.append(f"carries the name of another conversation, {row.conversation!r}")
        true = fact_hash(row.conversation, row.seq, row.kind, row.content, row.meta, row.prev_hash)
        if true != row.hash:
            faults.append("does not match its hash: the fact or its hash was changed")
        if self._accepted is not None and row.prev_hash not in self._accepted:
            faults.append("prev_hash is not the hash of the fact before")
        if faults:
            yield self._problem(row.seq, "; ".join(faults))
        self._accepted = {row.hash, true}

    def end(self, head: Head | None, key: bytes | None) -> Iterator[base.Problem]:
        """There are no more facts; yields what does not fit the head."""
        last = self.last
        if head is None:
            yield self._problem(
                0, f"{last} facts without a head: the conversation's row in `heads` is missing"
            )
            return
        if head.seal != head_seal(key, head.conversation, head.owner, head.count, head.hash):
            yield self._problem(0, "the head does not match its seal: the row in `heads` was changed")
        if last < head.count:
            yield self._problem(last + 1, _missing(last + 1, head.count))
        elif last > head.count:
            yield self._problem(
                head.count + 1, f"the head ends at {head.count}, but there are facts up to {last}"
            )
        elif self._accepted is not None and head.hash not in self._accepted:
            yield self._problem(
                last, "the head has another hash: the last fact was replaced, or the head was changed"
            )

    def _problem(self, seq: int, what: str) -> base.Problem:
        return base.Problem(self._conversation, seq, what)


def check_chain(
    conversation: str, rows: Iterable[Row | Unreadable], head: Head | None, key: bytes | None
) -> Iterator[base.Problem]:
    """Everything that is wrong with a conversation; see `Chain`."""
    chain = Chain(conversation)
    for row in rows:
        yield from chain.feed(row)
    yield from chain.end(head, key)


async def check_conversation(
    ledger: base.Ledger, conversation: str, head: Head | None, key: bytes | None
) -> base.Report:
    """Everything that is wrong with a conversation up to the head that it had a moment ago."""
    chain, last, facts = Chain(conversation), GENESIS, 0
    problems: list[base.Problem] = []
    while head is None or chain.last < head.count:
        room = _PAGE if head is None else min(_PAGE, head.count - chain.last)
        page = await ledger.facts(conversation, after=chain.last, limit=room)
        for fact in page:
            if head is not None and fact.seq > head.count:
                break  # after the gap that the chain's end names
            meta, last, facts = canonical(fact.meta), fact.hash, facts + 1
            row = Row(fact.conversation, fact.seq, fact.kind, fact.content, meta, fact.prev_hash, fact.hash)
            problems += chain.feed(row)
        if len(page) < room or (head is not None and page[-1].seq > head.count):
            break
    problems += chain.end(head, key)
    more = max(0, len(problems) - base.MAX_PROBLEMS)
    return base.Report(
        ok=not problems,
        facts=facts,
        conversations=1,
        open_runs=0,
        head=last,
        problems=problems[: base.MAX_PROBLEMS],
        more=more,
    )


def check_total(
    total: Total | None, facts: int, conversations: int, sum: str, key: bytes | None
) -> Iterator[base.Problem]:
    """Hold the signed-off state of a store against the heads that were found."""
    if total is None:
        yield base.Problem("", 0, "the signed-off total of the store is missing")
        return
    if total.seal != total_seal(key, total.facts, total.conversations, total.sum):
        yield base.Problem("", 0, "the total does not match its seal: it was changed")
    if total.conversations != conversations:
        yield base.Problem(
            "", 0, f"{total.conversations} conversations were signed off, {conversations} heads are there"
        )
    if total.facts != facts:
        yield base.Problem("", 0, f"{total.facts} facts were signed off, the heads count {facts}")
    if total.sum != sum:
        yield base.Problem("", 0, "the heads are not those signed off: one was changed, removed or put back")


def _missing(first: int, last: int) -> str:
    return "missing: deleted or lost" if first == last else f"missing up to {last}: deleted or lost"


def _seal(key: bytes | None, value: list[Any]) -> str:
    text = canonical(value, "a head").encode()
    if key is None:
        return hashlib.sha256(text).hexdigest()
    return hmac.new(key, text, "sha256").hexdigest()
