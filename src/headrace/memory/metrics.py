"""Two numbers about a conversation, each 0..1: how steady the identity is (IAS), how much has grown (GAS).

    IAS = 1 - drift       drift: after each response 0.9 * drift + 0.1 * min(1, moved / 0.25)
                          moved: sum of the trait steps since the response before; a change of name is 0.25
    GAS = 0.5 * closed / opened                          promises kept; 0 while there are none
        + 0.3 * min(1, 10 * reflections / responses)     one reflection in ten responses is all of it
        + 0.2 * min(1, claims / 10)

0.25 is all five traits moved by their largest step. A fold like the others: no clock, no ledger. Next: `traces`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.ledger import base
from headrace.memory import markers, mirror

FULL = markers.STEP * len(markers.TRAITS)
MEMORY = 0.9
"""How much of the drift so far stands after a response."""


class Metrics(msgspec.Struct):
    """The counters behind the numbers; `unreflected` are the responses since the last reflection."""

    seq: int = 0
    drift: float = 0.0
    moved: float = 0.0
    named: bool = False
    responses: int = 0
    opened: int = 0
    closed: int = 0
    reflections: int = 0
    claims: int = 0
    unreflected: int = 0
    open: list[str] = []

    def apply(self, fact: base.Fact) -> None:
        """Take the next fact."""
        self.seq = fact.seq
        kind = fact.kind
        if kind == base.RESPONSE:
            self.responses += 1
            self.unreflected += 1
            share = min(1.0, self.moved / FULL)
            self.drift = round(MEMORY * self.drift + (1 - MEMORY) * share, 9)
            self.moved = 0.0
        elif kind == markers.TRAIT:
            self.moved = round(self.moved + abs(mirror.step_of(fact)[1]), 6)
        elif kind == mirror.IDENTITY:
            if self.named:  # the first name is no change
                self.moved += FULL
            self.named = True
        elif kind == markers.COMMITMENT:
            self.opened += 1
            self.open.append(mirror.commitment_id(fact.seq))
            del self.open[: -mirror.OPEN]  # the same that a mirror holds
        elif kind == markers.CLOSED:
            id = str(fact.meta.get("commitment", ""))
            if id in self.open:
                self.open.remove(id)
                self.closed += 1
        elif kind == markers.REFLECTION:
            self.reflections += 1
            self.unreflected = 0
        elif kind == markers.CLAIM:
            self.claims += 1

    @property
    def ias(self) -> float:
        """Identity stability, 0..1."""
        return round(1.0 - self.drift, 6)

    @property
    def gas(self) -> float:
        """Growth, 0..1."""
        kept = self.closed / self.opened if self.opened else 0.0
        reflected = min(1.0, 10 * self.reflections / self.responses) if self.responses else 0.0
        return round(0.5 * kept + 0.3 * reflected + 0.2 * min(1.0, self.claims / 10), 6)

    def json(self) -> dict[str, Any]:
        """The numbers and what they are made of."""
        return {
            "seq": self.seq,
            "ias": self.ias,
            "gas": self.gas,
            "responses": self.responses,
            "commitments": {"opened": self.opened, "closed": self.closed, "open": len(self.open)},
            "reflections": self.reflections,
            "claims": self.claims,
        }


def rebuild(facts: Iterable[base.Fact]) -> Metrics:
    """The metrics of these facts, from the first on."""
    metrics = Metrics()
    for fact in facts:
        metrics.apply(fact)
    return metrics
