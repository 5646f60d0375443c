"""What was shown, with what was taken back left out, is the slot's value; whatever happens on the way."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

import headrace
from headrace import errors, events
from headrace.protocol.retry import RetryPolicy
from headrace.providers.scripted import Drop, Fail, Say, Scripted, by_seed
from headrace.runlog import MemoryRunLog
from headrace.templates import caching
from headrace.testing.runs import check_stream

SOURCE = (
    "one [[a]] two [[b|max_length=120]]<checkpoint>{{ a }} <together>three [[c]] four [[text*:d]]</together>"
    "<checkpoint>five [[e|stream=false]]"
)
GONE = errors.ProviderError("gone", code="provider-error", retryable=False)
BUSY = errors.ProviderError("busy", code="provider-overloaded", retryable=True)
TEXT = "Zwölf Boxkämpfer 🥊 jagen Viktor quer über den großen Sylter Deich."


class Models:
    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def resolve(self, name: str) -> tuple[Any, str]:
        return self._provider, name

    async def close(self) -> None:
        """Nothing is open."""


def scripts(seed: int, fault: str) -> Any:
    """Answers in random cuts, with a fault now and then."""
    dice = random.Random(seed)
    asked: dict[str, int] = {}

    def script(request: Any) -> Any:
        question = request.messages[-1].text
        asked[question] = asked.get(question, 0) + 1
        listed = "'d'" in question or any("'d'" in m.text for m in request.messages)
        text = json.dumps({"value": [TEXT, "x"]}) if listed else f"{TEXT} {len(question)}"
        say = Say(text, pieces=by_seed(dice.randint(0, 999)))
        if request.model == "s:good" or fault == "none":
            return say
        half = Say(text[: dice.randint(1, len(text) - 1)], pieces=by_seed(dice.randint(0, 999)))
        if fault == "retry" and asked[question] == 1:
            return Fail(BUSY)
        if fault == "failover" and dice.random() < 0.6:
            return [half, dice.choice([Fail(GONE), Drop()])]
        if fault == "early" and not listed and asked[question] == 1 and "two" in question:
            return Say("too long " * 100, pieces=by_seed(seed))
        return say

    return script


def shown(found: list[events.Event]) -> dict[str, str]:
    """Span to text, resets applied."""
    blocks: dict[str, tuple[str, str]] = {}
    for event in found:
        if isinstance(event, events.TextDelta):
            blocks[event.block] = (event.span, blocks.get(event.block, ("", ""))[1] + event.delta)
        elif isinstance(event, events.OutputReset):
            for block in event.blocks:
                blocks.pop(block, None)
    texts: dict[str, str] = {}
    for span, text in blocks.values():
        texts[span] = texts.get(span, "") + text
    return texts


@pytest.mark.parametrize("failover", ["restart", "continue"])
@pytest.mark.parametrize("fault", ["none", "retry", "failover", "early"])
@pytest.mark.parametrize("seed", range(6))
async def test_joined_tokens_are_the_values(seed: int, fault: str, failover: str) -> None:
    async def sleep(seconds: float) -> None:
        """No time is spent on waiting."""

    provider = Scripted(scripts(seed, fault), sleep=sleep)
    engine = headrace.Engine(Models(provider), MemoryRunLog())
    cache = caching.Cache()
    for _ in range(2):  # the second time from what is kept
        async with headrace.Template(SOURCE).stream(
            "s:bad",
            engine=engine,
            cache=cache,
            fallbacks=["s:good"],
            failover=failover,
            retry=RetryPolicy(base=0.0),
        ) as run:
            seen = [value async for value in run.values()]
            found = [event async for event in run]
            result = await run.result()
        check_stream(found)
        texts = shown(found)
        for key in "abc":
            asked = result.slot(key)
            assert texts[asked.span] == result[key] == asked.value
            last = [v for v in seen if v.type in ("token", "reset") and v.span == asked.span][-1]
            assert last.buffer == result[key]
        assert result["d"] == [TEXT, "x"]
        fields: dict[str, Any] = {}
        for event in found:
            if event.span == result.slot("d").span:
                if isinstance(event, events.OutputReset):
                    fields.clear()
                elif isinstance(event, events.FieldEnd):
                    fields[event.path] = event.value
        assert fields == {"/0": TEXT, "/1": "x"}
        assert result.slot("e").span not in texts
        first = [e for e in found if isinstance(e, events.OutputReset)]
        if fault == "early" and not result.slot("b").cached:
            assert "early-reject" in {e.reason for e in first}
    assert all(asked.cached for asked in result.slots)
