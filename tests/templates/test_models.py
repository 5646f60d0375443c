"""Types of one's own: Pydantic models and YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from headrace.templates import faults, models, parser, syntax, types


def shape(source: str, scope: dict[str, Any] | None = None, **known: Any) -> types.Shape:
    (slot,) = (n for n in syntax.walk(parser.parse(source).segments[0].nodes) if isinstance(n, syntax.Slot))
    kind = models.Types(**known).get(slot.type, slot.place)
    return types.Shape(slot, kind, kind.options(slot, scope or {}))


def test_a_pydantic_model() -> None:
    class Item(pydantic.BaseModel):
        name: str
        price: float = pydantic.Field(gt=0)

    found = shape("[[item{1,3}:a]]", models={"item": Item})
    assert found.value('{"value": [{"name": "x", "price": 2}]}') == [Item(name="x", price=2)]
    with pytest.raises(ValueError, match="item 1: price"):
        found.value('{"value": [{"name": "x", "price": 0}]}')


def test_a_yaml_type(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_text(
        "name: Thing\nfields:\n  name: text\n  size: {type: int, min: 1, default: 3}\n"
    )
    (tmp_path / "car.yaml").write_text(
        "description: A car\nextends: thing\nfields:\n  colour: {choices: [red, blue]}\n  tags: 'list[text]'\n"
    )
    value = shape("[[car:a]]", folders=[tmp_path]).value(
        '{"value": {"name": "x", "colour": "red", "tags": ["t"]}}'
    )
    assert value.model_dump() == {"name": "x", "size": 3, "colour": "red", "tags": ["t"]}
    (tmp_path / "bad.yaml").write_text("fields:\n  a: {type: nope}\n")
    with pytest.raises(faults.TemplateError, match="unknown type 'nope'"):
        shape("[[bad:a]]", folders=[tmp_path])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fields: [", "not YAML"),
        ("- a", "needs name, description and fields"),
        ("colour: red", "no key 'colour'"),
        ("extends: nothing", "no nothing.yaml beside it"),
        ("extends: bad", "extends itself: bad.yaml → bad.yaml"),
        ("fields:\n  a: 3", "must be a type"),
        ("fields:\n  a: {type: int, mni: 3}", "no key 'mni'"),
        ("fields:\n  a: list[nope]", "unknown type 'nope'"),
    ],
)
def test_a_wrong_file_is_a_fault_of_the_slot(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(faults.TemplateError, match=words) as caught:
        shape("x [[bad:a]]", folders=[tmp_path])
    assert caught.value.faults[0].place.column == 3


def test_everything_a_yaml_type_can_say(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "name: All\ndescription: Everything\nfields:\n"
        "  a: {type: text, min_length: 2, max_length: 3, pattern: '^x', description: words}\n"
        "  b: {type: number, gt: 0, lt: 2}\n  c: {type: date, required: false}\n  d: 'list[int]'\n"
        "  e: {choices: [1, two], default: two}\n  f: {type: int, min: 1, max: 2}\n"
    )
    found = shape("[[!all:r]]", folders=[tmp_path])
    good = {"a": "xy", "b": 1, "c": "2026-05-17", "d": [1], "f": 2}
    import json

    value = found.value(json.dumps({"value": good}))
    assert (value.e, value.c.isoformat()) == ("two", "2026-05-17")
    for name, wrong in (("a", "x"), ("a", "yyy"), ("b", 2), ("d", ["x"]), ("e", 3), ("f", 3)):
        with pytest.raises(ValueError, match=name):
            found.value(json.dumps({"value": {**good, name: wrong}}))
    schema = found.schema()
    assert schema is not None
    assert schema["properties"]["value"]["properties"]["a"]["maxLength"] == 3
