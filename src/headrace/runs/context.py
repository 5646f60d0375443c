"""What a program sees of the run it is: emit events, open spans, call models.

A program is `async def program(context) -> value`: an answer, and later a template, a procedure, a DSPy call.
It never sees the log, the ledger or a socket. `answer` is the simplest program: one call. Next: `engine`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from headrace import errors, events
from headrace.messages import Message
from headrace.protocol.retry import RetryPolicy
from headrace.providers import base
from headrace.runs.attempts import Answer, Caller
from headrace.runs.spec import RunSpec
from headrace.runs.writer import Writer


class Context:
    """The run, for the program in it.

    Attributes:
        run: the run's id.
        spec: what was asked for.
        finish_reason: why the (last) answer ended; becomes `run-end.finish_reason`.
        meta: JSON values that the ledger's ending says beside the engine's own, whatever the outcome. They are
            hashed: nothing random, no times.
    """

    def __init__(
        self, run: str, spec: RunSpec, writer: Writer, caller: Caller, timeouts: base.Timeouts
    ) -> None:
        self.run = run
        self.spec = spec
        self.finish_reason: str | None = None
        self.meta: dict[str, Any] = {}
        self._writer = writer
        self._caller = caller
        self._timeouts = timeouts

    def emit(self, *batch: events.Event, span: str = "") -> None:
        """Write events of one's own."""
        self._writer.write_all(batch, span)

    @asynccontextmanager
    async def span(
        self,
        kind: events.SpanKind,
        name: str,
        *,
        parent: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[Span]:
        """A named part of the run; ends with the block, failed when it raises."""
        span = Span(self._writer.new_span())
        began = time.monotonic()
        self._writer.write(
            events.SpanStart(
                span=span.id, parent=parent, kind=kind, name=name, attributes=dict(attributes or {})
            )
        )
        outcome: events.Outcome = "failed"
        try:
            yield span
            outcome = "completed"
        finally:
            elapsed = (time.monotonic() - began) * 1000
            self._writer.write(
                events.SpanEnd(
                    span=span.id,
                    outcome=outcome,
                    value=span.value,
                    cached=span.cached,
                    elapsed_ms=round(elapsed, 3),
                )
            )

    def new_block(self) -> str:
        """The id of a block that the program writes itself."""
        return self._writer.new_block()

    def blocks(self) -> list[str]:
        """The blocks that stand so far, in order: what an `output-reset` can take back."""
        return self._writer.answer.blocks()

    async def call(
        self,
        *,
        messages: Sequence[Message] | None = None,
        names: Sequence[str] | None = None,
        retry: RetryPolicy | None = None,
        span: str = "",
        **changes: Any,
    ) -> Answer:
        """Ask the run's model (and its fallbacks) once, streaming into the run.

        Args:
            messages: instead of the spec's.
            names: models to try in order, instead of the run's model and its fallbacks.
            retry: instead of the spec's.
            changes: fields of `providers.base.ModelRequest` that differ from the spec.

        Raises:
            errors.ProviderError: no model answered.
        """
        spec = self.spec
        request = base.ModelRequest(
            **{
                "model": spec.model,
                "messages": tuple(messages if messages is not None else spec.messages),
                "tools": spec.tools,
                "tool_choice": spec.tool_choice,
                "output_schema": spec.output_schema,
                "temperature": spec.temperature,
                "top_p": spec.top_p,
                "max_tokens": spec.max_tokens,
                "seed": spec.seed,
                "stop": spec.stop,
                "reasoning_effort": spec.reasoning_effort,
                "options": spec.options,
                "stream": spec.stream,
                **changes,
            }
        )
        return await self._caller.call(
            request,
            names=names or (spec.model, *spec.fallbacks),
            failover=spec.failover,
            retry=retry or spec.retry,
            timeouts=spec.timeouts or self._timeouts,
            span=span,
        )


class Whole:
    """What a program returns whose value is the run's `result` as it is, instead of one `value` in it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Span:
    """An open span: set `value` before it ends."""

    __slots__ = ("cached", "id", "value")

    def __init__(self, id: str) -> None:
        self.id = id
        self.value: Any = None
        self.cached = False


async def answer(context: Context) -> None:
    """The program of a plain answer or a chat turn: one call."""
    if not context.spec.messages:
        raise errors.UsageError("a run needs a message", code="bad-request")
    got = await context.call()
    context.finish_reason = got.finish_reason
