"""An instrumented module as a program of the run engine: `headrace.stream(module, question=…)`.

The run is then one of the engine's: numbered by its writer, kept in the run log, read by any number of followers,
stopped from anywhere. A module with `aforward` runs on the engine's loop; one without in a thread, and what it tells
is handed to the loop in batches. Stopping closes the provider's socket at once, in a thread too (`stopping`).
Nothing comes after.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace import errors, events
from headrace.integrations.dspy import ambient, decorator
from headrace.integrations.dspy.call import Call, jsonable
from headrace.runs.context import Context

_PATIENCE_S = 5.0  # how long a stopped run waits for a thread that does something else than ask a provider
_AGAIN_S = 0.02  # until a thread that was not seen waiting is looked at again


def of(module: Any, inputs: dict[str, Any]) -> Callable[[Context], Awaitable[Any]]:
    """The program of one call of a module."""

    async def program(context: Context) -> Any:
        pump = _Pump(context)
        call = decorator.start(module, (), inputs, run=context.run, outlet=pump)
        # The call is found by what runs below it, and ends with the module's own `with`.
        token = ambient.current_call.set(call)
        try:
            if hasattr(module, "aforward"):
                value = await module.acall(**inputs)
            else:
                value = await _in_thread(call, module, inputs)
        except asyncio.CancelledError:
            if pump.failure is not None:
                raise pump.failure from None
            raise
        finally:
            ambient.current_call.reset(token)
            pump.close()
        context.finish_reason = call.finish_reason
        return jsonable(value)

    return program


async def _in_thread(call: Call, module: Any, inputs: dict[str, Any]) -> Any:
    here = contextvars.copy_context()
    # One of its own: in the loop's pool a few slow runs would keep all others waiting.
    pool = concurrent.futures.ThreadPoolExecutor(1, "headrace-dspy")
    work = asyncio.get_running_loop().run_in_executor(pool, lambda: here.run(module, **inputs))
    pool.shutdown(wait=False)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        call.stopped = True
        until = time.monotonic() + _PATIENCE_S
        while not work.done() and time.monotonic() < until:
            call.threads.stop()
            await asyncio.wait({work}, timeout=_AGAIN_S)
        if work.done() and not work.cancelled():
            work.exception()  # seen: it is `Stopped`, or what came before it
        raise


class _Pump:
    """Takes events on any thread and writes them on the loop's, a batch a turn.

    Attributes:
        failure: why the run could not take them (it has written too much); the program is cancelled then.
    """

    def __init__(self, context: Context) -> None:
        self.failure: errors.HeadraceError | None = None
        self._context: Context | None = context
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._waiting: list[events.Event] = []
        self._asked = False

    def __call__(self, batch: Sequence[events.Event]) -> None:
        self._waiting.extend(batch)
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self._asked = False
        batch, self._waiting = self._waiting, []
        if not batch or self._context is None:
            return
        try:
            self._context.emit(*batch)
        except errors.HeadraceError as error:
            if self.failure is None and self._task is not None:
                self.failure = error
                self._task.cancel()

    def close(self) -> None:
        """Write what waits, and nothing after it."""
        self._task = None
        self.flush()
        self._context = None
