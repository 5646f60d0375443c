"""The JSON of events: both ways, with what is unknown kept, and the published schema.

`UPDATE=1 python -m pytest tests/events/test_codec.py` writes `contract/events.schema.json` anew.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import errors, events
from headrace.messages import Usage

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines

SCHEMA = Path(__file__).resolve().parents[2] / "contract" / "events.schema.json"
NOW = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
HEAD: dict[str, Any] = {"run": "run_01", "seq": 17, "time": NOW, "span": "s1"}
USAGE = Usage(input_tokens=1, output_tokens=2, basis="reported", cost=0.5, currency="USD")

SAMPLES: list[events.Event] = [
    events.RunStart(kind="answer", model="demo", metadata={"user": 7}, **HEAD),
    events.RunEnd(
        outcome="failed", finish_reason="stop", result={"text": "x"}, usage=USAGE, cost=0.5, currency="USD",
        first_token_ms=1.5, elapsed_ms=2.0,
        error=events.ErrorInfo(code="rate-limited", message="x", retryable=True, provider_status=429, span="s1"),
        **HEAD,
    ),
    events.SpanStart(kind="slot", parent="s0", name="city", attributes={"a": [1]}, **HEAD),
    events.SpanEnd(outcome="completed", value="x", elapsed_ms=1.0, cached=True, **HEAD),
    events.AttemptStart(attempt=1, provider="demo", model="m", **HEAD),
    events.AttemptEnd(attempt=1, outcome="failed", reason="rate-limited", **HEAD),
    events.TextStart(block="b1", **HEAD),
    events.TextDelta(block="b1", delta="Hello", from_seq=12, **HEAD),
    events.TextEnd(block="b1", **HEAD),
    events.ReasoningStart(block="b2", **HEAD),
    events.ReasoningDelta(block="b2", delta="Hm", **HEAD),
    events.ReasoningEnd(block="b2", signature="s", encrypted="e", **HEAD),
    events.ToolCallStart(call="c1", name="look", block="b3", **HEAD),
    events.ToolCallDelta(call="c1", delta="{", block="b3", **HEAD),
    events.ToolCallEnd(call="c1", arguments={"a": None}, block="b3", signature="s", **HEAD),
    events.ToolResult(call="c1", value=[1], error="x", elapsed_ms=1.0, preliminary=True, **HEAD),
    events.FieldStart(path="/a/0", **HEAD),
    events.FieldDelta(path="/a/0", delta="x", index=3, **HEAD),
    events.FieldEnd(path="/a/0", value=False, **HEAD),
    events.Output(value={"a": 1}, **HEAD),
    events.OutputReset(blocks=["b1"], reason="retry", **HEAD),
    events.UsageReport(input_tokens=1, output_tokens=2, reasoning_tokens=1, cached_tokens=0, basis="reported",
                       cost=0.1, currency="USD", **HEAD),
    events.HumanRequest(request="q1", kind="approval", message="?", options=["y"], default="y", deadline=NOW, **HEAD),
    events.HumanResponse(request="q1", value="y", **HEAD),
    events.Checkpoint(index=1, name="x", results={"a": 1}, **HEAD),
    events.Source(url="https://a.example", title="A", text="x", block="b1", **HEAD),
    events.File(url="data:,x", media_type="text/plain", name="x", **HEAD),
    events.Custom(name="x", data={"a": 1}, **HEAD),
    events.Status(message="x", **HEAD),
]  # fmt: skip
IDS = [event.type for event in SAMPLES]

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
STRANGE = st.dictionaries(TEXT.map(lambda key: f"x-{key}"), JSON, max_size=3)


VALIDATOR = jsonschema.Draft202012Validator(
    events.json_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def test_there_is_a_sample_of_every_type() -> None:
    assert [type(event) for event in SAMPLES] == list(events.KNOWN)


@pytest.mark.parametrize("event", SAMPLES, ids=IDS)
def test_there_and_back(event: events.Event) -> None:
    data = events.encode(event)
    assert events.decode(data) == event
    assert events.decode(data.decode()) == event
    assert events.decode(memoryview(data)) == event
    body = json.loads(data)
    assert events.to_dict(event) == body
    assert events.from_dict(body) == event
    assert body["type"] == event.type
    assert not any(key.startswith("$") for key in body)


def test_the_form_of_the_contract() -> None:
    event = events.TextDelta(run="run_01", seq=17, time=NOW, span="s1", block="b1", delta="Hello")
    assert json.loads(events.encode(event)) == {
        "run": "run_01", "seq": 17, "time": "2026-11-20T10:00:00.123456Z", "type": "text-delta", "span": "s1",
        "block": "b1", "delta": "Hello",
    }  # fmt: skip
    merged = events.TextDelta(run="r", seq=17, block="b1", delta="x", from_seq=12)
    assert json.loads(events.encode(merged))["from"] == 12


@pytest.mark.parametrize(
    "text",
    ["2026-11-20T10:00:00.123456Z", "2026-11-20T10:00:00Z", "2026-11-20T11:00:00.123456+01:00",
     "2026-11-20 10:00:00.5z"],
)  # fmt: skip
def test_times_are_read_as_utc_instants(text: str) -> None:
    event = events.decode(json.dumps({"type": "status", "message": "x", "time": text}))
    assert event.time is not None
    assert abs(event.time - NOW) < timedelta(seconds=1)


def test_an_offset_is_written_as_an_instant() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=5)))
    assert b'"time":"2026-11-20T15:00:00.123456+05:00"' in events.encode(
        events.Status(message="x", time=east)
    )
    assert events.decode(events.encode(events.Status(message="x", time=east))).time == NOW


def test_what_is_absent_is_unknown_never_zero() -> None:
    body = json.loads(events.encode(events.UsageReport(basis="unknown", run="r", seq=1)))
    assert body == {"type": "usage", "run": "r", "seq": 1, "basis": "unknown"}
    end = json.loads(events.encode(events.RunEnd(outcome="cancelled", run="r", seq=2)))
    assert end == {"type": "run-end", "run": "r", "seq": 2, "outcome": "cancelled"}
    assert (
        json.loads(events.encode(events.UsageReport(basis="reported", output_tokens=0)))["output_tokens"] == 0
    )


# -- what is unknown survives -----------------------------------------------------------------------------


@UNHURRIED
@given(st.sampled_from(SAMPLES), STRANGE)
def test_unknown_keys_survive(event: events.Event, strange: dict[str, Any]) -> None:
    body = {**json.loads(events.encode(event)), **strange}
    again = events.decode(json.dumps(body))
    assert type(again) is type(event)
    assert json.loads(events.encode(again)) == body
    assert events.to_dict(again) == body
    assert again.extra == (strange or None)


@UNHURRIED
@given(
    TEXT.filter(lambda tag: tag not in IDS),
    st.dictionaries(
        TEXT.filter(lambda key: key not in ("type", "run", "seq", "time", "span")), JSON, max_size=4
    ),
    st.booleans(),
)
def test_unknown_types_survive(tag: str, fields: dict[str, Any], headed: bool) -> None:
    head = {"run": "run_01", "seq": 3, "time": "2026-11-20T10:00:00Z", "span": "s1"} if headed else {}
    body = {"type": tag, **head, **fields}
    event = events.decode(json.dumps(body))
    assert isinstance(event, events.Unknown)
    assert (event.type, event.seq) == (tag, 3 if headed else 0)
    assert json.loads(events.encode(event)) == body
    assert events.from_dict(events.to_dict(event)) == event


@pytest.mark.parametrize(
    "body",
    [
        {
            "type": "run-end",
            "outcome": "completed",
            "usage": {"input_tokens": 1, "basis": "reported", "x": [2]},
        },
        {"type": "run-end", "outcome": "failed", "error": {"code": "new-code", "message": "x", "hint": "y"}},
        {"type": "span-end", "outcome": "completed", "cached": False, "value": None, "x": 1},
        {"type": "text-delta", "block": "b1", "delta": "x", "from": None, "span": "", "x": 1},
        {"type": "status", "message": "x", "time": "2026-11-20T11:00:00+01:00", "x": 1},
        {"type": "new-thing", "time": "2026-11-20T11:00:00+01:00", "kind": "k", "unknown": 1, "extra": 2},
        {"type": "new-thing", "seq": 0, "run": "", "span": "", "time": None},
        {"type": "unknown", "kind": "k"},
        {"type": "custom", "name": "x", "data": {"type": "text-delta"}, "extra": {"a": 1}},
    ],
)
def test_odd_bodies_survive(body: dict[str, Any]) -> None:
    assert json.loads(events.encode(events.decode(json.dumps(body)))) == body


def test_a_plain_event_holds_nothing_extra() -> None:
    assert all(events.decode(events.encode(event)).extra is None for event in SAMPLES)


# -- what cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"null", b'"x"', b"{}", b'{"type":7}', b'{"type":null}', b"\xff", b'{"type":"\xff"}',
     b'{"type":"text-delta"}', b'{"type":"text-delta","block":7,"delta":"x"}',
     b'{"type":"text-delta","block":"b","delta":"x","seq":"one"}',
     b'{"type":"run-end","outcome":"perhaps"}', b'{"type":"run-end","outcome":"failed","error":{}}',
     b'{"type":"status","message":"x","time":"noon"}', b'{"type":"new","seq":"one"}', b'{"type":"new","time":7.5e99}',
     b'{"type":"custom","name":"x","data":' + b"[" * 5000 + b"]" * 5000 + b"}", b"[" * 5000,
     b'{"type":"status","message":"\\ud800"}'],
)  # fmt: skip
def test_malformed_is_typed(data: bytes) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        events.decode(data)
    assert caught.value.code == "provider-protocol"


@UNHURRIED
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_event_or_a_typed_error(data: bytes) -> None:
    try:
        events.decode(data)
    except errors.ProviderError:
        pass


@pytest.mark.parametrize("extra", [None, {"x": "\udfff"}])
def test_lone_surrogates_can_be_written(extra: dict[str, Any] | None) -> None:
    event = events.Custom(name="a\ud800b", data={"\ud83d\ude00": ["\udc00"]}, extra=extra)
    body = json.loads(events.encode(event))
    assert body["name"] == "a�b"
    assert body["data"] == {"😀": ["�"]}
    assert body.get("x") == ("�" if extra else None)


@UNHURRIED
@given(TEXT)
def test_hostile_text_stays_text(text: str) -> None:
    event = events.TextDelta(block="b1", delta=f"{text}\0\x1b[31m</script>\u2028\r\n\r\ndata: x")
    data = events.encode(event)
    assert b"\n" not in data
    assert b"\r" not in data
    assert events.decode(data) == event


# -- the schema -------------------------------------------------------------------------------------------


def test_the_published_schema_is_fresh() -> None:
    text = json.dumps(events.json_schema(), indent=2) + "\n"
    if os.environ.get("UPDATE"):
        SCHEMA.parent.mkdir(exist_ok=True)
        SCHEMA.write_text(text, encoding="utf-8")
    assert SCHEMA.read_text(encoding="utf-8") == text, "run again with UPDATE=1"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(events.json_schema())


@pytest.mark.parametrize("event", SAMPLES, ids=IDS)
def test_the_schema_accepts_what_is_sent(event: events.Event) -> None:
    body = json.loads(events.encode(event))
    VALIDATOR.validate(body)
    VALIDATOR.validate({**body, "a-new-key": {"x": 1}})


@pytest.mark.parametrize("event", SAMPLES, ids=IDS)
def test_the_schema_refuses_what_is_not(event: events.Event) -> None:
    body = json.loads(events.encode(event))
    for key in ("run", "seq", "time", "type"):
        assert not VALIDATOR.is_valid({k: v for k, v in body.items() if k != key})
        assert not VALIDATOR.is_valid({**body, key: ["wrong"]})
    assert not VALIDATOR.is_valid({**body, "seq": 0})
