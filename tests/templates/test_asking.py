"""One slot asked until its answer fits."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

import headrace
from headrace import errors, events
from headrace.providers.base import Capabilities, ModelRequest
from headrace.providers.scripted import Drop, Say, Scripted
from headrace.runlog import MemoryRunLog
from headrace.templates import values
from headrace.testing.runs import check_stream


def last(request: ModelRequest) -> str:
    return request.messages[-1].text


def sent(provider: Scripted, call: int = 0) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in provider.requests[call].messages]


async def play(template: headrace.Template, provider: Any, inputs: Any = None, **how: Any) -> Any:
    """Run to the end: the values, the native events, and the result or the error."""
    how.setdefault("cache", False)
    async with template.stream(provider, inputs, **how) as run:
        seen = [value async for value in run.values()]
        found = [event async for event in run]
        check_stream(found)
        try:
            return seen, found, await run.result()
        except errors.HeadraceError as error:
            return seen, found, error


class _Models:
    """Resolves `scripted:NAME` to one provider."""

    def __init__(self, provider: Scripted) -> None:
        self.provider = provider

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.provider, name.partition(":")[2]

    async def close(self) -> None:
        await self.provider.close()


async def test_typed_slots_stream_nothing_and_have_values() -> None:
    answers = {"d": '{"value": "2026-05-17"}', "p": '{"value": "not-so-good"}', "n": '{"value": [1, 2]}'}
    provider = Scripted(lambda r: answers[last(r).split("'")[1]])
    template = headrace.Template(
        "[[date:d]] [[pick:p|good,not-so-good]] [[int{2}:n|temperature=0.3,max_tokens=9]]"
    )
    seen, found, result = await play(template, provider)
    assert dict(result) == {"d": dt.date(2026, 5, 17), "p": "not-so-good", "n": [1, 2]}
    assert not [v for v in seen if v.type == "token"]
    starts = [e for e in found if isinstance(e, events.SpanStart)]
    assert [e.attributes["streams"] for e in starts] == [False] * 3
    assert [e.value for e in found if isinstance(e, events.SpanEnd)] == ["2026-05-17", "not-so-good", [1, 2]]
    assert found[-1].result["values"] == {"d": "2026-05-17", "p": "not-so-good", "n": [1, 2]}
    request = provider.requests[2]
    assert (request.temperature, request.max_tokens) == (0.3, 9)
    assert request.output_schema["properties"]["value"]["minItems"] == 2


async def test_a_model_without_schemas_gets_the_schema_in_words() -> None:
    provider = Scripted("7", capabilities=Capabilities(json_schema=False))
    assert dict(await headrace.Template("[[int:n]]").run(provider, cache=False)) == {"n": 7}
    assert provider.requests[0].output_schema is None
    assert '"type":"integer"' in last(provider.requests[0])


async def test_an_answer_that_does_not_fit_is_asked_again_with_the_error() -> None:
    provider = Scripted([["many"], ['{"value": 3}']])
    result = await headrace.Template("[[int:n]]").run(provider, cache=False)
    assert result["n"] == 3
    assert result.slot("n").attempts == 2
    assert "must be a number" in last(provider.requests[1])
    assert provider.requests[1].messages[-2].text == "many"
    with pytest.raises(errors.RunError, match="'n' does not fit") as caught:
        await headrace.Template("[[int:n|retries=0]]").run(Scripted("many"), cache=False)
    assert caught.value.code == "output-rejected"


async def test_text_that_does_not_fit_is_taken_back_first() -> None:
    provider = Scripted([["too long a text"], ["short"]])
    seen, _, result = await play(headrace.Template("[[t|max_length=8]]"), provider)
    kinds = [v.type for v in seen]
    assert kinds.index("reset") > kinds.index("token")
    shown = ""
    for value in seen:
        if isinstance(value, values.TokenReceived):
            shown += value.token
            assert value.buffer == shown
        elif isinstance(value, values.TokensReset):
            shown = value.buffer
    assert shown == result["t"] == "short"


async def test_tokens_after_a_fallback_add_up_to_the_value() -> None:
    def script(request: ModelRequest) -> list[Any]:
        return [Say("wrong half"), Drop()] if request.model == "one" else [Say("right")]

    provider = Scripted(script)
    engine = headrace.Engine(_Models(provider), MemoryRunLog())
    seen, _, result = await play(
        headrace.Template("<together>[[a]] x [[b]]</together>"),
        "s:one",
        engine=engine,
        fallbacks=("s:two",),
    )
    await engine.close()
    assert dict(result) == {"a": "right", "b": "right"}
    for key in ("a", "b"):
        shown = ""
        for value in seen:
            if getattr(value, "slot_key", None) == key and value.type == "token":
                shown += value.token
            elif getattr(value, "slot_key", None) == key and value.type == "reset":
                shown = value.buffer
        assert shown == "right"


async def test_a_model_of_its_own_for_a_slot() -> None:
    provider = Scripted("x")
    engine = headrace.Engine(_Models(provider), MemoryRunLog())
    template = headrace.Template("[[a]] [[b|model='s:big',fallback='s:small',thinking=low,seed=7]]")
    await template.run("s:plain", engine=engine, cache=False)
    assert [r.model for r in provider.requests] == ["plain", "big"]
    assert (provider.requests[1].seed, provider.requests[1].reasoning_effort) == (7, "low")
    await engine.close()


async def test_verify_wants_extracts_word_for_word() -> None:
    provider = Scripted([["the cat"], ["a cat"]])
    result = await headrace.Template("I saw a\ncat. [[extract:q|verify]]").run(provider, cache=False)
    assert result["q"] == "a cat"
