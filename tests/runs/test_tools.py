"""Functions as tools: the schema of a signature, what arguments become, what is refused."""

from __future__ import annotations

import asyncio
import enum
import functools
import threading
from typing import Annotated, Any, Literal

import pydantic
import pytest

import headrace
from headrace import errors, messages
from headrace.providers.scripted import Call, Scripted
from headrace.runs import tools
from headrace.runs.tools import Tool, ToolContext, ToolError, tool


class Unit(enum.Enum):
    C = "c"
    F = "f"


class Place(pydantic.BaseModel):
    lat: float
    lon: float


@tool(timeout=3)
def weather(
    city: str,
    days: int = 1,
    unit: Unit = Unit.C,
    at: Place | None = None,
    kind: Literal["rain", "sun"] = "sun",
    *,
    hours: Annotated[list[int], pydantic.Field(description="which hours", max_length=2)] = [],  # noqa: B006
    context: ToolContext,
) -> str:
    """The forecast.

    Args:
        city: its name.
        days: how many.
    """
    return f"{city} {days} {unit}"


def test_the_schema_of_a_signature() -> None:
    assert (weather.name, weather.description, weather.timeout) == ("weather", "The forecast.", 3)
    schema = weather.parameters
    assert schema["required"] == ["city"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["city"] == {"type": "string", "description": "its name."}
    assert properties["days"] == {"type": "integer", "default": 1, "description": "how many."}
    assert properties["unit"]["default"] == "c"
    assert properties["kind"] == {"enum": ["rain", "sun"], "type": "string", "default": "sun"}
    assert properties["hours"]["description"] == "which hours"
    assert "context" not in properties
    assert weather.context == "context"
    assert isinstance(weather, messages.ToolSpec)


def test_arguments_are_coerced() -> None:
    got = weather.check({"city": "Ulm", "days": "3", "unit": "f", "at": {"lat": "1", "lon": 2}})
    assert got == {"city": "Ulm", "days": 3, "unit": Unit.F, "at": Place(lat=1, lon=2)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (None, "city: is missing"),
        ({"city": "a", "days": "x"}, "days: Input should be a valid integer"),
        ({"city": "a", "cit": 1}, "cit: there is no such argument"),
        ({"city": "a", "at": {"lat": 1}}, "at.lon: is missing"),
        ({"city": "a", "hours": [1, 2, 3]}, "hours: List should have at most 2"),
        ('{"city"', "not JSON"),
    ],
)
def test_what_does_not_fit_is_said(arguments: Any, words: str) -> None:
    with pytest.raises(ToolError) as raised:
        weather.check(arguments)
    assert words in raised.value.message
    assert raised.value.code == "tool-failed"


class Adder:
    """Adds."""

    def __init__(self, to: int) -> None:
        self.to = to

    def method(self, n: int) -> int:
        return self.to + n

    async def __call__(self, n: int) -> int:
        return self.to + n


def test_what_can_be_a_tool() -> None:
    assert Tool.of(Adder(1).method).check({"n": "2"}) == {"n": 2}
    assert Tool.of(Adder(1), name="adder").description == "Adds."
    part = Tool.of(functools.partial(weather.function, city="Ulm"), name="here", description="Here.")
    assert "required" not in part.parameters
    assert Tool.of(lambda: 1, name="one").parameters["properties"] == {}
    assert Tool.of(weather.function, parameters={"type": "object"}).parameters == {"type": "object"}


def test_a_decorated_function_is_still_one() -> None:
    @tool
    def double(n: int) -> int:
        return n * 2

    assert double(4) == 8


def stars(*words: str) -> None: ...


def positional(a: int, /) -> None: ...


def field_default(a: int = pydantic.Field(1)) -> None: ...


def no_json(a: threading.Thread) -> None: ...


def no_hint(a: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (stars, "by its name"),
        (positional, "by its name"),
        (field_default, "Annotated"),
        (no_json, "without a JSON form"),
        (no_hint, "Missing"),
        (lambda: 1, "a tool needs a name"),
    ],
)
def test_what_cannot(function: Any, words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        Tool.of(function)


def test_lists_of_tools() -> None:
    spec = messages.ToolSpec("theirs")
    assert [item.name for item in tools.as_tools([weather, Adder(1).method, spec])] == [
        "weather", "method", "theirs",
    ]  # fmt: skip
    with pytest.raises(errors.UsageError, match="two tools"):
        tools.as_tools([weather, weather.function])
    with pytest.raises(errors.UsageError, match="not str"):
        tools.as_tools(["weather"])
    assert {name: item.name for name, item in tools.table({"w": weather, "m": Adder(1).method}).items()} == {
        "w": "w", "m": "m",
    }  # fmt: skip
    with pytest.raises(errors.UsageError, match="has no function"):
        tools.table([spec])


async def test_a_thread_of_its_own() -> None:
    assert await tools.in_thread(threading.current_thread) is not threading.current_thread()
    with pytest.raises(KeyError):
        await tools.in_thread({}.__getitem__, "x")
    hold = threading.Event()
    waiting = asyncio.create_task(tools.in_thread(hold.wait, 30))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hold.set()


async def test_ask_with_a_function() -> None:
    def lookup(word: str) -> dict[str, str]:
        return {word: "found"}

    model = Scripted([[Call("lookup", {"word": "weir"})], ["A weir."]])
    got = await headrace.ask(model, "What is it?", tools=[lookup])
    assert got.text == "A weir."
    assert got.tool_calls[0]["value"] == {"weir": "found"}


def test_approval_without_async() -> None:
    def wipe() -> str:
        return "gone"

    model = Scripted([[Call("wipe")], ["Done."]])
    with headrace.stream_sync(model, "Wipe it", tools=[Tool.of(wipe, approval=True)]) as run:
        for event in run:
            if isinstance(event, headrace.events.HumanRequest):
                run.respond(event.request, True)
        assert run.result().tool_calls[0]["value"] == "gone"
