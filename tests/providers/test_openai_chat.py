"""Chat Completions: requests, the recordings in any cut, the accents of vendors, and the real engine."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors, events, messages
from headrace.providers import base, openai_chat, transport
from headrace.testing import wires
from headrace.testing.engine import Engine

WIRE = openai_chat.OpenAIChatWire()


def sent(*chunks: Any, done: bool = True) -> bytes:
    """A streamed answer: dicts are chunks, bytes go out as they are."""
    frames = [
        chunk if isinstance(chunk, bytes) else b"data: %s\n\n" % json.dumps(chunk).encode()
        for chunk in chunks
    ]
    return b"".join(frames) + (b"data: [DONE]\n\n" if done else b"")


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: int | None = 0, **fields: Any) -> dict[str, Any]:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return delta(tool_calls=[{"index": index, "function": function, **fields}])


def decode(*chunks: Any, done: bool = True) -> wires.Answer:
    return wires.check(WIRE, sent(*chunks, done=done), count=10)


def request(**fields: Any) -> base.ModelRequest:
    fields = {"model": "m", "messages": (messages.user("Hi"),), **fields}
    return base.ModelRequest(**fields)


# -- recordings -------------------------------------------------------------------------------------------


class Reading:
    """A recording read plainly: `json.loads` over its data lines, and the joined fields."""

    def __init__(self, data: bytes) -> None:
        self.text = self.reasoning = ""
        self.finish: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.done = False
        self.calls: dict[int, list[str]] = {}
        self.urls: list[str] = []
        self.encrypted: str | None = None
        for line in data.decode().splitlines():
            if not line.startswith("data:"):
                continue
            if line[5:].strip() == "[DONE]":
                self.done = True
                continue
            chunk = json.loads(line[5:])
            self.error = chunk.get("error") or self.error
            self.usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or self.usage
            for choice in chunk.get("choices", []):
                self.finish = choice.get("finish_reason") or self.finish
                self.take(choice["delta"])

    def take(self, body: dict[str, Any]) -> None:
        self.text += body.get("content") or ""
        self.text += body.get("refusal") or ""
        thought = body.get("reasoning_content") or body.get("reasoning")
        for detail in body.get("reasoning_details") or []:
            self.encrypted = detail.get("data") or self.encrypted
            thought = thought or detail.get("text")
        self.reasoning += thought or ""
        for one in body.get("tool_calls") or []:
            kept = self.calls.setdefault(one["index"], ["", "", ""])
            function = one.get("function", {})
            kept[0] += one.get("id") or ""
            kept[1] += function.get("name") or ""
            kept[2] += function.get("arguments") or ""
        for annotation in body.get("annotations") or []:
            self.urls.append(annotation["url_citation"]["url"])


def test_recordings_of_this_wire(recordings: Path) -> None:
    rows = [
        row for row in json.loads((recordings / "index.json").read_text()) if row["wire"] == "openai-chat"
    ]
    assert len(rows) >= 26
    for row in rows:
        data = (recordings / row["file"]).read_bytes()
        decoded = wires.check(WIRE, data)
        compare(decoded, Reading(data), row["file"])


def compare(decoded: wires.Answer, reading: Reading, file: str) -> None:
    assert decoded.text == reading.text, file
    assert decoded.reasoning == reading.reasoning, file
    calls = [[one.id, one.name, one.text] for one in decoded.tool_calls]
    assert calls == [reading.calls[index] for index in sorted(reading.calls)], file
    assert all(one.arguments == json.loads(one.text) for one in decoded.tool_calls), file
    assert [source.url for source in decoded.of(events.Source)] == list(dict.fromkeys(reading.urls)), file
    encrypted = [event.encrypted for event in decoded.events if isinstance(event, events.ReasoningEnd)]
    assert (reading.encrypted is None) == (not any(encrypted)), file
    assert decoded.skipped == 0, file
    usage = reading.usage
    assert (usage is None) == (decoded.usage is None), file
    if usage is not None and decoded.usage is not None:
        assert decoded.usage.input_tokens == usage["prompt_tokens"]
        assert decoded.usage.output_tokens == usage["completion_tokens"]
        details = usage.get("completion_tokens_details") or {}
        assert decoded.usage.reasoning_tokens == details.get("reasoning_tokens")
        assert decoded.usage.cached_tokens == (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        assert decoded.usage.cost == usage.get("cost")
        assert decoded.usage.basis == "reported"
    if reading.error is not None:
        assert decoded.error is not None
        assert reading.error["message"] in decoded.error.message
        assert decoded.error.code == "provider-error"
        assert decoded.error.details.get("failed_generation") == reading.error.get("failed_generation")
    else:
        assert reading.done
        assert decoded.error is None
        assert decoded.end.finish_reason == (reading.finish and reading.finish.replace("_", "-"))


# -- what an answer can hold ------------------------------------------------------------------------------


def test_text_is_one_block_while_contiguous() -> None:
    decoded = decode(
        delta(role="assistant", content=""), delta(content="a"), delta(content="b"), delta("stop")
    )
    assert decoded.events[:-1] == [
        events.TextStart(block="b1"),
        events.TextDelta(block="b1", delta="a"),
        events.TextDelta(block="b1", delta="b"),
        events.TextEnd(block="b1"),
    ]
    assert decoded.end == base.ModelEnd(finish_reason="stop", response="c1", model="m1")


def test_text_after_reasoning_closes_the_reasoning() -> None:
    decoded = decode(
        delta(reasoning_content="hm"), delta(content="a"), delta(reasoning="more"), delta("stop")
    )
    kinds = [event.type for event in decoded.events[:-1]]
    assert kinds == [
        *("reasoning-start", "reasoning-delta", "reasoning-end", "text-start", "text-delta", "text-end"),
        *("reasoning-start", "reasoning-delta", "reasoning-end"),
    ]


def test_signatures_and_encrypted_reasoning_are_on_the_end() -> None:
    decoded = decode(
        delta(reasoning="why", reasoning_details=[{"type": "reasoning.text", "text": "why"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "text": "", "signature": "sig"}]),
        delta(reasoning_details=[{"type": "reasoning.summary", "summary": "next"}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "xyz"}, "odd"]),
        delta(content="a"),
        delta("stop"),
    )
    assert [event for event in decoded.events if isinstance(event, events.ReasoningEnd)] == [
        events.ReasoningEnd(block="b1", signature="sig"),
        events.ReasoningEnd(block="b2", encrypted="xyz"),
    ]
    assert decoded.reasoning == "whynext"


def test_a_refusal_is_text_and_finishes_as_filtered() -> None:
    decoded = decode(delta(refusal="I can"), delta(refusal="not."), delta("stop"))
    assert decoded.text == "I cannot."
    assert decoded.end.finish_reason == "content-filter"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("content_filter", "content-filter"),
        ("function_call", "tool-calls"),
        ("eos", "stop"),
        ("insufficient_system_resource", "other"),
        ("STOP", "stop"),
    ],
)
def test_finish_reasons(reason: str, expected: str) -> None:
    decoded = decode(delta(content="a"), delta(reason))
    assert decoded.end.finish_reason == expected


def test_parallel_tool_calls_by_index() -> None:
    decoded = decode(
        delta(content="Looking."),
        call(0, id="x", name="one", arguments=""),
        call(0, arguments='{"a":'),
        call(1, id="y", name="two", arguments=""),
        call(1, arguments="{"),
        call(0, arguments="1}"),
        call(1, arguments="}"),
        delta("tool_calls"),
    )
    assert [(one.id, one.name, one.arguments) for one in decoded.tool_calls] == [
        ("x", "one", {"a": 1}),
        ("y", "two", {}),
    ]
    assert decoded.events[2] == events.TextEnd(block="b1")


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [call(0, id="x", name="f", arguments='{"a"'), call(0, id="x", arguments=":1}")], id="id each time"
        ),
        pytest.param(
            [call(0, id="x", name="f", arguments='{"a"'), call(0, id="x", name="f", arguments=":1}")],
            id="both",
        ),
        pytest.param(
            [call(None, id="x", name="f", arguments='{"a"'), call(None, arguments=":1}")], id="no index"
        ),
        pytest.param([call(None, id="x", name="f"), call(None, id="x", arguments='{"a":1}')], id="by id"),
        pytest.param([call(0, id="x", name="f", arguments={"a": 1})], id="an object"),
        pytest.param([call("0", id="x", name="f", arguments='{"a":1}')], id="index as text"),
        pytest.param(
            [call(0, id="", name="f", arguments=""), call(0, id="x", arguments='{"a":1}')], id="id later"
        ),
        pytest.param(
            [call(0, id="x", name=None), call(0, name="f"), call(0, arguments='{"a":1}')], id="name later"
        ),
    ],
)
def test_accents_of_one_call(chunks: list[dict[str, Any]]) -> None:
    decoded = decode(*chunks, delta("stop"))
    assert [(one.id, one.name, one.arguments) for one in decoded.tool_calls] == [("x", "f", {"a": 1})]
    assert decoded.end.finish_reason == "tool-calls"


def test_a_name_in_pieces() -> None:
    decoded = decode(
        call(0, id="x", name="get_"), call(0, name="weather"), call(0, arguments="{}"), delta("stop")
    )
    assert decoded.tool_calls[0].name == "get_weather"


def test_whole_calls_under_one_index_are_calls_of_their_own() -> None:
    decoded = decode(
        call(0, id="x", name="f", arguments="{}"), call(0, id="y", name="f", arguments="{}"), delta("stop")
    )
    assert [one.id for one in decoded.tool_calls] == ["x", "y"]


def test_whole_calls_without_index_and_id_are_calls_of_their_own() -> None:
    decoded = decode(
        call(None, name="f", arguments="{}"), call(None, name="g", arguments="{}"), delta("stop")
    )
    assert [(one.id, one.name) for one in decoded.tool_calls] == [("call_b1", "f"), ("call_b2", "g")]


def test_repeated_call_ids_are_made_unique() -> None:
    decoded = decode(
        call(0, id="x", name="f", arguments="{}"), call(1, id="x", name="g", arguments="{}"), delta("stop")
    )
    assert [one.id for one in decoded.tool_calls] == ["x", "call_b2"]


def test_a_call_without_arguments_has_none() -> None:
    decoded = decode(call(0, id="x", name="f", arguments=""), delta("tool_calls"))
    assert decoded.events[:-1] == [
        events.ToolCallStart(call="x", name="f", block="b1"),
        events.ToolCallEnd(call="x", arguments={}, block="b1"),
    ]


def test_the_old_function_call() -> None:
    decoded = decode(
        delta(function_call={"name": "f", "arguments": ""}),
        delta(function_call={"arguments": "{}"}),
        delta("function_call"),
    )
    assert [(one.id, one.name, one.arguments) for one in decoded.tool_calls] == [("call_b1", "f", {})]


def test_only_the_first_choice_counts() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    decoded = decode(delta(content="yes"), other, delta("stop"), other)
    assert decoded.text == "yes"
    assert decoded.end.finish_reason == "stop"


def test_citations_images_and_server_tools() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "content": "…"}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    decoded = decode(
        delta(content="a", annotations=[cited, cited, {"type": "odd"}]),
        {**delta(content="b"), "citations": ["https://b", "https://b"]},
        delta(images=[picture]),
        delta("stop", executed_tools=[{"type": "search"}]),
    )
    assert decoded.text == "ab"
    assert [
        (source.url, source.title, source.text, source.block) for source in decoded.of(events.Source)
    ] == [
        ("https://a", "A", "…", "b1"),
        ("https://b", None, None, "b1"),
    ]
    assert [(file.url, file.media_type) for file in decoded.of(events.File)] == [
        ("data:image/png;base64,AAAA", "image/png")
    ]
    assert events.Custom(name="openai.executed_tool", data={"type": "search"}) in decoded.events


def test_content_in_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    decoded = decode(
        delta(content=[thinking]), delta(content=[{"type": "text", "text": "a"}, 7]), delta("stop")
    )
    assert (decoded.reasoning, decoded.text) == ("hm", "a")


PIECES = st.sampled_from(
    [
        delta(content="a"),
        delta(content=""),
        delta(content=["x", {"text": "y"}]),
        delta(reasoning="r"),
        delta(reasoning_content="r", content="a"),
        delta(reasoning_details=[{"text": "d"}, {"signature": "s"}, {"data": "e"}]),
        delta(refusal="no"),
        delta(function_call={"name": "f"}),
        delta(function_call={"arguments": "{}"}),
        delta(annotations=[{"url_citation": {"url": "https://a"}}]),
        delta("stop", content="end"),
        {"choices": [], "usage": {"prompt_tokens": 1}},
        *(call(index, id=id, name=name, arguments=text)
          for index in (0, 1, None) for id in ("x", "y", None) for name in ("f", None) for text in ("", "{}")),
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(chunks=st.lists(PIECES, max_size=12), done=st.booleans())
def test_whatever_comes_in_whatever_order_is_legal(chunks: list[Any], done: bool) -> None:
    decoded = wires.check(WIRE, sent(*chunks, done=done), count=2)
    ids = [one.id for one in decoded.tool_calls]
    assert len(set(ids)) == len(ids)


# -- usage ------------------------------------------------------------------------------------------------


def usage(**counts: Any) -> dict[str, Any]:
    return {"choices": [], "usage": counts}


def test_usage_in_every_chunk_is_never_added() -> None:
    chunks = [
        {**delta(content="a"), "usage": {"prompt_tokens": 5, "completion_tokens": n}} for n in (1, 2, 3)
    ]
    decoded = decode(*chunks, {**delta("stop"), "usage": {"prompt_tokens": 5, "completion_tokens": 4}})
    assert decoded.usage == messages.Usage(input_tokens=5, output_tokens=4, basis="reported")


def test_usage_after_the_finish_reason() -> None:
    decoded = decode(
        delta(content="a"),
        delta("stop"),
        usage(prompt_tokens=5, completion_tokens=4, prompt_cache_hit_tokens=2),
    )
    assert decoded.usage == messages.Usage(input_tokens=5, output_tokens=4, cached_tokens=2, basis="reported")


def test_no_usage_is_unknown() -> None:
    assert decode({**delta(content="a"), "usage": None}, delta("stop")).usage is None
    assert decode({**delta(content="a"), "usage": {}}, delta("stop")).usage is None


def test_counts_in_quotes() -> None:
    decoded = decode(
        delta(content="a"), delta("stop"), usage(prompt_tokens="5", completion_tokens=4.0, total_tokens=[])
    )
    assert decoded.usage == messages.Usage(input_tokens=5, output_tokens=4, basis="reported")


# -- endings and failures ---------------------------------------------------------------------------------


def test_a_finish_reason_and_the_end_of_the_bytes_is_an_ending() -> None:
    decoded = decode(delta(content="a"), {**delta("stop"), "usage": {"prompt_tokens": 1}}, done=False)
    assert decoded.usage is not None


def test_done_without_a_finish_reason_is_an_ending_without_reason() -> None:
    decoded = decode(delta(content="a"))
    assert decoded.end.finish_reason is None


@pytest.mark.parametrize("chunks", [[], [delta(content="a")], [delta(content="a"), b"data: [DONE]"]])
def test_anything_else_is_incomplete(chunks: list[Any]) -> None:
    decoded = decode(*chunks, done=False)
    assert decoded.error is not None
    assert decoded.error.code == "stream-incomplete"


def test_every_true_prefix_of_an_answer_without_its_end_is_incomplete() -> None:
    data = sent(delta(content="a"), call(0, id="x", name="f", arguments="{}"), done=False)
    for length in range(len(data) + 1):
        error = wires.read(WIRE, [data[:length]]).error
        assert error is not None
        assert error.code == "stream-incomplete"


def test_what_follows_the_end_is_not_read() -> None:
    assert decode(delta(content="a"), delta("stop"), b"data: [DONE]\n\ndata: {broken\n\n").error is None


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, "rate-limited"),
        ({"error": {"message": "boom", "type": "server_error"}}, "provider-error"),
        ({"error": {"message": "boom", "code": 503}}, "provider-overloaded"),
        ({"error": {"message": "m", "code": "429", "metadata": {}}}, "rate-limited"),
        ({"error": "out of words"}, "provider-error"),
        ({"object": "error", "message": "maximum context length is 8", "code": 400}, "context-too-long"),
        ({**delta("error"), "error": {"message": "up", "code": 502}}, "provider-error"),
        (
            {"choices": [{"index": 0, "delta": {}, "error": {"message": "up", "code": 529}}]},
            "provider-overloaded",
        ),
        (delta("error"), "provider-error"),
        (b'event: error\ndata: {"message":"no","type":"authentication_error"}\n\n', "auth-failed"),
        (
            b'event: error\ndata: {"error":{"message":"blocked","code":"content_filter"}}\n\n',
            "content-blocked",
        ),
        (b"event: error\ndata: it broke\n\n", "provider-error"),
        (b"data: {broken\n\n", "provider-protocol"),
        (b"data: [1]\n\n", "provider-protocol"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "provider-protocol"),
        (b'data: {"choices": 5, "a": \xff}\n\n', "provider-protocol"),
    ],
)
def test_failures_in_the_stream_come_after_the_events_before_them(chunk: Any, code: str) -> None:
    data = sent(delta(content="a"), chunk)
    decoded = wires.check(WIRE, data, count=5) if len(data) < 9999 else wires.read(WIRE, [data])
    assert decoded.text == "a"
    assert decoded.error is not None
    assert decoded.error.code == code


def test_a_line_of_10_mb_is_refused_after_the_events_before_it() -> None:
    data = sent(delta(content="a"))[: -len(b"data: [DONE]\n\n")] + b"data: " + b"x" * 10_000_000
    for pieces in ([data], [data[i : i + 65536] for i in range(0, len(data), 65536)]):
        decoded = wires.read(WIRE, pieces)
        assert decoded.text == "a"
        assert decoded.error is not None
        assert decoded.error.code == "provider-protocol"


def test_unknown_chunks_are_counted_and_passed_over() -> None:
    decoded = decode(
        delta(content="a"), {"type": "ping"}, b"event: ping\ndata: {}\n\n", b": hb\n\n", delta("stop")
    )
    assert decoded.skipped == 2
    assert decoded.text == "a"


def test_oddities_that_are_no_failures() -> None:
    decoded = decode(
        {"id": 7, "choices": [{"index": None, "delta": {"content": "a", "role": 1}, "finish_reason": None}]},
        {"choices": [{"delta": None}]},
        {"choices": None, "usage": {"prompt_tokens": 1, "completion_tokens": True}},
        {"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": [None], "annotations": {}}}]},
        delta("stop"),
    )
    assert decoded.text == "a5"


def test_a_character_in_two_halves_is_put_together() -> None:
    halves = [
        b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"a\\ud83d", b"\\ude00b")
    ]
    decoded = decode(*halves, delta("stop"))
    assert decoded.text == "a😀b"


def test_half_a_character_and_broken_utf8_are_replaced() -> None:
    decoded = decode(
        b'data: {"choices":[{"delta":{"content":"\\ude00x"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        delta("stop"),
    )
    assert decoded.text == "\ufffdx\ufffd"


def test_hostile_text_stays_text() -> None:
    text = 'data: [DONE]\n\n</script>\0\x1b[31m"\\'
    decoded = decode(delta(content=text), delta("stop"))
    assert decoded.text == text


# -- answers without streaming ----------------------------------------------------------------------------


def test_a_whole_answer_gives_the_same_events() -> None:
    body = {
        "id": "c1",
        "model": "m1",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "content": "a",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "x", "function": {"name": "f", "arguments": '{"a":1}'}},
                        {"id": "y", "function": {"name": "g", "arguments": ""}},
                    ],
                },
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    decoded = wires.whole(WIRE, json.dumps(body).encode())
    assert decoded.text == "a"
    assert decoded.reasoning == "hm"
    assert [(one.id, one.name, one.arguments) for one in decoded.tool_calls] == [
        ("x", "f", {"a": 1}),
        ("y", "g", {}),
    ]
    assert decoded.end == base.ModelEnd(finish_reason="tool-calls", response="c1", model="m1")
    assert decoded.usage == messages.Usage(input_tokens=3, output_tokens=4, basis="reported")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"message":"no","code":"model_not_found"}}', "model-not-found"),
        (b"{}", "provider-protocol"),
        (b"nope", "provider-protocol"),
    ],
)
def test_whole_answers_that_are_none(body: bytes, code: str) -> None:
    decoded = wires.whole(WIRE, body)
    assert decoded.error is not None
    assert decoded.error.code == code


# -- requests ---------------------------------------------------------------------------------------------


def test_the_plain_request() -> None:
    sent = WIRE.request(request())
    assert sent.path == "/chat/completions"
    assert sent.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert WIRE.request(request(stream=False)).body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_everything_a_request_can_say() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "null"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tool = messages.ToolSpec("look", "Looks.", {"type": "object"}, strict=True)
    body = (
        openai_chat.OpenAIChatWire(max_tokens_key="max_completion_tokens", system_role="developer")
        .request(
            request(
                messages=(messages.system("S"), messages.user("Hi")),
                tools=(tool, messages.ToolSpec("bare")),
                tool_choice="look",
                output_schema=schema,
                output_name="thing",
                temperature=0.0,
                top_p=0.5,
                max_tokens=9,
                seed=0,
                stop=("x",),
                reasoning_effort="low",
                options={"stream_options": {"include_obfuscation": False}, "temperature": 1, "user": "u"},
            )
        )
        .body
    )
    assert body["messages"][0] == {"role": "developer", "content": "S"}
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Looks.",
                "parameters": {"type": "object"},
                "strict": True,
            },
        },
        {
            "type": "function",
            "function": {"name": "bare", "parameters": {"type": "object", "properties": {}}},
        },
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    form = {"name": "thing", "schema": schema, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert body["temperature"] == 1
    kept = {
        key: body[key]
        for key in ("top_p", "max_completion_tokens", "seed", "stop", "reasoning_effort", "user")
    }
    assert kept == {
        "top_p": 0.5,
        "max_completion_tokens": 9,
        "seed": 0,
        "stop": ["x"],
        "reasoning_effort": "low",
        "user": "u",
    }
    assert "max_tokens" not in body


def test_a_schema_is_sent_strict_where_it_can_be() -> None:
    def sent(schema: dict[str, Any]) -> Any:
        return WIRE.request(request(output_schema=schema)).body["response_format"]["json_schema"]

    closed = {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}},
        "additionalProperties": False,
        "required": ["a"],
    }
    made = sent({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]})
    assert made == {"name": "output", "schema": closed, "strict": True}
    # in the answer null would stand for a key that is left out, and nobody would undo it
    optional = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert sent(optional) == {"name": "output", "schema": optional, "strict": False}
    free = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert sent(free) == {"name": "output", "schema": free, "strict": False}


def test_a_conversation_with_tools_goes_back() -> None:
    conversation = (
        messages.user("Hi"),
        messages.Message("assistant", (messages.Reasoning("hm"), messages.ToolCall("x", "f", {"a": 1}))),
        messages.Message(
            "tool", (messages.ToolResult("x", "1"), messages.ToolResult("y", "", error="it broke"))
        ),
    )
    wire = openai_chat.OpenAIChatWire(reasoning_key="reasoning_content")
    assert wire.request(request(messages=conversation)).body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "x", "content": "1"},
        {"role": "tool", "tool_call_id": "y", "content": "it broke"},
    ]


def test_a_prefill_is_a_last_message_where_the_server_takes_it() -> None:
    body = openai_chat.OpenAIChatWire(prefill=True).request(request(prefill="Once")).body
    assert body["messages"][-1] == {"role": "assistant", "content": "Once"}
    with pytest.raises(errors.UsageError):
        WIRE.request(request(prefill="Once"))


# -- the real engine --------------------------------------------------------------------------------------


async def ask(engine: Engine, **fields: Any) -> wires.Answer:
    provider = transport.HttpProvider("engine", WIRE, engine.base_url)
    numbers = itertools.count(1)
    exchange = base.Exchange(lambda: f"b{next(numbers)}")
    answer = wires.Answer(exchange)
    try:
        async for batch in provider.stream(request(**{"model": "tiny", "seed": 7, **fields}), exchange):
            answer.events += batch
    finally:
        await provider.close()
    wires.check_order(answer.events)
    return answer


async def test_the_engine_streams_text_and_usage(engine: Engine) -> None:
    decoded = await ask(engine, max_tokens=30, temperature=0.8)
    assert decoded.end.finish_reason in ("length", "stop")
    assert decoded.text
    assert decoded.usage is not None
    assert 0 < (decoded.usage.output_tokens or 0) <= 30
    plain = await ask(engine, max_tokens=30, temperature=0.8, stream=False)
    assert plain.text == decoded.text


async def test_the_engine_calls_tools_and_keeps_to_a_schema(engine: Engine) -> None:
    bounded = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["a"],
    }
    decoded = await ask(engine, output_schema=bounded, max_tokens=100)
    assert isinstance(json.loads(decoded.text)["a"], int)
    tool = messages.ToolSpec("look", "Looks.", bounded)
    decoded = await ask(engine, tools=(tool,), tool_choice="required", max_tokens=300, seed=3)
    assert decoded.tool_calls[0].name == "look"


async def test_the_engine_thinks(engine: Engine) -> None:
    options = {"chat_template_kwargs": {"enable_thinking": True}}
    asked = (messages.user("please think"),)
    decoded = await ask(engine, messages=asked, options=options, max_tokens=60, temperature=0.8)
    assert decoded.reasoning


async def test_the_engine_refuses_what_is_too_long(engine: Engine) -> None:
    with pytest.raises(errors.ProviderError) as raised:
        await ask(engine, messages=(messages.user("x " * 60_000),))
    assert raised.value.code == "context-too-long"
    assert raised.value.details["n_prompt_tokens"] > raised.value.details["n_ctx"]
