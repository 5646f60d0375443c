"""Events to a function, sync or async. Next: `push`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from headrace import errors
from headrace.core.events import HeadraceEvent
from headrace.sinks.base import BaseSink

_TIMEOUT_S = 60.0  # for a coroutine on the program's loop


class CallbackSink(BaseSink):
    """Calls a function with every event.

    A plain function runs on the sink's thread. A coroutine function runs on the event loop that was running where
    the sink was made, where its websockets and sessions live; without one, on the sink's own.

    Args:
        callback: takes an event; may be async.
        options: of `BaseSink`; the interval is 20 ms here.
    """

    def __init__(self, callback: Callable[[HeadraceEvent], Any], **options: Any) -> None:
        super().__init__(**{"flush_interval": 0.02, **options})
        if not callable(callback):
            raise errors.UsageError(f"the callback of a CallbackSink must be callable, not {callback!r}")
        self._callback = callback
        self._home: asyncio.AbstractEventLoop | None = None
        if inspect.iscoroutinefunction(callback):
            try:
                self._home = asyncio.get_running_loop()
            except RuntimeError:
                self._home = None

    async def handle_event(self, event: HeadraceEvent) -> None:
        """Call it."""
        if self._home is not None:
            if self._home.is_closed():
                raise RuntimeError("the event loop that the callback belongs to is closed")
            called = asyncio.run_coroutine_threadsafe(self._callback(event), self._home)
            async with asyncio.timeout(_TIMEOUT_S):
                await asyncio.wrap_future(called)
            return
        found = self._callback(event)
        if inspect.isawaitable(found):
            await found
