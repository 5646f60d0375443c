"""What each turn did: ordered steps, the nodes of memory it looked at, how long it took. Folded from the facts.

The steps are in the meta of the turn's ending, which the ledger hashes; so they hold nothing that differs from
run to run. Times come from the facts' own, which are not hashed. The last step of a trace is the turn's ending.
Next: `views`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from headrace.ledger import base

KEPT = 100
"""Traces held, the newest; the ledger has what all are made of."""


class Trace(msgspec.Struct):
    """One turn.

    Attributes:
        user, end: the seqs of its two facts; `end` is None while it runs.
        steps: in order; each has `step`, its name.
        nodes: ids of the graph's nodes that were in the context.
        elapsed_ms: from the user's fact to the ending, milliseconds.
    """

    run: str
    user: int
    end: int | None = None
    outcome: str | None = None
    steps: list[dict[str, Any]] = []
    nodes: list[str] = []
    elapsed_ms: float | None = None


class Traces:
    """The traces of a conversation's last turns."""

    def __init__(self) -> None:
        self.seq = 0
        self.of: dict[str, tuple[Trace, datetime]] = {}  # and when each began

    def apply(self, fact: base.Fact) -> None:
        """Take the next fact."""
        self.seq = fact.seq
        if fact.kind == base.USER:
            run = fact.id.removesuffix(":user")
            self.of[run] = (Trace(run, fact.seq, steps=[{"step": "user", "seq": fact.seq}]), fact.time)
            if len(self.of) > KEPT:
                del self.of[next(iter(self.of))]
        elif fact.kind in base.ENDINGS and (found := self.of.get(fact.id.removesuffix(":end"))):
            trace, began = found
            told = fact.meta.get("trace")
            if isinstance(told, list):
                trace.steps += told
                for step in told:
                    trace.nodes += step.get("nodes", [])
            trace.end, trace.outcome = fact.seq, fact.meta.get("outcome")
            trace.elapsed_ms = round((fact.time - began).total_seconds() * 1000, 3)
            trace.steps.append({"step": fact.kind, "seq": fact.seq, "outcome": trace.outcome})

    def last(self, limit: int = 20) -> list[Trace]:
        """The newest traces, in order."""
        return [trace for trace, _ in list(self.of.values())[-limit:]]

    def json(self) -> list[dict[str, Any]]:
        """What is the same in every recording of the same facts: no run ids, no times."""
        return [
            {"user": t.user, "end": t.end, "outcome": t.outcome, "steps": t.steps} for t in self.last(KEPT)
        ]


def rebuild(facts: Iterable[base.Fact]) -> Traces:
    """The traces of these facts, from the first on."""
    traces = Traces()
    for fact in facts:
        traces.apply(fact)
    return traces
