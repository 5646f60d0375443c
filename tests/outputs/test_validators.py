"""Validators of the user's own, run when a field ends."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import pydantic
import pytest

from headrace.outputs import validators
from headrace.outputs.problems import ShapeError
from headrace.outputs.reader import Reader
from headrace.outputs.shape import Shape


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


class Line(pydantic.BaseModel):
    amount: Annotated[int, pydantic.AfterValidator(even)]
    plain: int = 0


class Bill(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(alias="n")]
    lines: list[Line]
    other: str = ""
    odd: str = ""
    below: list[Bill] = []

    @pydantic.field_validator("name")
    @classmethod
    def upper(cls, value: str) -> str:
        if not value.isupper():
            raise ValueError("must be in capitals")
        return value

    @pydantic.field_validator("other")
    @classmethod
    def not_the_name(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value == info.data["name"]:
            raise ValueError("is the name")
        return value

    @pydantic.field_validator("odd")
    @classmethod
    def stumbles(cls, value: str) -> str:
        raise RuntimeError("this needs the whole model")

    @pydantic.model_validator(mode="after")
    def whole(self) -> Bill:
        if not self.lines:
            raise ValueError("a bill has lines")
        return self


def test_fields_with_checks_of_their_own() -> None:
    assert set(validators.of(Line)) == {"amount"}
    assert set(validators.of(Bill)) == {"n", "odd"}
    assert validators.of(int) == {}
    assert validators.any_in(list[Bill])
    assert not validators.any_in(dict[str, int])
    assert validators.find(Bill, "/below/0/lines/3/amount") is validators.of(Line)["amount"]
    for path in ("", "/lines", "/lines/x/amount", "/lines/0/plain", "/none", "/n/0"):
        assert validators.find(Bill, path) is None
    assert validators.find(Bill | Line, "/amount") is None


@pytest.mark.parametrize(
    ("text", "read", "problem"),
    [
        ('{"n": "abc", "lines": []}', '{"n": "abc"', ("/n", 'must be in capitals, got "abc"')),
        ('{"n": "A", "lines": [{"amount": 2}, {"amount": 3}]}', '{"n": "A", "lines": [{"amount": 2}, {"amount": 3}',
         ("/lines/1/amount", "must be even, got 3")),
    ],
)  # fmt: skip
def test_they_are_run_when_the_field_ends(text: str, read: str, problem: Any) -> None:
    reader = Reader(Shape.of(Bill), strict=True)
    for number, character in enumerate(text):
        reader.feed(character)
        if reader.problem:
            assert text[: number + 1] == read
            break
    assert reader.problem == problem


def test_the_others_are_run_at_the_end() -> None:
    shape = Shape.of(Bill)
    assert shape.check_field("/other", "A") == ()
    assert shape.check_field("/odd", "x") == ()
    assert shape.check_field("/n", "a") == (("/n", 'must be in capitals, got "a"'),)
    reader = Reader(shape)
    reader.feed('{"n": "A", "lines": [], "other": "A"}')
    assert reader.problem is None
    with pytest.raises(ShapeError) as caught:
        reader.finish()
    assert ("/other", 'is the name, got "A"') in caught.value.problems


def test_a_field_that_was_cut_off_is_not_run() -> None:
    reader = Reader(Shape.of(Bill))
    reader.feed('{"n": "a')
    with pytest.raises(ShapeError) as caught:
        reader.finish()
    assert len(caught.value.problems) == 1
    assert caught.value.truncated


def test_they_read_json_as_the_model_does() -> None:
    def no_blanks(value: str) -> str:
        if " " in value:
            raise ValueError("has blanks")
        return value

    class Stripped(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(str_strip_whitespace=True, strict=True)
        name: Annotated[str, pydantic.AfterValidator(no_blanks)]
        day: Annotated[dt.date, pydantic.AfterValidator(lambda day: day)]

    shape = Shape.of(Stripped)
    assert shape.has_own_checks
    assert shape.check_field("/name", " ab ") == ()
    assert shape.check_field("/day", "2026-11-20") == ()
    assert shape.check_field("/name", "a b") == (("/name", 'has blanks, got "a b"'),)
