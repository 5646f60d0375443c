"""The blocking twins: the same runs, read from a thread without an event loop of its own.

One background thread has one event loop for all of them. A blocking iterator asks that loop for the next batch
and hands out its tokens, so it is live, and it never runs ahead of its reader. It works in any thread, also in
one of a running event loop's thread pool; in the event loop's own thread it would block that loop, as any
blocking call does. No second implementation: every call here is a coroutine of `handle` or `api`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from headrace import events
from headrace.runs import api, handle
from headrace.runs.engine import Engine
from headrace.runs.spec import Result

if TYPE_CHECKING:
    from headrace.runs.growing import Field, Growing

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def call(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it; Ctrl-C cancels it."""
    future = asyncio.run_coroutine_threadsafe(coroutine, background())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def background() -> asyncio.AbstractEventLoop:
    """The loop of the background thread, started at the first call."""
    global _loop
    with _lock:
        if _loop is None or not _loop.is_running():
            loop = asyncio.new_event_loop()
            ready = threading.Event()

            def run() -> None:
                asyncio.set_event_loop(loop)
                loop.call_soon(ready.set)
                loop.run_forever()

            threading.Thread(target=run, name="headrace-loop", daemon=True).start()
            ready.wait()
            _loop = loop
        return _loop


def stream_sync(
    model: str | object, prompt: api.Prompt | None = None, *, engine: Engine | None = None, **options: Any
) -> SyncRun:
    """`stream` without async: iterate over `.text()`, over the run itself for events, or use it in a `with`.

    The run starts at the first use; leaving the `with` block, or closing the iterator, stops it.
    """
    return SyncRun(api.stream(model, prompt, engine=engine, **options))


def ask_sync(
    model: str | object, prompt: api.Prompt, *, engine: Engine | None = None, **options: Any
) -> Result:
    """`ask` without async."""
    return call(api.ask(model, prompt, engine=engine, **options))


class SyncRun:
    """A run for blocking code. See `stream_sync` and `handle.Run`."""

    def __init__(self, stream: api.Stream) -> None:
        self._stream = stream
        self._run: handle.Run | None = None
        self._managed = False
        self._growing: Growing | None = None

    @property
    def id(self) -> str:
        """The run's id; starts the run."""
        return self._started().id

    def _started(self) -> handle.Run:
        if self._run is None:
            self._run = call(self._stream.start())
        return self._run

    def _batches(self) -> Iterator[list[events.Event]]:
        run = self._started()
        source = run.batches()
        done = False
        try:
            while True:
                batch = call(_next(source))
                if batch is None:
                    done = True
                    return
                yield batch
        finally:
            call(source.aclose())  # type: ignore[attr-defined]
            if not done and not self._managed:
                call(run.cancel())

    def __iter__(self) -> Iterator[events.Event]:
        for batch in self._batches():
            yield from batch

    def text(self) -> Iterator[str]:
        """The tokens of the answer, as they come; see `handle.Run.text`."""
        for batch in self._batches():
            yield from handle.tokens(batch)
        self._started()._raise()

    def partials(self) -> Iterator[Any]:
        """The value of `output=` so far, each time there is more of it; see `handle.Run.partials`."""
        growing = self._growing = self._started()._grower()
        for batch in self._batches():
            if growing.add(batch):
                yield growing.value
        self._started()._raise()

    def fields(self) -> Iterator[Field]:
        """What comes for each field, as it comes; see `handle.Run.fields`."""
        from headrace.runs import growing

        for batch in self._batches():
            yield from growing.fields(batch)
        self._started()._raise()

    def is_complete(self, path: str) -> bool:
        """Whether what is at this path cannot change any more; see `handle.Run.is_complete`."""
        if self._growing is not None:
            return self._growing.is_complete(path)
        return call(_complete(self._started(), path))

    def on_field(self, path: str, callback: Callable[[Field], Any]) -> None:
        """Have a function called with what comes for one field, in the background thread; see `handle.Run`."""
        call(_on_field(self._started(), path, callback))

    def result(self) -> Result:
        """Wait for the end; see `handle.Run.result`."""
        return call(self._started().result())

    def cancel(self) -> Result:
        """Stop the run; idempotent."""
        return call(self._started().cancel())

    def respond(self, request: str, value: Any) -> None:
        """Answer a question the run has for a person; see `handle.Run.respond`."""
        call(self._started().respond(request, value))

    def __enter__(self) -> SyncRun:
        self._managed = True
        self._started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call(self._started().cancel())


async def _next(source: Any) -> list[events.Event] | None:
    return await anext(source, None)


async def _complete(run: handle.Run, path: str) -> bool:
    return run.is_complete(path)


async def _on_field(run: handle.Run, path: str, callback: Callable[[Field], Any]) -> None:
    run.on_field(path, callback)
