"""Typed slots field by field, and stopped as soon as they cannot fit."""

from __future__ import annotations

import json
import random
from typing import Any

import pydantic
import pytest

import headrace
from headrace import errors, events
from headrace.providers.base import Capabilities
from headrace.providers.scripted import Drop, Fail, Say, Scripted
from headrace.templates import caching
from headrace.testing.runs import check_stream


class Item(pydantic.BaseModel):
    name: str
    price: float = pydantic.Field(gt=0)


async def play(template: headrace.Template, provider: Any, **how: Any) -> Any:
    how.setdefault("cache", False)
    async with template.stream(provider, **how) as run:
        seen = [value async for value in run.values()]
        found = [event async for event in run]
        check_stream(found)
        return seen, found, await run.result()


def folded(found: list[events.Event]) -> dict[str, dict[str, Any]]:
    """Span to path to value, from the ends of fields; resets applied; deltas checked against ends."""
    fields: dict[str, dict[str, Any]] = {}
    texts: dict[tuple[str, str], str] = {}
    for event in found:
        if isinstance(event, events.FieldStart):
            texts[event.span, event.path] = ""
        elif isinstance(event, events.FieldDelta):
            texts[event.span, event.path] += event.delta
        elif isinstance(event, events.FieldEnd):
            if isinstance(event.value, str):
                assert texts[event.span, event.path] == event.value
            fields.setdefault(event.span, {})[event.path] = event.value
        elif isinstance(event, events.OutputReset):
            fields.pop(event.span, None)
    return fields


def answers(value: Any, seed: int = 0) -> Say:
    text = json.dumps({"value": value})
    cuts = random.Random(seed)
    pieces = []
    while text:
        size = cuts.randint(1, 9)
        pieces.append(text[:size])
        text = text[size:]
    return Say("", pieces=pieces)


@pytest.mark.parametrize(
    ("source", "value", "paths"),
    [
        ("[[record:r|name,age=int]]", {"name": "Ada L.", "age": 36}, {"/name": "Ada L.", "/age": 36}),
        ("[[text*:r]]", ["one two", "th\"ree"], {"/0": "one two", "/1": "th\"ree"}),
        ("[[int{2}:r]]", [1, 2], {"/0": 1, "/1": 2}),
        ("[[!item:r]]", {"name": "x y", "price": 2.5}, {"/name": "x y", "/price": 2.5}),
        ("[[item*:r]]", [{"name": "x", "price": 1}], {"/0/name": "x", "/0/price": 1}),
    ],
)  # fmt: skip
async def test_fields_stream_under_the_slots_span(source: str, value: Any, paths: dict[str, Any]) -> None:
    template = headrace.Template(source, models={"item": Item})
    for seed in range(5):
        seen, found, result = await play(template, Scripted([answers(value, seed)]))
        (fields,) = folded(found).values()
        assert fields == paths
        start = next(e for e in found if isinstance(e, events.SpanStart))
        assert (start.attributes["streams"], start.attributes["fields"]) == (False, True)
        assert not any(isinstance(e, events.TextDelta) for e in found)
        told = [v for v in seen if v.type == "field" and v.done]
        assert {v.path: v.value for v in told} == paths
        assert told[0].slot_key == "r"
    assert result["r"] == (
        [Item(**v) for v in value]
        if source == "[[item*:r]]"
        else Item(**value)
        if "item" in source
        else value
    )


async def test_scalars_stream_nothing() -> None:
    _, found, _ = await play(headrace.Template("[[int:n]]"), Scripted('{"value": 3}'))
    assert not any(isinstance(e, events.FieldStart) for e in found)
    assert "fields" not in next(e for e in found if isinstance(e, events.SpanStart)).attributes


async def test_streaming_of_fields_can_be_turned_off() -> None:
    for source, how in (("[[text*:r|stream=false]]", {}), ("[[text*:r]]", {"stream": False})):
        _, found, result = await play(headrace.Template(source), Scripted('{"value": ["a"]}'), **how)
        assert not any(isinstance(e, events.FieldStart) for e in found)
        assert result["r"] == ["a"]


async def test_growing_values_are_of_the_users_type() -> None:
    template = headrace.Template("[[item*:r]]", models={"item": Item})
    async with template.stream(Scripted([answers([{"name": "abc", "price": 2}])]), cache=False) as run:
        grown = [run.partial(value.span) async for value in run.values() if value.type == "field"]
        assert isinstance(grown[-1][0], Item)
        assert grown[-1] == [Item(name="abc", price=2)]
        assert run.partial("nothing") is None


