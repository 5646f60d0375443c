"""Durability: what was done is not done again; what changed is refused; waiting outlives the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import errors, events
from headrace.ledger import memory, registry
from headrace.procedures import api
from headrace.procedures.api import Extras
from headrace.procedures.journal import Journal, Source
from headrace.providers import base
from headrace.providers.scripted import Call, Fail, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs import questions
from headrace.runs.engine import Engine

TWO = """
a = Agent {}
local first = a("one").text
local point = Step.checkpoint("sum", function() return { n = 41 + 1 } end)
local yes = Human.approve { message = "Go on?" }
local second = a("two").text
return { first, point.n, yes, second }
"""


class Names:
    def __init__(self, provider: Scripted) -> None:
        self.provider = provider

    def resolve(self, name: str) -> tuple[base.Provider, str]:
        return self.provider, name

    def default_model(self) -> str:
        return "m"

    async def close(self) -> None:
        await self.provider.close()


def engine_with(ledger: Any, script: Any) -> tuple[Engine, Scripted]:
    provider = Scripted(script)
    return Engine(Names(provider), MemoryRunLog(), ledger), provider


async def read(active: Any, until: type[events.Event] | None = None) -> list[Any]:
    """The run's events, to its end or to the first of a type."""
    follower = active.writer.log.follow(0)
    found: list[Any] = []
    while (batch := await follower.next()) is not None:
        found += [entry.event for entry in batch]
        if until is not None and any(isinstance(event, until) for event in found):
            break
    follower.close()
    return found


async def test_waiting_for_a_person_outlives_the_process(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'l.db'}"
    ledger = registry.open_ledger(store)
    engine, provider = engine_with(ledger, [["first answer"]])
    active = await api.start(engine, Source(text=TWO, name="two.tac"), Extras())
    found = await read(active, events.HumanRequest)
    request = found[-1]
    assert (request.kind, request.message) == ("approve", "Go on?")
    assert len(provider.calls) == 1
    await engine.drain(0)  # as a server that goes down: the run is interrupted
    await engine.close()

    ledger = registry.open_ledger(store)
    engine, provider = engine_with(ledger, [["second answer"]])
    with pytest.raises(questions.NoSuchRequest):
        await api.respond(engine, active.run, "h99", True, Extras())
    with pytest.raises(errors.UsageError, match="true or false"):
        await api.respond(engine, active.run, request.request, "yes", Extras())
    again = await api.respond(engine, active.run, request.request, True, Extras())
    assert again != active.run
    live = engine.active(again)
    assert live is not None
    found = await read(live)
    assert found[-1].result == ["first answer", 42, True, "second answer"]
    assert len(provider.calls) == 1  # the first answer was not asked for again
    assert [m.text for m in provider.requests[0].messages] == ["one", "first answer", "two"]
    cached = [event.cached for event in found if isinstance(event, events.SpanEnd)]
    assert cached == [True, False]
    shown = "".join(event.delta for event in found if isinstance(event, events.TextDelta))
    assert shown == "first answersecond answer"
    assert live.conversation == active.conversation
    with pytest.raises(errors.UsageError, match="has completed"):
        await api.resume(engine, again, Extras())
    report = await ledger.verify()
    assert report.ok
    await engine.close()


async def test_a_changed_program_is_refused_with_its_line() -> None:
    ledger = memory.MemoryLedger()
    engine, _ = engine_with(ledger, "ok")
    text = 'a = Agent {}\na("one")\na("two")\nerror("stop")'
    active = await api.start(engine, Source(text=text), Extras())
    assert (await read(active))[-1].outcome == "failed"
    changed = 'a = Agent {}\na("one")\n\na("three")\n'
    again = await api.resume(engine, active.run, Extras(), text=changed)
    end = (await read(again))[-1]
    assert end.error.code == "procedure-error"
    assert (
        "the program changed at line 4: step 2 is a step 'model', and was one with other inputs"
        in end.error.message
    )
    changed = 'a = Agent {}\na("one")\nSleep(0)\n'
    again = await api.resume(engine, active.run, Extras(), text=changed)
    end = (await read(again))[-1]
    assert "at line 3: step 2 is a step 'sleep', and was a step 'model' (line 3)" in end.error.message
    await engine.close()


async def test_a_run_that_a_failure_ended_goes_on_from_there() -> None:
    ledger = memory.MemoryLedger()
    down = Fail(errors.ProviderError("no", code="auth-failed"))
    engine, provider = engine_with(ledger, [["one"], [down], ["two"]])
    text = 'a = Agent {}\nlocal x = a("1").text\nreturn x .. a("2").text'
    active = await api.start(engine, Source(text=text), Extras())
    assert (await read(active))[-1].error.code == "auth-failed"
    again = await api.resume(engine, active.run, Extras())
    assert (await read(again))[-1].result == "onetwo"
    assert len(provider.calls) == 3
    await engine.close()


async def test_a_failure_that_was_caught_is_replayed_as_one() -> None:
    ledger = memory.MemoryLedger()
    down = Fail(errors.ProviderError("no", code="auth-failed"))
    engine, provider = engine_with(ledger, [[down], ["two"]])
    text = 'a = Agent {}\nlocal ok = pcall(a, "1")\na("2")\nerror("later")'
    active = await api.start(engine, Source(text=text), Extras())
    await read(active)
    again = await api.resume(
        engine,
        active.run,
        Extras(),
        text='a = Agent {}\nlocal ok = pcall(a, "1")\nreturn { ok, a("2").text }',
    )
    assert (await read(again))[-1].result == [False, "two"]
    assert len(provider.calls) == 2
    await engine.close()


