"""The Anthropic wire against real recordings, read a second time by hand, and against hostile input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers import anthropic, base, transport
from headrace.testing import wires
from headrace.testing.engine import MODEL_NAME, Engine

WIRE = anthropic.Wire()
NAMES = [
    "advisor-tool-stream-0",
    "compaction-usage-with-cache-streaming-0",
    "mcp-servers-stream-0",
    "text-parts-ahead-of-built-in-tool-call-3",
    "web-search-tool-stream-0",
]


def sse(*bodies: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {body['type']}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode() for body in bodies
    )


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def begin(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": usage}}


def finish(reason: str | None = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


TEXT = [start(0, type="text", text=""), delta(0, "text_delta", text="Hi"), stop(0)]


class Plain:
    """A recording read by hand: nothing of the product is used."""

    def __init__(self, data: bytes) -> None:
        self.text = self.thinking = ""
        self.signatures: list[str] = []
        self.citations: list[str] = []
        self.other: list[tuple[str, Any]] = []
        self.stop: str | None = None
        self.usage: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        inputs: dict[int, str] = {}
        for line in data.decode().split("\n"):
            if not line.startswith("data: "):
                continue
            event = json.loads(line[6:])
            if event["type"] == "message_start":
                self.usage.update(event["message"]["usage"])
                self.id = event["message"]["id"]
            elif event["type"] == "content_block_start":
                blocks[event["index"]] = event["content_block"]
                inputs[event["index"]] = ""
                self.text += event["content_block"].get("text", "")
            elif event["type"] == "content_block_delta":
                part = event["delta"]
                self.text += part.get("text", "")
                self.thinking += part.get("thinking", "")
                inputs[event["index"]] += part.get("partial_json", "")
                if "signature" in part:
                    self.signatures.append(part["signature"])
                if "citation" in part:
                    self.citations.append(part["citation"]["url"])
                if part["type"] == "compaction_delta":
                    blocks[event["index"]]["content"] = part["content"]
            elif event["type"] == "content_block_stop":
                block = blocks[event["index"]]
                if block["type"] not in ("text", "thinking"):
                    if inputs[event["index"]]:
                        block["input"] = json.loads(inputs[event["index"]])
                    self.other.append((f"anthropic.{block['type']}", block))
            elif event["type"] == "message_delta":
                self.stop = event["delta"]["stop_reason"]
                self.usage.update({k: v for k, v in event["usage"].items() if v is not None})

    def input_tokens(self) -> int:
        rows = [self.usage, *(i for i in self.usage.get("iterations", ()) if i["type"] == "compaction")]
        keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return sum(row.get(key) or 0 for row in rows for key in keys)

    def output_tokens(self) -> int:
        rows = [self.usage, *(i for i in self.usage.get("iterations", ()) if i["type"] == "compaction")]
        return sum(row["output_tokens"] for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_recording(recordings: Path, name: str) -> None:
    data = (recordings / f"anthropic-messages--anthropic--anthropic-test-anthropic-{name}.sse").read_bytes()
    plain = Plain(data)
    answer = wires.check(WIRE, data, count=200 if len(data) < 40_000 else 60)
    assert answer.error is None
    assert answer.skipped == 0
    assert answer.text == plain.text
    assert answer.reasoning == plain.thinking
    ends = [event for event in answer.events if isinstance(event, events.ReasoningEnd)]
    assert [end.signature for end in ends] == plain.signatures
    assert [e.url for e in answer.events if isinstance(e, events.Source)] == plain.citations
    custom = [event for event in answer.events if isinstance(event, events.Custom)]
    assert [(event.name, event.data) for event in custom] == plain.other
    assert answer.end.finish_reason == {"end_turn": "stop"}[plain.stop or ""]
    assert answer.end.response == plain.id
    assert answer.usage is not None
    assert answer.usage.basis == "reported"
    assert answer.usage.input_tokens == plain.input_tokens()
    assert answer.usage.output_tokens == plain.output_tokens()


def test_every_recording_is_tried(recordings: Path) -> None:
    rows = json.loads((recordings / "index.json").read_text())
    files = {row["file"] for row in rows if row["wire"] == "anthropic-messages"}
    assert files == {f"anthropic-messages--anthropic--anthropic-test-anthropic-{name}.sse" for name in NAMES}


# -- decoding ---------------------------------------------------------------------------------------------


def test_text_cut_into_blocks_by_citations_is_one_block() -> None:
    cited = {
        "type": "web_search_result_location",
        "url": "https://a.example",
        "title": "A",
        "cited_text": "x",
    }
    data = sse(
        begin(),
        *TEXT,
        start(1, type="text", text="", citations=[]),
        delta(1, "citations_delta", citation=cited),
        delta(1, "text_delta", text=" there"),
        stop(1),
        *finish(),
    )
    answer = wires.check(WIRE, data)
    assert [type(event).__name__ for event in answer.events] == [
        "TextStart", "TextDelta", "Source", "TextDelta", "TextEnd", "ModelEnd",
    ]  # fmt: skip
    assert answer.of(events.Source) == [
        events.Source(url="https://a.example", title="A", text="x", block="b1")
    ]


def test_tool_call() -> None:
    data = sse(
        begin(),
        start(0, type="tool_use", id="toolu_1", name="look", input={}),
        delta(0, "input_json_delta", partial_json=""),
        delta(0, "input_json_delta", partial_json='{"city": "Zü'),
        delta(0, "input_json_delta", partial_json='rich"}'),
        stop(0),
        start(1, type="tool_use", id="toolu_1", name="look", input={}),
        stop(1),
        *finish("tool_use"),
    )
    answer = wires.check(WIRE, data)
    first, second = answer.tool_calls
    assert (first.id, first.name, first.arguments) == ("toolu_1", "look", {"city": "Zürich"})
    assert first.text == '{"city": "Zürich"}'
    assert (second.id, second.arguments) == ("call_b2", {})  # an id that was taken
    assert answer.end.finish_reason == "tool-calls"


def test_thinking_is_handed_back_as_it_came() -> None:
    data = sse(
        begin(),
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Hm"),
        delta(0, "thinking_delta", thinking="m."),
        delta(0, "signature_delta", signature="sig"),
        stop(0),
        start(1, type="redacted_thinking", data="secret"),
        stop(1),
        start(2, type="thinking", thinking="", signature=""),
        delta(2, "signature_delta", signature="empty"),
        stop(2),
        start(3, type="text", text=""),
        delta(3, "text_delta", text="Hi"),
        stop(3),
        start(4, type="tool_use", id="toolu_1", name="look", input={}),
        delta(4, "input_json_delta", partial_json='{"a":1}'),
        stop(4),
        *finish("tool_use"),
    )
    answer = wires.check(WIRE, data)
    request = base.ModelRequest(
        model="claude-opus-4-8",
        messages=(messages.user("Hello"), messages.Message("assistant", answer.parts)),
    )
    assert WIRE.request(request).body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hmm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "thinking", "thinking": "", "signature": "empty"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool-calls"),
        ("refusal", "content-filter"),
        ("pause_turn", "other"),
        ("something_new", "other"),
        (None, None),
    ],
)
def test_stop_reasons(reason: str | None, expected: str | None) -> None:
    assert wires.read(WIRE, [sse(begin(), *TEXT, *finish(reason))]).end.finish_reason == expected


def test_usage_is_cumulative_and_cached_tokens_are_input() -> None:
    opening = begin(
        input_tokens=10, cache_read_input_tokens=90, cache_creation_input_tokens=5, output_tokens=2
    )
    first, last = finish(output_tokens=7)
    data = sse(opening, *TEXT, first, {**first, "usage": {"output_tokens": 9, "input_tokens": None}}, last)
    answer = wires.check(WIRE, data)
    assert answer.usage == messages.Usage(
        input_tokens=105, output_tokens=9, cached_tokens=90, basis="reported"
    )
    # Broken off before a message_delta, what was written is not known: the first count is a placeholder.
    broken = wires.read(WIRE, [sse(opening, *TEXT)])
    assert broken.usage == messages.Usage(input_tokens=105, cached_tokens=90, basis="reported")
    assert wires.read(WIRE, [sse(begin(), *TEXT, *finish())]).usage == messages.Usage(basis="unknown")


def test_unknown_events_and_deltas_are_counted_and_unknown_blocks_told() -> None:
    data = sse(
        begin(),
        {"type": "ping"},
        {"type": "content_block_sparkle", "delta": "text", "error": 7},
        start(0, type="hologram", depth=3),
        delta(0, "hologram_delta", voxel=1),
        stop(0),
        *TEXT,
        *finish(),
        {"type": "ping"},
    )
    answer = wires.check(WIRE, data)
    assert answer.skipped == 2
    assert answer.of(events.Custom) == [
        events.Custom(name="anthropic.hologram", data={"type": "hologram", "depth": 3})
    ]


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("overloaded_error", "provider-overloaded", True),
        ("rate_limit_error", "rate-limited", True),
        ("api_error", "provider-error", True),
        ("timeout_error", "provider-timeout", True),
        ("invalid_request_error", "bad-request", False),
        ("authentication_error", "auth-failed", False),
        ("permission_error", "auth-failed", False),
        ("not_found_error", "model-not-found", False),
        ("a_new_error", "provider-error", True),
    ],
)
def test_error_in_the_stream_comes_after_what_was_before_it(kind: str, code: str, retryable: bool) -> None:
    body = {"type": "error", "error": {"type": kind, "message": "No."}, "request_id": "req_1"}
    answer = wires.check(WIRE, sse(begin(), *TEXT[:2], body))
    assert answer.text == "Hi"
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == (code, retryable)
    assert answer.error.details == {"type": kind, "request_id": "req_1"}
    status = WIRE.error(500, json.dumps(body).encode())
    assert status is not None
    assert (status.code, status.provider_status) == (code, 500)


def test_a_pending_error_is_raised_by_no_bytes_at_all() -> None:
    decoder = WIRE.decoder(lambda: "b1")
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert decoder.feed(sse(*TEXT[:2], error))
    for _ in range(2):
        with pytest.raises(errors.ProviderError, match="Overloaded"):
            decoder.feed(b"")
    with pytest.raises(errors.ProviderError, match="Overloaded"):
        decoder.close()


@pytest.mark.parametrize(
    "data",
    [b"", sse(begin()), sse(begin(), *TEXT), sse(begin(), *TEXT, finish()[0]), sse(*TEXT, *finish())[:-1]],
)
def test_the_end_without_the_marker_is_incomplete(data: bytes) -> None:
    answer = wires.read(WIRE, [data])
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == ("stream-incomplete", True)


@pytest.mark.parametrize(
    "frame",
    [
        b"{", b"[]", b"7", b"null", b'"text"', b"<html>", b"\xff\xfe", b"{}", b'{"type": 7}',
        b'{"type":"content_block_delta"}',
        b'{"type":"content_block_delta","delta":{"type":"text_delta","text":7}}',
        b'{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"x"}}',
        b'{"type":"content_block_start","content_block":null}',
        b'{"type":"content_block_start","content_block":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_malformed_frames_fail_typed(frame: bytes) -> None:
    answer = wires.read(WIRE, [sse(begin(), *TEXT[:2]) + b"data: " + frame + b"\n\n"])
    assert answer.text == "Hi"
    assert answer.error is not None
    assert answer.error.code == "provider-protocol"


def test_nulls_and_gaps_are_tolerated() -> None:
    data = sse(
        {"type": "message_start", "message": None},
        {"type": "message_start", "message": {"id": None, "usage": None}},
        delta(0, "text_delta", text=None),
        delta(0, "text_delta", text="Hi"),
        delta(1, "thinking_delta", thinking="Hm"),
        stop(9),
        {"type": "message_delta", "delta": None, "usage": None},
        {"type": "message_stop"},
    )
    answer = wires.check(WIRE, data)
    assert (answer.text, answer.reasoning) == ("Hi", "Hm")


def test_half_an_emoji_does_not_fail_the_answer() -> None:
    data = sse(begin(), TEXT[0]) + (
        b'data: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"a\\ud83dz \\ud83d\\ude00"}}\n\n'
    )
    assert wires.read(WIRE, [data, sse(stop(0), *finish())]).text == "a�z 😀"


def test_whole_answer() -> None:
    cited = {"type": "char_location", "document_title": "Doc", "cited_text": "x"}
    body = {
        "type": "message",
        "id": "msg_1",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "secret"},
            {"type": "text", "text": "Hi", "citations": [cited]},
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"q": 1}},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": [1]}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2},
    }
    answer = wires.whole(WIRE, json.dumps(body).encode())
    wires.check_order(answer.events)
    assert answer.parts == (
        messages.Reasoning("Hm", "sig"),
        messages.Reasoning("", None, "secret"),
        messages.Text("Hi"),
        messages.ToolCall("toolu_1", "look", {"a": [1]}, '{"a":[1]}'),
    )
    assert answer.of(events.Source) == [events.Source(title="Doc", text="x", block="b3")]
    assert answer.of(events.Custom) == [
        events.Custom(name="anthropic.server_tool_use", data=body["content"][3])  # type: ignore[index]
    ]
    assert answer.end.finish_reason == "tool-calls"
    assert answer.usage == messages.Usage(input_tokens=5, output_tokens=4, cached_tokens=2, basis="reported")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<html>", "provider-protocol"),
        (b"{}", "provider-protocol"),
        (b'{"content": 7}', "provider-protocol"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', "provider-overloaded"),
    ],
)
def test_whole_answer_malformed(data: bytes, code: str) -> None:
    answer = wires.whole(WIRE, data)
    assert answer.error is not None
    assert answer.error.code == code


# -- errors with a status ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message", "code"),
    [
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "context-too-long",
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "context-too-long",
        ),
        (400, "invalid_request_error", "max_tokens: 99 > 64, which is too much", "bad-request"),
        (400, "invalid_request_error", "Your credit balance is too low", "auth-failed"),
        (401, "authentication_error", "invalid x-api-key", "auth-failed"),
        (404, "not_found_error", "model: claude-9", "model-not-found"),
        (413, "request_too_large", "Request exceeds the maximum size", "context-too-long"),
        (429, "rate_limit_error", "slow down", "rate-limited"),
        (529, "overloaded_error", "Overloaded", "provider-overloaded"),
        (529, "strange_error", "?", "provider-overloaded"),
        (
            400,
            "exceed_context_size_error",
            "request (40012 tokens) exceeds the available context size (32768 tokens), try increasing it",
            "context-too-long",
        ),
    ],
)
def test_status_errors(status: int, kind: str, message: str, code: str) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    error = WIRE.error(status, json.dumps(body).encode())
    assert error is not None
    assert (error.code, error.provider_status) == (code, status)
    assert message in error.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error":"x"}', b"\xff", b"[" * 9000])
def test_a_foreign_error_body_is_left_to_the_status(body: bytes) -> None:
    assert WIRE.error(502, body) is None


# -- requests ---------------------------------------------------------------------------------------------


def build(model: str = "claude-sonnet-4-5", **fields: Any) -> dict[str, Any]:
    fields.setdefault("messages", (messages.user("Hello"),))
    return dict(WIRE.request(base.ModelRequest(model=model, **fields)).body)


def test_request() -> None:
    http = WIRE.request(
        base.ModelRequest(
            model="claude-sonnet-4-5",
            messages=(
                messages.system("Be brief."),
                messages.user("Hello"),
                messages.system("In German."),
                messages.Message(
                    "user",
                    (
                        messages.Image("data:image/png;base64,AAAA"),
                        messages.Image("https://a.example/b.png"),
                        messages.Text(""),
                    ),
                ),
            ),
            temperature=0.5,
            top_p=0.9,
            seed=7,
            stop=("END",),
            options={"metadata": {"user_id": "u"}, "max_tokens": 9},
        )
    )
    assert http.path == "/v1/messages"
    assert http.headers == {"anthropic-version": "2023-06-01"}
    assert http.body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 9,
        "system": "Be brief.\n\nIn German.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hello"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                ],
            }
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "stream": True,
        "metadata": {"user_id": "u"},
    }
    assert "stream" not in build(stream=False)
    assert build()["max_tokens"] == anthropic.MAX_TOKENS


def test_results_of_several_tools_are_one_user_message() -> None:
    calls = (
        messages.ToolCall("call:1", "look", {"a": 1}),
        messages.ToolCall("2", "look", None, "not json"),
        messages.ToolCall("3", "look", None, ""),
    )
    body = build(
        messages=(
            messages.user("Hello"),
            messages.Message("assistant", (messages.Reasoning("foreign thoughts"), *calls)),
            messages.Message("tool", (messages.ToolResult("call:1", "sunny"),)),
            messages.Message("tool", (messages.ToolResult("2", "", error="no such city"),)),
            messages.user("And?"),
        )
    )
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "2", "name": "look", "input": {"INVALID_JSON": "not json"}},
        {"type": "tool_use", "id": "3", "name": "look", "input": {}},
    ]
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "2", "content": "no such city", "is_error": True},
            {"type": "text", "text": "And?"},
        ],
    }


def test_tools() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    tools = (messages.ToolSpec("a", "does a", schema), messages.ToolSpec("b", parameters=schema, strict=True))
    body = build(tools=(*tools, messages.ToolSpec("c")), tool_choice="required")
    assert body["tools"] == [
        {"name": "a", "description": "does a", "input_schema": schema},
        {
            "name": "b",
            "strict": True,
            "input_schema": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                "additionalProperties": False,
            },
        },
        {"name": "c", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == {"type": "any"}
    assert build(tools=tools, tool_choice="auto")["tool_choice"] == {"type": "auto"}
    assert build(tools=tools, tool_choice="none")["tool_choice"] == {"type": "none"}
    assert build(tools=tools, tool_choice="b")["tool_choice"] == {"type": "tool", "name": "b"}
    assert "tool_choice" not in build(tool_choice="required")


def test_output_schema_is_closed_and_its_bounds_are_told() -> None:
    schema = {
        "type": "object",
        "properties": {
            "minimum": {"type": "string", "description": "least", "minLength": 2},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Row"}, "minItems": 2},
            "either": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {}}]},
        },
        "$defs": {"Row": {"type": "object", "properties": {}}},
    }
    body = build("claude-opus-4-8", output_schema=schema, reasoning_effort="high")
    assert body["output_config"] == {
        "effort": "high",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {
                    "minimum": {"type": "string", "description": "least {minLength: 2}"},
                    "items": {
                        "type": "array",
                        "items": {"$ref": "#/$defs/Row"},
                        "description": "{minItems: 2}",
                    },
                    "either": {
                        "anyOf": [
                            {"type": "null"},
                            {"type": "object", "properties": {}, "additionalProperties": False},
                        ]
                    },
                },
                "$defs": {"Row": {"type": "object", "properties": {}, "additionalProperties": False}},
                "additionalProperties": False,
            },
        },
    }
    assert schema["properties"]["minimum"]["minLength"] == 2  # type: ignore[index]


def test_a_schema_that_it_cannot_hold_a_model_to_is_not_sent() -> None:
    free = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert "output_config" not in build("claude-opus-4-8", output_schema=free)
    tool = build(tools=(messages.ToolSpec("a", parameters=free, strict=True),))["tools"][0]
    assert tool == {"name": "a", "input_schema": free}


@pytest.mark.parametrize(
    ("model", "effort", "limit", "expected"),
    [
        ("claude-sonnet-4-5-20250929", "medium", None, {"type": "enabled", "budget_tokens": 8192}),
        ("claude-sonnet-4-20250514", "minimal", None, {"type": "enabled", "budget_tokens": 1024}),
        ("claude-3-7-sonnet-20250219", "high", 4096, {"type": "enabled", "budget_tokens": 3072}),
        ("claude-3-7-sonnet-20250219", "none", 4096, {"type": "disabled"}),
        ("claude-opus-4-6", "high", None, {"type": "adaptive", "display": "summarized"}),
        ("claude-sonnet-5", "low", None, {"type": "adaptive", "display": "summarized"}),
        ("claude-mythos-preview", "low", None, {"type": "adaptive", "display": "summarized"}),
        ("claude-opus-4-8", "none", None, None),
        ("some-other-model", "low", None, {"type": "enabled", "budget_tokens": 2048}),
    ],
)
def test_thinking(model: str, effort: str, limit: int | None, expected: Any) -> None:
    body = build(model, reasoning_effort=effort, max_tokens=limit)
    assert body.get("thinking") == expected
    if expected and "budget_tokens" in expected:
        assert body["max_tokens"] == (limit or anthropic.MAX_TOKENS + expected["budget_tokens"])
        assert body["max_tokens"] > expected["budget_tokens"]


def test_effort_words() -> None:
    assert build("claude-opus-4-6", reasoning_effort="xhigh")["output_config"] == {"effort": "max"}
    assert build("claude-opus-4-8", reasoning_effort="xhigh")["output_config"] == {"effort": "xhigh"}
    assert build("claude-opus-4-8", reasoning_effort="minimal")["output_config"] == {"effort": "low"}
    with pytest.raises(errors.UsageError, match="reasoning_effort"):
        build(reasoning_effort="a lot")
    with pytest.raises(errors.UsageError, match="max_tokens"):
        build(reasoning_effort="low", max_tokens=1024)


def test_prefill() -> None:
    turns = build(prefill="{ ")["messages"]
    assert turns[-1] == {"role": "assistant", "content": [{"type": "text", "text": "{"}]}
    assert len(build(prefill="  ")["messages"]) == 1
    assert WIRE.capabilities("claude-sonnet-4-5").prefill
    assert not WIRE.capabilities("claude-opus-4-6").prefill
    assert not WIRE.capabilities("claude-sonnet-5").prefill
    with pytest.raises(errors.UsageError, match="prefill"):
        build("claude-opus-4-6", prefill="{")


def test_capabilities() -> None:
    assert not WIRE.capabilities("claude-3-haiku-20240307").json_schema
    assert WIRE.capabilities("claude-sonnet-4-5").json_schema
    assert not WIRE.capabilities("a-compatible-server").json_schema


# -- the real engine ----------------------------------------------------------------------------------------


async def ask(engine: Engine, **fields: Any) -> wires.Answer:
    provider = transport.HttpProvider("anthropic", WIRE, engine.url, capabilities=WIRE.capabilities)
    blocks = iter(range(1, 1000))
    exchange = base.Exchange(lambda: f"b{next(blocks)}")
    fields.setdefault("messages", (messages.user("The string"),))
    fields.setdefault("max_tokens", 24)
    answer = wires.Answer(exchange)  # type: ignore[arg-type]
    try:
        async for batch in provider.stream(base.ModelRequest(model=MODEL_NAME, **fields), exchange):
            answer.events += batch
    finally:
        await provider.close()
    return answer


async def test_engine_streams(engine: Engine) -> None:
    answer = await ask(engine)
    wires.check_order(answer.events)
    assert answer.text
    assert answer.of(events.TextDelta)
    assert answer.end.finish_reason in ("length", "stop")
    assert answer.usage is not None
    assert answer.usage.basis == "reported"
    assert answer.usage.output_tokens
    whole = await ask(engine, stream=False)
    wires.check_order(whole.events)
    assert whole.text
    assert whole.usage is not None


async def test_engine_goes_on_from_a_prefill(engine: Engine) -> None:
    plain, begun = await ask(engine), await ask(engine, prefill="Return a new list")
    assert plain.usage is not None
    assert begun.usage is not None
    assert (begun.usage.input_tokens or 0) > (plain.usage.input_tokens or 0)


async def test_engine_refuses_what_does_not_fit(engine: Engine) -> None:
    with pytest.raises(errors.ProviderError, match="context size") as caught:
        await ask(engine, messages=(messages.user("x " * 40_000),))
    assert caught.value.code == "context-too-long"
    assert caught.value.provider_status == 400


async def test_engine_calls_a_tool(engine: Engine) -> None:
    tool = messages.ToolSpec(
        "look",
        "look something up",
        {"type": "object", "properties": {"word": {"enum": ["a", "b"]}}, "required": ["word"]},
    )
    answer = await ask(engine, tools=(tool,), tool_choice="required", max_tokens=400)
    wires.check_order(answer.events)
    calls = answer.tool_calls  # the model may ask more than once
    assert {call.name for call in calls} == {"look"}
    assert calls[0].arguments["word"] in ("a", "b")
    assert len({call.id for call in calls}) == len(calls)
    assert answer.end.finish_reason == "tool-calls"
