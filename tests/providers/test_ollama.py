"""Ollama's wire, as its documentation writes it, cut everywhere, and against hostile input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers import base, ollama
from headrace.testing import wires

WIRE = ollama.Wire()
STAMP = {"model": "llama3.2", "created_at": "2026-11-20T10:00:00.196249Z"}
COUNTS = {"total_duration": 4883583458, "load_duration": 1334875, "prompt_eval_count": 26,
          "prompt_eval_duration": 342546000, "eval_count": 282, "eval_duration": 4535599000}  # fmt: skip


def ndjson(*bodies: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(body, ensure_ascii=False).encode() + b"\n" for body in bodies)


def line(**message: Any) -> dict[str, Any]:
    return {**STAMP, "message": {"role": "assistant", "content": "", **message}, "done": False}


def last(reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    body = {**line(**message), "done": True, **COUNTS}
    return body if reason is None else {**body, "done_reason": reason}


def test_text_and_thoughts() -> None:
    data = ndjson(
        line(thinking="Hm"), line(thinking="m."), line(content="Grüß "), line(content="dich 👋"), last()
    )
    answer = wires.check(WIRE, data)
    assert answer.parts == (messages.Reasoning("Hmm."), messages.Text("Grüß dich 👋"))
    assert answer.end == base.ModelEnd(finish_reason="stop", model="llama3.2")
    assert answer.usage == messages.Usage(input_tokens=26, output_tokens=282, basis="reported")
    assert answer.skipped == 0


def test_tool_calls_come_whole() -> None:
    first = {"function": {"index": 0, "name": "look", "arguments": {"city": "Zürich"}}}
    second = {"id": "call_7", "function": {"name": "look", "arguments": '{"city":"Bern"}'}}
    third = {"id": "call_7", "function": {"name": "look", "arguments": None}}
    data = ndjson(line(content="I look."), line(tool_calls=[first, second]), line(tool_calls=[third]), last())
    answer = wires.check(WIRE, data)
    assert [(c.id, c.name, c.arguments) for c in answer.tool_calls] == [
        ("call_b2", "look", {"city": "Zürich"}),
        ("call_7", "look", {"city": "Bern"}),
        ("call_b4", "look", {}),
    ]
    assert answer.end.finish_reason == "tool-calls"


def test_a_complete_answer_needs_no_reason() -> None:
    answer = wires.check(WIRE, ndjson(line(content="Hi"), last(None)))
    assert (answer.text, answer.end.finish_reason) == ("Hi", "stop")
    bare = wires.check(WIRE, ndjson(line(content="Hi"), {"done": True}))
    assert (bare.end.finish_reason, bare.usage) == ("stop", None)


@pytest.mark.parametrize(
    ("reason", "expected"), [("stop", "stop"), ("length", "length"), ("load", "other"), ("unload", "other")]
)
def test_done_reasons(reason: str, expected: str) -> None:
    assert wires.check(WIRE, ndjson(line(content="Hi"), last(reason))).end.finish_reason == expected


def test_the_last_line_may_lack_its_end_and_carry_text() -> None:
    data = ndjson(line(content="Hi"), last(content="!"))
    answer = wires.check(WIRE, data[:-1])
    assert answer.text == "Hi!"
    assert wires.check(WIRE, data.replace(b"\n", b"\r\n\r\n")).text == "Hi!"
    assert wires.check(WIRE, data + ndjson(line(content="more"))).text == "Hi!"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ndjson(line(content="Hi")),
        ndjson(line(content="Hi"))[:-1],
        ndjson(line(content="Hi"), last())[:-9],
    ],
)
def test_the_end_without_done_is_incomplete(data: bytes) -> None:
    answer = wires.check(WIRE, data) if data else wires.read(WIRE, [])
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == ("stream-incomplete", True)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("an error was encountered while running the model", "provider-error"),
        ("model 'x' not found", "model-not-found"),
        ("the prompt is too long: exceeds the context window", "context-too-long"),
        ("server busy, please try again.  maximum pending requests exceeded", "provider-overloaded"),
        ("unauthorized", "auth-failed"),
        ({"message": "wrapped"}, "provider-error"),
        (7, "provider-error"),
    ],
)
def test_error_in_the_stream_comes_after_what_was_before_it(said: Any, code: str) -> None:
    answer = wires.check(WIRE, ndjson(line(content="Hi"), {"error": said}))
    assert answer.text == "Hi"
    assert answer.error is not None
    assert answer.error.code == code
    unended = wires.read(WIRE, [ndjson(line(content="Hi"), {"error": said})[:-1]])
    assert unended.error is not None
    assert unended.error.code == code


@pytest.mark.parametrize(
    "frame",
    [b"{", b"[]", b"7", b"<html>", b"\xff", b'{"message": 7}', b'{"message":{"content":7}}',
     b'{"message":{"tool_calls":7}}', b'{"done":"yes"}', b"[" * 5000],
)  # fmt: skip
def test_malformed_lines_fail_typed(frame: bytes) -> None:
    answer = wires.read(WIRE, [ndjson(line(content="Hi")) + frame + b"\n"])
    assert answer.text == "Hi"
    assert answer.error is not None
    assert answer.error.code == "provider-protocol"


def test_nulls_gaps_and_strangers_are_tolerated() -> None:
    data = ndjson(
        {"message": None, "done": None},
        {"something": "new"},
        {"message": {"content": None, "thinking": None, "tool_calls": None}},
        line(content="Hi"),
        {**last(), "prompt_eval_count": None},
    )
    answer = wires.check(WIRE, data)
    assert answer.text == "Hi"
    assert answer.skipped == 2
    assert answer.usage == messages.Usage(output_tokens=282, basis="reported")
    nameless = wires.check(WIRE, ndjson(line(tool_calls=[{"function": None}]), last()))
    assert nameless.tool_calls == [messages.ToolCall("call_b1", "", {}, "{}")]


def test_whole_answer() -> None:
    call = {"function": {"name": "look", "arguments": {"a": 1}}}
    answer = wires.whole(WIRE, json.dumps(last(content="Hi", thinking="Hm", tool_calls=[call])).encode())
    wires.check_order(answer.events)
    assert answer.parts == (
        messages.Reasoning("Hm"),
        messages.Text("Hi"),
        messages.ToolCall("call_b3", "look", {"a": 1}, '{"a":1}'),
    )
    assert answer.usage == messages.Usage(input_tokens=26, output_tokens=282, basis="reported")


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"<html>", "provider-protocol"), (b"{}", "provider-protocol"), (b'{"error":"x"}', "provider-error")],
)
def test_whole_answer_malformed(data: bytes, code: str) -> None:
    answer = wires.whole(WIRE, data)
    assert answer.error is not None
    assert answer.error.code == code


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (404, "model 'x' not found, try pulling it first", "model-not-found"),
        (400, "invalid options", "bad-request"),
        (400, "registry.ollama.ai/library/x does not support tools", "bad-request"),
        (401, "unauthorized", "auth-failed"),
        (429, "too many requests", "rate-limited"),
        (500, "the runner stopped", "provider-error"),
        (503, "server busy, please try again. maximum pending requests exceeded", "provider-overloaded"),
    ],
)
def test_status_errors(status: int, said: str, code: str) -> None:
    error = WIRE.error(status, json.dumps({"error": said}).encode())
    assert error is not None
    assert (error.code, error.provider_status) == (code, status)
    assert said in error.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b"[" * 9000])
def test_a_foreign_error_body_is_left_to_the_status(body: bytes) -> None:
    assert WIRE.error(502, body) is None


# -- requests ---------------------------------------------------------------------------------------------


def build(model: str = "llama3.2", **fields: Any) -> dict[str, Any]:
    fields.setdefault("messages", (messages.user("Hello"),))
    return dict(WIRE.request(base.ModelRequest(model=model, **fields)).body)


def test_request() -> None:
    schema = {"type": "object"}
    http = WIRE.request(
        base.ModelRequest(
            model="llama3.2",
            messages=(
                messages.system("Be brief."),
                messages.Message(
                    "user", (messages.Text("Hello"), messages.Image("data:image/png;base64,AAAA"))
                ),
            ),
            temperature=0.5,
            top_p=0.9,
            max_tokens=9,
            seed=7,
            stop=("END",),
            output_schema=schema,
            prefill="Well",
            options={"options": {"num_ctx": 8192}, "keep_alive": "5m"},
        )
    )
    assert http.path == "/api/chat"
    assert http.body == {
        "model": "llama3.2",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello", "images": ["AAAA"]},
            {"role": "assistant", "content": "Well"},
        ],
        "stream": True,
        "format": schema,
        "options": {
            "num_predict": 9, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"], "num_ctx": 8192,
        },
        "keep_alive": "5m",
    }  # fmt: skip
    assert build(stream=False) == {
        "model": "llama3.2", "messages": [{"role": "user", "content": "Hello"}], "stream": False,
    }  # fmt: skip


def test_tools_and_their_results() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = (messages.ToolSpec("look", "looks", schema), messages.ToolSpec("hear"))
    history = (
        messages.user("Hi"),
        messages.Message(
            "assistant",
            (
                messages.Reasoning("Hm"),
                messages.ToolCall("1", "look", {"a": 1}),
                messages.ToolCall("", "hear"),
            ),
        ),
        messages.Message(
            "tool", (messages.ToolResult("1", "sunny"), messages.ToolResult("", "", error="deaf"))
        ),
    )
    body = build(messages=history, tools=tools)
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm",
            "tool_calls": [
                {"function": {"name": "look", "arguments": {"a": 1}}, "id": "1"},
                {"function": {"name": "hear", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "sunny", "tool_name": "look", "tool_call_id": "1"},
        {"role": "tool", "content": "deaf", "tool_name": "hear"},
    ]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look", "hear"]
    assert body["tools"][0]["function"]["parameters"] == schema
    assert "tools" not in build(tools=tools, tool_choice="none")


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("qwen3", "high", True),
        ("qwen3", "none", False),
        ("gpt-oss:20b", "minimal", "low"),
        ("gpt-oss:20b", "max", "high"),
    ],
)
def test_thinking(model: str, effort: str, expected: bool | str) -> None:
    assert build(model, reasoning_effort=effort)["think"] == expected


def test_what_cannot_be_asked() -> None:
    with pytest.raises(errors.UsageError, match="reasoning_effort"):
        build(reasoning_effort="a lot")
    with pytest.raises(errors.UsageError, match="data: URL"):
        build(messages=(messages.Message("user", (messages.Image("https://a.example/b.png"),)),))
    assert not WIRE.capabilities("llama3.2").prefill


def test_deltas_are_not_empty() -> None:
    answer = wires.check(WIRE, ndjson(line(), line(content="Hi"), line(), last()))
    assert [type(event) for event in answer.events] == [
        events.TextStart, events.TextDelta, events.TextEnd, base.ModelEnd,
    ]  # fmt: skip
