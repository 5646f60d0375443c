"""All views of one conversation, kept together: fed a fact once, equal to a rebuild from the first fact.

`Views` also remembers what the next turn needs and would else read again: the last messages, and the responses
whose markers have not all become facts yet. `follow` and `rebuild` are the two ways facts get in from a ledger:
what is new since `seq`, or everything. Pure but for those two. Next: `context`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from headrace.ledger import base
from headrace.memory import embedding, graph, markers, metrics, mirror, traces

RECENT = 40
"""Messages remembered for the context."""
PAGE = 200
"""Facts read and taken at a time; what else runs on the event loop waits for one page at most."""

_BREATH = 10  # facts

_MARKER = re.compile(r"marker:(\d{1,15}):(\d{1,15})")


class Views:
    """The state after `seq` facts.

    Attributes:
        hash: that of the last fact; empty before the first.
        recent: the last messages of user and assistant, as facts, oldest first.
        unfollowed: responses, by seq, whose markers are not all facts yet: the markers that are not, by place.
    """

    def __init__(self, vectors: embedding.Vectors | None = None) -> None:
        self.seq = 0
        self.hash = ""
        self.mirror = mirror.Mirror()
        self.graph = graph.Graph(vectors=vectors)
        self.metrics = metrics.Metrics()
        self.traces = traces.Traces()
        self.recent: deque[base.Fact] = deque(maxlen=RECENT)
        self.unfollowed: dict[int, dict[int, markers.Marker]] = {}

    def apply(self, fact: base.Fact) -> None:
        """Take the next fact; one that was taken already changes nothing.

        Raises:
            ValueError: a fact is missing in between.
        """
        if fact.seq <= self.seq:
            return
        if fact.seq != self.seq + 1:
            raise ValueError(f"fact {fact.seq} came after fact {self.seq}")
        self.seq, self.hash = fact.seq, fact.hash
        for view in (self.mirror, self.graph, self.metrics, self.traces):
            view.apply(fact)
        if fact.kind in (base.USER, base.RESPONSE):
            self.recent.append(fact)
        if fact.kind == base.RESPONSE:
            if found := markers.parse(fact.content):
                self.unfollowed[fact.seq] = dict(enumerate(found))
        elif self.unfollowed and (found_id := _MARKER.fullmatch(fact.id)):
            turn, index = int(found_id[1]), int(found_id[2])
            left = self.unfollowed.get(turn, {})
            left.pop(index, None)
            if not left:
                self.unfollowed.pop(turn, None)

    def json(self) -> dict[str, Any]:
        """Every view as JSON values; the same facts give the same."""
        return {
            "mirror": self.mirror.json(),
            "graph": self.graph.json(),
            "metrics": self.metrics.json(),
            "traces": self.traces.json(),
        }

    def digests(self) -> dict[str, str]:
        """SHA-256 of each view's canonical JSON, hexadecimal."""
        return {name: _digest(value) for name, value in self.json().items()}

    def digest(self) -> str:
        """SHA-256 over all views, hexadecimal."""
        return _digest(self.json())


def marker_id(turn: int, index: int) -> str:
    """The id of the fact that a response's marker becomes: the same whoever writes it."""
    return f"marker:{turn}:{index}"


def of_facts(facts: Iterable[base.Fact]) -> Views:
    """The views of these facts, from the first on."""
    views = Views()
    for fact in facts:
        views.apply(fact)
    return views


async def follow(views: Views, ledger: base.Ledger, conversation: str) -> None:
    """Take what the ledger has gained since `views.seq`: one read that costs what is new."""
    while True:
        facts = await ledger.facts(conversation, after=views.seq, limit=PAGE)
        for fact in facts:
            views.apply(fact)
        if len(facts) < PAGE:
            return


async def read(
    views: Views, ledger: base.Ledger, conversation: str, *, page: Callable[[], Awaitable[None]]
) -> None:
    """The same for views that nobody else has yet: long readings are taken in a thread.

    Args:
        page: awaited after every whole page of facts.
    """
    while True:
        facts = await ledger.facts(conversation, after=views.seq, limit=PAGE)
        if len(facts) < PAGE:
            for fact in facts:
                views.apply(fact)
            return
        await asyncio.to_thread(_take, views, facts)
        await page()


def _take(views: Views, facts: Iterable[base.Fact]) -> None:
    """Take facts, and let others have the interpreter every millisecond or so."""
    for fact in facts:
        views.apply(fact)
        if fact.seq % _BREATH == 0:
            time.sleep(0)


async def rebuild(ledger: base.Ledger, conversation: str, *, as_of: int | None = None) -> Views:
    """The views from the first fact on, up to and with fact `as_of`, or to the end."""
    views = Views()
    while as_of is None or views.seq < as_of:
        limit = PAGE if as_of is None else min(PAGE, as_of - views.seq)
        facts = await ledger.facts(conversation, after=views.seq, limit=limit)
        if not facts:
            break
        await asyncio.to_thread(_take, views, facts)
    return views


async def timed(ledger: base.Ledger, found: Iterable[traces.Trace]) -> list[dict[str, Any]]:
    """Traces as JSON, with the durations that the runs' records have: of steps, and to the first token."""
    out = []
    for trace in found:
        plain: dict[str, Any] = msgspec.to_builtins(trace)
        record = await ledger.run(trace.run)
        summary = (record.summary if record is not None else None) or {}
        plain["first_token_ms"] = summary.get("first_token_ms")
        value = (summary.get("result") or {}).get("value")
        plain["durations_ms"] = value.get("durations_ms") if isinstance(value, dict) else None
        out.append(plain)
    return out


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
