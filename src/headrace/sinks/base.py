"""The port of the sinks: events out of a program, without the program ever waiting for where they go.

    any thread ──emit──► buffer (bounded) ──► the sink's own thread: filter ► circuit ► handle_event / handle_batch
                            │                              │
                            └ full: `overflow`             └ the far side is away: kept, tried again, in order

A sink of one's own is a class with `handle_event`, sync or async. Each sink has a thread with an event loop, so
one that sleeps, blocks or raises troubles neither the program nor another sink. `emit` is a lock and an append.
An event leaves the buffer when it has been handled: a `ConnectionError` or `TimeoutError` says that the far side
is away, and keeps it; any other error is taken for the event's own fault, which is counted in `failed` and not
repeated. The thread starts with the first event, ends with `stop`, and is given a moment at the program's end.
Nothing here may know a broker. Next: `terminal`, the smallest; `redis`, one with a far side.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import structlog

from headrace import errors
from headrace.core.events import HeadraceEvent
from headrace.protocol.breaker import Breaker, State

log = structlog.get_logger("headrace.sinks")

Overflow: TypeAlias = Literal["drop_oldest", "drop_newest", "block", "raise"]
OVERFLOWS = ("drop_oldest", "drop_newest", "block", "raise")
Item: TypeAlias = tuple[int, HeadraceEvent]
AWAY = (ConnectionError, TimeoutError)  # what a handler raises when the far side cannot be reached
_NEVER = 1 << 62
_RETRY_S = 0.05  # the first pause after a failure; it doubles until the circuit opens
_REPORT_S = 1.0  # drops are logged at most this often
_EXIT_S = 3.0  # what a sink gets at the end of a program that did not stop it


class SinkFull(errors.UsageError):
    """The buffer of a sink with `overflow="raise"` is full; the event was not taken."""

    default_code = "too-many"


class BaseSink:
    """A place that events go to. Subclass it and write `handle_event`; where batches are better, `handle_batch`.

    Args:
        buffer_size: events that may wait, those being sent included.
        batch_size: events handed over at once, at most half the buffer; so many do not wait for the interval.
        flush_interval: seconds a first event waits for others; 0 sends at once.
        overflow: what happens to an event when the buffer is full: `drop_oldest` makes room for it, `drop_newest`
            drops it, `block` makes the program wait, `raise` raises `SinkFull` in the program.
        failure_threshold: failures in a row after which the sink is left alone (the circuit opens).
        recovery_timeout: seconds until one event, or batch, is tried again.
        event_filter: takes an event and says whether to send it, or the types to send; runs on the sink's thread.

    Attributes:
        sent: events handled.
        dropped: events lost to a full buffer, or to a sink that was stopped before they were out.
        failed: events whose handling raised an error that was not for being away.

    Raises:
        errors.UsageError: a parameter makes no sense.
    """

    def __init__(
        self,
        *,
        buffer_size: int = 10_000,
        batch_size: int = 500,
        flush_interval: float = 0.1,
        overflow: Overflow = "drop_oldest",
        failure_threshold: int = 5,
        recovery_timeout: float = 5.0,
        event_filter: Callable[[HeadraceEvent], bool] | Iterable[str] | None = None,
    ) -> None:
        if buffer_size < 1 or batch_size < 1 or flush_interval < 0:
            raise errors.UsageError(
                "buffer_size and batch_size must be 1 or more and flush_interval 0 or more, not"
                f" {buffer_size!r}, {batch_size!r} and {flush_interval!r}"
            )
        if overflow not in OVERFLOWS:
            raise errors.UsageError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        self.sent = 0
        self.dropped = 0
        self.failed = 0
        self._size = buffer_size
        self._batch = min(batch_size, max(1, buffer_size // 2))
        self._interval = flush_interval
        self._overflow = overflow
        self._filter = _filter(event_filter)
        self._breaker = Breaker(failure_threshold, recovery_timeout)
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)  # something left the buffer
        self._buffer: deque[Item] = deque()
        self._taken: deque[Item] = deque()  # being sent
        self._number = 0
        self._ring_at = _NEVER  # the size of the buffer at which the thread wants to be woken
        self._urgent = 0  # callers of `flush` that wait
        self._stop_by: float | None = None  # stopping: the monotonic time to give up at
        self._last_chance = False  # stopping: an open circuit has been tried once more
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell = asyncio.Event()
        self._batched = type(self).handle_batch is not BaseSink.handle_batch
        self._connected = False
        self._reported = (0, 0, 0.0)

    # -- for subclasses --------------------------------------------------------------------------------------

    def handle_event(self, event: HeadraceEvent) -> Awaitable[None] | None:
        """Take one event; on the sink's thread, in order. May be `async def`.

        Raises:
            ConnectionError, TimeoutError: the far side is away; the event is kept and tried again.
        """
        raise NotImplementedError(f"{type(self).__name__} has no handle_event")

    async def handle_batch(self, batch: Sequence[Item]) -> None:
        """Take events with their numbers, which only grow; all or none. Instead of `handle_event`.

        A batch that failed comes again, perhaps with more behind it: the numbers say which are known already.

        Raises:
            ConnectionError, TimeoutError: the far side is away; the batch is kept and tried again.
        """
        raise NotImplementedError

    async def connect(self) -> None:
        """Reach the far side; called before the first event and after each failure. Raises as `handle_batch`."""

    async def disconnect(self) -> None:
        """Let go of the far side, also of a broken one."""

    # -- for programs ----------------------------------------------------------------------------------------

    def emit(self, event: HeadraceEvent) -> None:
        """Hand an event over; from any thread. Returns at once, unless `overflow` is `block`.

        Raises:
            SinkFull: the buffer is full and `overflow` is `raise`.
        """
        if event.time is None:
            event.time = datetime.now(UTC)
        with self._lock:
            if self._thread is None and not self._stopped:
                self._launch()
            buffer = self._buffer
            if len(buffer) + len(self._taken) >= self._size and not self._make_room():
                return
            if self._stopped:
                self.dropped += 1
                return
            self._number += 1
            buffer.append((self._number, event))
            if len(buffer) >= self._ring_at:
                self._ring()

    def start(self) -> Self:
        """Start the thread. Not needed: the first event does. After `stop` it is what starts again."""
        with self._lock:
            self._stopped = False
            if self._thread is None:
                self._launch()
        return self

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until what was handed over so far is out (handled, or given up). Blocks; see `aflush`.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.

        Returns:
            Whether it is out.
        """
        if threading.current_thread() is self._thread:
            return False  # a handler would wait for itself
        with self._lock:
            target = self._number
            self._urgent += 1
            self._ring()
            try:
                return self._moved.wait_for(lambda: self._oldest() > target, timeout)
            finally:
                self._urgent -= 1

    def stop(self, timeout: float = 5.0) -> None:
        """Send what is there and end the thread. Blocks; see `astop`. Idempotent.

        Args:
            timeout: seconds to wait at most. A circuit that is open gets one more try. What is not out by then
                is dropped and counted.
        """
        thread = self._thread
        with self._lock:
            self._stopped = True
            if thread is not None:
                self._stop_by = time.monotonic() + timeout
                self._ring()
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout + 0.1)
        with self._lock:  # a handler that still blocks keeps what it has; the thread counts it when it is let go
            self.dropped += len(self._buffer)
            self._buffer.clear()
            self._moved.notify_all()

    async def aflush(self, timeout: float | None = 10.0) -> bool:
        """`flush` for coroutines."""
        return await asyncio.to_thread(self.flush, timeout)

    async def astop(self, timeout: float = 5.0) -> None:
        """`stop` for coroutines."""
        await asyncio.to_thread(self.stop, timeout)

    @property
    def buffered(self) -> int:
        """Events that wait or are being sent."""
        return len(self._buffer) + len(self._taken)

    @property
    def room(self) -> int:
        """Events that can be handed over now without one being dropped."""
        return max(0, self._size - self.buffered)

    @property
    def circuit_state(self) -> State:
        """`closed`, `open` (the far side is left alone) or `half-open` (being tried again)."""
        return self._breaker.state

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.astop()

    # -- the buffer; the lock is held ------------------------------------------------------------------------

    def _make_room(self) -> bool:
        """Whether the new event may be put in."""
        if self._overflow == "block" and threading.current_thread() is not self._thread:
            self._moved.wait_for(lambda: len(self._buffer) + len(self._taken) < self._size or self._stopped)
            return True
        if self._overflow == "raise":
            raise SinkFull(
                f"the buffer of {type(self).__name__} is full ({self._size} events); raise buffer_size or"
                " choose another overflow",
                details={"buffer_size": self._size},
            )
        self.dropped += 1
        if self._overflow != "drop_oldest" or not self._buffer:
            return False
        self._buffer.popleft()
        return True

    def _oldest(self) -> int:
        """The number of the oldest event that is not out; one past the last where all are."""
        for items in (self._taken, self._buffer):
            if items:
                return items[0][0]
        return self._number + 1

    def _drop_all(self) -> None:
        self.dropped += len(self._buffer) + len(self._taken)
        self._buffer.clear()
        self._taken.clear()
        self._moved.notify_all()

    def _ring(self) -> None:
        self._ring_at = _NEVER
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed: nobody sleeps on the bell
                self._loop.call_soon_threadsafe(self._bell.set)

    def _launch(self) -> None:
        self._stop_by = None
        self._last_chance = False
        self._loop = loop = _Loop()
        self._bell = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name=f"headrace-{type(self).__name__}", daemon=True
        )
        _running.add(self)
        self._thread.start()

    # -- the sink's thread -----------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._work())
        except BaseException as error:  # a fault of the sink itself: the program goes on, what comes is counted
            log.error("a sink has failed and is stopped", sink=type(self).__name__, error=repr(error))
            self._stopped = True
        finally:
            with self._lock:
                if self._stopped:
                    self._drop_all()
                self._thread = self._loop = None
                _running.discard(self)
            self._report(final=True)

    async def _work(self) -> None:
        with contextlib.suppress(*AWAY):
            await (
                self._reach()
            )  # early, so that the first event finds it; when it is away the first event says so
        while True:
            await self._until(1, None)
            if self._buffer:
                await self._until(self._batch, self._interval)
            while self._buffer and not self._given_up():
                await self._try()
            self._report()
            if self._stop_by is not None:
                break
        await self._leave()

    async def _until(self, count: int, seconds: float | None) -> None:
        """Wait until so many events are there, the time is over, or somebody is in a hurry."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            with self._lock:
                size = len(self._buffer)
                if size >= count or (size and self._urgent) or self._stop_by is not None:
                    return
                self._ring_at = count
                self._bell.clear()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            await self._pause(left)

    async def _pause(self, seconds: float | None) -> None:
        """Wait for the bell, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()

    def _given_up(self) -> bool:
        """Whether the sink is stopping and what is left will not get out."""
        if self._stop_by is None:
            return False
        if self._breaker.opened and self._breaker.state == "open":
            if self._last_chance:
                return True
            self._last_chance = True
            self._breaker.hurry()
        return self._too_late()

    def _too_late(self) -> bool:
        return self._stop_by is not None and time.monotonic() > self._stop_by

    async def _try(self) -> None:
        """Send a batch, or wait until the circuit lets one through."""
        now = time.monotonic()
        if not self._breaker.allow(now):
            self._report()
            with self._lock:
                self._ring_at = _NEVER
                self._bell.clear()
                stopping = self._stop_by is not None
            if not stopping:
                await self._pause(self._breaker.wait(now))
            return
        try:
            await self._reach()
        except Exception as error:  # whatever it is, a wrong password too: nothing can be sent now
            await self._fail(error)
            return
        try:
            await self._send()
        except AWAY as error:
            await self._fail(error)

    async def _reach(self) -> None:
        if not self._connected:
            await self.connect()
            self._connected = True

    async def _send(self) -> None:
        """Take a batch and have it handled; what was not goes back, in order."""
        with self._lock:
            # a probe, and an event at a time where each can fail by itself: the rest can still make room
            count = self._batch if self._batched or self._breaker.state == "closed" else 1
            for _ in range(min(count, len(self._buffer))):
                self._taken.append(self._buffer.popleft())
        try:
            if self._batched:
                await self._handle_all()
            else:
                await self._handle_each()
        finally:
            with self._lock:
                self._buffer.extendleft(reversed(self._taken))
                self._taken.clear()

    async def _handle_all(self) -> None:
        batch = [item for item in self._taken if self._wanted(item[1])]
        if not batch:
            self._settle(len(self._taken), 0)
            self._breaker.unused()
            return
        try:
            await self.handle_batch(batch)
        except AWAY:
            raise
        except Exception as error:  # this batch cannot be sent, whoever tries
            log.error(
                "a sink could not take a batch",
                sink=type(self).__name__,
                events=len(batch),
                error=repr(error),
            )
            self.failed += len(batch)
            self._settle(len(self._taken), 0)
            await self._fail(error)
            return
        self._breaker.success()
        self._settle(len(self._taken), len(batch))

    async def _handle_each(self) -> None:
        while self._taken and not self._too_late():
            event = self._taken[0][1]
            if not self._wanted(event):
                self._settle(1, 0)
                continue
            try:
                found = self.handle_event(event)
                if inspect.isawaitable(found):
                    await found
            except AWAY:
                raise
            except Exception as error:  # a fault of the handler's: never the program's
                self.failed += 1
                self._breaker.failure(time.monotonic())
                self._settle(1, 0)
                if self.failed == 1:
                    log.warning("a sink's handler raised", sink=type(self).__name__, error=repr(error))
                if self._breaker.state != "closed":
                    return
            else:
                self._breaker.success()
                self._settle(1, 1)
        self._breaker.unused()

    def _wanted(self, event: HeadraceEvent) -> bool:
        try:
            return self._filter is None or bool(self._filter(event))
        except Exception as error:  # a fault of the program's filter
            self.failed += 1
            log.debug("a sink's filter raised", sink=type(self).__name__, error=repr(error))
            return False

    def _settle(self, count: int, sent: int) -> None:
        with self._lock:
            for _ in range(count):
                self._taken.popleft()
            self.sent += sent
            self._moved.notify_all()

    async def _fail(self, error: BaseException) -> None:
        """The far side is away: let go of it, and pause."""
        was = self._breaker.state
        self._breaker.failure(time.monotonic())
        if self._breaker.state == "open" and was == "closed":
            log.warning("a sink is away; events are kept", sink=type(self).__name__, error=repr(error))
        await self._leave()
        if self._breaker.state == "closed" and self._stop_by is None:
            await asyncio.sleep(_RETRY_S * 2 ** min(self._breaker.failures - 1, 5))

    async def _leave(self) -> None:
        self._connected = False
        try:
            await self.disconnect()
        except Exception as error:  # it is gone either way
            log.debug("a sink did not close well", sink=type(self).__name__, error=repr(error))

    def _report(self, *, final: bool = False) -> None:
        """Say what was lost, now and then."""
        dropped, failed, when = self._reported
        now = time.monotonic()
        if (self.dropped, self.failed) == (dropped, failed) or (now - when < _REPORT_S and not final):
            return
        self._reported = (self.dropped, self.failed, now)
        log.warning(
            "a sink has lost events",
            sink=type(self).__name__,
            dropped=self.dropped,
            failed=self.failed,
            circuit=self.circuit_state,
        )


class _Loop(asyncio.SelectorEventLoop):
    """A loop that has its thread to itself: names are looked up in it. (Python's pool of threads for that is gone
    when a program ends, which is when the last events are sent.)"""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """See `socket.getaddrinfo`."""
        return socket.getaddrinfo(host, port, **options)


def _filter(
    given: Callable[[HeadraceEvent], bool] | Iterable[str] | None,
) -> Callable[[HeadraceEvent], bool] | None:
    if given is None or callable(given):
        return given
    types = frozenset([given] if isinstance(given, str) else given)
    return lambda event: event.event_type in types or event.type in types


_running: weakref.WeakSet[BaseSink] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """The program ends: what is in the buffers gets a moment."""
    for sink in list(_running):
        sink.stop(_EXIT_S)
