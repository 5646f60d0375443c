"""What to run and how: the values a run is started with, and the record it leaves. Values only.

Next: `writer`, then `engine`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from headrace import events
from headrace.messages import Message, ToolResult, ToolSpec, Usage
from headrace.protocol.retry import RetryPolicy
from headrace.providers.base import Timeouts

if TYPE_CHECKING:
    from headrace.outputs.shape import Shape
    from headrace.runs.context import Context

OnDisconnect: TypeAlias = Literal["grace", "continue", "cancel"]
Failover: TypeAlias = Literal["restart", "continue"]
Status: TypeAlias = Literal["queued", "running", "ended"]


class RunSpec(msgspec.Struct, kw_only=True):
    """One piece of work.

    Attributes:
        model: a model name as the registry resolves it.
        messages: the conversation so far; the last user message is what the ledger records, or, where they end with
            what tools said, that.
        fallbacks: models to go on with when `model` fails for good.
        failover: what happens to text that was already shown when a fallback takes over: `restart` takes it
            back with an `output-reset`, `continue` has the next model go on from it.
        on_disconnect: what a run does when nobody reads it any more: `grace` (cancelled after `grace_s`),
            `continue`, or `cancel` (at once).
        grace_s: seconds of `grace`; None is the engine's own.
        deadline_s: seconds the whole run may take, queueing included; None is no limit.
        owner: whose run it is; only the same owner sees it.
        fingerprint: stands for what was asked for under `idempotency_key`; kept in the `user` fact's meta, so that
            the same key with another request can be told.
        tools: those that are `tools.Tool` are run by the engine, the others by the caller: a run whose model calls
            one of those ends with `tool-calls`.
        max_rounds: calls of the model in one run where there are tools to run; past it the run fails with
            `tool-failed`.
        output: what the answer must look like; it is checked, and asked for again where it does not fit. Its text,
            and the value in `run-end`, are JSON.
        output_retries: how often it is asked for again at most.
        output_schema: a JSON Schema passed on to the provider, without any check here.
        record: False keeps the run out of the ledger.
    """

    model: str
    messages: tuple[Message, ...] = ()
    kind: events.RunKind = "answer"
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    max_rounds: int = 8
    output: Shape | None = None
    output_retries: int = 2
    output_schema: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: str | None = None
    options: dict[str, Any] = {}
    stream: bool = True
    fallbacks: tuple[str, ...] = ()
    failover: Failover = "restart"
    retry: RetryPolicy = RetryPolicy()
    timeouts: Timeouts | None = None
    on_disconnect: OnDisconnect = "grace"
    grace_s: float | None = None
    deadline_s: float | None = None
    metadata: dict[str, Any] = {}
    conversation: str | None = None
    owner: str = ""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    record: bool = True

    @property
    def prompt(self) -> str:
        """The text of the last user message: what the ledger's `user` fact holds.

        Empty where the user said nothing new: the messages end with `tool_results`.
        """
        if self.tool_results:
            return ""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return self.messages[-1].text if self.messages else ""

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """What the caller's tools said, where the messages end with that, in order."""
        found: list[ToolResult] = []
        for message in reversed(self.messages):
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            if not results or len(results) != len(message.parts):
                break
            found[:0] = results
        return tuple(found)


Program: TypeAlias = "Callable[[Context], Awaitable[Any]]"


class Returned:
    """What a program may come to that is the run's `result` itself, not one `value` in it.

    Args:
        value: the result.
        beside: whether its keys stand beside those of the answer (`text`, …), instead of alone.
    """

    __slots__ = ("beside", "value")

    def __init__(self, value: Any, *, beside: bool = False) -> None:
        self.value = value
        self.beside = beside


class RunInfo(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A run as JSON (contract §2): what is not known yet is absent."""

    run: str
    kind: str
    model: str
    status: Status
    created: datetime
    conversation: str | None = None
    metadata: dict[str, Any] = {}
    outcome: events.Outcome | None = None
    finish_reason: str | None = None
    result: Any = None
    usage: Usage | None = None
    cost: float | None = None
    currency: str | None = None
    first_token_ms: float | None = None
    elapsed_ms: float | None = None
    error: events.ErrorInfo | None = None


class Result(msgspec.Struct, kw_only=True):
    """What a run came to, for Python callers.

    Attributes:
        text: the whole answer; also of a run that did not complete, as far as it came.
        outcome: completed, failed, cancelled or interrupted.
        output: the checked value of a structured answer, of the type that was asked for.
        rejections: answers that did not fit and were taken back, each with `reason`, `text`, `problems` and
            `output_tokens`.
        tokens_saved: estimated: what the rejected answers would have cost more, had they not been stopped early.
        usage, cost: None where unknown.
        first_token_ms: from the start of the run to its first token, milliseconds.
        elapsed_ms: from the start of the run to its end, milliseconds.
    """

    run: str
    outcome: events.Outcome
    text: str = ""
    reasoning: str = ""
    output: Any = None
    rejections: list[Any] = []
    tokens_saved: int | None = None
    tool_calls: list[Any] = []
    value: Any = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    currency: str | None = None
    first_token_ms: float | None = None
    elapsed_ms: float | None = None
    error: events.ErrorInfo | None = None
