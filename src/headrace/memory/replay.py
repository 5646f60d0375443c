"""Replay: every view of a ledger built again from its first fact, and a digest of each.

Two ledgers with the same facts give the same digests, whatever the runs were called and whenever they ran. So do
two recordings of the same program with the same scripted model. Reads only.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import msgspec

from headrace.ledger import base
from headrace.memory import views

_PAGE = 100


class Replayed(msgspec.Struct, frozen=True):
    """One conversation, replayed.

    Attributes:
        facts: how many there are.
        head: the hash of the last of them; empty without any.
        views: the digest of each view, SHA-256, hexadecimal.
        digest: over all of it.
    """

    conversation: str
    facts: int
    head: str
    views: dict[str, str]
    digest: str


async def replay(ledger: base.Ledger, conversation: str) -> Replayed:
    """Rebuild the views of one conversation; one without facts gives those of no fact."""
    rebuilt = await views.rebuild(ledger, conversation)
    last = await ledger.tail(conversation, 1) if rebuilt.seq else []
    head = last[0].hash if last and last[0].seq == rebuilt.seq else ""
    return Replayed(conversation, rebuilt.seq, head, rebuilt.digests(), rebuilt.digest())


async def replay_all(ledger: base.Ledger) -> AsyncIterator[Replayed]:
    """Rebuild every conversation, newest first."""
    before = None
    while page := await ledger.conversations(owner=None, before=before, limit=_PAGE):
        for found in page:
            yield await replay(ledger, found.conversation)
        before = page[-1].conversation


def total(replayed: list[Replayed]) -> str:
    """One digest for all: of their names and digests, in the order of the names."""
    lines = sorted(f"{found.conversation}\0{found.digest}\n" for found in replayed)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
