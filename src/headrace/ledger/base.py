"""The port of the ledger: what a store of complete facts must do, and the values it speaks in.

Here: the values (`Fact`, `RunRecord`, `Conversation`, `Report`), the kinds of facts that make a turn, the
`Ledger` protocol, and the checks that every store makes on its arguments. Not here: hashing (`hashing`),
storage (`memory`, `sqlite`), URLs (`registry`).

Rules that every store keeps:

1. A fact is written once and never changed. The chain of a conversation has no gap: `seq` is 1, 2, 3, …
2. A turn is one `user` fact, written before the provider is called, and exactly one ending.
3. Every write is idempotent: the same call again returns what the first one wrote.
4. A write that returned is durable, as far as the store's page in the docs says.

A cancelled call may still be written; because of rule 3 it can simply be made again. Next: `hashing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any, Protocol

import msgspec

from headrace import errors

USER = "user"
RESPONSE = "response"
GENERATION_ENDED = "generation-ended"
ENDINGS = frozenset({RESPONSE, GENERATION_ENDED})

QUEUED = "queued"
RUNNING = "running"
ENDED = "ended"

INTERRUPTED = "interrupted"


class Fact(msgspec.Struct, frozen=True):
    """One complete thing that happened in a conversation; never changed, never removed."""

    conversation: str
    seq: int
    """Place in the conversation: 1, 2, 3, … without a gap."""
    id: str
    """Unique in the conversation; makes a repeated write the same write. Not covered by `hash`."""
    kind: str
    """`user`, `response`, `generation-ended`, or any other word."""
    content: str
    """The text as it is; of an ending other than `response`, never the partial answer."""
    meta: dict[str, Any]
    """JSON values that belong to the fact."""
    time: datetime
    """When it was written, UTC. Not covered by `hash`."""
    prev_hash: str
    """`hash` of the fact before; 64 zeros for the first."""
    hash: str
    """SHA-256, hexadecimal; `hashing` says over what."""


class RunRecord(msgspec.Struct, kw_only=True):
    """What is known of a run beside its facts. Operational state: this one changes."""

    run: str
    """A ULID with a prefix, so that later runs sort after earlier ones."""
    conversation: str
    owner: str
    """Who may see it: the name that belongs to an API key; whatever the caller uses for "nobody"."""
    kind: str
    """answer, chat, template, procedure, module, batch."""
    model: str
    status: str = RUNNING
    """`queued`, `running` or `ended`."""
    created: datetime
    """UTC; naive times are refused."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    idempotency_key: str | None = None
    """Unique for an owner."""
    outcome: str | None = None
    """completed, failed, cancelled, interrupted; None until it has ended."""
    summary: dict[str, Any] | None = None
    """The finished run as JSON (result, usage, error, timings); None until it has ended."""


class Conversation(msgspec.Struct, frozen=True):
    """A conversation at its present end."""

    conversation: str
    owner: str | None
    """The owner of its first run; None while it holds no run."""
    count: int
    """How many facts it holds; also the `seq` of the last one."""
    hash: str
    """`hash` of the last fact."""
    created: datetime
    updated: datetime
    """When its last fact was written."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that `verify` found wrong."""

    conversation: str
    """Empty when the store as a whole is meant."""
    seq: int
    """The fact that is wrong or missing; 0 when it is not one fact."""
    what: str


class Report(msgspec.Struct, frozen=True):
    """What `verify` found."""

    ok: bool
    facts: int
    """Facts read."""
    conversations: int
    open_runs: int
    """Runs without an ending: alive, or waiting for `recover`."""
    head: str
    """The seal of the whole store. Kept elsewhere, it proves later that nothing before it was changed."""
    problems: list[Problem]
    """At most `MAX_PROBLEMS`."""
    more: int = 0
    """Problems beyond those listed."""


MAX_PROBLEMS = 1000


