"""From a thread to the event loop: pieces in batches, with a bound, and a reader that may leave.

For providers whose model speaks in a thread: blocking iterators and the engine in this process. `Handover` wakes
the loop once for everything that has come since it last looked, not once a piece; a full one makes the thread
wait; once the reader has left, `put` answers False and the thread goes home. `Limits` are the time-outs of an
exchange, for providers that do not go through the HTTP shell. Nothing here knows what the pieces are.
Next: `callable`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from headrace import errors
from headrace.providers import base

T = TypeVar("T")

_LOOK_SECONDS = 1.0


class Handover(Generic[T]):
    """A bounded queue with a thread at one end and a coroutine at the other. Made on the event loop.

    Args:
        limit: items that may wait; past it the thread waits.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._changed = threading.Condition()
        self._items: list[T] = []
        self._error: BaseException | None = None
        self._ended = False
        self._left = False
        self._woken = False
        self._wake = asyncio.Event()

    def put(self, item: T) -> bool:
        """Hand an item over; called in the thread. False: the reader has left, stop."""
        with self._changed:
            while len(self._items) >= self._limit and not self._left:
                # the look at the clock is for a loop that was closed without a word
                self._changed.wait(_LOOK_SECONDS)
                if self._loop.is_closed():
                    self._left = True
            if self._left:
                return False
            self._items.append(item)
        return self._tell()

    def end(self, error: BaseException | None = None) -> None:
        """The thread is done; `error` is raised to the reader after the last item."""
        with self._changed:
            self._ended, self._error = True, error
        self._tell()

    @property
    def left(self) -> bool:
        """Whether the reader has left."""
        return self._left

    def leave(self) -> None:
        """The reader leaves: what waits is dropped, and the thread is told at its next `put`."""
        with self._changed:
            self._left = True
            self._items.clear()
            self._changed.notify_all()

    async def take(self) -> list[T]:
        """Everything that has come, at least one item; an empty list at the end.

        Raises:
            BaseException: what the thread ended with.
        """
        while True:
            with self._changed:
                items, self._items = self._items, []
                self._woken = False
                ended = self._ended
                self._changed.notify_all()
            if items:
                return items
            if ended:
                if self._error is not None:
                    raise self._error
                return []
            self._wake.clear()
            await self._wake.wait()

    def _tell(self) -> bool:
        with self._changed:
            if self._woken:
                return True
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop is closed
            self._left = True
            return False
        return True


def start(work: Callable[[], None], name: str, *, daemon: bool = True) -> threading.Thread:
    """Run `work` in a thread of its own, with the caller's context variables.

    A thread of its own and not a pool: a model that never answers must not keep others, or the end of the
    program, waiting.
    """
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name=name, daemon=daemon)
    thread.start()
    return thread


class Limits:
    """The time-outs of one exchange, counted from now: first chunk, then stall, and total all along."""

    def __init__(self, timeouts: base.Timeouts, who: str) -> None:
        self._timeouts = timeouts
        self._who = who
        self._start = asyncio.get_running_loop().time()
        self._begun = False

    async def within(self, waiting: Awaitable[T]) -> T:
        """Wait for the next bite.

        Raises:
            errors.ProviderError: `provider-timeout`; the details say which limit passed.
        """
        limits = self._timeouts
        phase, seconds = ("stall", limits.stall) if self._begun else ("first-chunk", limits.first_chunk)
        if limits.total is not None:
            left = self._start + limits.total - asyncio.get_running_loop().time()
            if seconds is None or left < seconds:
                phase, seconds = "total", max(left, 0.0)
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                result = await waiting
        except TimeoutError as error:
            if not scope.expired():
                raise
            limit = limits.total if phase == "total" else seconds
            raise errors.ProviderError(
                f"{self._who} passed the limit of {limit:g} s ({phase})",
                code="provider-timeout",
                details={"phase": phase, "seconds": limit},
            ) from error
        self._begun = True
        return result
