"""`Specification([[Gherkin]])` and `Mocks {…}`: a procedure's own tests. Mocked agents stream as real ones do.

    Mocks { teller = "Once upon a time", helper = { { tool_calls = { { name = "add" } } }, "3" } }

Each scenario is a run of its own, with mocks in the place of models; an agent without a mock fails it. Steps:

    Given the input topic is "rivers"            (a JSON value)
    When the procedure runs
    Then the procedure completes                 | fails | fails with "words"
    Then the result story is "…"                 | contains "…" | exists      (`the result is …` for all of it)
    Then the agent teller was called             | was not called | was called 2 times | streamed
    Then the tool add was called                 | was not called | was called 2 times
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headrace import errors, events
from headrace.procedures import api
from headrace.procedures.fields import Refused
from headrace.providers import base, scripted
from headrace.runlog.memory import MemoryRunLog
from headrace.runs.engine import Engine

MOCK = "mock:"


class Step(msgspec.Struct, frozen=True):
    """One line of a scenario; `word` is Given, When or Then (And and But are what came before)."""

    word: str
    text: str


class Scenario(msgspec.Struct):
    """One scenario."""

    name: str
    steps: list[Step] = []


class Outcome(msgspec.Struct, frozen=True):
    """What a scenario came to; `problem` is empty when it passed."""

    name: str
    problem: str = ""


def parse(text: str) -> list[Scenario]:
    """Read Gherkin.

    Raises:
        Refused: a line is none of it.
    """
    scenarios: list[Scenario] = []
    background: list[Step] = []
    target, word = background, "Given"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(("#", "@", "Feature:")):
            continue
        if line.startswith(("Scenario:", "Example:")):
            scenarios.append(Scenario(line.partition(":")[2].strip(), list(background)))
            target, word = scenarios[-1].steps, "Given"
            continue
        if line.startswith("Background:"):
            continue
        found = re.match(r"(Given|When|Then|And|But|\*)\s+(.+)", line)
        if found is None:
            if target is background and not background and not scenarios:
                continue  # the description under `Feature:`
            raise Refused(f"Specification, line {number}: {line[:60]!r} is no step")
        word = found[1] if found[1] in ("Given", "When", "Then") else word
        target.append(Step(word, found[2].rstrip(".")))
    return scenarios


async def test(procedure: api.Procedure) -> list[Outcome]:
    """Run all scenarios of a procedure.

    Raises:
        errors.UsageError: `procedure-error`: the program, a specification or a mock is wrong.
    """
    declared = await procedure.check(explore=False)
    found = [scenario for text in declared.specifications for scenario in parse(text)]
    return [await _play(procedure, scenario, declared.mocks) for scenario in found]


async def _play(procedure: api.Procedure, scenario: Scenario, mocks: dict[str, Any]) -> Outcome:
    inputs: dict[str, Any] = {}
    seen: _Seen | None = None
    for step in scenario.steps:
        given = re.fullmatch(r'the input "?(\w+)"? is (.+)', step.text)
        if given is not None:
            inputs[given[1]] = _value(given[2])
        elif step.text in ("the procedure runs", "the procedure is run", "I run the procedure"):
            seen = await _run(procedure, inputs, mocks)
        elif step.word != "Then":
            return Outcome(scenario.name, f"there is no step {step.text!r}")
        else:
            seen = seen or await _run(procedure, inputs, mocks)
            problem = _check(step.text, seen)
            if problem:
                return Outcome(scenario.name, f"{step.word} {step.text}: {problem}")
    return Outcome(scenario.name, "" if seen is not None else "it never runs the procedure")


class _Seen:
    """A run as its steps look at it."""

    def __init__(self, found: list[events.Event]) -> None:
        end = found[-1]
        assert isinstance(end, events.RunEnd)
        self.end = end
        spans = [event for event in found if isinstance(event, events.SpanStart) and event.kind == "agent"]
        self.agents = [span.name for span in spans]
        names = {span.span: span.name for span in spans}
        self.chunks = [names.get(event.span, "") for event in found if isinstance(event, events.TextDelta)]
        self.tools = [event.name for event in found if isinstance(event, events.ToolCallStart)] + [
            event.name for event in found if isinstance(event, events.SpanStart) and event.kind == "tool"
        ]


async def _run(procedure: api.Procedure, inputs: dict[str, Any], mocks: dict[str, Any]) -> _Seen:
    engine = Engine(_Mocked(mocks), MemoryRunLog())
    try:
        stream = procedure.stream(
            inputs, engine=engine, model=MOCK, record=False, model_for=lambda name: MOCK + name
        )
        async with stream as run:
            return _Seen([event async for event in run])
    finally:
        await engine.close()


class _Mocked:
    """Models that say what the mocks say; each agent's answers in turn, the last again and again."""

    def __init__(self, mocks: dict[str, Any]) -> None:
        self._scripts = {name: _scripts(name, answers) for name, answers in mocks.items()}
        self._providers: dict[str, scripted.Scripted] = {}

    def resolve(self, name: str) -> tuple[base.Provider, str]:
        agent = name.removeprefix(MOCK)
        if agent not in self._scripts:
            raise errors.UsageError(
                f"the agent {agent!r} has no mock; there are {', '.join(self._scripts) or 'none'}",
                code="procedure-error",
            )
        if agent not in self._providers:
            scripts, asked = self._scripts[agent], [0]

            def script(request: base.ModelRequest) -> Any:
                asked[0] += 1
                return scripts[min(asked[0], len(scripts)) - 1]

            self._providers[agent] = scripted.Scripted(script, name="mock")
        return self._providers[agent], name

    async def close(self) -> None:
        """Nothing is open."""


