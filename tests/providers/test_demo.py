"""The built-in guide: honest, the same each time, and at a reader's pace."""

from __future__ import annotations

import json

import jsonschema
import pytest

from headrace import events, messages
from headrace.providers import base, demo
from headrace.testing.providers import check_answer, check_provider, collect, request

TOPICS = ["structured", "tool", "think", "stop", "resume", "long"]


async def test_it_passes_the_checks() -> None:
    await check_provider(demo.Demo, model="fast", long_text="a long one")


@pytest.mark.parametrize("question", ["", "Hi", *TOPICS])
async def test_the_first_line_says_that_it_is_not_a_model(question: str) -> None:
    found = await collect(demo.Demo(), request("fast", question))
    check_answer(found)
    assert found.text.splitlines()[0] == demo.NOTICE
    assert "not a language model" in demo.NOTICE
    again = await collect(demo.Demo(), request("fast", question))
    assert again.text == found.text


async def test_the_guide_shows_markdown_and_how_to_set_up_a_model() -> None:
    text = (await collect(demo.Demo(), request("fast", "Hello"))).text
    for part in ("## ", "1. ", "```python", "|---|", "OPENAI_API_KEY", "local:", "ollama"):
        assert part in text


async def test_topics_differ() -> None:
    texts = [(await collect(demo.Demo(), request("fast", topic))).text for topic in TOPICS]
    assert len(set(texts)) == len(TOPICS)
    assert len(texts[TOPICS.index("long")]) > 5000


async def test_think_has_a_block_of_reasoning() -> None:
    found = await collect(demo.Demo(), request("fast", "please think"))
    assert isinstance(found.parts[0], messages.Reasoning)
    assert found.usage is not None
    assert found.usage.reasoning_tokens


async def test_the_pace_is_sixty_pieces_a_second() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    found = await collect(demo.Demo(sleep=sleep), request("demo", "Hello"))
    pieces = [event for event in found.events if isinstance(event, events.TextDelta)]
    assert len(slept) == len(pieces)
    assert set(slept) == {1 / demo.TOKENS_PER_SECOND}
    fast = await collect(demo.Demo(), request("fast", "Hello"))
    assert fast.text == found.text


async def test_its_own_tokens_are_counted() -> None:
    found = await collect(demo.Demo(), request("fast", "one two three"))
    pieces = [event for event in found.events if isinstance(event, events.TextDelta)]
    assert found.usage == messages.Usage(input_tokens=3, output_tokens=len(pieces), basis="reported")


async def test_a_schema_gets_a_sample_that_fits() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}},
        "required": ["city", "degrees"],
    }
    found = await collect(demo.Demo(), request("fast", "Oslo", output_schema=schema))
    jsonschema.validate(json.loads(found.text), schema)


async def test_it_calls_a_tool_and_tells_what_came_back() -> None:
    tool = messages.ToolSpec(
        "weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}}
    )
    found = await collect(demo.Demo(), request("fast", "Oslo", tools=(tool,)))
    assert found.end is not None
    assert found.end.finish_reason == "tool-calls"
    call = found.parts[0]
    assert isinstance(call, messages.ToolCall)
    assert (call.name, call.arguments) == ("weather", {"city": "city"})
    thread = (
        messages.user("Oslo"),
        messages.Message("assistant", (call,)),
        messages.Message("tool", (messages.ToolResult(call.id, "cold `x`\n\n# no", name="weather"),)),
    )
    after = await collect(demo.Demo(), base.ModelRequest(model="fast", messages=thread, tools=(tool,)))
    assert "`weather` answered: `cold 'x' # no`" in after.text


async def test_the_persons_words_stay_words() -> None:
    text = (await collect(demo.Demo(), request("fast", "`<b>\n# x` " + "y" * 500))).text
    line = next(line for line in text.splitlines() if line.startswith("You said"))
    assert line.startswith("You said: `'<b> # x' yyy")
    assert line.endswith("…`")
    assert len(line) < 150
