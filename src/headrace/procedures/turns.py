"""An agent's turn: asks the model, runs the tools it calls, asks again; checks the answer; each a journalled step.

    span `agent` ─► model step ─► (tool calls ─► results ─► model step)… ─► check ─► checkpoint

The text streams as it comes and is checked after its last token. Where the agent has an `output`, the fields stream
beside it, and an answer that can no longer fit is stopped at once (`runs.structured.Reading`). An answer that fails
is taken back (`output-reset`, the reason in words) and asked for again with what was wrong; so is one that broke
off, when the agent has `retry`. The verdict is part of the step: a replay does not judge anew. A replayed step shows
its text again, at once, in a span that says `cached`. Next: `host`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.outputs import reader
from headrace.outputs.problems import Problem
from headrace.outputs.shape import Shape
from headrace.procedures import agents, fields, history
from headrace.procedures.journal import Changed, Journal
from headrace.protocol.retry import RetryPolicy
from headrace.runs import attempts, context, plain, structured
from headrace.runs import tools as runtools

ONCE = RetryPolicy(attempts=1)


class Tool(msgspec.Struct, kw_only=True):
    """A tool that models and programs can call.

    Attributes:
        input: what it takes; None where `parameters` is a schema from elsewhere.
        run: makes the call; what it raises is the tool's error.
        asks: what a person has to allow before a call, in words; None where nobody is asked.
        patience_s: how long that waits; then the call is not allowed.
    """

    name: str
    description: str = ""
    input: dict[str, fields.Field] | None = None
    parameters: dict[str, Any] = {}
    run: Callable[[Any, int], Awaitable[Any]]
    asks: Callable[[Any], Awaitable[str | None]] | None = None
    patience_s: float | None = None

    @property
    def spec(self) -> messages.ToolSpec:
        """What the model is told of it."""
        parameters = fields.schema(self.input) if self.input is not None else self.parameters
        return messages.ToolSpec(self.name, self.description, parameters)


def adopted(ctx: context.Context, tool: runtools.Tool) -> Tool:
    """A function, or an MCP server's tool, as a tool of a program.

    What its results say is journalled by the host, so that it is not called again; so is a person's answer to what it
    asks before a call.
    """

    async def asks(value: Any) -> str | None:
        try:
            if not await tool.needs_approval(tool.check(value)):
                return None
        except errors.HeadraceError as error:
            raise ToolFailed(error.message) from error
        return f"Allow {tool.name}({msgspec.json.encode(value).decode()[:200]})?"

    async def run(value: Any, line: int) -> Any:
        inside = runtools.ToolContext(ctx.run, "", "", ctx.emit)
        made: Any = None
        try:
            given = tool.check(value)
            async with asyncio.timeout(tool.timeout), aclosing(tool.results(given, inside)) as results:
                async for one in results:
                    made = plain.plain(one)
        except errors.HeadraceError as error:
            raise ToolFailed(error.message) from error
        except TimeoutError as error:
            raise ToolFailed(f"{tool.name} took more than {tool.timeout:g} s") from error
        except Exception as error:  # a fault in somebody's function is told to the model, not to the server
            raise ToolFailed(f"{type(error).__name__}: {error}") from error
        finally:
            inside.close()
        if len(plain.text(made)) > tool.max_chars:
            raise ToolFailed(f"the result has more than {tool.max_chars:,} characters: ask for less")
        return made

    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        run=run,
        asks=asks,
        patience_s=tool.approval_timeout,
    )


class Turns:
    """Has agents talk, for one run.

    Args:
        model_for: a model's name for an agent, where it is not the agent's own (mocks).
    """

    def __init__(
        self,
        ctx: context.Context,
        journal: Journal,
        model_for: Callable[[str], str | None] | None = None,
    ) -> None:
        self._ctx = ctx
        self._journal = journal
        self._model_for = model_for
        self._count = 0

    async def take(
        self, agent: agents.Agent, turn: agents.Turn, tools: Mapping[str, Tool], line: int, parent: str
    ) -> dict[str, Any]:
        """One turn; the result as the program gets it.

        Raises:
            errors.HeadraceError: the model failed, or its answer did not fit in as many tries as it has.
        """
        config = agent.config
        model = self._model_for(turn.name) if self._model_for else None
        model = model or agents.model_of(config, turn, self._ctx.spec.model)
        streaming = not config.disable_streaming
        attributes: dict[str, Any] = {"model": model}
        if not streaming:
            attributes["streaming"] = False
        if agent.output is not None:
            attributes["structured"] = True
        told = history.Turn(
            agent=turn.name, model=model, line=line, run=self._ctx.run, streaming=streaming, items=[]
        )
        number = self._journal.number + 1
        try:
            async with self._ctx.span("agent", turn.name, parent=parent, attributes=attributes) as span:
                before, new = agents.opening(agent, turn)
                talk = _Talk(self, agent, turn, model, tools, line, span, told)
                result = await talk.through(before, new)
                told.output = span.value = result["output"]
                span.cached = talk.cached
        except (errors.StoreError, Changed):
            raise
        except errors.HeadraceError as error:
            told.outcome, told.error = "failed", {"code": error.code, "message": error.message}
            self._journal.told(number, told, self._ctx.run)
            raise
        self._journal.told(number, told, "")
        if config.history != "none":
            agent.history.extend(new)
        self._count += 1
        self._ctx.emit(events.Checkpoint(index=self._count, name=turn.name))
        return result


class _Talk:
    """One turn on its way."""

    def __init__(
        self,
        turns: Turns,
        agent: agents.Agent,
        turn: agents.Turn,
        model: str,
        tools: Mapping[str, Tool],
        line: int,
        span: context.Span,
        told: history.Turn,
    ) -> None:
        self._ctx, self._journal = turns._ctx, turns._journal
        self._agent, self._turn, self._config = agent, turn, agent.config
        self._model, self._tools, self._line, self._span = model, tools, line, span
        self.cached = True
        self._usage: messages.Usage | None = None
        self._told = told
        self._doubted: set[tuple[str, str]] = set()
        self._asked: dict[str, Any] | None = None
        self._shape: Shape | None = None
        if agent.output is not None:
            if agent.form is None:
                asked = fields.schema(agent.output, all_required=True)
                agent.form = asked, Shape.of(fields.schema(agent.output, nulls=True), name=turn.name)
            self._asked, self._shape = agent.form
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    async def through(self, before: list[messages.Message], new: list[messages.Message]) -> dict[str, Any]:
        """To the end of the turn; `new` grows by what is said."""
        rounds = self._turn.max_turns or self._config.max_turns
        tries = max(2, self._config.retry.attempts if self._config.retry else 1)
        for count in range(1, rounds + tries):
            blocks, since = self._ctx.blocks(), len(self._told.items)
            answer = await self._model_step([*before, *new], blocks, last=tries == 1)
            if answer.parts:
                new.append(messages.Message("assistant", answer.parts))
            if answer.calls:
                done = await self._run_tools(answer.calls, new)
                if self._shape is None and (done or count >= rounds):
                    return self._result(answer, answer.text, new)
                continue
            if self._shape is None:
                return self._result(answer, answer.text, new)
            if answer.refused is None:
                self._ctx.emit(events.Output(value=answer.value), span=self._span.id)
                return self._result(answer, answer.value, new)
            tries -= 1
            self._refuse(blocks, since, answer.refused)
            problem = answer.refused.partition(": ")[2]
            new.append(
                messages.user(
                    f"That answer does not fit: {problem}. Answer again, with the JSON object only."
                )
            )
        raise errors.RunError(
            f"{self._turn.name} did not come to an answer in {rounds} rounds; raise max_turns",
            code="output-rejected",
        )

    def _take_back(self, before: list[str], reason: str) -> None:
        standing = [block for block in self._ctx.blocks() if block not in before]
        if standing:
            self._ctx.emit(events.OutputReset(blocks=standing, reason=reason), span=self._span.id)

    def _refuse(self, before: list[str], since: int, reason: str) -> None:
        self._take_back(before, reason)
        self._told.refused(since, reason)

    async def _model_step(self, thread: list[messages.Message], blocks: list[str], *, last: bool) -> _Answer:
        config, turn = self._config, self._turn
        request: dict[str, Any] = {
            "tools": tuple(tool.spec for tool in self._tools.values()),
            "tool_choice": turn.tool_choice or config.tool_choice,
            "temperature": config.temperature if turn.temperature is None else turn.temperature,
            "top_p": config.top_p if turn.top_p is None else turn.top_p,
            "max_tokens": turn.max_tokens or config.max_tokens,
            "seed": config.seed,
            "stream": not config.disable_streaming,
        }
        inputs = {"model": self._model, "messages": thread, **request, "output_schema": self._asked}
        since = len(self._told.items)

        async def ask() -> Any:
            answer = await self._asked_once(thread, request, blocks)
            cut = answer.refused is not None and answer.finish_reason == "length"
            if answer.refused is not None and (last or cut):
                # Inside the step, which is then not kept: who goes on with the run asks anew.
                self._told.said(answer.parts)
                self._refuse(blocks, since, answer.refused)
                problem = answer.refused.partition(": ")[2]
                more = "; it was cut off at the limit of tokens, raise max_tokens" if cut else ""
                raise errors.RunError(
                    f"the answer of {self._turn.name} was refused: {problem}{more}", code="output-rejected"
                )
            return msgspec.to_builtins(answer)

        raw, known = await self._journal.step("model", msgspec.to_builtins(inputs), self._line, ask)
        answer = msgspec.convert(raw, _Answer)
        if known:
            self._show(answer)
        else:
            self.cached = False
        self._ctx.finish_reason = answer.finish_reason
        self._told.said(answer.parts)
        self._told.provider = answer.provider
        if answer.usage is not None:
            self._usage = answer.usage if self._usage is None else self._usage + answer.usage
        self._told.usage = self._usage
        self._told.elapsed_ms = None if self.cached else self._ms()
        return answer

    async def _asked_once(
        self, thread: list[messages.Message], request: dict[str, Any], blocks: list[str]
    ) -> _Answer:
        """One answer of the model, and where the agent has an `output`, whether it fits."""
        if self._shape is None:
            return _Answer.of(await self._tried(thread, request, blocks, self._tap))
        reading = structured.Reading(self._shape, self._tap, self._doubted, self._asked)
        before = self._ctx.usage
        try:
            got = await self._tried(thread, request, blocks, reading.tap, reading.fit)
        except structured.Refused:
            self._doubted.add(reading.by)
            text = reading.text
            return _Answer(
                parts=(messages.Text(text),) if text.strip() else (),
                usage=_spent(before, self._ctx.usage),
                provider=reading.by[0],
                model=reading.by[1],
                refused=f"early-reject: {_words(reading.problems[0])}",
            )
        answer = _Answer.of(got)
        if answer.calls:
            return answer
        self._ctx.emit(*reading.rest(), span=self._span.id)
        value, problem = self._checked(reading)
        if problem is not None:
            self._doubted.add(reading.by)
            return msgspec.structs.replace(answer, refused=f"validation: {problem}")
        return msgspec.structs.replace(answer, value=value)

    def _checked(self, reading: structured.Reading) -> tuple[Any, str | None]:
        """The value of a whole answer, or what is wrong with it."""
        fits = reading.fits()
        if not reading.ended:
            return (reading.plain, None) if fits else (None, _words(reading.problems[0]))
        assert self._agent.output is not None
        try:
            return fields.check(self._agent.output, reading.plain, "output"), None
        except fields.Refused as refused:
            return None, refused.message

    def _ms(self) -> float:
        return round((self._clock() - self._began) * 1000, 3)

    def _tap(self, batch: list[events.Event]) -> None:
        """Note when the first token came."""
        if self._told.first_token_ms is None and any(isinstance(event, events.DELTAS) for event in batch):
            self._told.first_token_ms = self._ms()

    async def _tried(
        self,
        thread: list[messages.Message],
        request: dict[str, Any],
        blocks: list[str],
        tap: attempts.Tap,
        fit: attempts.Fit | None = None,
    ) -> attempts.Answer:
        """Ask, and again where the agent has `retry`."""
        policy = self._config.retry
        tried, delay = 1, policy.delay if policy else 0.0
        while True:
            try:
                return await self._ctx.call(
                    messages=thread,
                    names=(self._model,),
                    span=self._span.id,
                    retry=ONCE if policy else None,
                    tap=tap,
                    fit=fit,
                    **request,
                )
            except errors.ProviderError as error:
                if policy is None or tried >= policy.attempts or not error.retryable:
                    raise
                self._take_back(blocks, "retry")
                self._told.items.append({"kind": "retry", "reason": error.message})
                self._ctx.emit(
                    events.Status(message=f"{error.message}; attempt {tried + 1} of {policy.attempts}"),
                    span=self._span.id,
                )
            await asyncio.sleep(delay)
            tried, delay = tried + 1, delay * (policy.backoff if policy else 1)

    def _show(self, answer: _Answer) -> None:
        """A known answer, for the reader of this run."""
        batch: list[events.Event] = []
        growing = None if self._shape is None or answer.refused else reader.Reader(self._shape)
        for part in answer.parts:
            block = self._ctx.new_block()
            if isinstance(part, messages.Text):
                read = [] if growing is None else growing.feed(part.text)
                batch += [
                    events.TextStart(block=block),
                    events.TextDelta(block=block, delta=part.text),
                    *read,
                    events.TextEnd(block=block),
                ]
            elif isinstance(part, messages.ToolCall):
                batch += [
                    events.ToolCallStart(call=part.id, name=part.name, block=block),
                    events.ToolCallDelta(call=part.id, delta=messages.arguments_text(part), block=block),
                    events.ToolCallEnd(call=part.id, arguments=part.arguments, block=block),
                ]
        self._ctx.emit(*batch, span=self._span.id)

    async def _run_tools(self, calls: list[messages.ToolCall], new: list[messages.Message]) -> bool:
        """Run what the model called; whether the agent is done."""
        done = False
        for call in calls:
            began = self._clock()
            value, problem = await self._run_tool(call)
            elapsed = round((self._clock() - began) * 1000, 3)
            self._told.called(call.id, value, problem, elapsed)
            result = events.ToolResult(call=call.id, value=value, error=problem, elapsed_ms=elapsed)
            self._ctx.emit(result, span=self._span.id)
            content = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            part = messages.ToolResult(call.id, problem or content, name=call.name, error=problem)
            new.append(messages.Message("tool", (part,)))
            done = done or (call.name == "done" and problem is None)
        return done

    async def _run_tool(self, call: messages.ToolCall) -> tuple[Any, str | None]:
        tool = self._tools.get(call.name)
        if tool is None:
            return None, f"there is no tool {call.name!r}; there are {', '.join(self._tools) or 'none'}"
        try:
            given = call.arguments
            if tool.input is not None:
                given = fields.check(tool.input, given, "arguments")
            return await tool.run(given, self._line), None
        except fields.Refused as refused:
            return None, refused.message
        except ToolFailed as failed:
            return None, failed.message

    def _result(self, answer: _Answer, output: Any, new: list[messages.Message]) -> dict[str, Any]:
        usage = msgspec.to_builtins(self._usage) if self._usage is not None else None
        return {
            "output": output,
            "usage": usage,
            "cost": self._usage.cost if self._usage is not None else None,
            "finish_reason": answer.finish_reason,
            "provider": answer.provider,
            "model": answer.model,
            "messages": agents.plain(new),
        }


class ToolFailed(errors.RunError):
    """A tool's own error: the model is told, and may do better."""

    default_code = "tool-failed"


