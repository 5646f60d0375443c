"""What a program sees of the run it is: emit events, open spans, call models.

A program is `async def program(context) -> value`: an answer, and later a template, a procedure, a DSPy call.
It never sees the log, the ledger or a socket. `answer` is the simplest program: one call, or `rounds` of calls
and tools. Next: `rounds`, then `engine`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from headrace import errors, events
from headrace.messages import Message, Usage
from headrace.protocol.retry import RetryPolicy
from headrace.providers import base
from headrace.runs import rounds
from headrace.runs.attempts import Answer, Caller, Fit, Spent, Tap
from headrace.runs.questions import Check, Questions, Record
from headrace.runs.spec import Failover, RunSpec
from headrace.runs.writer import Veil, Writer


class Context:
    """The run, for the program in it.

    Attributes:
        run: the run's id.
        spec: what was asked for.
        calls: the ids of all tool calls so far, `rounds` keeps them unique.
        finish_reason: why the (last) answer ended; becomes `run-end.finish_reason`.
        value: what the run has come to so far; kept in its result when it ends before the program does.
        meta: JSON values that the ledger's ending says beside the engine's own, whatever the outcome. They are
            hashed: nothing random, no times.
    """

    def __init__(
        self,
        run: str,
        spec: RunSpec,
        writer: Writer,
        caller: Caller,
        timeouts: base.Timeouts,
        questions: Questions,
    ) -> None:
        self.run = run
        self.spec = spec
        self.finish_reason: str | None = None
        self.value: Any = None
        self.meta: dict[str, Any] = {}
        self._writer = writer
        self._caller = caller
        self._timeouts = timeouts
        self._questions = questions
        self.calls: set[str] = set()

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
            outcome = span.outcome or "completed"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
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

    def hide(self, veil: Veil) -> None:
        """Have readers see the run through a veil from now on."""
        self._writer.veil = veil

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
        shown: bool = True,
        tap: Tap | None = None,
        fit: Fit | None = None,
        spent: Spent | None = None,
        failover: Failover | None = None,
        **changes: Any,
    ) -> Answer:
        """Ask the run's model (and its fallbacks) once, streaming into the run.

        Calls may go on at the same time, each under a span of its own.

        Args:
            messages: instead of the spec's.
            names: the model and its fallbacks, instead of the spec's.
            shown: False keeps what the model says out of the run's events.
            tap: given each batch of the model's events, and each reset, before it is written; see `Caller.call`.
            fit: makes the request fit a provider and its model.
            spent: told what each attempt used, also one that failed.
            retry, failover: instead of the spec's.
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
            failover=failover or spec.failover,
            retry=retry or spec.retry,
            timeouts=spec.timeouts or self._timeouts,
            span=span,
            shown=shown,
            tap=tap,
            fit=fit,
            spent=spent,
        )

    async def ask_human(
        self,
        kind: str,
        message: str,
        *,
        options: Sequence[Any] | None = None,
        default: Any = None,
        timeout: float | None = None,
        span: str = "",
        request: str | None = None,
        check: Check | None = None,
        record: Record | None = None,
    ) -> Any:
        """Ask a person and wait for the answer (`Engine.respond`).

        Args:
            kind: what sort of question, such as `approve`, `input`, `select`, `review`.
            options: what to choose from: JSON values, or `{"label", "value"}`.
            default: the answer when `timeout` passes.
            timeout: seconds; None waits as long as the run lives.
            request: the question's id; default: one of its own in the run.
            check: given an answer, gives what the program gets, or raises `errors.UsageError`: the one who answered
                is told, and the question stays open.
            record: keeps the answer; awaited before it counts. The default of `timeout` is recorded too.

        Raises:
            errors.RunError: `too-many` questions are open.
        """
        return await self._questions.ask(
            kind,
            message,
            options=options,
            default=default,
            timeout=timeout,
            span=span,
            request=request,
            check=check,
            record=record,
        )

    @property
    def usage(self) -> Usage | None:
        """What the run's calls have used so far."""
        return self._caller.usage

    def new_block(self) -> str:
        """The next block id of the run, for text of the program's own."""
        return self._writer.new_block()

    def provider(self, name: str | None = None) -> tuple[base.Provider, str]:
        """The provider of a model (default: the run's), and its own name for it.

        Raises:
            errors.HeadraceError: there is none.
        """
        return self._caller.resolve(name or self.spec.model)


class Span:
    """An open span: set `value` before it ends, and `outcome` where it is not told by raising."""

    __slots__ = ("cached", "id", "outcome", "value")

    def __init__(self, id: str) -> None:
        self.id = id
        self.outcome: events.Outcome | None = None
        self.value: Any = None
        self.cached = False


async def answer(context: Context) -> None:
    """The program of a plain answer or a chat turn: one call, or rounds of calls where there are tools to run."""
    if not context.spec.messages:
        raise errors.UsageError("a run needs a message", code="bad-request")
    got = await rounds.answer(context)
    context.finish_reason = got.finish_reason
