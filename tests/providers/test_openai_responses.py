"""Responses: requests, the recordings in any cut, every family of events, and the real engine."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors, events, messages
from headrace.providers import base, openai_responses, transport
from headrace.testing import wires
from headrace.testing.engine import Engine

WIRE = openai_responses.OpenAIResponsesWire()
DONE = {
    "type": "response.completed",
    "response": {"id": "r1", "model": "m1", "status": "completed", "output": []},
}


def sent(*given: Any) -> bytes:
    frames = []
    for event in given:
        if isinstance(event, bytes):
            frames.append(event)
        else:
            frames.append(
                b"event: %s\ndata: %s\n\n" % (str(event.get("type")).encode(), json.dumps(event).encode())
            )
    return b"".join(frames)


def ev(kind: str, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    place = {} if index is None else {"output_index": index}
    return {"type": f"response.{kind}", **place, **fields}


def added(index: int, **item: Any) -> dict[str, Any]:
    return ev("output_item.added", index, item=item)


def done(index: int, **item: Any) -> dict[str, Any]:
    return ev("output_item.done", index, item=item)


def text(delta: str, index: int = 0, part: int = 0) -> dict[str, Any]:
    return ev("output_text.delta", index, content_index=part, delta=delta)


def decode(*given: Any) -> wires.Answer:
    return wires.check(WIRE, sent(*given), count=10)


def finish(decoded: wires.Answer) -> str | None:
    assert decoded.error is None
    return decoded.end.finish_reason


def request(**fields: Any) -> base.ModelRequest:
    fields = {"model": "gpt-5", "messages": (messages.user("Hi"),), **fields}
    return base.ModelRequest(**fields)


# -- recordings -------------------------------------------------------------------------------------------


class Reading:
    """A recording read plainly: `json.loads` over its data lines, deltas joined by item."""

    def __init__(self, data: bytes) -> None:
        self.text = self.reasoning = ""
        self.arguments: dict[int, str] = {}
        self.items: list[dict[str, Any]] = []
        self.urls: list[str] = []
        self.response: dict[str, Any] = {}
        for line in data.decode().splitlines():
            if not line.startswith("data:"):
                continue
            event = json.loads(line[5:])
            match event["type"]:
                case "response.output_text.delta":
                    self.text += event["delta"]
                case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                    self.reasoning += event["delta"]
                case "response.function_call_arguments.delta":
                    index = event["output_index"]
                    self.arguments[index] = self.arguments.get(index, "") + event["delta"]
                case "response.output_text.annotation.added":
                    self.urls.append(event["annotation"]["url"])
                case "response.output_item.done":
                    self.items.append(event["item"])
                case "response.completed":
                    self.response = event["response"]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [item for item in self.items if item["type"] in kinds]


def test_recordings_of_this_wire(recordings: Path) -> None:
    rows = [
        row
        for row in json.loads((recordings / "index.json").read_text())
        if row["wire"] == "openai-responses"
    ]
    assert len(rows) >= 20
    for row in rows:
        data = (recordings / row["file"]).read_bytes()
        decoded = wires.check(WIRE, data, count=200)
        compare(decoded, Reading(data), row["file"])


def compare(decoded: wires.Answer, reading: Reading, file: str) -> None:
    assert decoded.text == reading.text, file
    assert decoded.text == "".join(
        part["text"] for item in reading.of("message") for part in item["content"]
    ), file
    assert decoded.reasoning == reading.reasoning, file
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in reading.of("function_call")]
    assert [(one.id, one.name, one.text) for one in decoded.tool_calls] == calls, file
    assert [one.text for one in decoded.tool_calls] == list(reading.arguments.values()), file
    assert [one.arguments for one in decoded.tool_calls] == [json.loads(call[2]) for call in calls], file
    encrypted = [event.encrypted for event in decoded.events if isinstance(event, events.ReasoningEnd)]
    kept = [item.get("encrypted_content") for item in reading.of("reasoning")]
    assert [one for one in encrypted if one] == [one for one in kept if one], file
    assert [source.url for source in decoded.of(events.Source)] == reading.urls, file
    custom = [(event.name, event.data) for event in decoded.events if isinstance(event, events.Custom)]
    shown = ("message", "reasoning", "function_call")
    tools = [(f"openai.{item['type']}", item) for item in reading.items if item["type"] not in shown]
    assert custom == tools, file
    assert decoded.skipped == 0, file
    assert finish(decoded) == ("tool-calls" if calls else "stop"), file
    assert (decoded.end.response, decoded.end.model) == (reading.response["id"], reading.response["model"])
    usage = reading.response["usage"]
    assert decoded.usage == messages.Usage(
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        reasoning_tokens=usage["output_tokens_details"]["reasoning_tokens"],
        cached_tokens=usage["input_tokens_details"]["cached_tokens"],
        basis="reported",
    )


def test_recorded_answers_read_whole_say_the_same(recordings: Path) -> None:
    """The response in `response.completed` is what an answer without streaming is."""
    for path in sorted(recordings.glob("openai-responses--*")):
        streamed = wires.read(WIRE, [path.read_bytes()])
        response = Reading(path.read_bytes()).response
        whole = wires.whole(WIRE, json.dumps(response).encode())
        wires.check_order(whole.events)
        assert whole.text == streamed.text
        assert whole.reasoning == streamed.reasoning
        assert whole.tool_calls == streamed.tool_calls
        assert [source.url for source in whole.of(events.Source)] == [
            source.url for source in streamed.of(events.Source)
        ]
        assert (whole.end, whole.usage) == (streamed.end, streamed.usage)


# -- families ---------------------------------------------------------------------------------------------


def test_text_parts_are_blocks_of_their_own() -> None:
    decoded = decode(
        added(0, type="message", id="m"),
        ev("content_part.added", content_index=0, part={"type": "output_text", "text": ""}),
        text("a"),
        text("b"),
        ev("output_text.done", content_index=0, text="ab"),
        ev("content_part.done", content_index=0, part={"type": "output_text", "text": "ab"}),
        text("c", part=1),
        done(
            0,
            type="message",
            content=[{"type": "output_text", "text": "ab"}, {"type": "output_text", "text": "c"}],
        ),
        DONE,
    )
    assert decoded.events[:-1] == [
        events.TextStart(block="b1"),
        events.TextDelta(block="b1", delta="a"),
        events.TextDelta(block="b1", delta="b"),
        events.TextEnd(block="b1"),
        events.TextStart(block="b2"),
        events.TextDelta(block="b2", delta="c"),
        events.TextEnd(block="b2"),
    ]
    assert decoded.end == base.ModelEnd(finish_reason="stop", response="r1", model="m1")


@pytest.mark.parametrize(
    "given",
    [
        [ev("output_text.done", content_index=0, text="ab")],
        [ev("content_part.done", content_index=0, part={"type": "output_text", "text": "ab"})],
        [done(0, type="message", content=[{"type": "output_text", "text": "ab"}])],
        [text("ab"), ev("output_text.done", content_index=0, text="ab")],
        [text("a"), text("b")],
        [text(""), text("ab")],
    ],
)
def test_text_is_shown_once_whatever_of_its_family_comes(given: list[Any]) -> None:
    assert decode(added(0, type="message"), *given, DONE).text == "ab"
    assert decode(*given, DONE).text == "ab"


def test_an_answer_that_comes_at_the_end_only() -> None:
    output = [
        {"type": "reasoning", "summary": [{"text": "hm"}], "content": [], "encrypted_content": "e"},
        {"type": "message", "content": [{"type": "output_text", "text": "ab"}]},
        {"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"},
        7,
    ]
    decoded = decode({"type": "response.completed", "response": {"status": "completed", "output": output}})
    assert decoded.parts == (
        messages.Reasoning("hm", encrypted="e"),
        messages.Text("ab"),
        messages.ToolCall("x", "f", {}, "{}"),
    )
    assert finish(decoded) == "tool-calls"


@pytest.mark.parametrize(
    "given",
    [
        [
            ev("refusal.delta", content_index=0, delta="I can"),
            ev("refusal.delta", content_index=0, delta="not."),
        ],
        [ev("refusal.done", content_index=0, refusal="I cannot.")],
        [done(0, type="message", content=[{"type": "refusal", "refusal": "I cannot."}])],
    ],
)
def test_a_refusal_is_text_and_finishes_as_filtered(given: list[Any]) -> None:
    decoded = decode(added(0, type="message"), *given, DONE)
    assert decoded.text == "I cannot."
    assert finish(decoded) == "content-filter"


def test_every_summary_part_is_a_block_and_the_last_has_the_proof() -> None:
    decoded = decode(
        added(0, type="reasoning", encrypted_content="early"),
        ev("reasoning_summary_part.added", summary_index=0, part={}),
        ev("reasoning_summary_text.delta", summary_index=0, delta="one"),
        ev("reasoning_summary_text.done", summary_index=0, text="one"),
        ev("reasoning_summary_part.done", summary_index=0, part={}),
        ev("reasoning_summary_text.delta", summary_index=1, delta="two"),
        ev("reasoning_text.done", content_index=0, text="three"),
        done(0, type="reasoning", summary=[{"text": "one"}, {"text": "two"}], encrypted_content="proof"),
        DONE,
    )
    assert decoded.parts == (
        messages.Reasoning("one"),
        messages.Reasoning("two"),
        messages.Reasoning("three", encrypted="proof"),
    )


def test_reasoning_that_is_not_shown_still_has_its_proof() -> None:
    decoded = decode(
        added(0, type="reasoning"), done(0, type="reasoning", summary=[], encrypted_content="proof"), DONE
    )
    assert decoded.events[:-1] == [
        events.ReasoningStart(block="b1"),
        events.ReasoningEnd(block="b1", encrypted="proof"),
    ]
    assert decode(added(0, type="reasoning"), done(0, type="reasoning", encrypted_content=""), DONE).events[
        1
    ] == (events.ReasoningEnd(block="b1"))


def test_calls_that_are_written_at_the_same_time() -> None:
    decoded = decode(
        added(0, type="function_call", call_id="x", name="f", arguments=""),
        added(1, type="function_call", call_id="y", name="g", arguments=""),
        ev("function_call_arguments.delta", 0, delta='{"a":'),
        ev("function_call_arguments.delta", 1, delta="{}"),
        ev("function_call_arguments.delta", 0, delta="1}"),
        ev("function_call_arguments.done", 0, arguments='{"a":1}'),
        done(0, type="function_call", call_id="x", name="f", arguments='{"a":1}'),
        done(1, type="function_call", call_id="y", name="g", arguments="{}"),
        DONE,
    )
    assert [(one.id, one.name, one.arguments) for one in decoded.tool_calls] == [
        ("x", "f", {"a": 1}),
        ("y", "g", {}),
    ]
    assert decoded.events.index(events.ToolCallEnd(call="x", arguments={"a": 1}, block="b1")) == 5
    assert finish(decoded) == "tool-calls"


@pytest.mark.parametrize(
    "given",
    [
        [done(0, type="function_call", call_id="x", name="f", arguments='{"a":1}')],
        [
            ev("function_call_arguments.delta", 0, delta='{"a":1}'),
            done(0, type="function_call", call_id="x", name="f", arguments='{"a":1}'),
        ],
        [
            added(0, type="function_call", call_id="x", name="f"),
            done(0, type="function_call", arguments='{"a":1}'),
        ],
    ],
)
def test_a_call_is_shown_once_whatever_of_its_family_comes(given: list[Any]) -> None:
    decoded = decode(*given, DONE)
    assert decoded.tool_calls == [messages.ToolCall("x", "f", {"a": 1}, '{"a":1}')]


def test_call_ids_that_are_missing_or_repeated() -> None:
    items = [
        {"type": "function_call", "call_id": call, "name": "f", "arguments": "{}"}
        for call in ("x", "x", None)
    ]
    decoded = decode(*(done(index, **item) for index, item in enumerate(items)), DONE)
    assert [one.id for one in decoded.tool_calls] == ["x", "call_b2", "call_b3"]


def test_the_input_of_a_custom_tool_is_text() -> None:
    decoded = decode(
        added(0, type="custom_tool_call", call_id="x", name="sql", input=""),
        ev("custom_tool_call_input.delta", 0, delta="12"),
        ev("custom_tool_call_input.delta", 0, delta="3"),
        done(0, type="custom_tool_call", call_id="x", name="sql", input="123"),
        DONE,
    )
    assert decoded.tool_calls == [messages.ToolCall("x", "sql", "123", "123")]


def test_items_are_found_by_their_id_where_there_is_no_index() -> None:
    decoded = decode(
        ev("output_item.added", None, item={"type": "message", "id": "m"}),
        ev("output_text.delta", None, item_id="m", delta="a"),
        ev("output_item.added", None, item={"type": "function_call", "id": "f", "call_id": "x", "name": "f"}),
        ev("function_call_arguments.delta", None, item_id="f", delta="{}"),
        ev("output_text.delta", None, item_id="m", delta="b"),
        ev("output_item.done", None, item={"type": "message", "id": "m", "content": [{"text": "ab"}]}),
        DONE,
    )
    assert decoded.text == "ab"
    assert decoded.tool_calls == [messages.ToolCall("x", "f", {}, "{}")]


def test_ids_that_change_on_the_way_do_not_matter() -> None:
    decoded = decode(
        added(0, type="message", id="one"),
        {**text("a"), "item_id": "two"},
        {**text("b"), "item_id": "three"},
        done(0, type="message", id="four", content=[{"type": "output_text", "text": "ab"}]),
        DONE,
    )
    assert decoded.text == "ab"


def test_a_server_that_numbers_every_item_0() -> None:
    decoded = decode(
        added(0, type="reasoning"),
        ev("reasoning_text.delta", content_index=0, delta="hm"),
        ev("content_part.done", content_index=0, part={"type": "reasoning_text", "text": "hm"}),
        done(0, type="reasoning"),
        text("a"),
        done(0, type="function_call", call_id="x", name="f", arguments="{}"),
        done(0, type="function_call", call_id="y", name="g", arguments="{}"),
        DONE,
    )
    assert (decoded.reasoning, decoded.text) == ("hm", "a")
    assert [one.id for one in decoded.tool_calls] == ["x", "y"]


def test_citations_come_once() -> None:
    web = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 1}
    file = {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 1}
    decoded = decode(
        text("a"),
        ev("output_text.annotation.added", content_index=0, annotation=web),
        ev(
            "content_part.done",
            content_index=0,
            part={"type": "output_text", "text": "a", "annotations": [web, file]},
        ),
        done(0, type="message", content=[{"type": "output_text", "text": "a", "annotations": [web, file]}]),
        DONE,
    )
    assert [(source.url, source.title, source.block) for source in decoded.of(events.Source)] == [
        ("https://a", "A", "b1"),
        (None, "a.txt", "b1"),
    ]


def test_built_in_tools_and_pictures() -> None:
    search = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"query": "q"}}
    picture = {"type": "image_generation_call", "id": "ig", "result": "AAAA", "output_format": "webp"}
    decoded = decode(
        added(0, type="web_search_call", id="ws"),
        ev("web_search_call.searching", 0),
        done(0, **search),
        ev("image_generation_call.partial_image", 1, partial_image_b64="AA"),
        done(1, **picture),
        DONE,
    )
    assert decoded.events[:-1] == [
        events.Custom(name="openai.web_search_call", data=search),
        events.File(url="data:image/webp;base64,AAAA", media_type="image/webp"),
        events.Custom(
            name="openai.image_generation_call",
            data={"type": "image_generation_call", "id": "ig", "output_format": "webp"},
        ),
    ]
    assert finish(decoded) == "stop"


KINDS = ("message", "reasoning", "function_call", "custom_tool_call", "web_search_call", "")
PIECES = st.sampled_from(
    [event for index in (0, 1) for event in (
        *(added(index, type=kind, call_id="x", name="f") for kind in KINDS),
        *(done(index, type=kind, call_id="x", name="f", arguments="{}", encrypted_content="e",
               content=[{"text": "t"}], summary=[{"text": "s"}]) for kind in KINDS),
        text("a", index), text("b", index, 1), ev("output_text.done", index, text="c"),
        ev("refusal.delta", index, delta="no"), ev("content_part.done", index, part={"text": "d"}),
        ev("reasoning_summary_text.delta", index, summary_index=0, delta="s"),
        ev("reasoning_text.delta", index, content_index=1, delta="t"),
        ev("function_call_arguments.delta", index, delta="{}"),
        ev("custom_tool_call_input.delta", index, delta="in"),
        ev("output_text.annotation.added", index, annotation={"url": "https://a"}),
    )]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(given=st.lists(PIECES, max_size=12), complete=st.booleans())
def test_whatever_comes_in_whatever_order_is_legal(given: list[Any], complete: bool) -> None:
    decoded = wires.check(WIRE, sent(*given, *([DONE] if complete else [])), count=2)
    assert (decoded.error is None) == complete
    ids = [one.id for one in decoded.tool_calls]
    assert len(set(ids)) == len(ids)


# -- endings and failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("max_output_tokens", "length"),
        ("content_filter", "content-filter"),
        ("other", "other"),
        (None, "other"),
    ],
)
def test_incomplete_is_an_ending_with_its_reason(reason: str | None, expected: str) -> None:
    response = {
        "status": "incomplete",
        "incomplete_details": reason and {"reason": reason},
        "usage": {"output_tokens": 3},
    }
    decoded = decode(text("a"), {"type": "response.incomplete", "response": response})
    assert finish(decoded) == expected
    assert decoded.usage == messages.Usage(output_tokens=3, basis="reported")
    assert decoded.text == "a"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "boom"}}},
            "provider-error",
        ),
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, "rate-limited"),
        ({"type": "response.failed", "response": {"status": "failed"}}, "provider-error"),
        ({"type": "response.failed"}, "provider-error"),
        (
            {"type": "error", "code": "context_length_exceeded", "message": "too long", "param": None},
            "context-too-long",
        ),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, "bad-request"),
        ({"error": {"message": "no", "code": 503}}, "provider-overloaded"),
        (b"data: {broken\n\n", "provider-protocol"),
        (b"data: 7\n\n", "provider-protocol"),
        (b"", "stream-incomplete"),
        (b"data: [DONE]\n\n", "stream-incomplete"),
    ],
)
def test_failures_come_after_the_events_before_them(event: Any, code: str) -> None:
    decoded = decode(text("a"), event)
    assert decoded.text == "a"
    assert decoded.error is not None
    assert decoded.error.code == code


def test_usage_of_a_failed_answer_is_kept() -> None:
    response = {"error": {"message": "boom"}, "usage": {"input_tokens": 1, "output_tokens": 2}}
    decoded = decode(text("a"), {"type": "response.failed", "response": response})
    assert decoded.usage == messages.Usage(input_tokens=1, output_tokens=2, basis="reported")


def test_no_cut_before_the_end_marker_looks_complete(recordings: Path) -> None:
    name = "openai-responses--openai--openai-responses-test-openai-responses-stream-1.sse"
    data = (recordings / name).read_bytes()
    for length in range(0, data.index(b"event: response.completed"), 7):
        error = wires.read(WIRE, [data[:length]]).error
        assert error is not None
        assert error.code == "stream-incomplete"


def test_unknown_types_are_counted_and_passed_over() -> None:
    decoded = decode(
        text("a"), ev("new_thing.delta", 0, delta="x"), {"type": "ping"}, {"type": "keepalive"}, DONE
    )
    assert decoded.skipped == 2
    assert decoded.text == "a"


def test_known_types_are_not_counted() -> None:
    """Every type of the official union is either handled or known to be quiet (audio has no place in a run)."""
    response_stream_event = pytest.importorskip("openai.types.responses.response_stream_event")
    union = get_args(response_stream_event.ResponseStreamEvent)[0]
    names = {get_args(member.model_fields["type"].annotation)[0] for member in get_args(union)}
    assert len(names) >= 50
    skipped = set()
    for name in sorted(names):
        numbers = itertools.count()
        decoder = WIRE.decoder(lambda numbers=numbers: f"b{next(numbers)}")
        try:
            decoder.feed(sent({"type": name, "output_index": 0, "item": {"type": "computer_call"}}))
        except errors.ProviderError:
            assert name in ("error", "response.failed")
        if decoder.skipped:
            skipped.add(name)
    assert {name for name in skipped if not name.startswith("response.audio")} == set()


def test_oddities_that_are_no_failures() -> None:
    decoded = decode(
        b"data:\n\n",
        {"type": "response.created", "response": {"id": 7, "model": ["m"], "usage": "none"}},
        {"type": "response.output_text.delta", "output_index": "0", "content_index": None, "delta": 5},
        {"type": "response.output_text.delta", "output_index": 0, "delta": None},
        b'data: {"type":"response.output_text.delta","output_index":0,"delta":"\\ud83d"}\n\n',
        b'data: {"type":"response.output_text.delta","output_index":0,"delta":"\\ude00"}\n\n',
        {"type": "response.output_item.added", "output_index": 1, "item": None},
        DONE,
    )
    assert decoded.text == "5😀"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "boom"}}, "provider-error"),
        ({"error": {"message": "no", "code": "model_not_found"}}, "model-not-found"),
        ({}, "provider-protocol"),
        ([], "provider-protocol"),
    ],
)
def test_whole_answers_that_are_none(body: Any, code: str) -> None:
    decoded = wires.whole(WIRE, json.dumps(body).encode())
    assert decoded.error is not None
    assert decoded.error.code == code


# -- requests ---------------------------------------------------------------------------------------------


def test_the_plain_request() -> None:
    sent = WIRE.request(request())
    assert sent.path == "/responses"
    assert sent.body == {
        "model": "gpt-5",
        "input": [{"role": "user", "content": "Hi"}],
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "chatgpt-4o-latest", "ft:gpt-4o:x"])
def test_models_that_do_not_reason_are_not_asked_for_proofs(model: str) -> None:
    assert "include" not in WIRE.request(request(model=model)).body


def test_what_is_stored_needs_no_proof() -> None:
    body = WIRE.request(request(options={"store": True})).body
    assert body["store"] is True
    assert "include" not in body


def test_everything_a_request_can_say() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body = (
        openai_responses.OpenAIResponsesWire(reasoning_summary="auto", encrypted=False)
        .request(
            request(
                messages=(
                    messages.system("S"),
                    messages.system("T"),
                    messages.user("Hi"),
                    messages.system("U"),
                ),
                tools=(messages.ToolSpec("look", "Looks.", schema), messages.ToolSpec("s", strict=True)),
                tool_choice="look",
                output_schema=schema,
                output_name="thing",
                temperature=0.0,
                top_p=0.5,
                max_tokens=9,
                seed=1,
                reasoning_effort="low",
                options={"text": {"verbosity": "low"}, "user": "u"},
                stream=False,
            )
        )
        .body
    )
    assert body == {
        "model": "gpt-5",
        "instructions": "S\n\nT",
        "input": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "U"}],
        "store": False,
        "tools": [
            {
                "type": "function",
                "name": "look",
                "description": "Looks.",
                "parameters": schema,
                "strict": False,
            },
            {
                "type": "function",
                "name": "s",
                "parameters": {"type": "object", "properties": {}},
                "strict": True,
            },
        ],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {
            "format": {"type": "json_schema", "name": "thing", "schema": schema, "strict": True},
            "verbosity": "low",
        },
        "temperature": 0.0,
        "top_p": 0.5,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low", "summary": "auto"},
        "user": "u",
    }


def test_a_conversation_goes_back_as_items() -> None:
    conversation = (
        messages.Message("user", (messages.Text("See"), messages.Image("https://a/b.png"))),
        messages.Message(
            "assistant",
            (
                messages.Reasoning("one"),
                messages.Reasoning("two", encrypted="proof"),
                messages.Reasoning("without proof"),
                messages.Text("Looking."),
                messages.ToolCall("x", "f", {"a": 1}),
            ),
        ),
        messages.Message(
            "tool", (messages.ToolResult("x", "1"), messages.ToolResult("y", "", error="it broke"))
        ),
    )
    assert WIRE.request(request(messages=conversation)).body["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "https://a/b.png", "detail": "auto"},
            ],
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
            "encrypted_content": "proof",
        },
        {"role": "assistant", "content": "Looking."},
        {"type": "function_call", "call_id": "x", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "x", "output": "1"},
        {"type": "function_call_output", "call_id": "y", "output": "it broke"},
    ]


def test_an_answer_with_reasoning_goes_back_as_it_came() -> None:
    decoded = decode(
        added(0, type="reasoning"),
        ev("reasoning_summary_text.delta", summary_index=0, delta="one"),
        ev("reasoning_summary_text.delta", summary_index=1, delta="two"),
        done(0, type="reasoning", encrypted_content="proof"),
        text("a", index=1),
        DONE,
    )
    answer = messages.Message("assistant", decoded.parts)
    body = WIRE.request(request(messages=(messages.user("Hi"), answer))).body
    assert [item.get("encrypted_content") for item in body["input"]] == [None, "proof", None]
    assert [part["text"] for part in body["input"][1]["summary"]] == ["one", "two"]


@pytest.mark.parametrize("fields", [{"stop": ("x",)}, {"prefill": "Once"}])
def test_what_this_wire_cannot_express(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.UsageError):
        WIRE.request(request(**fields))


# -- the real engine --------------------------------------------------------------------------------------


async def ask(engine: Engine, **fields: Any) -> wires.Answer:
    provider = transport.HttpProvider("engine", WIRE, engine.base_url)
    numbers = itertools.count(1)
    exchange = base.Exchange(lambda: f"b{next(numbers)}")
    answer = wires.Answer(exchange)
    options = {"seed": 7, **fields.pop("options", {})}
    try:
        async for batch in provider.stream(request(**{"model": "tiny", **fields}, options=options), exchange):
            answer.events += batch
    finally:
        await provider.close()
    wires.check_order(answer.events)
    return answer


async def test_the_engine_streams_text_and_usage(engine: Engine) -> None:
    decoded = await ask(engine, max_tokens=30, temperature=0.8)
    assert decoded.text
    assert decoded.skipped == 0
    assert decoded.usage is not None
    assert 0 < (decoded.usage.output_tokens or 0) <= 30
    plain = await ask(engine, max_tokens=30, temperature=0.8, stream=False)
    assert plain.text == decoded.text


async def test_the_engine_thinks(engine: Engine) -> None:
    options = {"chat_template_kwargs": {"enable_thinking": True}}
    decoded = await ask(
        engine, messages=(messages.user("please think"),), options=options, max_tokens=60, temperature=0.8
    )
    assert decoded.reasoning


async def test_the_engine_calls_tools(engine: Engine) -> None:
    number = {"type": "integer", "minimum": 0, "maximum": 3}
    tool = messages.ToolSpec(
        "look", "Looks.", {"type": "object", "properties": {"a": number}, "required": ["a"]}
    )
    decoded = await ask(engine, tools=(tool,), tool_choice="required", max_tokens=300, options={"seed": 3})
    assert finish(decoded) == "tool-calls"
    assert {one.name for one in decoded.tool_calls} == {"look"}
