"""Each event exactly once: what a reader has, and what may come next. Pure.

A reader has a prefix of the run, up to `seq`. What it has already is dropped when it comes again (a line that
broke, a proxy that repeats); what leaves a hole is refused, because a hole is never silent. Next: `following`.
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace import errors, events
from headrace.protocol import sse


class Progress:
    """How far one reader of one run is.

    Args:
        after: the seq it has everything up to.

    Attributes:
        seq: the same, as it grows.
        ended: `run-end` was read: nothing follows.
    """

    def __init__(self, run: str, after: int = 0) -> None:
        self.run = run
        self.seq = after
        self.ended = False

    def take(self, blocks: Iterable[sse.SSE]) -> list[events.Event]:
        """The events of some blocks that are new to this reader, in order.

        Raises:
            errors.ReadError: `stream-incomplete`, events are missing in between; `provider-protocol`, what came
                is not an event of this run. Coming back would not help: neither can be tried again.
        """
        new: list[events.Event] = []
        for block in blocks:
            event = self._event(block)
            if event.seq <= self.seq:
                continue
            first = getattr(event, "from_seq", None) or event.seq
            if first > self.seq + 1:
                raise errors.ReadError(
                    f"events {self.seq + 1} to {first - 1} of {self.run} are missing: they were lost on the "
                    "way; read the run from the beginning",
                    code="stream-incomplete",
                    retryable=False,
                    details={"after": self.seq, "next": first},
                )
            if first <= self.seq:
                raise _unreadable(f"an event of {self.run} repeats what was read and goes on in one piece")
            self.seq = event.seq
            self.ended = isinstance(event, events.RunEnd)
            new.append(event)
        return new

    def _event(self, block: sse.SSE) -> events.Event:
        try:
            event = events.decode(block.data)
        except errors.ProviderError as error:
            raise _unreadable(error.message) from error
        if event.run != self.run or event.seq < 1:
            raise _unreadable(
                f"an event of {event.run!r} with seq {event.seq} came in the stream of {self.run!r}"
            )
        return event


def _unreadable(message: str) -> errors.ReadError:
    return errors.ReadError(message, code="provider-protocol", retryable=False)