def _scripts(name: str, answers: Any) -> list[list[Any]]:
    if not isinstance(answers, list):
        answers = [answers]
    return [_script(name, answer) for answer in answers]


def _script(name: str, answer: Any) -> list[Any]:
    if isinstance(answer, str):
        return [scripted.Say(answer)]
    if not isinstance(answer, dict) or not answer.keys() <= {"message", "text", "output", "tool_calls"}:
        raise Refused(f"Mocks.{name}: an answer is a text, or a table of message, output, tool_calls")
    steps: list[Any] = []
    text = answer.get("message", answer.get("text"))
    if "output" in answer:
        text = msgspec.json.encode(answer["output"]).decode()
    if text:
        steps.append(scripted.Say(str(text)))
    for call in answer.get("tool_calls") or []:
        arguments = call.get("arguments") or call.get("args") or {}
        steps += [scripted.Call(call.get("name") or call.get("tool"), arguments)]
    return steps


def _check(text: str, seen: _Seen) -> str:
    """What is wrong; empty where nothing is."""
    end = seen.end
    failure = end.error.message if end.error is not None else ""
    if re.fullmatch(r"the procedure (completes|should complete( successfully)?)", text):
        return "" if end.outcome == "completed" else f"it failed: {failure}"
    if found := re.fullmatch(r"the procedure (?:fails|should fail)(?: with (.+))?", text):
        if end.outcome == "completed":
            return "it completed"
        words = _value(found[1]) if found[1] else ""
        return "" if str(words) in failure else f"it failed with: {failure}"
    if found := re.fullmatch(
        r'the (?:result|output)(?: "?([\w.]+)"?)? (is|contains|exists|should be)(?: (.+))?', text
    ):
        return _check_result(found[1], found[2], found[3], seen)
    if found := re.fullmatch(r'the (agent|tool) "?(\w+)"? (.+)', text):
        count = (seen.agents if found[1] == "agent" else seen.tools).count(found[2])
        return _check_count(found[2], found[3], count, seen)
    return "there is no such step"


def _check_result(path: str | None, verb: str, wanted: str | None, seen: _Seen) -> str:
    if seen.end.error is not None:
        return f"the procedure failed: {seen.end.error.message}"
    value = seen.end.result
    for part in (path or "").split(".") if path else ():
        value = value.get(part) if isinstance(value, dict) else None
    if verb == "exists":
        return "" if value is not None else "it does not"
    expected = _value(wanted or "null")
    fits = value == expected if verb in ("is", "should be") else str(expected) in str(value)
    return "" if fits else f"it is {msgspec.json.encode(value).decode()[:200]}"


def _check_count(name: str, verb: str, count: int, seen: _Seen) -> str:
    if verb == "streamed":
        return "" if seen.chunks.count(name) > 1 else f"it sent {seen.chunks.count(name)} pieces"
    if times := re.fullmatch(r"was called (\d+) times?", verb):
        return "" if count == int(times[1]) else f"it was called {count} times"
    if verb in ("was called", "was not called"):
        return "" if (count > 0) == (verb == "was called") else f"it was called {count} times"
    return "there is no such step"


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
