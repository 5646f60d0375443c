"""Runs in this process: an engine for the length of a command, and a run followed to its end.

Nothing is kept: no ledger, and the run's log is gone with the process. What the library logs is for servers:
here only errors are said, on stderr, since the readers show what goes wrong in a run; `--debug` says it all.
Ctrl-C cancels the task that follows; the run is then stopped, which closes the provider's socket, and what it
still had to say (its `run-end`) is shown.
Next: `show`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog

from headrace import events, settings
from headrace.cli import out
from headrace.cli.people import People
from headrace.providers import registry as registries
from headrace.runlog import memory
from headrace.runs import api, handle
from headrace.runs import engine as engines

_LAST_WORDS = 2.0  # seconds that a reader who does not read may delay the end of a stopped run


class Show(Protocol):
    """Where the events of a run are shown; see `show`."""

    async def batch(self, batch: list[events.Event]) -> None:
        """Show some events."""
        ...


class Local:
    """An engine and its providers.

    Attributes:
        registry: the providers.
        engine: see `runs.engine.Engine`.
    """

    def __init__(self, chosen: settings.Settings) -> None:
        from headrace.providers import prices

        self.registry = registries.Registry(chosen)
        self.engine = engines.Engine(
            self.registry, memory.MemoryRunLog(), price=prices.priced, timeouts=api.timeouts_of(chosen)
        )

    async def follow(
        self, show: Show, model: str, prompt: api.Prompt, *, people: People | None = None, **options: Any
    ) -> events.RunEnd:
        """Run to the end and show it; see `api.stream` for the options.

        Args:
            people: answers what the run asks; None leaves it unanswered.

        Raises:
            errors.HeadraceError: the run could not be started. One that fails has its error in the `RunEnd`.
        """
        async with api.stream(model, prompt, engine=self.engine, **options) as run:
            return await shown(run, show, people)

    async def close(self) -> None:
        """End the runs and close the providers' connections."""
        await self.engine.close()
        await self.registry.close()


async def shown(run: handle.Run, show: Show, people: People | None = None) -> events.RunEnd:
    """Show a run to its end. A cancelled task stops it, and shows what it still had to say."""
    last = 0
    try:
        async for batch in run.batches():
            last = batch[-1].seq
            await show.batch(batch)
            if people is not None:
                await people.batch(run, show, batch)
    except asyncio.CancelledError:
        await run.cancel()
        try:
            await asyncio.wait_for(_rest(run, last, show), _LAST_WORDS)
        except (TimeoutError, BrokenPipeError):
            pass  # nobody reads; the run has been stopped all the same
        raise
    return run._end()


async def _rest(run: handle.Run, last: int, show: Show) -> None:
    async for batch in run.batches(after=last):
        await show.batch(batch)


@asynccontextmanager
async def opened(chosen: settings.Settings | None = None) -> AsyncIterator[Local]:
    """A `Local` for the length of a block.

    Raises:
        errors.UsageError: a setting is wrong.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=out.colours(2), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if out.debugging else logging.ERROR
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    local = Local(chosen or settings.load())
    try:
        yield local
    finally:
        await local.close()
