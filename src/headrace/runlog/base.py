"""The port of the run log: the live, numbered record of one run, read by any number of followers.

One writer a run appends; every reader is a `Follower` with a cursor of its own and no queue. What a log keeps
is an `Entry`: one event, or several deltas of one block merged into one, with its encoded bytes made at the
first reading and shared by all. Entries of a log, in order, cover its seqs without gap or repeat.
No ledger, no HTTP, no policy here. Next: `merge`, then `memory`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec

from headrace import errors, events
from headrace.protocol import cursor


class Entry(msgspec.Struct, eq=False, gc=False):
    """One event as a reader gets it. One is made for every token: a struct is what costs least.

    Attributes:
        event: the event; for merged deltas its `seq` is the last and `from_seq` the first in it.
        first, last: the seqs it covers.
    """

    event: events.Event
    first: int
    last: int
    _frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The event as a native server-sent event, its `id:` the cursor; encoded once."""
        frame = self._frame
        if frame is None:
            event = self.event
            frame = self._frame = b"id: %b\ndata: %b\n\n" % (
                cursor.make(event.run, self.last).encode(),
                events.encode(event),
            )
        return frame

    @property
    def json(self) -> bytes:
        """The event as one JSON object: the part of `frame` between `data: ` and the blank line."""
        frame = self.frame
        return frame[frame.index(b"\ndata: ") + 7 : -2]


class Follower(Protocol):
    """A reader of one run, standing at a cursor. Not to be shared between tasks."""

    cursor: int

    @property
    def finished(self) -> bool:
        """Whether `run-end` has been handed out, or the reader was closed."""
        ...

    def ready(self) -> list[Entry]:
        """What is there now, without waiting; moves the cursor.

        Raises:
            errors.ReadError: as `next`.
        """
        ...

    async def wait(self) -> None:
        """Until there may be something to read, or somebody called `nudge` or `close`."""
        ...

    def nudge(self) -> None:
        """End a `wait` from outside (a heartbeat, a disconnect)."""
        ...

    async def next(self) -> list[Entry] | None:
        """All entries after the cursor, as soon as there are any; None after `run-end` was handed out.

        Raises:
            errors.ReadError: `retention-passed`, where what the cursor asks for is gone.
        """
        ...

    def __aiter__(self) -> AsyncIterator[list[Entry]]:
        """The batches of `next`; the follower is closed after the last."""
        ...

    def close(self) -> None:
        """Stop reading. Idempotent."""
        ...


class Log(Protocol):
    """The log of one run."""

    run: str
    last: int
    ended: bool
    on_followers: Callable[[int], None] | None

    def append(self, batch: Sequence[events.Event]) -> None:
        """Number, stamp and store events; wake the followers. Never blocks, never awaits."""
        ...

    def follow(
        self, after: int = 0, *, interval: float = 0.0, merge: bool = False, quiet: bool = False
    ) -> Follower:
        """A follower of everything after seq `after`.

        Args:
            after: the last seq the reader has; 0 is the beginning.
            interval: seconds between two batches at least; deltas in between are merged.
            merge: hand a reader that has fallen far behind its deltas merged.
            quiet: this is nobody who waits for the run (a sink): `on_followers` does not count it.

        Raises:
            errors.ReadError: `cursor-ahead`, `retention-passed`.
        """
        ...

    def frames(self, batch: Sequence[Entry]) -> bytes:
        """The native frames of a batch in one piece; readers at the same place share the bytes."""
        ...


class RunLog(Protocol):
    """A family of logs: where runs are written and found.

    Attributes:
        on_drop: called with a run's id when retention has dropped its log.
    """

    on_drop: Callable[[str], None] | None

    def create(self, run: str) -> Log:
        """A new, empty log."""
        ...

    def get(self, run: str) -> Log:
        """The log of a run.

        Raises:
            errors.ReadError: `run-not-found`, or `retention-passed` for one that is known to be dropped.
        """
        ...

    def ended(self, run: str) -> None:
        """The run has ended: its log is kept for the retention time from now."""
        ...

    async def close(self) -> None:
        """Drop all logs."""
        ...


def check_cursor(run: str, after: int, last: int) -> None:
    """Refuse a cursor past the end of what has been written.

    Raises:
        errors.ReadError: `cursor-ahead`.
    """
    if after > last:
        raise errors.ReadError(
            f"the cursor stands at {after}, but {run} has only {last} events; send a cursor you received",
            code="cursor-ahead",
            details={"last": last},
        )
