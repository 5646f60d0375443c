"""The mirror: who the assistant is and what it has promised, folded from the facts of a conversation.

`Mirror.apply` takes the facts in order; `rebuild` does so from the first. It keeps what a turn needs and counts
the rest: of closed commitments, directives, claims and reflections the last few, of open commitments the newest
`OPEN`, of long texts the beginning. So its size has a bound, and the ledger has everything. No clock, no ledger,
nothing random: the same facts give the same mirror. `diff` says what changed between two. Next: `graph`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.ledger import base
from headrace.memory import markers

IDENTITY = "identity"
DIRECTIVE = "directive"
EVENT = "event"

KEPT = 50
"""Closed commitments, directives, claims and reflections that a mirror holds, each; the ledger has all."""
OPEN = 200
"""Open commitments held, the newest; one that is pushed out has lapsed: it is counted, and nothing closes it."""
TEXT = markers.LONGEST
"""Characters of a text that a mirror holds."""
START = 0.5
"""Where every trait begins."""


class Commitment(msgspec.Struct, frozen=True):
    """A promise: `seq` is that of its fact, `closed` that of the fact which closed it."""

    id: str
    text: str
    seq: int
    closed: int | None = None


class Reflection(msgspec.Struct, frozen=True):
    """A reflection and the place of its fact."""

    seq: int
    text: str


class Claim(msgspec.Struct, frozen=True):
    """A typed statement and the place of its fact."""

    seq: int
    type: str
    value: Any


class Mirror(msgspec.Struct):
    """The state after `seq` facts.

    Attributes:
        traits: five, each 0..1.
        open: open commitments by id, oldest first.
        counts: facts by kind.
        unmatched: closings that named no open commitment.
        lapsed: commitments that newer ones pushed out.
    """

    seq: int = 0
    name: str = ""
    traits: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(markers.TRAITS, START))
    open: dict[str, Commitment] = {}
    closed: list[Commitment] = []
    directives: list[str] = []
    claims: list[Claim] = []
    reflections: list[Reflection] = []
    counts: dict[str, int] = {}
    unmatched: int = 0
    lapsed: int = 0

    def apply(self, fact: base.Fact) -> None:
        """Take the next fact."""
        self.seq = fact.seq
        self.counts[fact.kind] = self.counts.get(fact.kind, 0) + 1
        kind, meta = fact.kind, fact.meta
        if kind == markers.COMMITMENT:
            id = commitment_id(fact.seq)
            self.open[id] = Commitment(id, fact.content[:TEXT], fact.seq)
            if len(self.open) > OPEN:
                del self.open[next(iter(self.open))]
                self.lapsed += 1
        elif kind == markers.CLOSED:
            made = self.open.pop(str(meta.get("commitment", "")), None)
            if made is None:
                self.unmatched += 1
            else:
                _keep(self.closed, msgspec.structs.replace(made, closed=fact.seq))
        elif kind == markers.TRAIT:
            trait, step = step_of(fact)
            if trait:
                self.traits[trait] = round(min(1.0, max(0.0, self.traits[trait] + step)), 6)
        elif kind == markers.CLAIM:
            _keep(self.claims, Claim(fact.seq, str(meta.get("type", "")), meta.get("value")))
        elif kind == markers.REFLECTION:
            _keep(self.reflections, Reflection(fact.seq, fact.content[:TEXT]))
        elif kind == IDENTITY:
            self.name = fact.content[:TEXT]
        elif kind == DIRECTIVE:
            _keep(self.directives, fact.content[:TEXT])

    def find(self, said: str) -> str | None:
        """The id of the open commitment that a `CLOSE:` names: by id, else by its words; the oldest of equals."""
        if said in self.open:
            return said
        words = _folded(said)
        return next((made.id for made in self.open.values() if _folded(made.text) == words), None)

    def json(self) -> dict[str, Any]:
        """The state as JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain["open"] = list(plain["open"].values())
        return plain


def rebuild(facts: Iterable[base.Fact]) -> Mirror:
    """The mirror of these facts, from the first on."""
    mirror = Mirror()
    for fact in facts:
        mirror.apply(fact)
    return mirror


def diff(before: Mirror, after: Mirror) -> dict[str, Any]:
    """What changed from one state to a later one: only what differs is named."""
    changed: dict[str, Any] = {"from": before.seq, "to": after.seq}
    if before.name != after.name:
        changed["name"] = [before.name, after.name]
    moved = {t: round(v - before.traits[t], 6) for t, v in after.traits.items() if v != before.traits[t]}
    if moved:
        changed["traits"] = moved
    opened = [made.id for made in after.open.values() if made.seq > before.seq]
    gone = [id for id in before.open if id not in after.open]
    kept = {made.id for made in after.closed}
    lapsed = [id for id in gone if id not in kept] if after.lapsed != before.lapsed else []
    closed = [id for id in gone if id not in lapsed]
    closed += [made.id for made in after.closed if made.seq > before.seq]  # opened and closed in between
    named = (("opened", opened), ("closed", closed), ("lapsed", lapsed))
    changed |= {name: ids for name, ids in named if ids}
    counts = {k: n - before.counts.get(k, 0) for k, n in after.counts.items() if n != before.counts.get(k, 0)}
    if counts:
        changed["counts"] = counts
    return changed


def commitment_id(seq: int) -> str:
    """The id of the commitment that a fact opens."""
    return f"c{seq}"


def step_of(fact: base.Fact) -> tuple[str, float]:
    """The trait that a fact moves, and by how much, cut to the largest step; an empty name for none."""
    trait, step = fact.meta.get("trait"), fact.meta.get("step")
    if trait not in markers.TRAITS or not isinstance(step, int | float) or isinstance(step, bool):
        return "", 0.0
    return trait, max(-markers.STEP, min(markers.STEP, float(step)))


def _keep(kept: list[Any], item: Any) -> None:
    kept.append(item)
    if len(kept) > KEPT:
        del kept[0]


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
