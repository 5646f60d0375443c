"""How types grow: what each mold is. (How values grow by them: `test_partial`.)"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import msgspec
import pydantic
import pytest
import typing_extensions

from headrace.outputs import molds
from headrace.outputs.molds import Done, NotNull

T = TypeVar("T")
Name = NewType("Name", str)
Alias = typing_extensions.TypeAliasType("Alias", list[int])


class Text(str):
    pass


class Box(pydantic.BaseModel, Generic[T]):
    inner: T


class Arrayed(msgspec.Struct, array_like=True):
    a: int


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, molds.Text),
        (Name, molds.Text),
        (str | None, molds.Text),
        (Text, molds.Whole),
        (int, molds.Whole),
        (dt.datetime, molds.Whole),
        (bytes, molds.Whole),
        (Literal["a"], molds.Whole),
        (Annotated[int, "what"], molds.Whole),
        (list[int], molds.Listed),
        (Alias, molds.Listed),
        (frozenset[int], molds.Listed),
        (Sequence[int], molds.Listed),
        (list, molds.Listed),
        (tuple[int, ...], molds.Listed),
        (dict, molds.Mapped),
        (Mapping[str, int], molds.Mapped),
        (int | str, molds.Union),
        (Box[int], molds.Record),
        (Any, type(molds.ANY)),
        (T, type(molds.ANY)),
        (Arrayed, type(molds.ANY)),
    ],
)
def test_kinds(annotation: Any, kind: type) -> None:
    assert type(molds.mold(annotation)) is kind


def test_marks_make_another_mold() -> None:
    marked = molds.mold(Annotated[str, Done, NotNull()])
    assert marked.done
    assert marked.needed
    assert not molds.mold(str).done
    assert molds.mold(Annotated[str, "words"]) is molds.mold(str)
    assert molds.mold(Annotated[str, pydantic.Field(json_schema_extra={"a": 1}), Done]).done  # not hashable


def test_parts() -> None:
    box = molds.mold(Box[int])
    assert isinstance(box, molds.Record)
    assert box.inner("inner") == ("inner", molds.mold(int))
    assert box.inner("other") is None
    assert box.opened(False) is None
    pair = molds.mold(tuple[int, str])
    assert pair.inner(1) == (1, molds.mold(str))
    assert pair.inner(2) == (2, molds.ANY)
    assert molds.mold(list[int]).opened(True) is None
    assert molds.mold(int).whole("12") == 12
    assert molds.mold(int).whole("twelve") is None
    assert molds.mold(int).whole(None) is None


def test_an_alias_of_several_keys() -> None:
    class Named(pydantic.BaseModel):
        one: Annotated[int, pydantic.Field(validation_alias=pydantic.AliasChoices("eins", "uno"))]

    named = molds.mold(Named)
    assert all(named.inner(key) == ("one", molds.mold(int)) for key in ("eins", "uno", "one"))


def test_a_class_with_default_factories_is_empty_at_first() -> None:
    @dataclasses.dataclass
    class Bag:
        items: list[int] = dataclasses.field(default_factory=list)

    # a class of a function has no names that can be looked up but those of builtins
    made, _ = molds.mold(Bag).new()
    assert made.items is None
