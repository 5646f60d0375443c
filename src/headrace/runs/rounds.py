"""Rounds: ask the model, run the tools it calls, tell it what they said, ask again, until it answers in text.

    model streams ──► tool-call-end ──► the call starts at once, beside the stream and beside other calls
                  ──► end of answer ──► wait for the calls ──► results as messages ──► next round
                  ──► output-reset  ──► calls of those blocks are cancelled (a retry, a failover)

A call is a span of kind `tool` with `tool-result` events in it. What goes wrong in a call (arguments that do not
fit, an exception, its time, a person's no) is told to the model in words, and the run goes on. A tool without a
function is the caller's: a round that asks for one runs what it can and ends with `tool-calls`. The last of
`max_rounds` starts nothing: a model that still calls tools there fails the run with `tool-failed`.
After a failover the next round goes on with the model that answered, and does not try the failed one again.
When the run is stopped, or fails, the calls that still go on are cancelled, and waited for, here.
Next: `engine`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import structlog

from headrace import errors, events, messages
from headrace.protocol.assembler import Assembler, parse_arguments
from headrace.runs import plain
from headrace.runs.attempts import Answer
from headrace.runs.tools import Tool, ToolContext

if TYPE_CHECKING:
    from headrace.runs.context import Context, Span

log = structlog.get_logger("headrace.runs")

PARALLEL = 8
"""Calls of one answer that run at the same time; the others wait."""
MAX_CALLS = 128
"""Calls of one answer that are run; the others are told to the model as errors."""
Ask: TypeAlias = "Callable[..., Awaitable[Answer]]"
_CLOSE_S = 2.0  # seconds a cancelled tool has for its own cleaning up


class Conversation(msgspec.Struct, kw_only=True):
    """What rounds came to.

    Attributes:
        answer: the model's last.
        messages: all of them, with those the rounds have added; the last is the answer's own.
        rounds: how many calls of the model it took.
    """

    answer: Answer
    messages: tuple[messages.Message, ...]
    rounds: int


async def answer(context: Context) -> Answer:
    """The answer of a run: its spec's messages and tools, one call where there is nothing to run."""
    spec = context.spec
    ask: Ask = context.call
    if spec.output is not None:
        from headrace.runs import structured  # what it needs takes long to load, and most runs do without

        ask = structured.Structured(context).call
    if not any(isinstance(tool, Tool) for tool in spec.tools):
        return await ask(messages=spec.messages, tools=spec.tools, tool_choice=spec.tool_choice)
    return (await converse(context, ask=ask)).answer


async def converse(
    context: Context,
    *,
    thread: Sequence[messages.Message] | None = None,
    tools: Sequence[messages.ToolSpec] | None = None,
    tool_choice: str | None = None,
    max_rounds: int | None = None,
    names: Sequence[str] | None = None,
    span: str = "",
    ask: Ask | None = None,
    **changes: Any,
) -> Conversation:
    """Ask the model in rounds until it calls no tool that is ours to run.

    Args:
        thread: the messages, instead of the spec's; so for `tools`, `tool_choice` and `max_rounds`.
        names: the model and its fallbacks, instead of the spec's.
        span: the span it all belongs to; spans of calls are inside it.
        ask: makes the calls of the model, instead of `Context.call`.
        changes: as for `Context.call`.

    Raises:
        errors.RunError: `tool-failed`: the model still called tools in the last round.
        errors.ProviderError: no model answered.
    """
    spec = context.spec
    thread = tuple(spec.messages if thread is None else thread)
    tools = spec.tools if tools is None else tuple(tools)
    tool_choice = spec.tool_choice if tool_choice is None else tool_choice
    limit = spec.max_rounds if max_rounds is None else max_rounds
    names = names or (spec.model, *spec.fallbacks)
    number = 0
    while True:
        number += 1
        calls = _Calls(context, tools, span, running=number < limit)
        try:
            got = await (ask or context.call)(
                messages=thread,
                tools=tools,
                tool_choice=tool_choice,
                names=names,
                span=span,
                tap=calls.tap,
                **changes,
            )
            said = await calls.results(got)
        finally:
            await calls.close()
        thread = (*thread, _said(got))
        names = from_name(names, got.name)
        asked = [part for part in got.parts if isinstance(part, messages.ToolCall)]
        if number >= limit and calls.ours(asked):
            raise errors.RunError(
                f"the model still calls tools after {number} rounds ({', '.join(call.name for call in asked)}); "
                "max_rounds sets how many there may be",
                code="tool-failed",
                retryable=False,
                details={"rounds": number},
            )
        thread = (*thread, *said)
        if len(said) < len(asked) or not asked:
            return Conversation(answer=got, messages=thread, rounds=number)
        # A choice that forces a call has been followed; held to it, the model would never get to its answer.
        tool_choice = tool_choice if tool_choice in ("auto", "none") else None


