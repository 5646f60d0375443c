"""What a procedure's runs are remembered by: turns in order, refused answers, several runs of one journal."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors, messages
from headrace.ledger import memory
from headrace.procedures import api, history
from headrace.procedures.journal import Journal, Source
from headrace.providers.scripted import Fail, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine


class Models:
    """One scripted model under every name."""

    def __init__(self, script: Any) -> None:
        self.provider = Scripted(script, "p")

    def resolve(self, name: str) -> tuple[Any, str]:
        return self.provider, name

    async def close(self) -> None:
        await self.provider.close()


def test_a_turn_is_told_as_it_goes() -> None:
    turn = history.Turn(agent="a", model="m", line=1, run="r", items=[])
    turn.said((messages.Reasoning("hm"), messages.Reasoning(""), messages.Text("no")))
    turn.refused(0, "validation: it is not JSON")
    turn.said((messages.ToolCall("c1", "add", {"a": 1}), messages.Text("yes")))
    turn.called("c1", 2, None, 1.5)
    assert turn.items == [
        {"kind": "reasoning", "text": "hm", "rejected": "validation: it is not JSON"},
        {"kind": "text", "text": "no", "rejected": "validation: it is not JSON"},
        {
            "kind": "tool-call",
            "call": "c1",
            "name": "add",
            "arguments": {"a": 1},
            "elapsed_ms": 1.5,
            "value": 2,
        },
        {"kind": "text", "text": "yes"},
    ]


async def test_the_story_goes_over_several_runs() -> None:
    ledger = memory.MemoryLedger()
    down = Fail(errors.ProviderError("down", code="provider-error", retryable=False))
    models = Models([["one"], [down], ["two"]])
    engine = Engine(models, MemoryRunLog(), ledger)
    text = 'a = Agent {}\nlocal x = a("x").text\nreturn x .. a("y").text'
    active = await api.start(
        engine, Source(text=text, name="t.tac", path="sub/t.tac"), api.Extras(), model="m"
    )
    await active.ended.wait()
    assert active.info().outcome == "failed"
    again = await api.resume(engine, active.run, api.Extras())
    await again.ended.wait()
    assert again.info().result == "onetwo"
    told = await history.story(ledger, active.conversation, active.run)
    assert (told.source.text, told.source.path) == (text, "sub/t.tac")
    assert [(item["number"], item.get("outcome", "completed"), item["run"]) for item in told.items] == [
        (1, "completed", active.run),  # and not again in the run that showed it from before
        (2, "failed", active.run),
        (2, "completed", again.run),
    ]
    assert told.items[1]["error"]["message"] == "down"
    assert "items" not in told.items[1], "what broke off is no fact"
    assert await history.source(ledger, active.conversation, "other") is None
    with pytest.raises(errors.UsageError, match="not in the ledger"):
        await history.story(ledger, active.conversation, "other")
    await engine.close()


async def test_what_was_told_is_on_disk_before_the_next_fact() -> None:
    ledger = memory.MemoryLedger()
    journal = Journal(ledger, "c", "j")
    await journal.begin(Source(text="return 1"))
    journal.told(1, history.Turn(agent="a", model="m", line=1, run="j"), "")

    async def make() -> str:
        return "x"

    await journal.step("model", {}, 1, make)
    assert [fact.kind for fact in await ledger.facts("c")] == ["procedure", "turn", "step"]
    journal.told(2, history.Turn(agent="a", model="m", line=1, run="j"), "")
    await journal.settled()
    assert [fact.kind for fact in await ledger.facts("c")][-1] == "turn"