class _Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a model step came to, as it is kept.

    Attributes:
        value: the checked value, where the agent has an `output`.
        refused: why the answer does not stand: `early-reject: …` or `validation: …`.
    """

    parts: tuple[messages.Part, ...]
    finish_reason: str | None = None
    usage: messages.Usage | None = None
    provider: str = ""
    model: str = ""
    value: Any = None
    refused: str | None = None

    @classmethod
    def of(cls, got: attempts.Answer) -> _Answer:
        return cls(
            parts=got.parts,
            finish_reason=got.finish_reason,
            usage=got.usage,
            provider=got.provider,
            model=got.model,
        )

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, messages.Text))

    @property
    def calls(self) -> list[messages.ToolCall]:
        return [part for part in self.parts if isinstance(part, messages.ToolCall)]


def _words(problem: Problem) -> str:
    """What is wrong, with the place as a program names it: `output.people[1].age must be an integer`."""
    place = "output"
    for part in problem.path.split("/")[1:]:
        place += f"[{int(part) + 1}]" if part.isdigit() else f".{part}"
    message = problem.message.replace("must be null or ", "must be ")  # which is how a field is left out
    joint = " " if message.startswith(("must ", "is ", "has ")) else ": "
    return f"{place}{joint}{message}"


def _spent(before: messages.Usage | None, after: messages.Usage | None) -> messages.Usage | None:
    """What a call cost that was stopped on its way."""
    if after is None or before is None:
        return after

    def less(a: int | None, b: int | None) -> int | None:
        return None if a is None else a - (b or 0)

    cost = None if after.cost is None else after.cost - (before.cost or 0)
    return msgspec.structs.replace(
        after,
        input_tokens=less(after.input_tokens, before.input_tokens),
        output_tokens=less(after.output_tokens, before.output_tokens),
        cached_tokens=less(after.cached_tokens, before.cached_tokens),
        reasoning_tokens=less(after.reasoning_tokens, before.reasoning_tokens),
        cost=cost,
    )
