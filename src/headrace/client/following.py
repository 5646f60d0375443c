"""Following a run over lines that break: connect, read, come back with the cursor, until `run-end`.

    ┌─► open(cursor) ──► bytes ──► events, each once ──► run-end: done
    │        └── refused for good (404, 410, 401 …): raised
    └── pause 0.1 → 2 s ◄── broke, silent, ended early, overloaded; given up after `give_up` s without success

Success is a whole event or a heartbeat; it sets the pauses back to the beginning. Opening is a function that is
passed in, so the rules are tested without a network. Next: `remote`, which opens over HTTP.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from headrace import errors, events
from headrace.client.progress import Progress
from headrace.protocol import sse

Opened = AbstractAsyncContextManager[AsyncIterator[bytes] | None]
Open = Callable[[int], Opened]
"""Opens the stream after a seq: bytes as they come, or None where the reader has it all.

Raises `errors.HeadraceError`, when opened and while read; `retryable` says whether to come back.
"""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How a reader comes back.

    Attributes:
        first: seconds before the first return; doubles with each failure in a row.
        longest: seconds between two tries at most. Each pause is drawn from its upper half.
        give_up: seconds without success after which the last error is raised; None is never.
    """

    first: float = 0.1
    longest: float = 2.0
    give_up: float | None = 60.0

    def pause(self, failures: int, error: errors.HeadraceError, dice: Callable[[], float]) -> float:
        """Seconds to wait after so many failures in a row; longer where the server asked for it."""
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * (0.5 + dice() / 2)
        asked = getattr(error, "retry_after", None)
        return pause if asked is None else max(pause, min(float(asked), 30.0))


async def batches(
    open_stream: Open,
    run: str,
    after: int = 0,
    *,
    patience: Patience | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    dice: Callable[[], float] = random.random,
) -> AsyncGenerator[list[events.Event], None]:
    """Every event of a run after seq `after`, each exactly once, in batches as they come; ends with `run-end`.

    Raises:
        errors.HeadraceError: refused for good, given up, or events are missing.
    """
    patience = patience or Patience()
    progress = Progress(run, after)
    failures, well = 0, clock()
    while True:
        try:
            async with open_stream(progress.seq) as chunks:
                if chunks is None:
                    return
                decoder = sse.Decoder()
                async for chunk in chunks:
                    beats = decoder.comments
                    blocks = decoder.feed(chunk)
                    if blocks or decoder.comments > beats:
                        failures, well = 0, clock()
                    new = progress.take(blocks)
                    if new:
                        yield new
                        well = clock()  # the time our own reader took is not the line's
                    if progress.ended:
                        return
            error: errors.HeadraceError = errors.ProviderError(
                f"the stream of {run} ended before the run did", code="stream-incomplete"
            )
        except errors.HeadraceError as trouble:
            if not trouble.retryable:
                raise
            error = trouble
        failures += 1
        pause = patience.pause(failures, error, dice)
        if patience.give_up is not None and clock() + pause - well > patience.give_up:
            raise error
        await sleep(pause)
