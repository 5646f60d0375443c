"""The host of one program: answers what it asks for, one question at a time. A plain async loop in an engine's run.

    sandbox.next() ─► `_on_<kind>` ─► sandbox.answer(value) | sandbox.refuse(words)

What a program may catch is answered as an error; what ends the run (it changed, it was stopped, a store failed)
leaves the loop, and the process is killed. While a tool written in Lua runs, its own questions are answered in a loop
inside the turn that called it. A program that is only looked at (`checking`) goes through the same loop. Next: `api`.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from headrace import errors, events
from headrace.messages import Message
from headrace.procedures import agents, checking, fields, files, people, turns
from headrace.procedures.journal import Changed, Journal, Source
from headrace.procedures.sandbox import Asked, Limits, Sandbox
from headrace.runs import context

MAX_SLEEP_S = 24 * 3600.0
_FATAL = (errors.StoreError, Changed)


class Declared(msgspec.Struct, kw_only=True):
    """What a program declared, as far as it came."""

    inputs: dict[str, fields.Field] | None = None
    outputs: dict[str, fields.Field] | None = None
    agents: dict[str, agents.Agent] = msgspec.field(default_factory=dict)
    tools: list[str] = msgspec.field(default_factory=list)
    specifications: list[str] = msgspec.field(default_factory=list)
    mocks: dict[str, Any] = msgspec.field(default_factory=dict)


class Host:
    """Runs one program to its end.

    Args:
        ctx: the run.
        root: the folder that `File` is kept in; None refuses `File`.
        writes: endings of the files that `File` may write; None is any.
        tools: further tools, by name.
        model_for: see `turns.Turns`.
        check: look at the program, and do nothing: see `checking`.
    """

    def __init__(
        self,
        ctx: context.Context | None,
        source: Source,
        journal: Journal,
        limits: Limits,
        *,
        root: Path | None = None,
        writes: frozenset[str] | None = None,
        tools: Mapping[str, turns.Tool] | None = None,
        model_for: Callable[[str], str | None] | None = None,
        check: checking.Check | None = None,
    ) -> None:
        self.declared = Declared()
        self._ctx_or_none = ctx
        self._source = source
        self._journal = journal
        self._root = root
        self._writes = writes
        self._check = check
        self._turns = turns.Turns(ctx, journal, model_for) if ctx is not None else None
        seed = int(hashlib.sha256(journal.id.encode()).hexdigest()[:15], 16)
        order = {"inputs": source.inputs, "seed": seed, "check": check is not None}
        self._sandbox = Sandbox(source.text, source.name, limits, order)
        self._tools: dict[str, turns.Tool] = {}
        self._given = {name: self._kept(tool) for name, tool in (tools or {}).items()}
        self._named = dict(self._given)
        self._shared: list[Message] = []
        self._spans: dict[int, tuple[AsyncExitStack, context.Span]] = {}
        self._open: list[str] = []
        self._points: dict[int, tuple[str, int, dict[str, int]]] = {}
        self._error: errors.HeadraceError | None = None

    @property
    def _ctx(self) -> context.Context:
        assert self._ctx_or_none is not None
        return self._ctx_or_none

    async def run(self) -> Any:
        """To the end; what the program returned.

        Raises:
            errors.HeadraceError: `procedure-error` with file and line; or what ended the run.
        """
        async with self._sandbox, AsyncExitStack() as spans:
            spans.push_async_callback(self._journal.settled)
            spans.push_async_callback(self._close_spans)
            asked = await self._until("done")
        return asked.given.get("value")

    async def look(self, check: checking.Check) -> None:
        """Have the program declare what it declares; `check` gets what is wrong.

        Raises:
            errors.UsageError: `procedure-error`: it failed before it did anything.
        """
        async with self._sandbox:
            while True:
                asked = await check.next(self._sandbox)
                if asked is None or asked.kind == "done":
                    break
                if asked.kind == "failed":
                    if not check.acted:
                        raise self._failed(str(asked.given.get("message", "the program failed")))
                    break
                if asked.kind == "problem":
                    check.problems.add(checking.Problem(asked.line, str(asked.given.get("message"))))
                    await self._sandbox.answer(None)
                    continue
                if asked.kind not in _DECLARES:
                    stub = check.instead(asked, self.declared.agents)
                    if stub is None:
                        break
                    await self._sandbox.answer(stub)
                    continue
                try:
                    value = await getattr(self, f"_on_{asked.kind}")(asked.given, asked.line)
                except errors.HeadraceError as error:
                    check.found(asked, error)
                    value = {} if asked.kind == "input" else None
                await self._sandbox.answer(value)
        check.at_the_end(self.declared, set(self._named))

    async def _until(self, kind: str) -> Asked:
        """Answer questions until the one of that kind comes."""
        while True:
            asked = await self._sandbox.next()
            if asked.kind == kind:
                return asked
            if asked.kind == "failed":
                raise self._failed(str(asked.given.get("message", "the program failed")))
            answer = getattr(self, f"_on_{asked.kind}", None)
            if answer is None:
                raise errors.UsageError(f"the interpreter asked for {asked.kind!r}", code="procedure-error")
            try:
                value = await answer(asked.given, asked.line)
            except _FATAL:
                raise
            except errors.HeadraceError as error:
                self._error = error
                await self._sandbox.refuse(error.message)
            else:
                await self._sandbox.answer(value)

    def _failed(self, message: str) -> errors.HeadraceError:
        """The error of a program that did not catch it: with the code of what the host refused, if that was it."""
        line = _line_of(message, self._source.name)
        details = {"file": self._source.name, "line": line}
        if self._error is not None and message.endswith(self._error.message):
            return errors.error_for(
                self._error.code,
                message,
                retryable=self._error.retryable,
                details={**self._error.details, **details},
            )
        return errors.UsageError(message, code="procedure-error", details=details)

    async def _close_spans(self) -> None:
        for stack, _ in reversed(self._spans.values()):
            await stack.__aexit__(*_STOPPED)

    # what a program declares

    async def _on_agent(self, given: dict[str, Any], line: int) -> None:
        made = agents.read(given["name"], given.get("config"), self._shared)
        self.declared.agents[given["id"]] = made
        if self._check is not None:
            self._check.agent(made, line)

    async def _on_tool(self, given: dict[str, Any], line: int) -> None:
        name, config, id = given["name"], given.get("config") or {}, given["id"]
        for key in config:
            if key not in ("description", "input"):
                raise fields.Refused(f"tool {name} has no setting {key!r}")
        tool = turns.Tool(
            name=name,
            description=str(config.get("description", "")),
            input=fields.parse(config.get("input"), f"tool {name}: input"),
            run=lambda value, line: self._lua(id, value),
        )
        self.declared.tools.append(name)
        self._tools[id] = self._named[name] = tool

    async def _on_require(self, given: dict[str, Any], line: int) -> None:
        name, id = given["name"], given["id"]
        tool = self._given.get(name)
        if tool is None:
            there = ", ".join(f"headrace.tools.{known}" for known in ("done", *self._given))
            raise fields.Refused(f"there is no module headrace.tools.{name}; there are {there}")
        self._tools[id] = msgspec.structs.replace(tool, run=lambda value, line: self._lua(id, value))

    async def _on_external(self, given: dict[str, Any], line: int) -> Any:
        return {"value": await self._given[given["name"]].run(given.get("arguments"), line)}

    async def _on_procedure(self, given: dict[str, Any], line: int) -> None:
        inputs = fields.parse(given.get("input"), f"procedure {given['name']}: input")
        outputs = fields.parse(given.get("output"), f"procedure {given['name']}: output")
        if self._check is not None:
            self._check.inputs |= inputs.keys()
        if given["name"] in ("procedure", "main"):
            self.declared.inputs, self.declared.outputs = inputs, outputs

    async def _on_input(self, given: dict[str, Any], line: int) -> Any:
        self.declared.inputs = fields.parse(given.get("schema"), "input")
        if self._check is not None:
            self._check.inputs |= self.declared.inputs.keys()
            return fields.sample(self.declared.inputs)
        return fields.check(self.declared.inputs, self._source.inputs, "input")

    async def _on_output(self, given: dict[str, Any], line: int) -> None:
        self.declared.outputs = fields.parse(given.get("schema"), "output")

    async def _on_specification(self, given: dict[str, Any], line: int) -> None:
        if not isinstance(given.get("text"), str):
            raise fields.Refused("Specification needs a text: Specification([[…]])")
        self.declared.specifications.append(given["text"])

    async def _on_mocks(self, given: dict[str, Any], line: int) -> None:
        mocks = given.get("mocks")
        if not isinstance(mocks, dict):
            raise fields.Refused("Mocks needs a table of agents and answers")
        self.declared.mocks.update(mocks)

    # what a program does

    async def _on_turn(self, given: dict[str, Any], line: int) -> Any:
        agent = self.declared.agents[given["agent"]]
        for key in ("tools",):
            if given.get(key) == {}:
                given[key] = []
        try:
            turn = msgspec.convert(given, agents.Turn)
        except msgspec.ValidationError as error:
            raise fields.Refused(
                f"the call of {given['name']}: {fields.words(error, agents.Turn)}"
            ) from error
        refs = agent.config.tools if turn.tools is None else turn.tools
        tools = {tool.name: tool for tool in map(self._tool, refs)}
        assert self._turns is not None
        return await self._turns.take(agent, turn, tools, line, self._parent)

    def _tool(self, ref: agents.ToolRef) -> turns.Tool:
        found = self._tools.get(ref.id or "") or self._named.get(ref.name or "")
        if found is None:
            raise fields.Refused(
                f"there is no tool {ref.name!r}; there are {', '.join(self._named) or 'none'}"
            )
        return found

    async def _lua(self, id: str, value: Any) -> Any:
        """Have a tool's function run in the program, and answer what it asks meanwhile."""
        await self._sandbox.run(id, value)
        back = await self._until("returned")
        if "error" in back.given:
            raise turns.ToolFailed(str(back.given["error"]))
        return back.given.get("value")

    def _kept(self, tool: turns.Tool) -> turns.Tool:
        """A tool of the host's: its results are journalled, because it is not run again.

        A person who has to allow the call is asked as by `Human.approve`.
        """

        async def run(value: Any, line: int) -> Any:
            words = None if tool.asks is None else await tool.asks(value)
            if words is not None:
                asked = {"kind": "approve", "message": words, "default": False, "timeout": tool.patience_s}
                if await self._human(asked, line) is not True:
                    raise turns.ToolFailed(f"a person did not allow this call of {tool.name}")

            async def act() -> Any:
                return await tool.run(value, line)

            given = {"tool": tool.name, "arguments": value}
            result, _ = await self._journal.step("tool", given, line, act)
            return result

        return msgspec.structs.replace(tool, run=run)

    @property
    def _parent(self) -> str:
        return self._open[-1] if self._open else ""

    async def _on_open(self, given: dict[str, Any], line: int) -> Any:
        value = given.get("value")
        if given["kind"] == "tool":
            tool = self._tools[given["tool"]]
            if tool.input is not None:
                value = fields.check(tool.input, value, f"arguments of {tool.name}")
        elif given.get("checks"):
            value = fields.check(fields.parse(given.get("schema"), "input"), value, given["where"])
        kind: events.SpanKind = "tool" if given["kind"] == "tool" else "step"
        stack = AsyncExitStack()
        span = await stack.enter_async_context(self._ctx.span(kind, given["name"], parent=self._parent))
        token = len(self._spans) + 1
        while token in self._spans:
            token += 1
        self._spans[token] = (stack, span)
        self._open.append(span.id)
        return {"token": token, "value": value}

    async def _on_close(self, given: dict[str, Any], line: int) -> Any:
        stack, span = self._spans.pop(given["token"])
        self._open.remove(span.id)
        value = given.get("value")
        try:
            if given.get("schema"):
                value = fields.check(fields.parse(given["schema"], "output"), value, given["where"])
        except fields.Refused:
            await stack.__aexit__(*_STOPPED)
            raise
        if "error" in given:
            await stack.__aexit__(*_STOPPED)
            return {}
        span.value = value
        await stack.aclose()
        return {"value": value}

    async def _on_result(self, given: dict[str, Any], line: int) -> Any:
        value = given.get("value")
        if self.declared.outputs:
            value = fields.check(self.declared.outputs, value, "output")
        return {"value": value}

    async def _on_log(self, given: dict[str, Any], line: int) -> None:
        self._ctx.emit(events.Custom(name="log", data={**given, "line": line}), span=self._parent)

    async def _on_sleep(self, given: dict[str, Any], line: int) -> None:
        seconds = given.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SLEEP_S:
            raise fields.Refused("Sleep needs seconds, from 0 to a day")

        async def sleep() -> None:
            await asyncio.sleep(seconds)

        await self._journal.step("sleep", given, line, sleep)

    async def _on_file(self, given: dict[str, Any], line: int) -> Any:
        if self._root is None:
            raise errors.UsageError("File is not to be had here: no folder was given", code="forbidden")
        root = self._root

        async def act() -> Any:
            return await asyncio.to_thread(files.act, root, given, self._writes)

        value, _ = await self._journal.step("file", given, line, act)
        return {"value": value}

    async def _on_checkpoint(self, given: dict[str, Any], line: int) -> Any:
        number, digest = await self._journal.enter("checkpoint", given, line)
        known = self._journal.known(number)
        if known is not None:
            self._journal.number = known.next - 1
            for key, said in known.result["said"].items():
                self._histories()[key].extend(msgspec.convert(said, list[Message]))
            return {"done": True, "value": known.result.get("value")}
        lengths = {key: len(history) for key, history in self._histories().items()}
        self._points[number] = (digest, line, lengths)
        return {"token": number}

    async def _on_checkpoint_end(self, given: dict[str, Any], line: int) -> Any:
        digest, begun, lengths = self._points.pop(given["token"])
        value = given.get("value")
        said = {key: history[lengths.get(key, 0) :] for key, history in self._histories().items()}
        result = {"value": value, "said": {key: msgspec.to_builtins(new) for key, new in said.items() if new}}
        await self._journal.keep(given["token"], "checkpoint", digest, begun, result)
        return {"value": value}

    def _histories(self) -> dict[str, list[Message]]:
        """What agents remember: a checkpoint that is not run again must not take it from them."""
        own = {
            id: agent.history
            for id, agent in self.declared.agents.items()
            if agent.config.history != "shared"
        }
        return {**own, "shared": self._shared}

    async def _on_human(self, given: dict[str, Any], line: int) -> Any:
        kind, message = given.get("kind"), str(given.get("message", ""))
        if kind == "notify":

            async def notify() -> None:
                request = f"h{self._journal.number}"
                self._ctx.emit(events.HumanRequest(request=request, kind="notify", message=message))

            await self._journal.step("notify", given, line, notify)
            return {}
        if kind == "select" and not given.get("options"):
            raise fields.Refused("Human.select needs options: {message = …, options = {…}}")
        timeout = given.get("timeout")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise fields.Refused("timeout must be seconds, more than 0")

        return {"value": await self._human(given, line)}

    async def _human(self, given: dict[str, Any], line: int) -> Any:
        async def ask() -> Any:
            return await self._ask(given, given.get("timeout"))

        value, _ = await self._journal.step("human", given, line, ask)
        return value

    async def _ask(self, given: dict[str, Any], timeout: float | None) -> Any:
        journal = self._journal
        number = journal.number
        question = journal.questions.get(number)
        if question is None:
            question = people.Question(
                request=f"h{number}",
                kind=given["kind"],
                message=str(given.get("message", "")),
                options=given.get("options") or None,
                default=given.get("default"),
                deadline=None if timeout is None else time.time() + timeout,
            )
            await journal.asked(question)
        if number in journal.answers:
            value = journal.answers[number]
            self._ctx.emit(question.event, events.HumanResponse(request=question.request, value=value))
        else:
            left = None if question.deadline is None else max(0.0, question.deadline - time.time())
            value = await self._ctx.ask_human(
                question.kind,
                question.message,
                options=question.options,
                default=question.default,
                timeout=left,
                request=question.request,
                check=functools.partial(people.fitting, question),
                record=functools.partial(journal.answered, number),
            )
        if value is None:  # which nobody can answer
            raise errors.RunError(
                f"nobody answered {question.message[:80]!r} in time, and there is no default", code="deadline"
            )
        return value


_DECLARES = frozenset(("agent", "tool", "require", "procedure", "input", "output", "specification", "mocks"))


class _Stopped(Exception):
    """Closes a span as failed; nobody sees it."""


_STOPPED = (_Stopped, _Stopped(), None)


def _line_of(message: str, name: str) -> int | None:
    if message.startswith(f"{name}:"):
        line = message[len(name) + 1 :].partition(":")[0]
        if line.isdigit():
            return int(line)
    return None
