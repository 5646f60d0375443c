"""What the compatible routes need beside `streams`: held answers, and a run waited for.

Formats that can say "failed" only by an HTTP status are *held*: their head is not sent before there is
something to show, and a run that fails before that is answered with its error. Both ways a reader that leaves
is noticed at once, and what happens to the run then is its own policy. Next: `openai_chat`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace import dialects, errors, events
from headrace.dialects.base import ending_error
from headrace.runlog.base import Follower
from headrace.runs.engine import ActiveRun
from headrace.server import streams
from headrace.server.service import Service

Refuse = Callable[[errors.HeadraceError], Response]


class EncodedStream(Response):
    """A run in a dialect.

    Args:
        refuse: makes the answer of a run that failed before there was anything to show. None: the head is
            sent at once, and failures in the dialect's own words.
        headers: beside those of the dialect and `x-headrace-run`.
    """

    def __init__(
        self,
        service: Service,
        active: ActiveRun,
        wish: streams.Wish,
        *,
        refuse: Refuse | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(headers=headers)
        self._service = service
        self._active = active
        self._wish = wish
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, to its end or until the reader leaves."""
        own = [pair for pair in self.raw_headers if pair[0] not in (b"content-length", b"content-type")]
        if self._refuse is None:
            await streams.stream(
                self._service, self._active, scope, receive, send, wish=self._wish, headers=own
            )
            return
        # This reader stays until the real one has come and gone: in between, the run is never alone.
        async with _reading(self._active, receive) as (follower, left):
            failed = await self._hold(follower, left)
            if failed is None and not left.is_set():
                await streams.stream(
                    self._service, self._active, scope, receive, send, wish=self._wish, headers=own
                )
        if failed is not None:
            await self._refuse(failed)(scope, receive, send)

    async def _hold(self, follower: Follower, left: asyncio.Event) -> errors.HeadraceError | None:
        """Wait until there is something to show; the error where there will be nothing."""
        encoder = self._wish.dialect.encoder(info_of(self._active))
        while True:
            for entry in follower.ready():
                if isinstance(entry.event, events.RunEnd):
                    return failure(entry.event)
                if encoder.encode(entry.event):
                    return None
            if left.is_set() or follower.finished:
                return None
            await follower.wait()


async def wait_for(active: ActiveRun, receive: Receive) -> events.RunEnd | None:
    """The ending of a run; None when the reader left before it."""
    async with _reading(active, receive) as (follower, left):
        while True:
            batch = follower.ready()
            if batch and isinstance(batch[-1].event, events.RunEnd):
                return batch[-1].event
            if left.is_set():
                return None
            await follower.wait()


@asynccontextmanager
async def _reading(active: ActiveRun, receive: Receive) -> AsyncIterator[tuple[Follower, asyncio.Event]]:
    """A reader of the run, and whether its connection has closed."""
    follower = active.writer.log.follow(0, merge=True)
    left = asyncio.Event()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()
        follower.nudge()

    watcher = asyncio.create_task(watch())
    try:
        yield follower, left
    finally:
        watcher.cancel()
        follower.close()


def failure(end: events.RunEnd) -> errors.HeadraceError | None:
    """The typed error of a run that did not complete, None of one that did."""
    info = ending_error(end)
    if info is None:
        return None
    return errors.error_for(info.code, info.message, retryable=info.retryable, details=info.details)


def info_of(active: ActiveRun) -> dialects.Info:
    """What a dialect is told of a run."""
    return dialects.Info(
        run=active.run, model=active.spec.model, created=active.created, conversation=active.conversation
    )
