"""Events for sinks: their classes, their JSON both ways, and any run's events made into them and back."""

from __future__ import annotations

import pydantic
import pytest

from headrace import errors, events
from headrace.core import events as core
from headrace.providers.scripted import Say, Scripted
from headrace.testing import runs


def test_a_token_has_its_attributes_in_data_too() -> None:
    event = core.TokenEvent(token="Machine", token_index=3, field="answer", run="run_1", seq=9)
    assert event.event_type == "token"
    assert event.data == {"token": "Machine", "token_index": 3, "field": "answer", "finish_reason": None}
    again = core.decode(core.encode(event))
    assert again == event
    assert isinstance(again, core.TokenEvent)


def test_the_old_name_is_the_same_class() -> None:
    event = core.StreamllEvent(event_type="token.summary", data={"total_tokens": 3})
    assert isinstance(event, core.HeadraceEvent)
    assert core.decode(core.encode(event)) == event


@pytest.mark.parametrize("cls", [core.StartEvent, core.EndEvent, core.ErrorEvent])
def test_each_class_comes_back_as_itself(cls: type[core.HeadraceEvent]) -> None:
    event = cls(operation="forward", data={"outcome": "x"}, context={"user": "ada"})
    again = core.decode(core.encode(event))
    assert type(again) is cls
    assert again == event


class _Answer(pydantic.BaseModel):
    text: str


class _Rude:
    def __str__(self) -> str:
        raise ValueError("no")


def test_what_a_program_puts_in_is_sent_as_far_as_it_can_be() -> None:
    data = {
        "model": _Answer(text="hi"),
        "object": object(),
        "set": {1},
        1: "key",
        "half": "\ud800",
        "nan": float("nan"),
    }
    again = core.decode(core.encode(core.HeadraceEvent(event_type="x", data=data)))
    assert again.data["model"] == {"text": "hi"}
    assert again.data["object"].startswith("<object")
    assert again.data["1"] == "key"
    assert again.data["half"] == "\ufffd"


def test_encoding_never_fails() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for value in (_Rude(), deep, {_Rude(): 1}):
        again = core.decode(core.encode(core.HeadraceEvent(event_type="x", run="r", data={"value": value})))
        assert (again.event_type, again.run) == ("x", "r")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'"x"', b"{}", b'{"event_type":3}', b'{"event_type":"x","seq":"y"}']
)
def test_what_is_no_event_is_a_typed_error(text: bytes) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        core.decode(text)
    assert caught.value.code == "provider-protocol"


async def test_a_whole_run_there_and_back() -> None:
    engine = runs.engine_for()
    model = Scripted(Say("The mill wheel turns.", ["The", " mill", " wheel", " turns."]))
    engine.models = _Only(model)
    played = await runs.play(engine, "scripted")
    convert = core.FromRun()
    found = [core.decode(core.encode(convert(event))) for event in played.events]
    tokens = [event for event in found if isinstance(event, core.TokenEvent)]
    assert [(t.token, t.token_index, t.field) for t in tokens] == [
        ("The", 0, "text"), (" mill", 1, "text"), (" wheel", 2, "text"), (" turns.", 3, "text"),
    ]  # fmt: skip
    assert isinstance(found[0], core.StartEvent)
    assert isinstance(found[-1], core.EndEvent)
    assert [core.to_native(event) for event in found] == played.events
    await engine.close()


class _Only:
    def __init__(self, model: Scripted) -> None:
        self.model = model

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.model, name

    async def close(self) -> None: ...


def test_fields_and_merged_deltas_keep_their_place() -> None:
    convert = core.FromRun()
    field = events.FieldDelta(path="/answer", delta="ab", index=4, from_seq=3, seq=4, run="r")
    token = convert(field)
    assert isinstance(token, core.TokenEvent)
    assert (token.field, token.token_index, token.data["from"]) == ("answer", 4, 3)
    assert core.to_native(token) == field
    merged = convert(events.TextDelta(block="b1", delta="xyz", from_seq=5, seq=7))
    after = convert(events.TextDelta(block="b1", delta="w", seq=8))
    assert isinstance(merged, core.TokenEvent)
    assert isinstance(after, core.TokenEvent)
    assert (merged.token_index, after.token_index) == (0, 3)


def test_extra_keys_say_why_a_field_ended_and_that_it_was_cached() -> None:
    native = events.FieldDelta(
        path="/answer", delta="x", index=0, seq=1, extra={"finish_reason": "stop", "cached": True}
    )
    token = core.FromRun()(native)
    assert isinstance(token, core.TokenEvent)
    assert (token.finish_reason, token.cached) == ("stop", True)
    assert core.to_native(token) == native


def test_a_failed_run_and_a_failed_span_are_errors() -> None:
    convert = core.FromRun()
    convert(events.SpanStart(span="s1", kind="tool", name="lookup"))
    span = convert(events.SpanEnd(span="s1", outcome="failed"))
    run = convert(events.RunEnd(outcome="failed", error=events.ErrorInfo(code="deadline", message="late")))
    assert isinstance(span, core.ErrorEvent)
    assert span.operation == "lookup"
    assert isinstance(run, core.ErrorEvent)
    assert run.data["error"]["code"] == "deadline"


def test_an_event_of_ones_own_becomes_custom() -> None:
    native = core.to_native(core.HeadraceEvent(event_type="my.event", data={"a": 1}, run="r", seq=2))
    assert native == events.Custom(name="my.event", data={"a": 1}, run="r", seq=2)
