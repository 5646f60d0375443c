"""What `output=` takes, the schema of it, and its checks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pydantic
import pytest
import typing_extensions

from headrace import errors
from headrace.outputs.shape import Shape, ShapeError


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Item(pydantic.BaseModel):
    name: str
    count: Annotated[int, pydantic.Field(ge=1)] = 1

    @pydantic.field_validator("name")
    @classmethod
    def short(cls, value: str) -> str:
        if len(value) > 5:
            raise ValueError("the name is too long, use five letters")
        return value


class Invoice(pydantic.BaseModel):
    """An invoice."""

    model_config = pydantic.ConfigDict(extra="forbid")
    day: dt.date
    items: list[Item]
    color: Color | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Person(typing_extensions.TypedDict):
    name: str
    age: typing_extensions.NotRequired[int]


class Row(msgspec.Struct):
    id: int
    tags: list[str] = []


class Pair(NamedTuple):
    left: int
    right: str


@pytest.mark.parametrize(
    ("output", "given", "expected", "name"),
    [
        (
            Invoice,
            {"day": "2026-11-20", "items": [{"name": "mill"}], "color": "red"},
            Invoice(day=dt.date(2026, 11, 20), items=[Item(name="mill")], color=Color.RED),
            "Invoice",
        ),
        (Point, {"x": 1}, Point(1, 0), "Point"),
        (Person, {"name": "Ada"}, {"name": "Ada"}, "Person"),
        (Row, {"id": 1, "tags": ["a"]}, Row(1, ["a"]), "Row"),
        (list[Row], [{"id": 1}], [Row(1)], "list_Row"),
        (list[Point], [{"x": 1}], [Point(1)], "list_Point"),
        (Point | None, None, None, "Point_None"),
        (Color, "green", Color.GREEN, "Color"),
        (Literal["yes", "no"], "no", "no", "Literal_yes_no"),
        (int, 7, 7, "int"),
        (dt.datetime, "2026-11-20T10:00:00Z", dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC), "datetime"),
        (Annotated[int, pydantic.Field(le=9)], 7, 7, None),
        (dict[str, int], {"a": 1}, {"a": 1}, "dict_str_int"),
        (set[int], [1, 2, 2], {1, 2}, "set_int"),
        (tuple[int, str], [1, "a"], (1, "a"), "tuple_int_str"),
        (Pair, [1, "a"], Pair(1, "a"), "Pair"),
        ({"type": "array", "title": "Some rows"}, [1], [1], "Some_rows"),
    ],
)
def test_types(output: Any, given: Any, expected: Any, name: str | None) -> None:
    shape = Shape.of(output)
    assert shape.check(given) == expected
    assert type(shape.check(given)) is type(expected)
    assert name is None or shape.name == name
    json.dumps(shape.schema)
    assert Shape.of(shape) is shape
    assert Shape.of(output, name="my name!").name == "my_name"


def test_the_schema_has_the_words_and_no_titles_that_repeat_names() -> None:
    schema = Shape.of(Invoice).schema
    assert schema["description"] == "An invoice."
    assert schema["properties"]["day"] == {"format": "date", "type": "string"}
    assert "x-headrace-loose" not in json.dumps(schema)
    assert "title" not in Shape.of(Row).schema["$defs"]["Row"]["properties"]["id"]


def test_all_that_is_wrong_is_told_with_its_place() -> None:
    given = {"day": "soon", "items": [{"name": "waterwheel", "count": 0}], "size": 1}
    with pytest.raises(ShapeError) as caught:
        Shape.of(Invoice).check(given)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert set(found) == {"/day", "/items/0/name", "/items/0/count", "/size"}
    assert found["/items/0/name"] == 'the name is too long, use five letters, got "waterwheel"'
    assert found["/size"] == "there is no such key"
    assert caught.value.code == "output-rejected"
    assert caught.value.details["problems"][0] == {"path": "/day", "message": found["/day"]}
    assert "/items/0/count: " in caught.value.message


def test_places_in_unions_and_keys_with_slashes() -> None:
    class Cat(pydantic.BaseModel):
        kind: Literal["cat"]
        lives: int

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"]

    class Zoo(pydantic.BaseModel):
        pets: dict[str, Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]]

    with pytest.raises(ShapeError) as caught:
        Shape.of(Zoo).check({"pets": {"a/b": {"kind": "cat"}}})
    assert caught.value.problems == (("/pets/a~1b/lives", "is missing"),)


def test_msgspec_says_where() -> None:
    with pytest.raises(ShapeError) as caught:
        Shape.of(list[Row]).check([{"id": 1}, {"id": "x"}])
    assert caught.value.problems == (("/1/id", "Expected `int`, got `str`"),)


def test_strict_models_read_json() -> None:
    class Strict(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        day: dt.date

    assert Shape.of(Strict).check({"day": "2026-01-02"}).day == dt.date(2026, 1, 2)


def test_halves_of_characters_are_replaced() -> None:
    assert Shape.of(Person).check({"name": "a\ud83d"}) == {"name": "a\ufffd"}
    assert Shape.of(Row).check({"id": 1, "tags": ["\ud83d"]}).tags == ["\ufffd"]


SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "day": {"type": "string", "format": "date"},
        "pet": {"anyOf": [{"$ref": "#/$defs/cat"}, {"type": "null"}]},
    },
    "required": ["id", "day"],
    "additionalProperties": False,
    "$defs": {
        "cat": {
            "type": "object",
            "properties": {"lives": {"type": "integer", "maximum": 9}, "kind": {"const": "cat"}},
        }
    },
}  # fmt: skip


def test_schemas_are_checked_whole() -> None:
    shape = Shape.of(SCHEMA)
    assert shape.name == "output"
    good = {"id": 1, "day": "2026-01-31", "pet": None}
    assert shape.check(good) is good
    with pytest.raises(ShapeError) as caught:
        shape.check({"day": "2026-02-31", "pet": {"lives": 10}, "more": 1})
    assert {problem.path for problem in caught.value.problems} == {"", "/day", "/id", "/pet/lives"}
    assert ("/id", "is missing") in caught.value.problems
    with pytest.raises(ShapeError, match="must be an object, not a number; or must be null"):
        shape.check({"id": 1, "day": "2026-01-31", "pet": 3})


def test_fields_are_checked_alone() -> None:
    shape = Shape.of(SCHEMA)
    assert shape.check_field("/id", 3) == ()
    assert shape.check_field("/id", "3")[0].path == "/id"
    assert shape.check_field("/day", "2026-02-30")[0].message.startswith("must be a date")
    assert shape.check_field("/pet/lives", 9) == ()
    assert shape.check_field("/pet/lives", 10)[0] == ("/pet/lives", "must be at most 9, got 10")
    assert shape.check_field("/pet", {"lives": 10})
    assert shape.check_field("/none/such", 1)
    typed = Shape.of(Invoice)
    assert typed.check_field("/items/3/count", 0)[0].path == "/items/3/count"
    assert typed.check_field("/items/3/count", "2") == ()
    assert typed.check_field("/color", "blue")


@pytest.mark.parametrize(
    ("schema", "place", "words"),
    [
        ({"type": "objekt"}, "/type", "objekt"),
        ({"properties": {"a": {"minimum": "1"}}}, "/properties/a/minimum", "is not of type"),
        ({"properties": {"a/b": {"$ref": "#/$defs/none"}}}, "/properties/a~1b/$ref", "is not in the schema"),
        ({"$ref": "https://example.com/schema.json"}, "/$ref", "not fetched"),
        ({"items": {"pattern": "("}}, "/items/pattern", "no regular expression"),
        ({"patternProperties": {"(": {}}}, "/patternProperties", "no regular expression"),
        ({"$schema": "urn:other"}, "/$schema", "no known dialect"),
        ({"anyOf": []}, "/anyOf", "non-empty"),
    ],
)  # fmt: skip
def test_bad_schemas_are_refused_at_once(schema: Any, place: str, words: str) -> None:
    with pytest.raises(errors.UsageError, match=words) as caught:
        Shape.of(schema)
    assert caught.value.details == {"path": place}
    assert place in caught.value.message


def test_what_has_no_form() -> None:
    class Odd:
        pass

    with pytest.raises(errors.UsageError, match="no JSON form"):
        Shape.of(Odd)
    with pytest.raises(errors.UsageError, match="no JSON form"):
        Shape.of(list[Row | Invoice])
    with pytest.raises(errors.UsageError, match="leave output out"):
        Shape.of(None)


def test_where_the_users_own_code_decides_nothing_is_refused_early() -> None:
    def read(value: Any) -> Any:
        return int(value.split()[-1]) if isinstance(value, str) else value

    class Loose(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(str_strip_whitespace=True)
        about: Annotated[int, pydantic.BeforeValidator(read)]
        short: Annotated[str, pydantic.Field(max_length=3)]
        names: Annotated[set[int], pydantic.Field(max_length=1)]

    shape = Shape.of(Loose)
    given = {"about": "about 12", "short": "   ab   ", "names": [1, 1]}
    assert shape.check(given) == Loose(about=12, short="ab", names={1})
    assert shape.judge.check(given) is None


def test_other_keys_for_a_field() -> None:
    class Named(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(populate_by_name=True, extra="forbid")
        one: Annotated[int, pydantic.Field(alias="eins")]

    assert Shape.of(Named).judge.check({"one": 1}) is None
    assert Shape.of(Named).check({"one": 1}).one == 1
