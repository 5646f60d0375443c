"""Templates on the real engine, with a relay in between that writes down what was asked."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import headrace
from headrace import events, settings
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.testing.relay import Relay, pace
from headrace.testing.runs import check_stream

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHORT = {"max_tokens": 24, "seed": 7}


@asynccontextmanager
async def models(url: str) -> AsyncIterator[headrace.Engine]:
    registry = Registry(settings.Settings(openai_base_url=f"{url}/v1", openai_api_key="k"))  # type: ignore[arg-type]
    engine = headrace.Engine(registry, MemoryRunLog())
    try:
        yield engine
    finally:
        await engine.close()
        await registry.close()


async def test_every_request_says_what_the_template_says_once_each(engine: Any) -> None:
    source = (
        "<system>G {{ v }}</system><system local>L</system><header>H</header>first [[a|temperature=0.2,max_tokens=5]]"
        "<assistant>said</assistant><user>asked {{ v }}</user> [[b|model='openai:other',seed=3,max_tokens=6]]"
        "<checkpoint>One</checkpoint><system local replace>only</system>third [[int:n|max_tokens=30]]"
        "<checkpoint/>fourth <together>x [[c|max_tokens=4]] y [[d|max_tokens=4]]</together>"
    )
    async with Relay(engine.url) as relay, models(relay.url) as runs:
        result = await headrace.Template(source).run("openai:tiny", {"v": "V"}, engine=runs, cache=False)
        bodies = [request.json() for request in relay.requests]
    asked = {}
    for body in bodies:
        thread = [(message["role"], message["content"]) for message in body["messages"]]
        asked[thread[-1][1].split("\n\nAnswer")[0]] = (thread, body)
    assert len(bodies) == len(asked) == 5
    first, body = asked["first"]
    assert first == [("system", "G V\n\nL"), ("user", "H"), ("user", "first")]
    assert (body["model"], body["temperature"], body["max_completion_tokens"], body["stream"]) == (
        "tiny",
        0.2,
        5,
        True,
    )
    second, body = asked["asked V"]
    assert second == [
        *first,
        ("assistant", result["a"]),
        ("assistant", "said"),
        ("user", "asked V"),
    ]
    assert (body["model"], body["seed"], body["max_completion_tokens"]) == ("other", 3, 6)
    third, body = asked["third"]
    assert [role for role, _ in third] == ["system", "user", "user"]
    assert third[0] == ("system", "only")
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["value"]["anyOf"][0] == {"type": "integer"}
    assert body["temperature"] == 0.0
    for mark in "xy":
        thread, body = asked[f"fourth\n\n{mark}"]
        assert [role for role, _ in thread] == ["system", "user", "user"]
        assert thread[0] == ("system", "G V")
        assert "response_format" not in body


async def test_every_type_is_answered_as_it_should_be_the_first_time(engine: Any) -> None:
    kinds = ["bool", "int", "number", "date", "time", "duration", "date_rule", "json", "record"]
    fields = {"record": "name,age=int,"}
    source = "\n<checkpoint/>\n".join(
        f"[[!{kind}:x_{kind}|{fields.get(kind, '')}retries=0,max_tokens=90,seed=5]]" for kind in kinds
    )
    async with models(engine.url) as runs:
        result = await headrace.Template(source).run("openai:tiny", engine=runs, cache=False)
    assert isinstance(result["x_duration"], dt.timedelta)
    assert result["x_date_rule"][0]
    assert set(result["x_record"]) == {"name", "age"}


async def test_typed_slots_are_valid_whatever_the_model_is_like(engine: Any) -> None:
    source = "\n".join(
        [
            "[[!bool:b|max_tokens=40,retries=3]]",
            "[[!int:i|min=1,max=9,max_tokens=40,retries=3]]",
            "[[!pick:p|red,not-so-red,max_tokens=40,retries=3]]",
            "[[pick{2}:l|red,blue,max_tokens=60,retries=3]]",
            "[[!record:r|ok=bool,max_tokens=60,retries=3]]",
        ]
    )
    async with models(engine.url) as runs:
        template = headrace.Template(source)
        async with template.stream("openai:tiny", engine=runs, cache=False, seed=11) as run:
            found = [event async for event in run]
            result = await run.result()
    check_stream(found)
    assert isinstance(result["b"], bool)
    assert 1 <= result["i"] <= 9
    assert result["p"] in ("red", "not-so-red")
    assert len(result["l"]) == 2
    jsonschema.validate(result["r"], {"type": "object", "required": ["ok"]})
    ends = {event.path for event in found if isinstance(event, events.FieldEnd)}
    assert {"/0", "/1", "/ok"} <= ends


async def test_segments_interleave_live_and_text_streams_token_by_token(engine: Any) -> None:
    async with Relay(engine.url, pace(events=60)) as relay, models(relay.url) as runs:
        template = headrace.Template(
            "one [[a|max_tokens=24,seed=7]]<checkpoint/>two [[b|max_tokens=24,seed=7]]"
        )
        async with template.stream("openai:tiny", engine=runs, cache=False) as run:
            tokens = [value async for value in run.values() if value.type == "token"]
            result = await run.result()
    for key in ("a", "b"):
        mine = [value for value in tokens if value.slot_key == key]
        assert len(mine) >= 5
        assert "".join(value.token for value in mine) == mine[-1].buffer == result[key]
    order = [value.slot_key for value in tokens]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


async def test_together_and_rows_interleave_live_too(engine: Any) -> None:
    source = "<together>{{ n }} one [[a|max_tokens=24,seed=7]] two [[b|max_tokens=24,seed=7]]</together>"
    async with Relay(engine.url, pace(events=60)) as relay, models(relay.url) as runs:
        async with headrace.Template(source).stream("openai:tiny", {"n": 0}, engine=runs, cache=False) as run:
            order = [value.slot_key async for value in run.values() if value.type == "token"]
        assert order not in (sorted(order), sorted(order, reverse=True))
        batch = headrace.Batch(source, "openai:tiny", engine=runs, concurrency=4, cache=False)
        async with batch.stream([{"n": 1}, {"n": 2}], values=True) as running:
            seen = [
                (event.index, event.value.slot_key)
                async for event in running
                if event.type == "value" and event.value.type == "token"
            ]
    assert set(seen) == {(n, key) for n in (0, 1) for key in "ab"}
    firsts = [seen.index(who) for who in set(seen)]
    lasts = [len(seen) - seen[::-1].index(who) for who in set(seen)]
    assert max(firsts) < min(lasts)  # all four were being written at the same time


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.hr.md")), ids=lambda path: path.name)
async def test_the_examples_run(engine: Any, path: Path) -> None:
    template = headrace.Template(path)
    inputs = dict.fromkeys(template.plan.variables, "words")
    async with models(engine.url) as runs:
        async with template.stream("openai:tiny", inputs, engine=runs, cache=False, **SHORT) as run:
            async for _ in run.values():
                pass
            error = run._end().error
    assert error is None or error.code == "output-rejected", error


async def test_a_batch_asks_everything_once(engine: Any) -> None:
    async with Relay(engine.url) as relay, models(relay.url) as runs:
        batch = headrace.Batch(
            "{{ n }} <together>a [[a|max_tokens=3]] b [[b|max_tokens=3]]</together>"
            "<checkpoint/>{{ n }} c [[c|max_tokens=3]]",
            "openai:tiny",
            engine=runs,
            concurrency=3,
            cache=False,
        )
        report = await batch.run([{"n": n} for n in range(12)])
        assert not report.failed, report.failed
        bodies = {json.dumps(request.json(), sort_keys=True) for request in relay.requests}
        assert len(relay.requests) == len(bodies) == 36
        assert report.usage is not None
        assert report.usage.output_tokens
