"""A run as Python code sees it: an async iterator of events, of text; a result; a stop.

`Run` reads the same log as every other follower. Leaving its `async with` block early stops the run and
closes the provider's socket. Text that was shown and then taken back (an `output-reset`: a retry, a restart
on another model) is reported in `text()` as a `Retraction`, an empty string that says so. Next: `api`, which
makes these, and `sync`, their blocking twins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from headrace import errors, events
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.spec import Result


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

    async def result(self) -> Result:
        """Wait for the end.

        Raises:
            errors.HeadraceError: the run failed or was interrupted. A cancelled run has a result.
        """
        await self._active.ended.wait()
        self._raise()
        return result_of(self._end())

    async def cancel(self) -> Result:
        """Stop the run; idempotent. Returns what it came to."""
        await self._engine.cancel(self.id)
        return result_of(self._end())

    async def respond(self, request: str, value: Any) -> None:
        """Answer a question the run has for a person, a `human-request`.

        Raises:
            errors.UsageError: `bad-request`: no such question is open.
        """
        await self._engine.respond(self.id, request, value)

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