async def test_tools_that_keep_state_are_run_again_and_their_questions_answered_from_the_journal() -> None:
    ledger = memory.MemoryLedger()
    engine, provider = engine_with(ledger, [[Call("t", {})], ["done"], ["end"]])
    text = """
    state.n = 0
    local t = Tool { function() state.n = state.n + 1 return Human.input("name?") end }
    a = Agent { tools = { t } }
    a("go")
    if state.n ~= 1 then error("state " .. state.n) end
    return { t.last_result(), state.n, a("last").text }
    """
    active = await api.start(engine, Source(text=text), Extras())
    request = (await read(active, events.HumanRequest))[-1]
    await engine.respond(active.run, request.request, "Ada")
    with pytest.raises(questions.NoSuchRequest):
        await engine.respond(active.run, request.request, "Ada")
    assert (await read(active))[-1].result == ["Ada", 1, "end"]
    assert len(provider.calls) == 3
    await engine.close()


async def test_people_in_every_form() -> None:
    engine, _ = engine_with(None, "ok")
    text = """
    Human.notify("look")
    local a = Human.approve { message = "ok?", timeout = 0.05, default = false }
    local s = Human.select { message = "which", options = { "x", "y" } }
    local r = Human.review { message = "this" }
    local i = Human.input("name")
    local ok, e = pcall(Human.input, { message = "quick", timeout = 0.05 })
    return { a, s, r.decision, i, ok, e }
    """
    active = await api.start(engine, Source(text=text, name="p.tac"), Extras())
    answers = {"select": "y", "review": "reject", "input": "Ada"}
    follower = active.writer.log.follow(0)
    found: list[Any] = []
    while (batch := await follower.next()) is not None:
        for entry in batch:
            found.append(entry.event)
            if isinstance(entry.event, events.HumanRequest) and entry.event.kind in answers:
                if entry.event.kind == "select":
                    with pytest.raises(errors.UsageError, match="one of"):
                        await engine.respond(active.run, entry.event.request, "z")
                if entry.event.message != "quick":
                    answer = answers[entry.event.kind]
                    await engine.respond(active.run, entry.event.request, answer)
    result = found[-1].result
    assert result[:5] == [False, "y", "reject", "Ada", False]
    assert "nobody answered 'quick' in time" in result[5]
    assert (
        len([e for e in found if isinstance(e, events.HumanResponse)]) == 5
    )  # the one without a default is closed too
    await engine.close()


async def test_a_checkpoint_hides_its_steps_from_a_replay() -> None:
    ledger = memory.MemoryLedger()
    engine, provider = engine_with(ledger, "ok")
    text = 'a = Agent {}\nlocal v = Step.checkpoint(function() a("1") a("2") return 7 end)\na("3")\nerror("stop")'
    active = await api.start(engine, Source(text=text), Extras())
    await read(active)
    again = await api.resume(engine, active.run, Extras(), text=text.replace('error("stop")', "return v"))
    found = await read(again)
    assert found[-1].result == 7
    assert len(provider.calls) == 3
    assert len([e for e in found if isinstance(e, events.SpanStart)]) == 1
    await engine.close()


async def test_numbers_and_hashes_alone() -> None:
    journal = Journal(None, "c", "j")

    async def make() -> int:
        return 5

    assert await journal.step("x", {"a": 1}, 3, make) == (5, False)
    journal.number = 0
    assert await journal.step("x", {"a": 1}, 3, make) == (5, True)
    journal.number = 0
    with pytest.raises(errors.UsageError, match="changed at line 9"):
        await journal.step("x", {"a": 2}, 9, make)


JUDGE = """
w = Agent { output = { n = field.integer{required = true} } }
local first = w("one").output.n
local ok = Human.approve("Go on?")
return { first, ok, w("two").output.n }
"""


async def test_a_refused_answer_stays_refused_in_a_replay_and_its_fields_are_shown_again() -> None:
    ledger = memory.MemoryLedger()
    engine, provider = engine_with(ledger, [['{"n": "7a"}'], ['{"n": 7}'], ['{"n": 8}']])
    active = await api.start(engine, Source(text=JUDGE), Extras())
    request = (await read(active, events.HumanRequest))[-1]
    await engine.cancel(active.run)
    await read(active)
    again = await api.resume(engine, active.run, Extras())
    live = await read(again, events.HumanRequest)
    assert live[-1].request == request.request
    await engine.respond(again.run, request.request, True)
    found = await read(again)
    assert found[-1].result == [7, True, 8]
    assert len(provider.calls) == 3, "the refused answer and its repair were not asked for again"
    reasons = [event.reason for event in found if isinstance(event, events.OutputReset)]
    assert reasons == ["early-reject: output.n must be an integer, not a string"]
    values = [event.value for event in found if isinstance(event, events.FieldEnd)]
    assert values == [7, 8]
    await engine.close()


async def test_an_answer_that_never_fitted_is_asked_for_anew_by_who_goes_on() -> None:
    engine, provider = engine_with(memory.MemoryLedger(), [["no"], ["still no"], ['{"n": 7}'], ['{"n": 8}']])
    text = JUDGE.replace('Human.approve("Go on?")', "true")
    active = await api.start(engine, Source(text=text), Extras())
    assert (await read(active))[-1].error.code == "output-rejected"
    again = await api.resume(engine, active.run, Extras())
    assert (await read(again))[-1].result == [7, True, 8]
    assert len(provider.calls) == 4
    await engine.close()
