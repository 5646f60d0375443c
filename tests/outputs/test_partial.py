"""Growing values: typed, only growing, and cheap."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import itertools
import json
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.outputs import schemas

from headrace import events
from headrace.outputs import molds, structure
from headrace.outputs.molds import Done, NotNull
from headrace.outputs.partial import Partial
from headrace.protocol.json import Parser


def grown(annotation: Any, text: str, *, fits: bool = True) -> list[Any]:
    """Copies of the value after each character, where it changed; events alone must come to the same in the end."""
    partial, follower = Partial(annotation), Partial(annotation)
    marking, plain = Parser(structure=True), Parser()
    seen: list[Any] = []
    for character in text:
        partial.take(marking.feed(character))
        for event in plain.feed(character):
            follower.apply(event)
        now = copy.deepcopy(partial.value)
        if not seen or repr(seen[-1]) != repr(now):
            seen.append(now)
    partial.take(marking.close())
    for event in plain.close():
        follower.apply(event)
    if fits:
        assert repr(follower.finish()) == repr(partial.value)
    if not seen or repr(seen[-1]) != repr(partial.value):
        seen.append(copy.deepcopy(partial.value))
    return seen


class Color(enum.Enum):
    RED = "red"
    REDDISH = "reddish"


class Item(pydantic.BaseModel):
    name: str
    count: int


class Invoice(pydantic.BaseModel):
    title: str
    day: dt.date
    color: Color
    items: list[Item]
    paid: bool = False


INVOICE = (
    '{"title": "Mi", "day": "2026-11-20", "color": "reddish", "items": [{"name": "a", "count": 12}], '
    '"paid": true}'
)


def test_a_model_grows() -> None:
    def at(**fields: Any) -> Any:
        return Invoice.model_construct(
            None, **{"title": None, "day": None, "color": None, "items": None, "paid": None} | fields
        )

    def item(**fields: Any) -> Any:
        return Item.model_construct(None, **{"name": None, "count": None} | fields)

    begun: dict[str, Any] = {"title": "Mi", "day": dt.date(2026, 11, 20), "color": Color.REDDISH}
    seen = grown(Invoice, INVOICE)
    assert [one.__dict__ for one in seen] == [
        one.__dict__
        for one in [
            at(),
            at(title=""),
            at(title="M"),
            at(title="Mi"),
            at(title="Mi", day=dt.date(2026, 11, 20)),
            at(**begun),
            at(**begun, items=[]),
            at(**begun, items=[item()]),
            at(**begun, items=[item(name="")]),
            at(**begun, items=[item(name="a")]),
            at(**begun, items=[item(name="a", count=12)]),
            at(**begun, items=[item(name="a", count=12)], paid=True),
        ]
    ]
    assert all(type(one) is Invoice for one in seen)
    assert seen[-1].model_fields_set == {"title", "day", "color", "items", "paid"}
    assert seen[-1] == Invoice.model_validate_json(INVOICE)


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    label: str = "-"


@dataclasses.dataclass
class Line:
    ends: list[Point]


class Person(typing_extensions.TypedDict):
    name: str
    age: typing_extensions.NotRequired[int]


class Row(msgspec.Struct, frozen=True, rename="camel"):
    row_id: int
    note: str = ""

    def __post_init__(self) -> None:
        assert self.row_id > 0


def test_dataclasses_typed_dicts_and_structs() -> None:
    seen = grown(Line, '{"ends": [{"x": 1, "label": "ab"}, {"x": 2}]}')
    assert [seen[0], seen[1], seen[-1]] == [
        Line(None),  # type: ignore[arg-type]
        Line([]),
        Line([Point(1, "ab"), Point(2, None)]),  # type: ignore[arg-type]
    ]
    assert grown(Person, '{"name": "A", "age": 9}') == [
        {"name": None},
        {"name": ""},
        {"name": "A"},
        {"name": "A", "age": 9},
    ]
    seen = grown(list[Row], '[{"rowId": 5, "note": "n"}]')
    assert isinstance(seen[-1][0], Row)
    assert (seen[-1][0].row_id, seen[-1][0].note) == (5, "n")
    assert seen[1][0].row_id is None


def test_marks() -> None:
    class Step(pydantic.BaseModel):
        id: Annotated[int, NotNull]
        text: Annotated[str, Done]

    class Plan(pydantic.BaseModel):
        goal: Annotated[str, Done]
        steps: list[Step]
        tags: Annotated[list[str], Done()]
        last: Annotated[Step | None, NotNull()] = None

    class Outer(pydantic.BaseModel):
        plans: list[Annotated[Plan, Done]]

    text = (
        '{"goal": "go", "steps": [{"text": "one", "id": 1}, {"text": "lost"}, {"id": 2}], '
        '"tags": ["a", "b"], "last": {"id": 3}}'
    )
    seen = grown(Plan, text)
    assert seen[0] is None  # `last` has to be there
    assert seen[1].last.id == 3
    assert [step.id for step in seen[-1].steps] == [1, 2]
    assert seen[-1].steps[0].text == "one"
    shown = grown(Outer, f'{{"plans": [{text}]}}')
    assert [len(one.plans or []) for one in shown] == [0, 0, 1]

    class Loose(pydantic.BaseModel):
        goal: Annotated[str, Done] = ""
        tags: Annotated[list[str], Done] = []
        steps: list[Step] = []

    shown = grown(Loose, '{"goal": "go", "tags": ["a", "b"], "steps": [{"text": "one", "id": 1}]}')
    assert [one.goal for one in shown][:2] == [None, "go"]
    assert next(one.tags for one in shown if one.tags is not None) == ["a", "b"]
    steps = [one.steps for one in shown if one.steps is not None]
    assert [len(one) for one in steps] == [0, 1]
    assert steps[1][0].text == "one"


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    name: str
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str
    tricks: list[str] = []


class Tagged(msgspec.Struct, tag="t"):
    a: str


class Other(msgspec.Struct, tag="o"):
    a: str


def test_unions_are_shown_when_they_are_decided() -> None:
    seen = grown(Cat | Dog, '{"kind": "dog", "name": "Rex"}')
    assert [type(one) for one in seen][:2] == [type(None), Dog]
    assert seen[1].kind == "dog"
    assert seen[-1] == Dog.model_construct(kind="dog", name="Rex", tricks=None)
    seen = grown(list[Cat | Dog], '[{"name": "Tom", "lives": 3, "kind": "cat"}]')
    assert [len(one) for one in seen] == [0, 1, 1, 1]
    assert seen[1][0].name == "Tom"
    seen = grown(Tagged | Other, '{"type": "o", "a": "x"}')
    assert isinstance(seen[-1], Other)
    assert seen[-1].a == "x"
    assert grown(Cat | None, "null") == [None]
    assert grown(int | str, '"ab"')[-1] == "ab"
    assert grown(Literal["a", "b"] | int, '"b"') == [None, "b"]
    assert grown(list[int] | list[str], '["a"]') == [None, ["a"]]
    assert grown(list[int] | Cat, "[1]") == [[], [1]]

    class One(pydantic.BaseModel):
        a: str

    class Two(pydantic.BaseModel):
        a: str
        b: int = 0

    assert grown(One | Two, '{"a": "x"}') == [None, One(a="x")]
    assert grown(One | Two, '{"a": "x", "b": 3}')[-1] == Two(a="x", b=3)


def test_what_does_not_fit_is_not_shown() -> None:
    assert grown(Item, '{"name": 3, "count": "many", "more": {"a": ["b"]}}')[-1].name is None
    assert grown(list[int], '[1, "x", {"a": 1}, 2]')[-1] == [1, 2]
    assert grown(Item, "[1]", fits=False) == [None]
    assert grown(Color, '"blue"') == [None]
    assert grown(str, "[1]", fits=False) == [None]


def test_recursive_aliases_and_roots() -> None:
    class Node(pydantic.BaseModel):
        name: Annotated[str, pydantic.Field(alias="n")]
        below: list[Node] = []

    Node.model_rebuild()
    seen = grown(Node, '{"n": "a", "below": [{"n": "b", "below": []}]}')
    assert molds.mold(Node).inner("n") is not None
    assert seen[-1].name == "a"

    class Names(pydantic.RootModel[list[str]]):
        pass

    assert grown(Names, '["a"]') == [[], [""], ["a"]]
    assert grown(dict[str, list[int]], '{"a": [1, 2]}') == [{}, {"a": []}, {"a": [1]}, {"a": [1, 2]}]
    assert grown(tuple[int, str], '[1, "b"]') == [[], [1], [1, ""], [1, "b"]]
    assert grown(set[int], "[1, 1]")[-1] == [1, 1]
    assert grown(dt.date, '"2026-01-02"') == [None, dt.date(2026, 1, 2)]


def test_complete() -> None:
    partial = Partial(Invoice)
    parser = Parser()
    for event in parser.feed('{"title": "Mi", "items": [{"name": "a", "count": 1}, {"name": "b'):
        partial.apply(event)
    whole = ["/title", "/items/0/name", "/items/0"]
    part = ["", "/items", "/items/1", "/items/1/name", "/day", "/items/2", "/nothing"]
    assert [partial.complete(path) for path in whole] == [True] * 3
    assert [partial.complete(path) for path in part] == [False] * 7
    partial.finish()
    assert partial.complete("/items")


def test_below_a_path() -> None:
    partial = Partial(Item, root="/answer")
    parser = Parser(root="/answer")
    for event in [*parser.feed('{"name": "ab"}'), events.TextDelta(block="b1", delta="x")]:
        partial.apply(event)
    assert partial.value.name == "ab"
    assert partial.complete("/answer/name")


@settings(max_examples=200, deadline=None)
@given(schemas.VALUES, st.data())
def test_of_anything_it_is_the_value_itself(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    parser, partial = Parser(structure=True), Partial()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)) | {0, len(text)})
    for start, end in itertools.pairwise(cuts):
        partial.take(parser.feed(text[start:end]))
        assert partial.value == parser.value
    partial.take(parser.close())
    assert partial.value == value


def test_a_long_string_is_grown_in_place() -> None:
    partial = Partial(Item)
    partial.take(list(structure.of_value({"name": ""}))[:3])
    for _ in range(100_000):
        partial.grow("word")
        assert partial.value.name is not None
    assert len(partial.value.name) == 400_000


@pytest.mark.parametrize("annotation", [Invoice, Line, Person, list[Row], Cat | Dog, dict[str, Any], Any])
def test_molds_are_made_once(annotation: Any) -> None:
    assert molds.mold(annotation) is molds.mold(annotation)
