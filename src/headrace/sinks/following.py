"""Runs into sinks: a follower of a run that hands its events over, and waits where the sink has no room.

    await headrace.sinks.attach(run, sink).wait()             # one run
    headrace.sinks.following.install(engine, [sink])          # every run of an engine (HEADRACE_SINKS, --sink)

A run keeps its events for its retention, so while a sink is away nothing is dropped here: the follower stands at its
cursor and goes on from there when the sink has room again. It is no reader: a run that nobody reads ends as
its policy says, sinks or not. Next: `headrace.consumer`, the far end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Protocol

import structlog

from headrace import errors, events
from headrace.core import events as core
from headrace.sinks.base import BaseSink

log = structlog.get_logger("headrace.sinks")
_CLOSE_S = 5.0  # what followers get to hand over the rest when the engine closes


class Run(Protocol):
    """A run that can be read, such as `headrace.Run`."""

    def batches(self, after: int = 0) -> AsyncIterator[list[events.Event]]:
        """Its events after a seq."""
        ...


class Attachment:
    """A run on its way into a sink.

    Attributes:
        cursor: the seq of the last event that was handed over.
    """

    def __init__(self, batches: AsyncIterator[list[events.Event]], sink: BaseSink, after: int) -> None:
        self.cursor = after
        self._sink = sink
        self._convert = core.FromRun()
        self.task = asyncio.create_task(self._follow(batches))

    async def wait(self, timeout: float | None = None) -> bool:
        """Until the run has ended and is out of the sink's buffer; whether it is, after so many seconds.

        Raises:
            errors.ReadError: the run's events are no longer kept.
        """
        await asyncio.wait_for(asyncio.shield(self.task), timeout)
        return await self._sink.aflush(timeout)

    def detach(self) -> None:
        """Hand over no more than what is there now. Idempotent."""
        self.task.cancel()

    async def _follow(self, batches: AsyncIterator[list[events.Event]]) -> None:
        try:
            async for batch in batches:
                for event in batch:
                    await self._hand_over(self._convert(event))
                    self.cursor = event.seq
        finally:
            if isinstance(batches, AsyncGenerator):
                await batches.aclose()

    async def _hand_over(self, event: core.HeadraceEvent) -> None:
        while not self._sink.offer(event):
            if _cancelled():  # nobody can wait any more
                self._sink.emit(event)
                return
            await self._sink.wait_for_room()


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def attach(run: Run, sink: BaseSink, *, after: int = 0) -> Attachment:
    """Send a run's events to a sink as they come; on the running event loop.

    Args:
        after: the seq of the last event that the sink has, where it has some already.
    """
    return Attachment(run.batches(after), sink, after)


class Followers:
    """An observer of an engine that sends every run to some sinks."""

    def __init__(self, sinks: Sequence[BaseSink]) -> None:
        self.sinks = tuple(sinks)
        self._attached: set[Attachment] = set()
        for sink in self.sinks:
            sink.start()

    def started(self, active: Any) -> None:
        """A run begins."""
        for sink in self.sinks:
            attached = Attachment(_quiet(active.writer.log), sink, 0)
            self._attached.add(attached)
            attached.task.add_done_callback(lambda task, done=attached: self._done(done, task))  # type: ignore[misc]

    def ended(self, active: Any) -> None:
        """A run has ended: its followers find that out by themselves."""

    def _done(self, attached: Attachment, task: asyncio.Task[None]) -> None:
        self._attached.discard(attached)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "a run could not be sent to a sink to its end", cursor=attached.cursor, error=repr(error)
            )

    async def close(self) -> None:
        """Hand over what is there, and stop the sinks."""
        tasks = [attached.task for attached in self._attached]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*(sink.astop() for sink in self.sinks))


async def _quiet(log: Any) -> AsyncGenerator[list[events.Event], None]:
    """The batches of a log, read without counting as a reader; a cancel still gets what is there."""
    follower = log.follow(0, quiet=True)
    try:
        while (entries := await follower.next()) is not None:
            yield [entry.event for entry in entries]
    except asyncio.CancelledError:
        if entries := follower.ready():
            yield [entry.event for entry in entries]
        raise
    except errors.ReadError:
        return  # the log was closed
    finally:
        follower.close()


def install(engine: Any, sinks: Sequence[BaseSink]) -> Followers:
    """Send every run of an engine to these sinks; close what it returns before the engine."""
    followers = Followers(sinks)
    engine.observers.append(followers)
    return followers
