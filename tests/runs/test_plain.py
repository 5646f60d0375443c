"""Python values as JSON values and as text."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import msgspec
import pydantic
import pytest

from headrace.runs import plain


class Model(pydantic.BaseModel):
    at: datetime.date


class Struct(msgspec.Struct):
    inner: Model


@dataclasses.dataclass
class Data:
    x: int


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        (Model(at=datetime.date(2026, 1, 2)), {"at": "2026-01-02"}),
        (Struct(Model(at=datetime.date(2026, 1, 2))), {"inner": {"at": "2026-01-02"}}),
        ([Data(1), (2,), {3}], [{"x": 1}, [2], [3]]),
        (b"\xff", "_w=="),
        (10**30, 10**30),
        ([Data(1), "\ud800"], [{"x": 1}, "�"]),
        ({"a\ud800": ["\ud83d\ude00"]}, {"a�": ["😀"]}),
        (Exception("x"), "x"),
    ],
)
def test_values(value: Any, wanted: Any) -> None:
    assert plain.plain(value) == wanted
    msgspec.json.encode(plain.plain(value))


def test_text() -> None:
    assert plain.text("as it is") == "as it is"
    assert plain.text({"a": [1, None, float("nan")]}) == '{"a":[1,null,null]}'
