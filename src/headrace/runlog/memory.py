"""The run log in this process's memory: encode once, read by cursor, seal what is old.

A log has a *tail* of single events, whose bytes are kept once a reader asked for them, and before it a
*sealed* part, where runs of deltas are kept as text (`merge.Sealed`). What all attached readers have read is
sealed as soon as the tail passes `SOFT_TAIL`; past `HARD_TAIL` it is sealed even while a reader lags, and
that reader gets its deltas merged (but not what came in the last batch: nobody is late for that). So a log
costs about three times its text and `SOFT_TAIL`; `HARD_TAIL` and a batch at most while somebody is slow; and
a reader costs its follower object, whatever its speed.

Waking: an append completes the futures of the waiting followers, once a batch. Followers with an interval
do not wait for appends but for the shared tick of that interval, so a thousand of them read the same
entries at the same time and share the merged bytes. All of it belongs to one event loop.
Next: `headrace.runs`, the only writer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from headrace import errors, events
from headrace.runlog import base, merge

SOFT_TAIL = 6 * 1024
HARD_TAIL = 256 * 1024
_EVENT_COST = 400  # bytes of one event in the tail: struct, entry, strings and the encoded frame
_LAG = 256  # a reader this many entries behind gets its deltas merged
_FORGOTTEN = 10_000  # ids of dropped runs that are remembered, so that they answer 410 and not 404


class MemoryLog:
    """The log of one run. See `base.Log`."""

    def __init__(self, run: str, *, clock: Callable[[], datetime] | None = None) -> None:
        self.run = run
        self.last = 0
        self.ended = False
        self.dropped = False
        self.merges = 0
        self.on_followers: Callable[[int], None] | None = None
        self._clock = clock or _utc_now
        self._sealed: list[base.Entry | merge.Sealed] = []
        self._tail: list[base.Entry] = []
        self._tail_first = 1
        self._tail_size = 0
        self._seal_at = SOFT_TAIL
        self._followers: set[MemoryFollower] = set()
        self.waiting: list[asyncio.Future[None]] = []
        self._tickers: dict[float, _Ticker] = {}
        self._merged: tuple[int, int, list[base.Entry]] | None = None
        self._joined: tuple[int, int, bytes] | None = None

    def append(self, batch: Sequence[events.Event]) -> None:
        """See `base.Log.append`."""
        run, seq, now, tail = self.run, self.last, self._clock(), self._tail
        size = self._tail_size
        for event in batch:
            seq += 1
            event.run = run
            event.seq = seq
            event.time = now
            tail.append(base.Entry(event, seq, seq))
            size += _EVENT_COST
        self.last = seq
        self._tail_size = size
        if type(batch[-1]) is events.RunEnd:
            self.ended = True
        self._wake()
        if size > self._seal_at:
            self._seal(seq - len(batch))

    def follow(
        self, after: int = 0, *, interval: float = 0.0, merge: bool = False, quiet: bool = False
    ) -> MemoryFollower:
        """See `base.Log.follow`."""
        base.check_cursor(self.run, after, self.last)
        follower = MemoryFollower(self, after, interval, merge, quiet)
        self._followers.add(follower)
        self._count(follower)
        return follower

    def _count(self, moved: MemoryFollower) -> None:
        """A reader came or went; a quiet follower is none."""
        if self.on_followers is not None and not moved.quiet:
            self.on_followers(sum(not follower.quiet for follower in self._followers))

    @property
    def followers(self) -> int:
        """How many readers are attached."""
        return len(self._followers)

    @property
    def size(self) -> int:
        """Bytes the log holds, roughly."""
        return self._tail_size + sum(
            part.size if isinstance(part, merge.Sealed) else _EVENT_COST for part in self._sealed
        )

    def read(self, after: int) -> list[base.Entry]:
        """All entries after seq `after`, as far as they are written."""
        offset = after + 1 - self._tail_first
        if offset >= 0:
            return self._tail[offset:]
        parts = self._sealed[merge.find(self._sealed, after) :]
        return merge.flatten(parts, after) + self._tail

    def read_merged(self, after: int) -> list[base.Entry]:
        """The same with neighbouring deltas merged; readers at the same place share the result."""
        last = self.last
        kept = self._merged
        if kept is not None and kept[0] == after and kept[1] == last:
            return kept[2]
        entries = merge.merge(self.read(after))
        self.merges += 1
        self._merged = (after, last, entries)
        return entries

    def frames(self, batch: Sequence[base.Entry]) -> bytes:
        """The native frames of a batch in one piece; readers at the same place share the bytes."""
        if len(batch) == 1:
            return batch[0].frame
        first, last = batch[0].first, batch[-1].last
        kept = self._joined
        if kept is not None and kept[0] == first and kept[1] == last and len(batch) > 1:
            return kept[2]
        joined = b"".join([entry.frame for entry in batch])
        self._joined = (first, last, joined)
        return joined

    def drop(self) -> None:
        """Retention has passed: forget everything; readers get 410."""
        self.dropped = True
        self._sealed.clear()
        self._tail.clear()
        self._tail_size = 0
        self._merged = self._joined = None
        self._wake()

    def _wake(self) -> None:
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        if self._tickers:
            for ticker in self._tickers.values():
                ticker.changed(self.ended or self.dropped)

    def _seal(self, up_to: int) -> None:
        """Move what every reader has from the tail to the sealed part; more where the tail is too long.

        Args:
            up_to: the last seq that may be moved: what has just been written, no reader could have read yet.
        """
        read = min((follower.cursor for follower in self._followers), default=self.last)
        if self.ended:
            read = min(read, self.last - 1)  # the ending itself stays an event
        keep_from = read + 1
        if self._tail_size > HARD_TAIL:
            keep_from = max(keep_from, self.last - HARD_TAIL // 2 // _EVENT_COST)
        keep_from = min(keep_from, up_to + 1)
        count = min(keep_from - self._tail_first, len(self._tail))
        if count > 0:
            old = self._tail[:count]
            del self._tail[:count]
            self._tail_first += count
            self._tail_size -= count * _EVENT_COST
            self._merged = self._joined = None
            self._add_sealed(old)
        # While a reader lags, look again only when the tail has grown, not at each append.
        self._seal_at = max(SOFT_TAIL, min(2 * self._tail_size, HARD_TAIL))

    def _add_sealed(self, old: list[base.Entry]) -> None:
        run: list[events.Event] = []
        first = 0
        for entry in old:
            if merge.is_delta(entry.event):
                if not run:
                    first = entry.first
                run.append(entry.event)
                continue
            self._seal_run(run, first)
            run = []
            self._sealed.append(base.Entry(entry.event, entry.first, entry.last))
        self._seal_run(run, first)

    def _seal_run(self, run: list[events.Event], first: int) -> None:
        if not run:
            return
        before = self._sealed[-1] if self._sealed else None
        if isinstance(before, merge.Sealed):
            joined = before.joined(run)
            if joined is not None:
                self._sealed[-1] = joined
                return
        self._sealed.append(merge.Sealed(run, first))

    def finish(self) -> None:
        """The run is over and nobody lags: keep it as small as it can be."""
        self._seal_at = 0
        if self._tail_size:
            self._seal(self.last)

    def _leave(self, follower: MemoryFollower) -> None:
        if follower in self._followers:
            self._followers.discard(follower)
            self._count(follower)
            if self.ended and not self._followers:
                self.finish()

    def _ticker(self, interval: float) -> _Ticker:
        ticker = self._tickers.get(interval)
        if ticker is None:
            ticker = self._tickers[interval] = _Ticker(interval)
        return ticker


class MemoryFollower:
    """A reader of a `MemoryLog`. See `base.Follower`; also an async iterator of batches."""

    __slots__ = ("__weakref__", "_due", "_log", "_merge", "_ticker", "_waiter", "closed", "cursor", "quiet")

    def __init__(self, log: MemoryLog, after: int, interval: float, merge: bool, quiet: bool = False) -> None:
        self.cursor = after
        self.quiet = quiet
        self.closed = False
        self._log = log
        self._ticker = log._ticker(interval) if interval else None
        self._merge = merge or interval > 0
        self._due = True  # an interval has passed since the last batch
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> list[base.Entry] | None:
        """See `base.Follower.next`."""
        while True:
            batch = self.ready()
            if batch:
                return batch
            if self.closed or self._log.ended:
                return None
            await self.wait()

    def ready(self) -> list[base.Entry]:
        """What is there now, without waiting; moves the cursor."""
        log = self._log
        if log.dropped:
            raise gone(log.run)
        if self.cursor >= log.last or self.closed:
            return []
        ticker = self._ticker
        if ticker is not None:
            if not self._due and not log.ended and ticker.early():
                return []
            self._due = False
        if self._merge and (ticker is not None or log.last - self.cursor > _LAG):
            batch = log.read_merged(self.cursor)
        else:
            batch = log.read(self.cursor)
        self.cursor = log.last
        return batch

    @property
    def finished(self) -> bool:
        """Whether `run-end` has been handed out, or the reader was closed."""
        return self.closed or (self._log.ended and self.cursor >= self._log.last)

    async def wait(self) -> None:
        """Until there may be something to read, or somebody called `nudge` or `close`."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        (self._log if self._ticker is None else self._ticker).waiting.append(waiter)
        try:
            await waiter
        finally:
            self._waiter = None
        self._due = True

    def nudge(self) -> None:
        """End a `wait` from outside (a heartbeat, a disconnect)."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """See `base.Follower.close`."""
        if not self.closed:
            self.closed = True
            self.nudge()
            self._log._leave(self)

    def __aiter__(self) -> MemoryFollower:
        return self

    async def __anext__(self) -> list[base.Entry]:
        batch = await self.next()
        if batch is None:
            self.close()
            raise StopAsyncIteration
        return batch


class _Ticker:
    """Wakes all followers of one interval together: at once after a pause, else once an interval."""

    __slots__ = ("_handle", "_interval", "_last", "waiting")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = float("-inf")
        self._handle: asyncio.TimerHandle | None = None
        self.waiting: list[asyncio.Future[None]] = []

    def early(self) -> bool:
        """Whether the next tick is still to come; if so it is set."""
        if asyncio.get_running_loop().time() >= self._last + self._interval:
            return False
        self.changed(False)
        return True

    def changed(self, now: bool) -> None:
        """There is something to read; `now` means do not wait for the interval."""
        loop = asyncio.get_running_loop()
        if now:
            if self._handle is not None:
                self._handle.cancel()
            self._fire()
        elif self._handle is None:
            due = max(loop.time(), self._last + self._interval)
            self._handle = loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._last = asyncio.get_running_loop().time()
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class MemoryRunLog:
    """All logs of this process. See `base.RunLog`.

    Args:
        retention: seconds an ended run is kept.
        max_bytes: bound on what ended runs hold together; the oldest are dropped first.
    """

    def __init__(self, *, retention: float = 3600.0, max_bytes: int = 512 * 1024 * 1024) -> None:
        self.retention = retention
        self.max_bytes = max_bytes
        self.on_drop: Callable[[str], None] | None = None
        self._logs: dict[str, MemoryLog] = {}
        self._ended: OrderedDict[str, asyncio.TimerHandle] = OrderedDict()
        self._ended_bytes = 0
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._merges = 0

    def measure(self) -> tuple[int, int, int]:
        """How many logs there are, the bytes they hold, and how often deltas were merged for readers, ever."""
        logs = self._logs.values()
        return len(logs), sum(log.size for log in logs), self._merges + sum(log.merges for log in logs)

    def create(self, run: str) -> MemoryLog:
        """See `base.RunLog.create`."""
        log = self._logs[run] = MemoryLog(run)
        return log

    def get(self, run: str) -> MemoryLog:
        """See `base.RunLog.get`."""
        log = self._logs.get(run)
        if log is None:
            if run in self._gone:
                raise gone(run)
            raise errors.ReadError(f"there is no run {run[:80]!r}", code="run-not-found")
        return log

    def ended(self, run: str) -> None:
        """See `base.RunLog.ended`."""
        log = self._logs[run]
        if not log.followers:
            log.finish()
        handle = asyncio.get_running_loop().call_later(self.retention, self._drop, run)
        self._ended[run] = handle
        self._ended_bytes += log.size
        while self._ended_bytes > self.max_bytes and len(self._ended) > 1:
            self._drop(next(iter(self._ended)))

    def _drop(self, run: str) -> None:
        handle = self._ended.pop(run, None)
        if handle is not None:
            handle.cancel()
        log = self._logs.pop(run, None)
        if log is not None:
            self._ended_bytes = max(0, self._ended_bytes - log.size)
            self._merges += log.merges
            log.drop()
        self._gone[run] = None
        if len(self._gone) > _FORGOTTEN:
            self._gone.popitem(last=False)
        if self.on_drop is not None:
            self.on_drop(run)

    async def close(self) -> None:
        """See `base.RunLog.close`."""
        for handle in self._ended.values():
            handle.cancel()
        self._ended.clear()
        for log in self._logs.values():
            log.drop()
        self._logs.clear()


def gone(run: str) -> errors.ReadError:
    """The error of a run whose log retention has dropped."""
    return errors.ReadError(
        f"the events of {run} are no longer kept; GET /v1/runs/{run} still has its ending",
        code="retention-passed",
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)