async def test_a_list_that_is_too_long_is_stopped_at_once_and_asked_again() -> None:
    long = Say(json.dumps({"value": [str(n) for n in range(5000)]}))
    provider = Scripted([[long], [answers(["a", "b"])]])
    seen, found, result = await play(headrace.Template("[[text{1,2}:r]]"), provider)
    assert result["r"] == ["a", "b"]
    assert provider.calls[0].ending == "closed"
    assert provider.calls[0].sent < 1000
    assert "more than 2 items" in provider.requests[1].messages[-1].text
    resets = [e for e in found if isinstance(e, events.OutputReset)]
    assert [(e.reason, e.blocks) for e in resets] == [("early-reject", [])]
    assert list(folded(found).values()) == [{"/0": "a", "/1": "b"}]
    assert [v.type for v in seen].count("reset") == 1
    assert result.slot("r").attempts == 2
    assert result.slot("r").usage == result.usage  # the stopped one has its price too
    assert result.usage.output_tokens > 2
    assert result.usage.cost is None  # which is not known here, and so not 0


async def test_a_field_of_ones_own_type_that_cannot_fit() -> None:
    bad = Say(json.dumps({"value": {"name": {"not": "text"}, "price": 1, "more": "x" * 9000}}), pieces=list)
    provider = Scripted([[bad], [answers({"name": "x", "price": 1})]])
    _, found, result = await play(headrace.Template("[[!item:r]]", models={"item": Item}), provider)
    assert result["r"] == Item(name="x", price=1)
    assert provider.calls[0].ending == "closed"
    reasons = [e.reason for e in found if isinstance(e, events.OutputReset)]
    assert set(reasons) <= {"early-reject"}


async def test_text_that_is_too_long_is_stopped_at_once() -> None:
    provider = Scripted([[Say("x" * 5000, pieces=list)], ["short"]])
    seen, found, result = await play(headrace.Template("[[t|max_length=8]]"), provider)
    assert result["t"] == "short"
    assert provider.calls[0].ending == "closed"
    assert [e.reason for e in found if isinstance(e, events.OutputReset)] == ["early-reject"]
    assert sum(v.type == "token" for v in seen) < 200
    with pytest.raises(errors.RunError, match="at most 8") as caught:
        await headrace.Template("[[t|max_length=8,retries=0]]").run(Scripted("far too long"), cache=False)
    assert caught.value.code == "output-rejected"


@pytest.mark.parametrize("failover", ["restart", "continue"])
async def test_fields_of_a_model_that_failed_are_taken_back(failover: str) -> None:
    half = [Say('{"value": ["one", "tw'), Drop()]

    def script(request: Any) -> Any:
        return half if request.model == "s:bad" else answers(["other", "two"])

    provider = Scripted(script)
    engine = headrace.Engine(Models(provider), memory())
    _, found, result = await play(
        headrace.Template("[[text*:r]]"),
        "s:bad",
        engine=engine,
        fallbacks=["s:good"],
        failover=failover,
    )
    assert result["r"] == ["other", "two"]
    assert list(folded(found).values()) == [{"/0": "other", "/1": "two"}]
    assert [e.reason for e in found if isinstance(e, events.OutputReset)] == ["failover"]


async def test_a_fallback_is_asked_in_its_own_way() -> None:
    class One(Scripted):
        def capabilities(self, model: str) -> Capabilities:
            return Capabilities(json_schema=model != "s:words")

    def script(request: Any) -> Any:
        gone = errors.ProviderError("gone", code="auth-failed")
        return Fail(gone) if request.model == "s:bad" else '{"value": [1]}'

    for first, second in (("s:bad", "s:words"), ("s:bad", "s:good")):
        provider = One(script)
        engine = headrace.Engine(Models(provider), memory())
        result = await headrace.Template("[[int*:r]]").run(
            first, engine=engine, fallbacks=[second], cache=False
        )
        assert result["r"] == [1]
        asked = provider.requests[1]
        told = "JSON Schema" in asked.messages[-1].text
        assert (asked.output_schema is None, told) == (second == "s:words", second == "s:words")


async def test_kept_answers_come_field_by_field_too() -> None:
    provider = Scripted([answers(["one", "two"])])
    template, cache = headrace.Template("[[text*:r]]"), caching.Cache()
    seen = [folded((await play(template, provider, cache=cache))[1]) for _ in range(2)]
    assert len(provider.calls) == 1
    assert seen[0] == seen[1]


class Models:
    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def resolve(self, name: str) -> tuple[Any, str]:
        return self._provider, name

    async def close(self) -> None:
        """Nothing is open."""


def memory() -> Any:
    from headrace.runlog import MemoryRunLog

    return MemoryRunLog()
