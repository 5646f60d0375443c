"""Structured answers of the real engine: always valid, fields in order, stopped early, cut off, beside tools."""

from __future__ import annotations

import asyncio
import datetime
import enum
import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pydantic
import pytest

import headrace
from headrace import errors, events
from headrace.protocol.retry import RetryPolicy
from headrace.runs.engine import Engine
from headrace.testing import relay
from headrace.testing.engine import Engine as RealEngine
from headrace.testing.relay import Relay
from headrace.testing.runs import Played, engine_for

SEEDS = 100
Short = Annotated[str, pydantic.StringConstraints(max_length=16)]
Small = Annotated[int, pydantic.Field(ge=0, le=999)]


class Level(enum.Enum):
    low = "low"
    high = "high"


class Reading(pydantic.BaseModel):
    at: datetime.date
    level: Level
    value: Small | Short


class Gate(pydantic.BaseModel):
    kind: Literal["gate"]
    open: bool


class Wheel(pydantic.BaseModel):
    kind: Literal["wheel"]
    spokes: Small


class Station(pydantic.BaseModel):
    name: Short
    parts: Annotated[list[Gate | Wheel], pydantic.Field(min_length=1, max_length=2)]
    readings: Annotated[list[Reading], pydantic.Field(min_length=1, max_length=2)]


class Report(pydantic.BaseModel):
    title: Short
    day: datetime.date
    stations: Annotated[list[Station], pydantic.Field(min_length=1, max_length=2)]
    note: Short | None


def runs_on(url: str) -> Engine:
    return engine_for(llamacpp_base_url=f"{url}/v1")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{number}")
    else:
        yield path, value


