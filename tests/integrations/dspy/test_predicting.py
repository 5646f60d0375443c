"""What a predictor shows: retries, replays, what the adapter made of it in the end. Needs no DSPy."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from headrace.integrations.dspy import fields
from headrace.integrations.dspy.call import Call
from headrace.integrations.dspy.predicting import Predicting, Tap, as_text
from headrace.integrations.dspy.stopping import Stopped

KINDS: dict[str, fields.Kind] = {"answer": "text", "items": "json"}
TEXT = "[[ ## answer ## ]]\nit is\n\n[[ ## items ## ]]\n[1]\n\n[[ ## completed ## ]]"


@pytest.fixture
def made(keep: Any) -> tuple[Any, Call, Predicting]:
    call = Call("Program", sinks=[keep])
    predicting = Predicting(call, call.root, KINDS, {"answer", "items"})
    predicting.format = "chat"
    return keep, call, predicting


def feed(predicting: Predicting, text: str, *, size: int = 3, reason: str = "stop") -> Tap:
    tap = predicting.tap(predicting.span)
    tap.begin()
    for at in range(0, len(text), size):
        tap.text(text[at : at + size])
    tap.reason(reason)
    tap.end(text)
    return tap


def test_live(made: Any) -> None:
    keep, _, predicting = made
    assert feed(predicting, TEXT).live
    predicting.end({"answer": "it is", "items": [1]})
    assert (keep.text("answer"), keep.text("items")) == ("it is", "[1]")
    ends = {e.data["path"]: e.data["value"] for e in keep.events if e.type == "field-end"}
    assert ends == {"/answer": "it is", "/items/0": 1, "/items": [1]}
    keep.check()


def test_from_a_cache(made: Any) -> None:
    keep, _, predicting = made
    predicting.tap(predicting.span).end(TEXT)
    predicting.end({"answer": "it is", "items": [1]})
    assert [t.token for t in keep.tokens if t.field == "answer"] == ["it", " is", ""]
    assert all(token.cached for token in keep.tokens)
    keep.check()


def test_asked_again(made: Any) -> None:
    keep, _, predicting = made
    feed(predicting, "[[ ## answer ## ]]\nwro")
    feed(predicting, TEXT)
    predicting.end({"answer": "it is", "items": [1]})
    reset = next(event for event in keep.events if event.type == "output-reset")
    assert (reset.data["fields"], reset.data["reason"]) == (["/answer"], "retry")
    assert keep.text("answer") == "wroit is"
    keep.check()


def test_what_the_adapter_mended_is_told_as_it_is(made: Any) -> None:
    keep, _, predicting = made
    feed(predicting, TEXT)
    predicting.end({"answer": "IT IS", "items": [1]})
    reset = next(i for i, event in enumerate(keep.events) if event.type == "output-reset")
    assert keep.events[reset].data["reason"] == "validation"
    assert [e.token for e in keep.events[reset:] if e.event_type == "token"] == ["IT IS", ""]
    keep.check()


def test_an_unknown_format_a_missing_field_and_a_failure(made: Any) -> None:
    keep, _, predicting = made
    predicting.format = None
    assert not feed(predicting, "prose").live
    predicting.end({"answer": ""})
    assert [(t.token, t.finish_reason) for t in keep.tokens] == [("", "stop")]
    keep.check()


def test_a_failure_closes_what_is_open(made: Any) -> None:
    keep, call, predicting = made
    tap = predicting.tap(predicting.span)
    tap.begin()
    tap.text("[[ ## answer ## ]]\nhalf")
    tap.end(None)
    predicting.end(None)
    call.end(ValueError("x"))
    assert [e.type for e in keep.events if e.type.startswith("field")] == [
        "field-start",
        "field-delta",
        "field-end",
    ]


def test_a_stopped_call_stops_at_its_next_token(made: Any) -> None:
    _, call, predicting = made
    tap = predicting.tap(predicting.span)
    tap.begin()
    call.stopped = True
    with pytest.raises(Stopped):
        tap.text("x")


def test_an_answer_in_another_format_is_left_to_the_adapter(made: Any) -> None:
    keep, _, predicting = made
    predicting.format = "json"
    feed(predicting, '{"answer": "a", oh no]')
    predicting.end(None)
    assert keep.text("answer") == "a"


def test_the_text_of_a_value() -> None:
    class Colour(enum.Enum):
        RED = "red"

    assert as_text("a", "text") == "a"
    assert as_text("a", "json") == '"a"'
    assert as_text(Colour.RED, "text") == "red"
    assert as_text(None, "text") == ""
    assert as_text({"a": [1, None]}, "json") == '{"a":[1,null]}'
