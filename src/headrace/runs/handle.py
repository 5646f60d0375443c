"""A run as Python code sees it: an async iterator of events, of text; a result; a stop.

`Run` reads the same log as every other follower. Leaving its `async with` block early stops the run and
closes the provider's socket. Text that was shown and then taken back (an `output-reset`: a retry, a restart
on another model) is reported in `text()` as a `Retraction`, an empty string that says so. A structured answer can
be read while it forms: `partials()`, `fields()`, `on_field()` (`growing` reads it). Next: `api`, which makes
these, and `sync`, their blocking twins.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headrace import errors, events
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.spec import Result

if TYPE_CHECKING:
    from headrace.runs.growing import Field, Growing


class Retraction(str):
    """An empty piece of text that says: what came before, of these blocks, is taken back.

    Attributes:
        blocks: the blocks.
        reason: retry, failover, validation or early-reject.
    """

    __slots__ = ("blocks", "reason")
    blocks: list[str]
    reason: str


class Run:
    """A started run.

    Iterate over it for every event, over `text()` for the tokens; each iteration begins at the first event.
    """

    def __init__(self, engine: Engine, active: ActiveRun) -> None:
        self._engine = engine
        self._active = active
        self._growing: Growing | None = None
        self._watching: list[asyncio.Task[None]] = []

    @property
    def id(self) -> str:
        """The run's id."""
        return self._active.run

    @property
    def status(self) -> str:
        """`queued`, `running` or `ended`."""
        return self._active.status

    async def batches(self, after: int = 0) -> AsyncIterator[list[events.Event]]:
        """Every event after seq `after`, in batches: all that is there each time."""
        follower = self._active.writer.log.follow(after)
        try:
            while (entries := await follower.next()) is not None:
                yield [entry.event for entry in entries]
        finally:
            follower.close()

    async def __aiter__(self) -> AsyncIterator[events.Event]:
        async for batch in self.batches():
            for event in batch:
                yield event

    async def text(self) -> AsyncIterator[str]:
        """The tokens of the answer, as they come.

        Raises:
            errors.HeadraceError: after the last token, when the run failed.
        """
        async for batch in self.batches():
            for token in tokens(batch):
                yield token
        self._raise()

    async def partials(self) -> AsyncIterator[Any]:
        """The value of `output=` so far, each time there is more of it; the last is the checked value itself.

        Before that it has the shape of the type as far as it has come: texts grow, everything else is there when it
        is complete, and nothing was checked as a whole. It is one object that grows in place (copy it to keep a
        moment of it); after an answer was taken back it is a new one.

        Raises:
            errors.UsageError: the run has no `output`.
            errors.HeadraceError: after the last value, when the run failed.
        """
        growing = self._growing = self._grower()
        async for batch in self.batches():
            if growing.add(batch):
                yield growing.value
        self._raise()

    async def fields(self) -> AsyncIterator[Field]:
        """What comes for each field of a structured answer, as it comes: texts in pieces, other values at once.

        Raises:
            errors.HeadraceError: after the last field, when the run failed.
        """
        from headrace.runs import growing

        async for batch in self.batches():
            for field in growing.fields(batch):
                yield field
        self._raise()

    def is_complete(self, path: str) -> bool:
        """Whether what is at this JSON Pointer cannot change any more, in the last value of `partials()`.

        Where `partials()` is not read: as far as the run has come.

        Raises:
            errors.UsageError: the run has no `output`.
        """
        growing = self._growing
        if growing is None:
            growing = self._grower()
            follower = self._active.writer.log.follow(0)
            growing.add([entry.event for entry in follower.ready()])
            follower.close()
        return growing.is_complete(path)

    def on_field(self, path: str, callback: Callable[[Field], Any]) -> None:
        """Have a function (or a coroutine function) called with what comes for one field.

        Args:
            path: its JSON Pointer; `*` stands for any one step: `/rows/*/name`.
            callback: called in the event loop, with each `Field` of that path, and with each that says that what
                came does not stand. What it raises, `result` and the end of the `async with` block raise.
        """
        self._watching.append(asyncio.create_task(self._watch(path, callback), name=f"{self.id} {path}"))

    async def _watch(self, path: str, callback: Callable[[Field], Any]) -> None:
        from headrace.runs import growing

        fits = growing.matcher(path).fullmatch
        async for batch in self.batches():
            for field in growing.fields(batch):
                if field.retracted is not None or fits(field.path):
                    done = callback(field)
                    if inspect.isawaitable(done):
                        await done

    def _grower(self) -> Growing:
        shape = self._active.spec.output
        if shape is None:
            raise errors.UsageError("this run has no output: give output= a type or a JSON Schema")
        from headrace.runs import growing

        return growing.Growing(shape)

    async def result(self) -> Result:
        """Wait for the end.

        Raises:
            errors.HeadraceError: the run failed or was interrupted. A cancelled run has a result.
        """
        await self._active.ended.wait()
        if self._watching:
            await asyncio.gather(*self._watching)
        self._raise()
        return self._result()

    async def cancel(self) -> Result:
        """Stop the run; idempotent. Returns what it came to."""
        await self._engine.cancel(self.id)
        return self._result()

    async def respond(self, request: str, value: Any) -> None:
        """Answer a question the run has for a person, a `human-request`.

        Raises:
            errors.UsageError: `bad-request`: no such question is open.
        """
        await self._engine.respond(self.id, request, value)

    def _result(self) -> Result:
        """The ending, with the structured answer as a value of its type."""
        result, shape = result_of(self._end()), self._active.spec.output
        if shape is not None and result.outcome == "completed" and result.output is not None:
            result.output = shape.check(result.output)
        return result

    def _end(self) -> events.RunEnd:
        assert self._active.end is not None
        return self._active.end

    def _raise(self) -> None:
        end = self._active.end
        if end is not None and end.error is not None:
            info = end.error
            raise errors.error_for(info.code, info.message, retryable=info.retryable, details=info.details)

    async def __aenter__(self) -> Run:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._engine.cancel(self.id)
        for task in self._watching:
            if error is not None:
                task.cancel()
        if self._watching:
            await asyncio.gather(*self._watching, return_exceptions=error is not None)


def tokens(batch: list[events.Event]) -> list[str]:
    """The pieces of text in a batch of events, and a `Retraction` for each reset."""
    out: list[str] = []
    for event in batch:
        kind = type(event)
        if kind is events.TextDelta:
            out.append(event.delta)  # type: ignore[attr-defined]
        elif kind is events.OutputReset:
            taken_back = Retraction()
            taken_back.blocks = event.blocks  # type: ignore[attr-defined]
            taken_back.reason = event.reason  # type: ignore[attr-defined]
            out.append(taken_back)
    return out


def result_of(end: events.RunEnd) -> Result:
    """The ending of a run as a `Result`."""
    value: dict[str, Any] = end.result if isinstance(end.result, dict) else {"value": end.result}
    return Result(
        run=end.run,
        outcome=end.outcome,
        text=value.get("text", ""),
        reasoning=value.get("reasoning", ""),
        output=value.get("output"),
        rejections=value.get("rejections", []),
        tokens_saved=value.get("tokens_saved"),
        tool_calls=value.get("tool_calls", []),
        value=value.get("value"),
        finish_reason=end.finish_reason,
        usage=end.usage,
        cost=end.cost,
        currency=end.currency,
        first_token_ms=end.first_token_ms,
        elapsed_ms=end.elapsed_ms,
        error=end.error,
    )
