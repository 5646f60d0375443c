"""Types as JSON Schema: with and without marks. (What they check: `test_shape`.)"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from headrace.outputs import typed


class Row(msgspec.Struct):
    id: int


class Model(pydantic.BaseModel):
    before: Annotated[int, pydantic.BeforeValidator(int)]
    after: Annotated[int, pydantic.AfterValidator(abs)]
    wrapped: Annotated[int, pydantic.WrapValidator(lambda value, handler: handler(value))]
    plain: Annotated[int, pydantic.PlainValidator(int)]
    stripped: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, max_length=3)]
    some: Annotated[frozenset[int], pydantic.Field(max_length=2)]


@dataclasses.dataclass
class Holder:
    rows: list[Row]


def test_marks_say_where_code_of_the_users_decides() -> None:
    form = typed.of(Model, "Model")
    fields = form.marked["properties"]
    assert {name for name in fields if typed.LOOSE in fields[name]} == {
        "before",
        "wrapped",
        "plain",
        "stripped",
    }
    assert "maxItems" not in fields["some"]
    assert form.schema["properties"]["some"]["maxItems"] == 2
    assert typed.LOOSE not in json.dumps(form.schema)


@pytest.mark.parametrize(
    ("annotation", "holds"),
    [
        (Row, True),
        (list[Row] | None, True),
        (dict[str, Row], True),
        (Model, False),
        (list[int], False),
        (Any, False),
    ],
)
def test_who_reads_a_type(annotation: Any, holds: bool) -> None:
    assert typed.holds_struct(annotation) is holds


def test_clean_text() -> None:
    assert typed.clean("aé") == "aé"
    assert typed.clean("\ud83d\ude00") == "😀"
    assert typed.clean("\ud83d") == "\ufffd"


def test_a_struct_in_a_dataclass_is_msgspecs() -> None:
    form = typed.of(Holder, "Holder")
    assert form.make({"rows": [{"id": 1}]}) == Holder([Row(1)])
