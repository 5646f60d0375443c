"""What a program says of an agent and of one turn, read and made into requests. Pure.

Next: `turns`, which has the agent talk.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headrace.messages import Message, Text, system, user
from headrace.outputs.shape import Shape
from headrace.procedures import fields

BEGIN = "Begin."
GO_ON = "Continue."


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a turn is tried; each further try is a visible attempt.

    Attributes:
        attempts: in all.
        delay: seconds before the second; each later one waits `backoff` times as long.
    """

    attempts: int = 3
    delay: float = 1.0
    backoff: float = 2.0


class ToolRef(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of an agent: a Lua tool by its id, or any by its name."""

    id: str | None = None
    name: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`Agent {…}` (docs/procedures.md has what each means)."""

    name: str | None = None
    description: str | None = None
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    initial_message: str | None = None
    tools: list[ToolRef] = []
    output: Any = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_turns: int = 10
    tool_choice: str | None = None
    disable_streaming: bool = False
    retry: Retry | None = None
    history: Literal["own", "shared", "none"] = "own"
    context: Any = None
    seed: int | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of an agent, and what it changes for this once."""

    agent: str
    name: str
    message: str | None = None
    system: str | None = None
    initial: str | None = None
    base_context: Any = None
    context: Any = None
    model: str | None = None
    provider: str | None = None
    tools: list[ToolRef] | None = None
    tool_choice: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_turns: int | None = None


class Agent(msgspec.Struct, kw_only=True):
    """An agent of a running program.

    Attributes:
        output: what its answers have to be; None answers text.
        history: what was said so far.
        form: made of `output` by the first turn: the schema that a model is asked for, and what reads its answers.
    """

    name: str
    config: Config
    output: dict[str, fields.Field] | None
    history: list[Message]
    form: tuple[dict[str, Any], Shape] | None = None


def read(name: str, raw: Any, shared: list[Message]) -> Agent:
    """The agent that a program declares.

    Raises:
        fields.Refused: there is no such setting, or its value does not fit.
    """
    raw = {key: [] if value == {} and key == "tools" else value for key, value in (raw or {}).items()}
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise fields.Refused(f"agent {name}: {fields.words(error, Config)}") from error
    if config.max_turns < 1 or (config.retry is not None and config.retry.attempts < 1):
        raise fields.Refused(f"agent {name}: max_turns and retry.attempts must be 1 or more")
    output = fields.parse(config.output, f"agent {name}: output") if config.output else None
    return Agent(
        name=name, config=config, output=output, history=shared if config.history == "shared" else []
    )


def problems(name: str, raw: Any) -> list[str]:
    """What is wrong with each setting of an agent."""
    found = []
    for key, value in raw.items() if isinstance(raw, dict) else ():
        try:
            read(name, {key: value}, [])
        except fields.Refused as refused:
            found.append(refused.message)
    output = raw.get("output") if isinstance(raw, dict) else None
    return found + fields.problems(output, f"agent {name}: output")


def model_of(config: Config, turn: Turn, default: str) -> str:
    """The model's name: `openai:gpt-4o`, `openai/gpt-4o`, or provider and model apart."""
    model, provider = turn.model or config.model, turn.provider or config.provider
    if model is None:
        return f"{provider}:" if provider else default
    if provider is None or model.startswith((f"{provider}:", f"{provider}/")):
        return model
    return f"{provider}:{model}"


def opening(agent: Agent, turn: Turn) -> tuple[list[Message], list[Message]]:
    """What is sent: the system message and the history; and what is new of this turn."""
    parts = [part for part in (turn.system, _words(turn.base_context), _words(turn.context)) if part]
    before = [system("\n\n".join(parts))] if parts else []
    if agent.config.history != "none":
        before += agent.history
    said = turn.message
    if said is None:
        said = GO_ON if agent.history and agent.config.history != "none" else turn.initial or BEGIN
    return before, [user(said)]


def _words(value: Any) -> str:
    if not value:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def plain(messages: list[Message]) -> list[dict[str, Any]]:
    """Messages as a program reads them: role, content, tool calls."""
    out = []
    for message in messages:
        item: dict[str, Any] = {"role": message.role, "content": message.text}
        other = [msgspec.to_builtins(part) for part in message.parts if not isinstance(part, Text)]
        if other:
            item["parts"] = other
        out.append(item)
    return out