class Ledger(Protocol):
    """A store of facts and of the runs that made them.

    Every method raises `errors.StoreError` (`store-unavailable`) when the store cannot be read or written,
    and `errors.UsageError` when an argument cannot be stored (a lone surrogate, a value that is not JSON) or
    the ledger has been closed.
    """

    @property
    def beside(self) -> str | None:
        """Where files may lie that can be made again from the ledger: a path to put an ending to; None: nowhere."""
        ...

    async def begin(self, record: RunRecord, content: str, meta: dict[str, Any]) -> Fact | None:
        """Write the `user` fact (id `<run>:user`) and the run, both or neither.

        The same run again returns the fact of the first time and changes nothing. Returns None, and writes
        nothing, when the owner's idempotency key already belongs to another run: see `run_by_key`.
        Raises `errors.AccessError` (`forbidden`) when the conversation belongs to another owner.
        """
        ...

    async def end(
        self,
        run: str,
        kind: str,
        content: str,
        meta: dict[str, Any],
        *,
        outcome: str,
        summary: dict[str, Any],
    ) -> Fact:
        """Write the one ending (id `<run>:end`) and close the run, both or neither.

        `kind` is `response` or `generation-ended`. A second ending returns the first one unchanged, whatever
        it says. Raises `errors.ReadError` (`run-not-found`) for a run that was never begun.
        """
        ...

    async def append(
        self, conversation: str, kind: str, content: str, meta: dict[str, Any], *, id: str
    ) -> Fact:
        """Write any other fact. The same id again in the conversation returns the first fact unchanged.

        The kinds of a turn, and ids ending in `:user` or `:end`, belong to `begin` and `end`: UsageError.
        """
        ...

    async def run(self, run: str) -> RunRecord | None:
        """The run, or None."""
        ...

    async def run_by_key(self, owner: str, idempotency_key: str) -> RunRecord | None:
        """The run that an owner's idempotency key belongs to, or None."""
        ...

    async def runs(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Runs of an owner (None: of all), newest first, those with an id below `before`."""
        ...

    async def facts(
        self,
        conversation: str,
        *,
        after: int = 0,
        limit: int = 1000,
        kinds: Collection[str] | None = None,
    ) -> list[Fact]:
        """Facts of a conversation in order, those with a `seq` above `after`."""
        ...

    async def check(self, conversation: str) -> Report:
        """Recompute the hashes of one conversation and hold it against its sealed head; changes nothing.

        The report's `head` is the hash of the last fact. `verify` also finds what is wrong with the store as a whole.
        """
        ...

    async def tail(
        self, conversation: str, limit: int, *, kinds: Collection[str] | None = None
    ) -> list[Fact]:
        """The last facts of a conversation, in order."""
        ...

    async def conversations(
        self, *, owner: str | None, before: str | None = None, limit: int = 100
    ) -> list[Conversation]:
        """Conversations of an owner (None: of all), newest first, those begun before the one named `before`.

        An unknown `before` gives none.
        """
        ...

    async def conversation_owner(self, conversation: str) -> str | None:
        """The owner, or None for a conversation that does not exist or holds no run yet."""
        ...

    async def recover(self) -> list[RunRecord]:
        """Close every open run of a dead worker as `generation-ended`, outcome `interrupted`; return those.

        Runs of living workers, of this process or of others, are left alone. Again: changes nothing.
        """
        ...

    async def verify(self) -> Report:
        """Recompute every hash and compare with the signed-off heads. Reads all; meant for the operator."""
        ...

    def export(self, conversation: str | None = None) -> AsyncIterator[Fact]:
        """All facts, or those of a conversation, a conversation at a time, each in order."""
        ...

    async def close(self) -> None:
        """Write what was accepted, then let go of files and threads. Twice is once."""
        ...


def user_id(run: str) -> str:
    """The id of the fact that begins a run."""
    return f"{run}:user"


def end_id(run: str) -> str:
    """The id of the fact that ends a run."""
    return f"{run}:end"


def check_begin(record: RunRecord) -> None:
    """Refuse a run that cannot be begun."""
    if not record.run or not record.conversation:
        raise errors.UsageError(f"a run needs an id and a conversation; got {record!r}")
    if record.status not in (QUEUED, RUNNING):
        raise errors.UsageError(
            f"a run begins as {QUEUED!r} or {RUNNING!r}, not {record.status!r}; end it with end()"
        )
    if record.created.tzinfo is None:
        raise errors.UsageError(f"RunRecord.created needs a time zone; got {record.created!r}")


def check_end(kind: str) -> None:
    """Refuse an ending that is none."""
    if kind not in ENDINGS:
        raise errors.UsageError(f"an ending is one of {sorted(ENDINGS)}, not {kind!r}")


def check_append(conversation: str, kind: str, id: str) -> None:
    """Refuse a fact that belongs to `begin` or `end`, or has no name."""
    if not conversation or not kind or not id:
        raise errors.UsageError(
            f"a fact needs a conversation, a kind and an id; got {(conversation, kind, id)!r}"
        )
    if kind == USER or kind in ENDINGS:
        raise errors.UsageError(f"facts of kind {kind!r} are written by begin() and end(), not by append()")
    if id.endswith((":user", ":end")):
        raise errors.UsageError(f"the id {id!r} is kept for begin() and end(); choose another ending")


def check_limit(limit: int) -> None:
    """Refuse a limit below 1."""
    if limit < 1:
        raise errors.UsageError(f"limit must be 1 or more; got {limit!r}")


def interruption() -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Outcome, meta and summary of a run whose worker died."""
    message = "the worker that ran it died before the end; ask again"
    return (
        INTERRUPTED,
        {"outcome": INTERRUPTED, "reason": "worker-died"},
        {
            "outcome": INTERRUPTED,
            "error": {
                "code": INTERRUPTED,
                "message": message,
                "retryable": errors.CODES[INTERRUPTED].retryable,
            },
        },
    )


def not_begun(run: str) -> errors.ReadError:
    """The error for an ending without a beginning."""
    return errors.ReadError(f"run {run!r} is not in the ledger, so it cannot end; begin() it first")


def foreign(conversation: str) -> errors.AccessError:
    """The error for a turn in somebody else's conversation."""
    return errors.AccessError(
        f"conversation {conversation!r} belongs to another owner; start one of your own", code="forbidden"
    )