def size(value: Any) -> int:
    """How much of a value there is."""
    if isinstance(value, pydantic.BaseModel):
        value = value.__dict__
    if isinstance(value, dict):
        return sum(1 + size(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(1 + size(inner) for inner in value)
    return len(value) if isinstance(value, str) else int(value is not None)


def check_types(report: Report) -> None:
    """Whatever is there of a growing report has the type it will have at the end."""
    assert isinstance(report, Report)
    assert isinstance(getattr(report, "day", None), datetime.date | None)
    for station in getattr(report, "stations", None) or ():
        assert isinstance(station, Station)
        for reading in getattr(station, "readings", None) or ():
            assert isinstance(reading, Reading)
            assert isinstance(getattr(reading, "level", None), Level | None)
            assert isinstance(getattr(reading, "at", None), datetime.date | None)


@pytest.mark.time_limit(180)
async def test_a_hundred_seeds_are_valid_every_time(engine: RealEngine) -> None:
    runs = runs_on(engine.url)

    async def one(seed: int) -> int:
        options = {"output": Report, "engine": runs, "seed": seed, "temperature": 0.9, "max_tokens": 2000}
        async with headrace.stream("llamacpp:tiny", "Report.", **options) as run:
            before, moments = 0, 0
            async for value in run.partials():
                check_types(value)
                now = size(value)
                assert now >= before, "a growing value only grows"
                before, moments = now, moments + 1
            result = await run.result()
            found = [event async for event in run]
        played = Played(run.id, found)
        assert result.rejections == [], "the engine holds the model to the schema"
        assert value == result.output == Report.model_validate_json(result.text)
        expected = list(leaves(json.loads(result.text)))
        assert [(e.path, e.value) for e in played.of(events.FieldEnd)] == expected
        texts: dict[str, str] = {}
        for event in played.of(events.FieldDelta):
            texts[event.path] = texts.get(event.path, "") + event.delta
        assert texts == {path: text for path, text in expected if isinstance(text, str) and text}
        return moments

    moments: list[int] = []
    for first in range(0, SEEDS, 4):
        moments += await asyncio.gather(*(one(seed) for seed in range(first, first + 4)))
    assert min(moments) > 1
    await runs.close()


# What the engine is made to write, and what is wanted, differ here: so its answers cannot fit.
WANTED = {
    "type": "object",
    "properties": {"kind": {"enum": ["wheel"]}, "text": {"type": "string"}},
    "required": ["kind", "text"],
}
WRITTEN = {
    "type": "object",
    "properties": {"kind": {"const": "gate"}, "text": {"type": "string", "minLength": 2000}},
    "required": ["kind", "text"],
    "additionalProperties": False,
}
FORCED = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": WRITTEN}}}


async def test_an_answer_that_cannot_fit_is_stopped_at_the_socket(engine: RealEngine) -> None:
    before = engine.tokens_predicted()
    async with Relay(engine.url, relay.pace(events=200)) as between:
        runs = runs_on(between.url)
        with pytest.raises(errors.RunError) as raised:
            await headrace.ask(
                "llamacpp:tiny",
                "x",
                output=WANTED,
                engine=runs,
                options=FORCED,
                max_tokens=3000,
                output_retries=1,
            )
        for connection in between.connections:
            await asyncio.wait_for(connection.wait_ended(), 5)
        assert [connection.closed_by for connection in between.connections] == ["client", "client"]
        assert all(connection.events_down < 60 for connection in between.connections)
        await runs.close()
    assert raised.value.code == "output-rejected"
    attempts = raised.value.details["attempts"]
    assert [attempt["reason"] for attempt in attempts] == ["early-reject"] * 2
    assert all('"g' in attempt["text"] for attempt in attempts)
    assert attempts[0]["problems"][0]["path"] == "/kind"
    asked = between.connections[1].requests[0].json()["messages"]
    assert asked[-2] == {"role": "assistant", "content": attempts[0]["text"]}
    assert "kind" in asked[-1]["content"]
    await asyncio.to_thread(engine.wait_idle)
    spent = engine.tokens_predicted() - before
    assert spent < 3000, "two answers of 2,000 characters were not written to their end"
    assert dict(runs.stats.rejections) == {"early-reject": 2}
    assert runs.stats.tokens_saved > 2000


async def test_stop_in_mid_field_idles_the_engine(engine: RealEngine) -> None:
    runs = runs_on(engine.url)
    schema = {
        "type": "array",
        "items": {"type": "string", "minLength": 900},
        "minItems": 30,
    }
    async with headrace.stream("llamacpp:tiny", "x", output=schema, engine=runs, max_tokens=20_000) as run:
        async for value in run.partials():
            if len(value) == 2 and len(value[1]) > 20:
                break
        assert run.is_complete("/0")
        assert not run.is_complete("/1")
        assert engine.busy() == 1
        began = time.monotonic()
        result = await run.cancel()
        while engine.busy():
            await asyncio.sleep(0.001)
        assert time.monotonic() - began < 1.0
        found = [event async for event in run]
    assert (result.outcome, result.output) == ("cancelled", None)
    ends = [(e.path, e.cut) for e in Played(run.id, found).of(events.FieldEnd)]
    assert ends[0] == ("/0", False)
    assert ends[-1][1]
    await runs.close()


async def test_failover_in_mid_field(engine: RealEngine) -> None:
    async with Relay(engine.url, relay.cut(after_events=12, reset=True)) as broken:
        runs = engine_for(llamacpp_base_url=f"{engine.url}/v1", vllm_base_url=f"{broken.url}/v1")
        options = {
            "fallbacks": ["llamacpp:tiny"],
            "retry": RetryPolicy(attempts=1),
            "seed": 4,
            "temperature": 0.9,
        }
        async with headrace.stream("vllm:tiny", "x", output=Report, engine=runs, **options) as run:
            result = await run.result()
            found = [event async for event in run]
        await runs.close()
    played = Played(run.id, found)
    (reset,) = played.of(events.OutputReset)
    assert reset.reason == "failover"
    place = found.index(reset)
    assert any(isinstance(event, events.FieldDelta) for event in found[:place])
    assert result.output == Report.model_validate_json(result.text)
    ends = [(e.path, e.value) for e in found[place:] if isinstance(e, events.FieldEnd)]
    assert ends == list(leaves(json.loads(result.text)))


async def test_cut_off_by_length(engine: RealEngine) -> None:
    runs = runs_on(engine.url)
    with pytest.raises(errors.RunError) as raised:
        await headrace.ask("llamacpp:tiny", "x", output=Report, engine=runs, max_tokens=12, seed=2)
    error = raised.value
    assert (error.code, error.retryable, error.details["reason"]) == ("output-rejected", False, "length")
    assert "title" in error.details["partial"]
    assert len(error.details["attempts"]) == 1
    await runs.close()


async def test_text_two_tools_and_a_value_in_one_run(engine: RealEngine) -> None:
    runs = runs_on(engine.url)
    together = asyncio.Barrier(2)

    async def level(q: str) -> str:
        """The level of the water."""
        async with asyncio.timeout(20):
            await together.wait()  # only passes where two calls go on at the same time
        return f"{len(q)} m"

    ours = headrace.tool(level)
    theirs = headrace.messages.ToolSpec(ours.name, ours.description, ours.parameters)
    options: dict[str, Any] = {
        "output": Report,
        "engine": runs,
        "temperature": 0.9,
        "max_tokens": 2000,
        "options": {"parallel_tool_calls": True},
    }
    # The model calls as it likes: look for seeds that make two calls, with a tool that nobody runs.
    for seed in range(60):
        looked = await headrace.ask("llamacpp:tiny", "How is it?", tools=[theirs], seed=seed, **options)
        if len(looked.tool_calls) != 2:
            continue
        async with headrace.stream("llamacpp:tiny", "How is it?", tools=[ours], seed=seed, **options) as run:
            result = await run.result()
            found = [event async for event in run]
        prose = result.text.partition("{")[0]
        if prose.strip():
            break
    assert len(result.tool_calls) == 2
    assert all(call["value"].endswith(" m") for call in result.tool_calls)
    played = Played(run.id, found)
    (output,) = played.of(events.Output)
    assert isinstance(result.output, Report)
    assert result.output == Report.model_validate(output.value)
    kinds = [event.type for event in found]
    assert kinds.index("tool-call-start") < kinds.index("tool-result") < kinds.index("output")
    assert prose, "the model said something in words, and it stands"
    last = max(i for i, kind in enumerate(kinds) if kind == "attempt-start")
    ends = [(e.path, e.value) for e in found[last:] if isinstance(e, events.FieldEnd)]
    assert ends == list(leaves(output.value))
    await runs.close()
