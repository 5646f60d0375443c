"""One answer read while it is written."""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.outputs import schemas

from headrace import events
from headrace.outputs import portable
from headrace.outputs.problems import ShapeError
from headrace.outputs.reader import Reader
from headrace.outputs.shape import Shape


class Item(pydantic.BaseModel):
    name: str
    count: Annotated[int, pydantic.Field(ge=1)]
    color: Literal["red", "green"] = "red"


class Invoice(pydantic.BaseModel):
    day: dt.date
    items: list[Item]
    note: str = ""


TEXT = '{"day": "2026-11-20", "items": [{"name": "mill", "count": 2}], "note": "so\\n"}'
WANTED = Invoice(day=dt.date(2026, 11, 20), items=[Item(name="mill", count=2)], note="so\n")
INVOICE = Shape.of(Invoice)


def told(batch: list[events.Event]) -> list[tuple[Any, ...]]:
    out: list[tuple[Any, ...]] = []
    for event in batch:
        match event:
            case events.FieldStart(path=path):
                out.append(("start", path))
            case events.FieldDelta(path=path, delta=delta):
                out.append(("delta", path, delta))
            case events.FieldEnd(path=path, value=value):
                out.append(("end", path, value))
    return out


def read(reader: Reader, text: str, size: int = 1) -> list[events.Event]:
    out = []
    for at in range(0, len(text), size):
        out += reader.feed(text[at : at + size])
    return out


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_events_values_and_the_end(strict: bool, size: int) -> None:
    reader = Reader(INVOICE, strict=strict)
    assert reader.value is None
    assert not reader.found
    found = told(read(reader, TEXT, size))
    assert [one for one in found if one[0] != "delta"] == [
        ("start", "/day"), ("end", "/day", "2026-11-20"),
        ("start", "/items/0/name"), ("end", "/items/0/name", "mill"),
        ("start", "/items/0/count"), ("end", "/items/0/count", 2),
        ("start", "/note"), ("end", "/note", "so\n"),
    ]  # fmt: skip
    assert "".join(one[2] for one in found if one[:2] == ("delta", "/note")) == "so\n"
    assert reader.found
    assert reader.ended
    assert reader.problem is None
    assert reader.value.items[0].color is None  # what the model did not write is not made up
    assert reader.finish() == WANTED


def test_in_prose() -> None:
    reader = Reader(INVOICE)
    read(reader, "<think>{</think>Here it is, {as asked}:\n```json\n" + TEXT + "\n```\nAnything else?", 3)
    assert reader.finish() == WANTED


def test_complete_and_live() -> None:
    reader = Reader(INVOICE, strict=True)
    read(reader, TEXT[:50])
    value = reader.value
    assert value.items[0].name == "mill"
    assert reader.complete("/day")
    assert not reader.complete("/items/0")
    read(reader, TEXT[50:])
    assert reader.value is value
    assert reader.complete("/items/0")


@pytest.mark.parametrize(
    ("text", "read_so_far", "path", "words"),
    [
        ('{"items": [{"color": "blue"', '{"items": [{"color": "b', "/items/0/color", 'one of "red", "green"'),
        ('{"items": [{"count": 0, ', '{"items": [{"count": 0,', "/items/0/count", "at least 1"),
        ('{"day": {', '{"day": {', "/day", "must be a string, not an object"),
        ('{"day": nope', '{"day": no', "/day", "not JSON"),
    ],
)
def test_early_problems(text: str, read_so_far: str, path: str, words: str) -> None:
    reader = Reader(INVOICE, strict=True)
    for number, character in enumerate(text):
        reader.feed(character)
        if reader.problem:
            assert text[: number + 1] == read_so_far
            break
    assert reader.problem is not None
    assert reader.problem.path == path
    assert words in reader.problem.message
    first = reader.problem
    assert reader.feed("}}}") is not None
    assert reader.problem == first
    with pytest.raises(ShapeError) as caught:
        reader.finish()
    assert first in caught.value.problems


