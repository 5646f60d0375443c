"""A look at a program: what is wrong with it, all of it, without doing anything.

The program declares as ever. What it wants done is answered with a stand-in (an answer in the shape that was asked
for, the first option, an empty file), so that what it declares later is seen too; an error that comes after such an
answer may be the stand-in's fault, and is not told. To that come names that nothing sets (`names`), tools that nobody
has and prompts that name an undeclared input. No model is asked, no file is read. Next: `api`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headrace import errors
from headrace.outputs.shape import Shape
from headrace.procedures import agents, fields, names
from headrace.procedures.sandbox import Asked, Sandbox

if TYPE_CHECKING:
    from headrace.procedures.host import Declared

MOST_ACTS = 200
"""Stand-ins that one look gives."""
MAX_NAMES = 200_000
"""Characters of a program whose names are looked at."""
EXPLORE_S = 2.0
"""Seconds that a program gets after its first act."""


class Problem(msgspec.Struct, frozen=True, order=True):
    """What is wrong in a line."""

    line: int
    message: str


class Check:
    """What one look has found.

    Args:
        program: the text.
        explore: go on after the program's first act, and look at names and tools that may never be needed.

    Attributes:
        acted: whether the program has been given a stand-in.
        inputs: the names of all declared inputs.
    """

    def __init__(self, program: str, *, explore: bool) -> None:
        self.problems: set[Problem] = set()
        self.acted = False
        self.inputs: set[str] = set()
        self._explore = explore
        self._acts = 0
        self._agents: list[tuple[str, Any, int]] = []  # name, settings, line
        self._ends: float | None = None
        self._unread: str | None = program if explore and len(program) <= MAX_NAMES else None

    async def next(self, sandbox: Sandbox) -> Asked | None:
        """What the program asks; None when the look is over.

        Raises:
            errors.UsageError: see `Sandbox.next`; it has not acted yet.
        """
        if self._ends is None:
            asked = await sandbox.next()
            await self._names(asked)
            return asked
        try:
            async with asyncio.timeout_at(self._ends):
                return await sandbox.next()
        except (TimeoutError, errors.UsageError):
            return None

    async def _names(self, asked: Asked) -> None:
        """Look at the names, once Lua has read the program: what it cannot read has none."""
        message = str(asked.given.get("message", "")) if asked.kind == "failed" else ""
        if self._unread is None or " near " in message:
            return
        for line, name in await asyncio.to_thread(names.unset, self._unread):
            self.problems.add(Problem(line, f"there is no {name} (a variable that was never set)"))
        self._unread = None

    def instead(self, asked: Asked, known: Mapping[str, agents.Agent]) -> Any:
        """A stand-in for what the program wants done; None: enough is known."""
        self._acts += 1
        if self._ends is None:
            self._ends = asyncio.get_running_loop().time() + EXPLORE_S
        self.acted = True
        if not self._explore or self._acts > MOST_ACTS:
            return None
        given = asked.given
        match asked.kind:
            case "turn":
                agent = known.get(str(given.get("agent")))
                shape = agent.output if agent is not None else None
                output = "" if shape is None else fields.sample(shape)
                return {"output": output, "finish_reason": "stop", "messages": []}
            case "open":
                value = given.get("value")
                if given.get("checks"):
                    value = _sample(given.get("schema"))
                return {"token": self._acts, "value": value}
            case "close" if given.get("schema"):
                return {"value": _sample(given["schema"])}
            case "human":
                return {"value": _answer(given)}
            case "file":
                return {"value": {"exists": True, "list": []}.get(str(given.get("op")), "")}
            case "checkpoint":
                return {"token": self._acts}
        return {"value": given.get("value")}

    def found(self, asked: Asked, error: errors.HeadraceError) -> None:
        """A declaration was refused; what else is wrong with it."""
        messages = {error.message}
        given = asked.given
        match asked.kind:
            case "agent":
                messages |= set(agents.problems(given["name"], given.get("config")))
                self._agents.append((given["name"], given.get("config"), asked.line))
            case "input" | "output":
                messages |= set(fields.problems(given.get("schema"), asked.kind))
            case "tool" if isinstance(given.get("config"), dict):
                messages |= set(fields.problems(given["config"].get("input"), f"tool {given['name']}: input"))
            case "procedure":
                for key in ("input", "output"):
                    messages |= set(fields.problems(given.get(key), f"procedure {given['name']}: {key}"))
        self.problems |= {Problem(asked.line, message) for message in messages}

    def agent(self, agent: agents.Agent, line: int) -> None:
        """An agent was declared."""
        self._agents.append((agent.name, msgspec.to_builtins(agent.config), line))
        if agent.output is not None:
            try:
                Shape.of(fields.schema(agent.output, nulls=True), name=agent.name)
            except errors.UsageError as error:
                self.problems.add(Problem(line, f"agent {agent.name}: {error.message}"))

    def at_the_end(self, declared: Declared, tools: set[str]) -> None:
        """What can be told only when all is declared."""
        if not self._explore:
            return
        there = ", ".join(sorted(tools)) or "none"
        for agent, config, line in self._agents:
            for ref in config.get("tools") or ():
                name = ref.get("name")
                if name is not None and name not in tools:
                    message = f"agent {agent}: there is no tool {name!r}; there are {there}"
                    self.problems.add(Problem(line, message))
            for what in ("system_prompt", "initial_message", "context"):
                text = config.get(what)
                for name in re.findall(r"{(?:input|params)\.(\w+)", text) if isinstance(text, str) else ():
                    if name not in self.inputs:
                        message = f"the {what} of {agent} names {{input.{name}}}, which is not declared"
                        self.problems.add(Problem(line, message))

    def error(self, name: str) -> errors.UsageError | None:
        """All of it as one error: `details["problems"]` has each with its line; None where nothing is wrong."""
        if not self.problems:
            return None
        ordered = sorted(self.problems)
        words = "\n".join(f"{name}:{problem.line}: {problem.message}" for problem in ordered)
        return errors.UsageError(
            words,
            code="procedure-error",
            details={
                "file": name,
                "line": ordered[0].line,
                "problems": [msgspec.to_builtins(problem) for problem in ordered],
            },
        )


def _sample(schema: Any) -> Any:
    try:
        return fields.sample(fields.parse(schema, "input"))
    except fields.Refused:  # which its declaration has told
        return {}


def _answer(given: dict[str, Any]) -> Any:
    if given.get("default") is not None:
        return given["default"]
    match given.get("kind"):
        case "approve":
            return True
        case "select":
            options = given.get("options")
            return options[0] if isinstance(options, list) and options else ""
        case "review":
            return {"decision": "approve"}
    return ""
