"""Keeps marker lines from everybody who reads a run, while the ledger gets the reply as it was.

It stands between the run's writer and its log, so whatever a reader asks for (any dialect, a resume from the middle,
a second tab) has the same text without them. A line is held back only while it may be a marker. Where a block ends
in mid-line, what may be a marker is let go unless it already is one: text cannot be added to a block that has
ended. Next: `turns`, which puts it up.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace import events
from headrace.memory import markers


class Veil:
    """For one run. See `runs.writer.Veil`."""

    def __init__(self) -> None:
        self._filter = markers.Filter()
        self._texts: dict[str, list[str]] = {}  # of the blocks that stand

    def batch(self, batch: Sequence[events.Event]) -> list[events.Event]:
        """The events as readers get them."""
        out: list[events.Event] = []
        for event in batch:
            if isinstance(event, events.TextDelta):
                self._texts.setdefault(event.block, []).append(event.delta)
                shown = self._filter.feed(event.delta)
                if shown == event.delta:
                    out.append(event)
                elif shown:
                    out.append(msgspec.structs.replace(event, delta=shown))
                continue
            if isinstance(event, events.TextEnd) and (rest := self._filter.pause()):
                out.append(events.TextDelta(block=event.block, delta=rest, span=event.span))
            elif isinstance(event, events.OutputReset) and self._gone(event.blocks):
                self._filter = (
                    markers.Filter()
                )  # stands where the text that is left ends; its readers have it
                self._filter.feed("".join("".join(text) for text in self._texts.values()))
                self._filter.pause()
            out.append(event)
        return out

    def _gone(self, blocks: Sequence[str]) -> bool:
        gone = [block for block in blocks if self._texts.pop(block, None) is not None]
        return bool(gone)

    def text(self, text: str) -> str:
        """A whole text as readers get it."""
        return markers.strip(text)
