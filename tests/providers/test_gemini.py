"""The Gemini wire against real recordings, read a second time by hand, and against hostile input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers import base, gemini
from headrace.testing import wires

WIRE = gemini.Wire()
NAMES = [
    "code-execution-test-code-execution-stream-0",
    "google-test-google-model-file-search-grounding-gemini-3-true-3",
    "google-test-google-model-iter-stream-0",
    "google-test-google-model-iter-stream-2",
    "google-test-google-model-stream-0",
    "google-test-google-model-thinking-part-iter-0",
    "google-test-google-model-web-fetch-tool-stream-0",
    "google-test-google-model-web-search-tool-stream-0",
    "google-test-google-stream-usage-is-live-mid-stream-0",
    "google-test-google-streaming-tool-call-thought-signature-0",
    "stream-close-test-cancel-recorded-provider-stream-google-0",
    "structured-output-test-native-output-with-builtin-tools-stream-0",
    "structured-output-test-native-output-with-function-tools-stream-0",
]


def sse(*bodies: Any) -> bytes:
    return b"".join(f"data: {json.dumps(body, ensure_ascii=False)}\r\n\r\n".encode() for body in bodies)


def chunk(*parts: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    candidate |= fields.pop("candidate", {})
    return {"candidates": [candidate], **fields}


class Plain:
    """A recording read by hand: nothing of the product is used."""

    def __init__(self, data: bytes) -> None:
        self.text = self.thoughts = ""
        self.calls: list[tuple[str, Any, str | None]] = []
        self.signatures: list[str] = []
        self.custom: list[tuple[str, Any]] = []
        self.cited: set[tuple[Any, ...]] = set()
        self.finish: str | None = None
        for line in data.decode().splitlines():
            if not line.startswith("data: "):
                continue
            body = json.loads(line[6:])
            self.usage = body["usageMetadata"]
            self.response = body["responseId"]
            (candidate,) = body["candidates"]
            self.finish = candidate.get("finishReason", self.finish)
            for part in candidate["content"]["parts"]:
                self._part(part)
            for found in candidate.get("groundingMetadata", {}).get("groundingChunks", ()):
                (inner,) = found.values()
                self.cited.add((inner.get("uri"), inner.get("title"), inner.get("text")))

    def _part(self, part: dict[str, Any]) -> None:
        signature = part.get("thoughtSignature")
        if part.get("thought"):
            self.thoughts += part["text"]
        else:
            self.text += part.get("text", "")
        if call := part.get("functionCall"):
            self.calls.append((call["name"], call["args"], signature))
            return
        for key in ("executableCode", "codeExecutionResult", "toolCall", "toolResponse"):
            if key in part:
                more = {"thoughtSignature": signature} if signature else {}
                self.custom.append((f"gemini.{key}", {**part[key], **more}))
                return
        if signature:
            self.signatures.append(signature)


@pytest.mark.parametrize("name", NAMES)
def test_recording(recordings: Path, name: str) -> None:
    data = (recordings / f"gemini--google--{name}.sse").read_bytes()
    plain = Plain(data)
    answer = wires.check(WIRE, data)
    assert answer.error is None
    assert answer.skipped == 0
    assert answer.text == plain.text
    assert answer.reasoning == plain.thoughts
    calls = [(call.name, call.arguments, call.signature) for call in answer.tool_calls]
    assert calls == plain.calls
    assert [json.loads(call.text) for call in answer.tool_calls] == [call[1] for call in plain.calls]
    ends = [event for event in answer.events if isinstance(event, events.ReasoningEnd)]
    assert [end.signature for end in ends if end.signature] == plain.signatures
    cited = [(e.url, e.title, e.text) for e in answer.events if isinstance(e, events.Source)]
    assert set(cited) == plain.cited
    assert len(cited) == len(plain.cited)
    custom = [(e.name, e.data) for e in answer.events if isinstance(e, events.Custom)]
    assert [row for row in custom if not row[0].endswith("Metadata")] == plain.custom
    assert plain.finish == "STOP"
    assert answer.end.finish_reason == ("tool-calls" if plain.calls else "stop")
    assert answer.end.response == plain.response
    usage = answer.usage
    assert usage is not None
    counted = plain.usage
    assert usage.input_tokens == counted["promptTokenCount"] + counted.get("toolUsePromptTokenCount", 0)
    output = counted.get("candidatesTokenCount", 0) + counted.get("thoughtsTokenCount", 0)
    assert usage.output_tokens == output
    assert usage.reasoning_tokens == counted.get("thoughtsTokenCount")
    assert (usage.input_tokens or 0) + output == counted["totalTokenCount"]


def test_every_recording_is_tried(recordings: Path) -> None:
    rows = json.loads((recordings / "index.json").read_text())
    files = {row["file"] for row in rows if row["wire"] == "gemini"}
    assert files == {f"gemini--google--{name}.sse" for name in NAMES}


# -- decoding ---------------------------------------------------------------------------------------------


def test_text_and_thoughts_are_blocks() -> None:
    data = sse(
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": "m.", "thought": True}, {"text": "He"}),
        chunk({"text": "llo"}),
        chunk({"text": ""}, finish="STOP"),
        {"usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": 2}, "modelVersion": "gemini-9"},
    )
    answer = wires.check(WIRE, data)
    assert answer.parts == (messages.Reasoning("Hmm."), messages.Text("Hello"))
    assert answer.end.model == "gemini-9"
    assert answer.usage == messages.Usage(
        input_tokens=3, output_tokens=2, reasoning_tokens=2, basis="reported"
    )


def test_signatures_go_back_where_they_were() -> None:
    parts = [
        {"text": "Hm", "thought": True},
        {"text": "Hello", "thoughtSignature": "s1"},
        {"text": "", "thoughtSignature": "s2"},
        {"functionCall": {"name": "look", "args": {"a": 1}, "id": "f1"}, "thoughtSignature": "s3"},
        {"functionCall": {"name": "look", "args": {}}},
        {"text": "", "thoughtSignature": "s4"},
    ]
    answer = wires.check(WIRE, sse(chunk(*parts[:2]), chunk(*parts[2:], finish="STOP")))
    history = (messages.user("Hi"), messages.Message("assistant", answer.parts))
    body = WIRE.request(base.ModelRequest(model="gemini-3-pro", messages=history)).body
    parts[4]["functionCall"]["id"] = answer.tool_calls[1].id  # type: ignore[index]
    assert body["contents"][1] == {"role": "model", "parts": parts[1:]}


def test_call_without_id_has_a_name_of_its_own() -> None:
    call = {"functionCall": {"name": "look", "args": None}}
    answer = wires.check(WIRE, sse(chunk(call, call, finish="STOP")))
    assert [(c.id, c.arguments) for c in answer.tool_calls] == [("call_b1", {}), ("call_b2", {})]
    assert answer.end.finish_reason == "tool-calls"


def test_streamed_arguments() -> None:
    def piece(path: str, **value: Any) -> dict[str, Any]:
        arg = {"jsonPath": path, **value}
        return {"functionCall": {"partialArgs": [arg], "willContinue": True}}

    data = sse(
        chunk({"functionCall": {"name": "book", "willContinue": True}, "thoughtSignature": "sig"}),
        chunk(piece("$.to.city", stringValue="New ", willContinue=True)),
        chunk(piece("$.to.city", stringValue="Delhi")),
        chunk(piece("$.seats[0]", numberValue=4), piece("$.seats[1]", numberValue=5.5)),
        chunk(piece("$['the window']", boolValue=True), piece('$["a\\"b"]', nullValue="NULL_VALUE")),
        chunk({"functionCall": {}}),
        chunk({"functionCall": {"name": "other", "args": {}}}, finish="STOP"),
    )
    answer = wires.check(WIRE, data)
    first, second = answer.tool_calls
    assert first.arguments == {
        "to": {"city": "New Delhi"}, "seats": [4, 5.5], "the window": True, 'a"b': None,
    }  # fmt: skip
    assert json.loads(first.text) == first.arguments
    assert (first.name, first.signature, second.name) == ("book", "sig", "other")
    cut = wires.read(WIRE, [sse(chunk({"functionCall": {"name": "a", "willContinue": True}}, finish="STOP"))])
    assert cut.tool_calls[0].arguments == {}


@pytest.mark.parametrize("path", ["$.a[7]", "$..a", "$.a[", "$.a[x]", "a b.", "$['a"])
def test_streamed_arguments_malformed(path: str) -> None:
    call = {"name": "a", "partialArgs": [{"jsonPath": path, "stringValue": "x"}]}
    answer = wires.read(WIRE, [sse(chunk({"functionCall": call}))])
    assert answer.error is not None
    assert answer.error.code == "provider-protocol"


def test_files_sources_and_unknown_parts() -> None:
    data = sse(
        chunk({"text": "See"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        chunk({"fileData": {"fileUri": "https://a.example/f", "mimeType": "text/csv", "displayName": "f"}}),
        chunk({"hologram": {}}, candidate={"citationMetadata": {"citationSources": [{"uri": "https://c"}]}}),
        chunk(candidate={"urlContextMetadata": {"urlMetadata": []}, "groundingMetadata": {}}),
        {"somethingNew": 1},
        chunk(
            {"text": "."},
            finish="STOP",
            candidate={"citationMetadata": {"citations": [{"uri": "https://c"}]}},
        ),
    )
    answer = wires.check(WIRE, data)
    assert answer.of(events.File) == [
        events.File(url="data:image/png;base64,AAAA", media_type="image/png"),
        events.File(url="https://a.example/f", media_type="text/csv", name="f"),
    ]
    assert answer.of(events.Source) == [events.Source(url="https://c")]
    assert answer.of(events.Custom) == [
        events.Custom(name="gemini.urlContextMetadata", data={"urlMetadata": []})
    ]
    assert answer.skipped == 2
    assert answer.text == "See."


def test_only_the_first_candidate_is_read() -> None:
    body = chunk({"text": "one"}, finish="STOP")
    body["candidates"].append({"index": 1, "content": {"parts": [{"text": "two"}]}, "finishReason": "SAFETY"})
    answer = wires.check(WIRE, sse(body))
    assert (answer.text, answer.end.finish_reason) == ("one", "stop")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content-filter"),
        ("RECITATION", "content-filter"),
        ("BLOCKLIST", "content-filter"),
        ("PROHIBITED_CONTENT", "content-filter"),
        ("SPII", "content-filter"),
        ("IMAGE_SAFETY", "content-filter"),
        ("LANGUAGE", "other"),
        ("MALFORMED_FUNCTION_CALL", "other"),
        ("TOO_MANY_TOOL_CALLS", "other"),
        ("NO_IMAGE", "other"),
        ("A_NEW_ONE", "other"),
    ],
)
def test_finish_reasons(reason: str, expected: str) -> None:
    assert wires.read(WIRE, [sse(chunk({"text": "x"}, finish=reason))]).end.finish_reason == expected


def test_blocked_prompt() -> None:
    answer = wires.check(WIRE, sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}}))
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == ("content-blocked", False)
    assert answer.error.details == {"block_reason": "SAFETY"}


def test_usage_is_the_last_snapshot() -> None:
    counts = {"promptTokenCount": 5, "candidatesTokenCount": 2, "cachedContentTokenCount": 4}
    data = sse(chunk({"text": "a"}, usageMetadata=counts))
    assert wires.read(WIRE, [data]).usage == messages.Usage(
        input_tokens=5, output_tokens=2, cached_tokens=4, basis="reported"
    )
    last = chunk(finish="STOP", usageMetadata={"promptTokenCount": 6})
    assert wires.read(WIRE, [data, sse(last)]).usage == messages.Usage(input_tokens=6, basis="reported")
    assert wires.read(WIRE, [data, sse(chunk(usageMetadata={}))]).usage == messages.Usage(basis="unknown")


@pytest.mark.parametrize("data", [b"", sse(chunk({"text": "a"})), sse(chunk(finish="STOP"))[:-4]])
def test_the_end_without_a_finish_reason_is_incomplete(data: bytes) -> None:
    answer = wires.read(WIRE, [data])
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == ("stream-incomplete", True)


@pytest.mark.parametrize(
    "frame",
    [b"{", b"[]", b"7", b"<html>", b"\xff", b'{"candidates": 7}', b'{"candidates":[{"content":[]}]}',
     b'{"candidates":[{"content":{"parts":[{"text":7}]}}]}', b"[" * 5000],
)  # fmt: skip
def test_malformed_frames_fail_typed(frame: bytes) -> None:
    answer = wires.read(WIRE, [sse(chunk({"text": "Hi"})) + b"data: " + frame + b"\n\n"])
    assert answer.text == "Hi"
    assert answer.error is not None
    assert answer.error.code == "provider-protocol"


def test_nulls_and_gaps_are_tolerated() -> None:
    data = sse(
        {"candidates": None, "usageMetadata": None, "promptFeedback": None},
        {"candidates": [{}]},
        {"candidates": [{"content": None, "finishReason": None, "groundingMetadata": None}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"candidates": [{"content": {"parts": [{"text": None}, {"text": "Hi", "thought": None}]}}]},
        chunk(finish="STOP"),
    )
    answer = wires.check(WIRE, data)
    assert answer.text == "Hi"


def test_whole_answer() -> None:
    body = chunk(
        {"text": "Hm", "thought": True}, {"text": "Hi"}, finish="MAX_TOKENS", responseId="r",
        usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 4},
    )  # fmt: skip
    answer = wires.whole(WIRE, json.dumps(body).encode())
    wires.check_order(answer.events)
    assert answer.parts == (messages.Reasoning("Hm"), messages.Text("Hi"))
    assert (answer.end.finish_reason, answer.end.response) == ("length", "r")
    assert answer.usage == messages.Usage(input_tokens=3, output_tokens=4, basis="reported")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<html>", "provider-protocol"),
        (b"{}", "provider-protocol"),
        (b'{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}', "provider-overloaded"),
        (b'{"promptFeedback":{"blockReason":"OTHER"}}', "content-blocked"),
    ],
)
def test_whole_answer_malformed(data: bytes, code: str) -> None:
    answer = wires.whole(WIRE, data)
    assert answer.error is not None
    assert answer.error.code == code


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "word", "message", "code"),
    [
        (400, "INVALID_ARGUMENT", "Invalid value at 'contents'", "bad-request"),
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "auth-failed"),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "context-too-long",
        ),
        (400, "FAILED_PRECONDITION", "User location is not supported", "bad-request"),
        (401, "UNAUTHENTICATED", "x", "auth-failed"),
        (403, "PERMISSION_DENIED", "x", "auth-failed"),
        (404, "NOT_FOUND", "models/x is not found", "model-not-found"),
        (429, "RESOURCE_EXHAUSTED", "quota", "rate-limited"),
        (500, "INTERNAL", "x", "provider-error"),
        (503, "UNAVAILABLE", "The model is overloaded.", "provider-overloaded"),
        (504, "DEADLINE_EXCEEDED", "x", "provider-timeout"),
        (503, "A_NEW_ONE", "x", "provider-overloaded"),
    ],
)
def test_errors(status: int, word: str, message: str, code: str) -> None:
    body = {"error": {"code": status, "message": message, "status": word}}
    for raw in (body, [body]):
        error = WIRE.error(status, json.dumps(raw).encode())
        assert error is not None
        assert (error.code, error.provider_status) == (code, status)
        assert message in error.message
    answer = wires.check(WIRE, sse(chunk({"text": "Hi"}), body))
    assert answer.text == "Hi"
    assert answer.error is not None
    assert answer.error.code == code


def test_retry_delay() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "23.5s"}
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
    body = {"error": {"message": "x", "status": "RESOURCE_EXHAUSTED", "details": [detail, reason]}}
    error = WIRE.error(429, json.dumps(body).encode())
    assert error is not None
    assert error.retry_after == 23.5
    assert error.details == {"status": "RESOURCE_EXHAUSTED", "reasons": ["RATE_LIMIT_EXCEEDED"]}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error":"x"}', b"\xff", b"[" * 9000])
def test_a_foreign_error_body_is_left_to_the_status(body: bytes) -> None:
    assert WIRE.error(502, body) is None


# -- requests ---------------------------------------------------------------------------------------------


def build(model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    fields.setdefault("messages", (messages.user("Hello"),))
    return dict(WIRE.request(base.ModelRequest(model=model, **fields)).body)


def test_request() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    http = WIRE.request(
        base.ModelRequest(
            model="gemini-2.5-flash",
            messages=(
                messages.system("Be brief."),
                messages.user("Hello"),
                messages.Message(
                    "user",
                    (
                        messages.Image("data:image/png;base64,AAAA"),
                        messages.Image("gs://bucket/b.png", "image/png"),
                        messages.Image("https://a.example/c"),
                    ),
                ),
            ),
            temperature=0.5,
            top_p=0.9,
            max_tokens=9,
            seed=7,
            stop=("END",),
            output_schema=schema,
            options={"generationConfig": {"topK": 3}, "safetySettings": []},
        )
    )
    assert http.path == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert http.body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "Hello"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    {"fileData": {"fileUri": "gs://bucket/b.png", "mimeType": "image/png"}},
                    {"fileData": {"fileUri": "https://a.example/c"}},
                ],
            }
        ],
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 9,
            "seed": 7,
            "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": schema,
            "topK": 3,
        },
        "safetySettings": [],
    }
    plain = base.ModelRequest(model="models/gemini-x", messages=(messages.user("Hi"),), stream=False)
    assert WIRE.request(plain).path == "/models/gemini-x:generateContent"
    assert WIRE.request(plain).body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    tuned = base.ModelRequest(model="tunedModels/mine", messages=(messages.user("Hi"),), stream=False)
    assert WIRE.request(tuned).path == "/tunedModels/mine:generateContent"


def test_tools_and_their_results() -> None:
    schema = {"type": "object", "properties": {}}
    history = (
        messages.user("Hi"),
        messages.Message(
            "assistant",
            (
                messages.Text("I look."),
                messages.Reasoning("thoughts"),
                messages.ToolCall("1", "look", {"a": 1}),
                messages.ToolCall("2", "hear", None, "bad"),
            ),
        ),
        messages.Message("tool", (messages.ToolResult("1", "sunny"),)),
        messages.Message("tool", (messages.ToolResult("2", "", name="hear", error="deaf"),)),
    )
    tools = (messages.ToolSpec("look", "looks", schema), messages.ToolSpec("hear"))
    body = build("gemini-3-pro", messages=history, tools=tools, tool_choice="look")
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "I look."},
                {
                    "functionCall": {"name": "look", "args": {"a": 1}, "id": "1"},
                    "thoughtSignature": gemini.FOREIGN_SIGNATURE,
                },
                {"functionCall": {"name": "hear", "args": {"INVALID_JSON": "bad"}, "id": "2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "look", "response": {"result": "sunny"}, "id": "1"}},
                {"functionResponse": {"name": "hear", "response": {"error": "deaf"}, "id": "2"}},
            ],
        },
    ]
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "look", "description": "looks", "parametersJsonSchema": schema},
                {"name": "hear", "description": ""},
            ]
        }
    ]
    chosen = {"mode": "ANY", "allowedFunctionNames": ["look"]}
    assert body["toolConfig"] == {"functionCallingConfig": chosen}
    for choice, mode in (("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")):
        assert build(tools=tools, tool_choice=choice)["toolConfig"] == {
            "functionCallingConfig": {"mode": mode}
        }
    old = build("gemini-2.5-pro", messages=history)["contents"][1]["parts"][1]
    assert "thoughtSignature" not in old


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-3-flash-preview", "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3.8-flash", "max", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "minimal", "includeThoughts": True}),
    ],
)
def test_thinking(model: str, effort: str, expected: dict[str, Any]) -> None:
    assert build(model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": expected}


def test_what_cannot_be_asked() -> None:
    with pytest.raises(errors.UsageError, match="reasoning_effort"):
        build(reasoning_effort="a lot")
    with pytest.raises(errors.UsageError, match="prefill"):
        build(prefill="{")
    assert not WIRE.capabilities("gemini-3-pro").prefill
