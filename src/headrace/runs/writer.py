"""The one door in: checks, cleans and appends a run's events, and keeps what they add up to.

Every event of a run passes `Writer.write`. It is checked against the lifecycle table, its text is made valid
UTF-8 (a lone surrogate becomes U+FFFD: it has no encoding), it is appended to the log, and folded into the
answer so far. Only the engine and the programs it runs hold a writer. Next: `context`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace import errors, events
from headrace.protocol.assembler import Assembler
from headrace.protocol.lifecycle import Lifecycle, LifecycleError
from headrace.runlog.base import Log


class Veil(Protocol):
    """Changes what readers see of a run's text. What the run comes to, and the ledger, have it as it was."""

    def batch(self, batch: Sequence[events.Event]) -> Sequence[events.Event]:
        """The events for the log; legal in the order of the batch."""
        ...

    def text(self, text: str) -> str:
        """The run's whole text for its readers."""
        ...


class Writer:
    """Writes one run.

    Args:
        log: where to.
        started: the monotonic time the run was asked for, seconds.

    Attributes:
        answer: what the events so far add up to.
        first_token: seconds from `started` to the first delta, None before it.
        last_token: monotonic time of the last batch with a delta.
        on_gap: called with the seconds between two batches of deltas.
        max_size: characters of text, reasoning and arguments that one run may write.
        size: characters so far.
        veil: stands between the run and its log; None shows all of it.
    """

    def __init__(
        self,
        log: Log,
        *,
        started: float,
        on_gap: Callable[[float], None] | None = None,
        max_size: int = 1 << 62,
    ) -> None:
        self.log = log
        self.answer = Assembler()
        self.lifecycle = Lifecycle()
        self.started = started
        self.first_token: float | None = None
        self.last_token = 0.0
        self.deltas = 0
        self.size = 0
        self.veil: Veil | None = None
        self._max_size = max_size
        self._on_gap = on_gap
        self._blocks = 0
        self._spans = 0

    def new_block(self) -> str:
        """The next block id of the run."""
        self._blocks += 1
        return f"b{self._blocks}"

    def new_span(self) -> str:
        """The next span id of the run."""
        self._spans += 1
        return f"s{self._spans}"

    def write(self, *batch: events.Event, span: str = "") -> None:
        """Write events in order; see `write_all`."""
        self.write_all(batch, span)

    def write_all(self, batch: Sequence[events.Event], span: str = "") -> None:
        """Write a batch: all of it reaches readers in one wake-up.

        Raises:
            LifecycleError: an event is not legal here; those before it in the batch are written.
            errors.UsageError: `too-large`, once, when the run's text passes `max_size` characters.
        """
        if not batch:
            return
        check = self.lifecycle.check
        deltas = 0
        for event in batch:
            if span and not event.span:
                event.span = span
            if type(event) in _DELTAS:
                deltas += 1
                self.size += len(event.delta)  # type: ignore[attr-defined]
                if not event.delta.isascii():  # type: ignore[attr-defined]
                    clean(event)
            try:
                check(event)
            except LifecycleError:
                self._commit(batch[: batch.index(event)])
                raise
        self._commit(batch, deltas)
        if self.size > self._max_size:
            self._max_size = 1 << 62  # what closes the run is still written
            raise errors.UsageError(
                f"the run has written {self.size:,} characters; HEADRACE_MAX_RUN_CHARS sets how many it may",
                code="too-large",
            )

    def _commit(self, batch: Sequence[events.Event], deltas: int = 0) -> None:
        if not batch:
            return
        shown = batch if self.veil is None else self.veil.batch(batch)
        if shown:
            self.log.append(shown)
        self.answer.add(batch)
        if deltas:
            self.deltas += deltas
            now = time.monotonic()
            if self.first_token is None:
                self.first_token = now - self.started
            elif self._on_gap is not None:
                self._on_gap(now - self.last_token)
            self.last_token = now

    def release(self) -> None:
        """The run has ended: let go of the answer, which is in the log and in the ending."""
        self.answer = Assembler()

    def close_open(self) -> None:
        """Close everything that is open, innermost first."""
        self.write_all(self.lifecycle.closing())


def clean(event: events.Event) -> None:
    """Make the text of a delta valid UTF-8, in place."""
    delta: str = event.delta  # type: ignore[attr-defined]
    try:
        delta.encode()
    except UnicodeEncodeError:
        # A pair split over two escapes inside one delta is one character; what remains alone is not.
        paired = delta.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        event.delta = paired  # type: ignore[attr-defined]


_DELTAS = frozenset(events.DELTAS)
