"""Run something and keep all of it: what tests of whole runs share.

`engine_for` makes a run engine whose providers are those of given settings; `play` runs one spec to its end and
checks on the way what is promised of every run: legal order, seq without a gap, joined deltas equal the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace import events, messages, settings
from headrace.ledger import base as ledger_base
from headrace.protocol.lifecycle import Lifecycle
from headrace.providers import prices, registry
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec


def engine_for(*, ledger: ledger_base.Ledger | None = None, **overrides: Any) -> Engine:
    """An engine with a registry of its own.

    Args:
        overrides: fields of `settings.Settings`.
    """
    return Engine(registry.Registry(settings.load(**overrides)), MemoryRunLog(), ledger, price=prices.priced)


async def play(engine: Engine, model: str, prompt: str = "Tell me about it", **options: Any) -> Played:
    """Run one answer to its end.

    Raises:
        AssertionError: the run broke a promise.
    """
    spec = RunSpec(model=model, messages=(messages.user(prompt),), **options)
    active = await engine.start(spec)
    follower = active.writer.log.follow(0)
    found: list[events.Event] = []
    while (batch := await follower.next()) is not None:
        found.extend(entry.event for entry in batch)
    follower.close()
    return Played(active.run, found)


class Played:
    """A whole run.

    Attributes:
        events: all of them, in order.
        end: the last.
    """

    def __init__(self, run: str, found: Sequence[events.Event]) -> None:
        self.run = run
        self.events = list(found)
        check_stream(self.events)
        end = self.events[-1]
        assert isinstance(end, events.RunEnd), end
        self.end = end
        assert shown(self.events) == (end.result or {}).get("text", "")

    def of(self, kind: type[events.Event]) -> list[Any]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self) -> str:
        """The answer."""
        return str(self.end.result["text"])

    @property
    def code(self) -> str | None:
        """The error code the run ended with."""
        return self.end.error.code if self.end.error else None


def check_stream(found: Sequence[events.Event]) -> None:
    """Check a whole stream: legal order, one ending, no gap and no repeat in what it covers.

    Raises:
        AssertionError: it is not.
    """
    lifecycle = Lifecycle()
    seq = 0
    for event in found:
        lifecycle.check(event)
        first = getattr(event, "from_seq", None) or event.seq
        assert first == seq + 1, f"after {seq} came {first}"
        seq = event.seq
    assert lifecycle.ended, "no run-end"


def shown(found: Sequence[events.Event]) -> str:
    """What a reader who honours resets has on the screen at the end."""
    blocks: dict[str, list[str]] = {}
    for event in found:
        if isinstance(event, events.TextDelta):
            blocks.setdefault(event.block, []).append(event.delta)
        elif isinstance(event, events.OutputReset):
            for block in event.blocks:
                blocks.pop(block, None)
    return "".join(piece for pieces in blocks.values() for piece in pieces)