@pytest.mark.parametrize("strict", [True, False])
def test_cut_off(strict: bool) -> None:
    reader = Reader(INVOICE, strict=strict)
    read(reader, TEXT[: TEXT.index("ll")])
    with pytest.raises(ShapeError, match="cut off") as caught:
        reader.finish()
    assert caught.value.truncated
    assert caught.value.details["truncated"]
    assert caught.value.partial.items[0].name == "mi"


def test_no_json_and_a_value_that_does_not_fit() -> None:
    reader = Reader(INVOICE)
    read(reader, "I cannot do that.")
    with pytest.raises(ShapeError, match="no JSON in the answer") as caught:
        reader.finish()
    assert not caught.value.truncated
    assert caught.value.partial is None
    reader = Reader(INVOICE, strict=True)
    read(reader, '{"day": "someday", "items": []}')
    with pytest.raises(ShapeError) as caught:
        reader.finish()
    assert caught.value.problems[0].path == "/day"
    assert reader.problem == caught.value.problems[0]
    assert caught.value.partial.items == []
    assert Reader(INVOICE, strict=True).feed("") == []


def wrapped(output: Any, text: str, *, strict: bool = False, size: int = 1) -> tuple[Reader, list[Any]]:
    shape = Shape.of(output)
    reader = Reader(shape, strict=strict, form=portable.portable(shape.schema, "openai-strict"))
    return reader, told(read(reader, text, size))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_out_of_its_object(size: int) -> None:
    reader, found = wrapped(list[Item], '{"value": [{"name": "a", "count": 3}]}', strict=True, size=size)
    assert ("end", "/0/count", 3) in found
    assert reader.value[0].count == 3
    assert reader.complete("/0/name")
    assert reader.finish() == [Item(name="a", count=3)]
    reader, found = wrapped(int, '{"value": 12}', size=size)
    assert found == [("start", ""), ("end", "", 12)]
    assert reader.finish() == 12
    raw, _ = wrapped({"type": "array"}, '{"value": [1]}', size=size)
    assert raw.value == [1]
    assert raw.finish() == [1]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_small_models_leave_the_object_out(size: int) -> None:
    assert wrapped(list[Item], 'Yes: [{"name": "a", "count": 3}]', size=size)[0].finish()[0].count == 3
    assert wrapped(Item | list[Item], '{"name": "a", "count": 3}', size=size)[0].finish().count == 3
    assert wrapped(Literal["yes", "no"], "\nyes\n", size=size)[0].finish() == "yes"
    assert wrapped(int, "42", size=size)[0].finish() == 42
    assert wrapped({"enum": ["a", 1]}, "1", size=size)[0].finish() == 1
    with pytest.raises(ShapeError):
        wrapped(int, "about forty-two", size=size)[0].finish()


def test_stand_in_nulls_are_taken_out() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": ["null", "string"]}},
        "required": ["b"],
    }
    shape = Shape.of(schema)
    reader = Reader(shape, strict=True, form=portable.portable(schema, "openai-strict"))
    read(reader, '{"a": null, "b": null}')
    assert reader.problem is None
    assert reader.finish() == {"b": None}


@settings(max_examples=150, deadline=None)
@given(schemas.pairs(), st.data())
def test_what_fits_is_read_in_any_cut(pair: tuple[Any, Any], data: st.DataObject) -> None:
    schema, value = schemas.localised(pair[0]), pair[1]
    if not isinstance(schema, dict):
        return
    shape = Shape.of(schema)
    if not shape.validator.is_valid(value):
        return
    text = json.dumps(value)
    reader = Reader(shape, strict=True)
    at = 0
    while at < len(text):
        size = data.draw(st.integers(1, 9))
        reader.feed(text[at : at + size])
        at += size
        assert reader.problem is None
    assert reader.finish() == value
