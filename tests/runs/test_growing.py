"""The growing value of one follower: in step with its events, anew with each attempt, complete by path."""

from __future__ import annotations

import pydantic

from headrace import events
from headrace.outputs.shape import Shape
from headrace.protocol.json import Parser
from headrace.runs.growing import Field, Growing, fields, matcher


class Row(pydantic.BaseModel):
    name: str
    n: int


class Table(pydantic.BaseModel):
    title: str
    rows: list[Row]


TEXT = '{"title": "The mill", "rows": [{"name": "gate", "n": 1}, {"name": "wheel", "n": 22}]}'
BEGIN = events.AttemptStart(attempt=1, provider="p", model="m")


def said(text: str, size: int = 3) -> list[list[events.Event]]:
    parser = Parser()
    return [parser.feed(text[i : i + size]) for i in range(0, len(text), size)]


def test_the_value_grows_with_the_events() -> None:
    growing = Growing(Shape.of(Table))
    assert not growing.add([BEGIN])
    assert growing.value is None
    seen = [
        len(growing.value.model_dump_json(exclude_none=True, warnings=False))
        for batch in said(TEXT)
        if growing.add(batch)
    ]
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert growing.value.rows[1].n == 22
    assert not growing.final
    assert growing.add([events.Output(value={"title": "The mill", "rows": []})])
    assert growing.final
    assert growing.value == Table(title="The mill", rows=[])


def test_merged_deltas_give_the_same_value() -> None:
    whole, cut = Growing(Shape.of(Table)), Growing(Shape.of(Table))
    whole.add([event for batch in said(TEXT, len(TEXT)) for event in batch])
    for batch in said(TEXT, 1):
        cut.add(batch)
    assert whole.value == cut.value


def test_what_is_complete() -> None:
    growing = Growing(Shape.of(Table))
    upto = TEXT.index("wheel") + 2
    for batch in said(TEXT[:upto], 1):
        growing.add(batch)
    assert [growing.is_complete(path) for path in ("/title", "/rows/0", "/rows/0/n")] == [True] * 3
    assert [
        growing.is_complete(path) for path in ("", "/rows", "/rows/1", "/rows/1/name", "/rows/2", "/x")
    ] == [False] * 6
    growing.add([events.FieldEnd(path="/rows/1/name", cut=True)])
    assert not growing.is_complete("/rows/1/name")


def test_a_reset_and_another_attempt_begin_anew() -> None:
    for again in (events.OutputReset(blocks=["b1"], reason="validation"), BEGIN):
        growing = Growing(Shape.of(Table))
        for batch in said(TEXT):
            growing.add(batch)
        assert not growing.add([again])
        assert growing.value is None
        assert not growing.is_complete("/title")


def test_what_belongs_to_a_span_is_not_the_answer() -> None:
    growing = Growing(Shape.of(Table))
    assert not growing.add([events.FieldStart(path="/title", span="s1")])
    assert growing.value is None


def test_a_json_schema_gives_plain_values() -> None:
    growing = Growing(Shape.of({"type": "object"}))
    for batch in said(TEXT[:42]):
        growing.add(batch)
    assert growing.value == {"title": "The mill", "rows": [{"name": "g"}]}


def test_fields() -> None:
    batch: list[events.Event] = [
        events.FieldStart(path="/a"),
        events.FieldDelta(path="/a", delta="x", index=0),
        events.FieldEnd(path="/a", value="x"),
        events.TextDelta(block="b", delta="x"),
        events.FieldEnd(path="/b", cut=True),
        events.OutputReset(blocks=[], reason="failover"),
    ]
    assert fields(batch) == [
        Field(path="/a", delta="x"),
        Field(path="/a", done=True, value="x"),
        Field(retracted="failover"),
    ]


def test_paths_with_a_star() -> None:
    fits = matcher("/rows/*/a.b").fullmatch
    assert fits("/rows/12/a.b")
    assert not fits("/rows/1/2/a.b")
    assert not fits("/rows/1/axb")