def from_name(names: Sequence[str], name: str) -> Sequence[str]:
    """The names from this one on: those before it have failed in this run. All, where it is none of them."""
    return names[names.index(name) :] if name in names else names


def calls_of(answer: Assembler) -> list[dict[str, Any]]:
    """The calls of a run as its result has them: with `value` or `error` where the engine ran them."""
    made: list[dict[str, Any]] = []
    for call in answer.tool_calls:
        made.append({"id": call.id, "name": call.name, "arguments": call.arguments})
        said = answer.results.get(call.id)
        if said is not None:
            made[-1] |= {"value": said.value} if said.error is None else {"error": said.error}
    return made


class _Calls:
    """The calls of one answer."""

    def __init__(
        self, context: Context, tools: Sequence[messages.ToolSpec], span: str, *, running: bool
    ) -> None:
        self._context = context
        self._tools = {tool.name: tool for tool in tools}
        self._span = span
        self._running = running
        self._open: dict[str, events.ToolCallStart] = {}  # by the id the provider gave
        self._blocks: dict[str, str] = {}  # block to our id of the call in it
        self._tasks: dict[str, asyncio.Task[messages.ToolResult]] = {}
        self._stopped: set[asyncio.Task[messages.ToolResult]] = set()
        self._places = asyncio.Semaphore(PARALLEL)

    # while the model streams

    def tap(self, batch: list[events.Event]) -> None:
        """Look at what the model says before it is written: name calls, start them, stop those taken back."""
        for event in batch:
            if isinstance(event, events.ToolCallStart):
                self._name(event)
            elif isinstance(event, events.ToolCallDelta):
                if event.call in self._open:
                    event.call = self._open[event.call].call
            elif isinstance(event, events.ToolCallEnd):
                start = self._open.pop(event.call, None)
                if start is not None:
                    event.call = start.call
                    tool = self._tools.get(start.name)
                    if isinstance(tool, Tool) and tool.early:
                        self._start(start.call, start.name, event.arguments)
            elif isinstance(event, events.OutputReset):
                self._open.clear()
                for block in event.blocks:
                    self._stop(self._blocks.pop(block, ""))

    def _name(self, event: events.ToolCallStart) -> None:
        """Ids of calls are unique in a run: providers begin anew in each answer, and some have none at all."""
        known, used = event.call, self._context.calls
        event.call, count = known or "call", 1
        while event.call in used:
            count += 1
            event.call = f"{known or 'call'}-{count}"
        used.add(event.call)
        tool = self._tools.get(event.name)
        event.by = "run" if tool is None or isinstance(tool, Tool) else "caller"
        self._open[known] = event
        self._blocks[event.block or f"call:{event.call}"] = event.call

    def _start(self, call: str, name: str, arguments: Any) -> None:
        if self._running and call not in self._tasks and len(self._tasks) < MAX_CALLS:
            self._tasks[call] = asyncio.create_task(self._run(call, name, arguments), name=f"tool {name}")

    def _stop(self, call: str) -> None:
        task = self._tasks.pop(call, None)
        if task is not None:
            task.cancel()
            self._stopped.add(task)

    # when the answer is complete

    def ours(self, asked: Sequence[messages.ToolCall]) -> list[messages.ToolCall]:
        """The calls that we answer: we have the function, or nobody has and the model must be told."""
        callers = {name for name, tool in self._tools.items() if not isinstance(tool, Tool)}
        return [call for call in asked if call.name not in callers]

    async def results(self, got: Answer) -> tuple[messages.Message, ...]:
        """Start what has not been, wait for all, and say it in messages, in the order of the calls."""
        asked = [part for part in got.parts if isinstance(part, messages.ToolCall)]
        stand = {call.id for call in asked}
        for call in [call for call in self._tasks if call not in stand]:
            self._stop(call)
        if not self._running:
            return ()
        ours = self.ours(asked)
        for part in ours:
            given = parse_arguments(part.text) if part.arguments is None else part.arguments
            self._start(part.id, part.name, given)
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        said: list[messages.Message] = []
        for part in ours:
            if part.id in self._tasks:
                answered = self._tasks[part.id].result()
            else:
                reason = f"not run: more than {MAX_CALLS} calls in one answer"
                self._context.emit(events.ToolResult(call=part.id, error=reason), span=self._span)
                answered = messages.ToolResult(part.id, reason, part.name, reason)
            said.append(messages.Message("tool", (answered,)))
        return tuple(said)

    async def close(self) -> None:
        """Cancel what still goes on and wait until it has ended."""
        left = {task for task in (*self._tasks.values(), *self._stopped) if not task.done()}
        for task in left:
            task.cancel()
        if left:
            _, deaf = await asyncio.wait(left, timeout=_CLOSE_S)
            for task in deaf:
                log.error(
                    "a tool does not end when it is cancelled", run=self._context.run, task=task.get_name()
                )

    # one call

    async def _run(self, call: str, name: str, arguments: Any) -> messages.ToolResult:
        context = self._context
        async with context.span("tool", name, parent=self._span, attributes={"call": call}) as span:
            began = time.monotonic()
            try:
                tool = self._tools.get(name)
                if not isinstance(tool, Tool):
                    ours = ", ".join(sorted(self._tools)) or "none"
                    raise errors.RunError(f"there is no tool {name!r}; there are: {ours}", code="tool-failed")
                checked = tool.check(arguments)
                if await tool.needs_approval(checked):
                    await self._approved(tool, checked, span)
                async with self._places:
                    began = time.monotonic()
                    value = await self._value(tool, checked, call, span)
                text = plain.text(value)
                if len(text) > tool.max_chars:
                    raise errors.RunError(
                        f"the result has {len(text):,} characters; {tool.max_chars:,} is the limit: ask for less",
                        code="tool-failed",
                    )
            except Exception as error:
                reason = self._words(name, error)
                span.outcome = "failed"
                self._result(call, span, began, error=reason)
                return messages.ToolResult(call, reason, name, reason)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                reason = "the tool cancelled itself"
                span.outcome = "failed"
                self._result(call, span, began, error=reason)
                return messages.ToolResult(call, reason, name, reason)
            self._result(call, span, began, value=value)
            return messages.ToolResult(call, text, name)

    async def _approved(self, tool: Tool, arguments: dict[str, Any], span: Span) -> None:
        """Ask a person; returns when the call is allowed.

        Raises:
            errors.RunError: it is not.
        """
        shown = ", ".join(f"{key}={_short(value)}" for key, value in arguments.items())
        said: Any = await self._context.ask_human(
            "approve",
            f"Allow {tool.name}({shown})?",
            options=[True, False],
            default=False,
            timeout=tool.approval_timeout,
            span=span.id,
            check=_decision,
        )
        allowed, reason = said, ""
        if isinstance(said, dict):
            allowed, reason = said.get("approved"), str(said.get("reason") or "")
        if allowed is not True:
            raise errors.RunError(
                "a person did not allow this call" + (f": {reason}" if reason else ""), code="tool-failed"
            )

    async def _value(self, tool: Tool, arguments: dict[str, Any], call: str, span: Span) -> Any:
        inside = ToolContext(self._context.run, call, span.id, self._context.emit)
        began = time.monotonic()
        value: Any = None
        several = tool.generates
        limit = asyncio.timeout(tool.timeout)
        try:
            async with limit:
                results = tool.results(arguments, inside)
                try:
                    async for made in results:
                        value = plain.plain(made)
                        if several:
                            self._result(call, span, began, value=value, preliminary=True)
                finally:
                    await results.aclose()
        except TimeoutError as error:
            if limit.expired():
                raise errors.RunError(f"no result within {tool.timeout:g} s", code="tool-failed") from error
            raise
        finally:
            inside.close()
        return value

    def _result(self, call: str, span: Span, began: float, **fields: Any) -> None:
        elapsed = round((time.monotonic() - began) * 1000, 3)
        self._context.emit(events.ToolResult(call=call, elapsed_ms=elapsed, **fields), span=span.id)

    def _words(self, name: str, error: Exception) -> str:
        """An error as the model reads it; a fault of the tool's own is in the log with its traceback."""
        if isinstance(error, errors.HeadraceError):
            return str(plain.plain(error.message))
        log.warning("a tool raised", run=self._context.run, tool=name, exc_info=error)
        return str(plain.plain(f"{type(error).__name__}: {error}"))


def _said(got: Answer) -> messages.Message:
    """The model's answer as a message of the next round: all of it but texts that are empty."""
    return messages.Message(
        "assistant",
        tuple(part for part in got.parts if not (isinstance(part, messages.Text) and not part.text)),
    )


def _short(value: Any) -> str:
    text = plain.text(value) if not isinstance(value, str) else repr(plain.plain(value))
    return text if len(text) <= 200 else text[:199] + "…"


def _decision(value: Any) -> Any:
    """What a person may say to a call: true, false, or `{"approved": …, "reason": …}`."""
    if isinstance(value, bool) or (isinstance(value, dict) and isinstance(value.get("approved"), bool)):
        return value
    raise errors.UsageError(
        'value must be true or false, or {"approved": …, "reason": …}',
        code="bad-request",
        details={"where": "value"},
    )
