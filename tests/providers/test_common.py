"""What the wires share."""

from __future__ import annotations

import copy
import itertools
import json
import random
from typing import Any

import msgspec
import pytest

from headrace import errors, events, messages
from headrace.providers import anthropic, base, common, gemini, ollama
from headrace.testing import wires


class Frame(msgspec.Struct):
    text: str | None = None
    number: int | None = None


FRAMES: common.Typed[Frame] = common.Typed(Frame, "The mill")


def blocks() -> common.Blocks:
    numbers = itertools.count(1)
    return common.Blocks(lambda: f"b{next(numbers)}")


# -- frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"text":"a","other":[1]}', "a"),
        (b'{"text":null}', None),
        (b'{"text":"\\ud83d\\ude00"}', "😀"),
        (b'{"text":"a\\ud83d"}', "a�"),
        (b'{"text":"\\ude00\\u00e9 \xc3\xa9"}', "�é é"),
        (b'{"text":"b","other":{"\\udfff":1}}', "b"),
    ],
)
def test_frames(data: bytes, text: str | None) -> None:
    assert FRAMES.decode(data) == Frame(text)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"\xff", b'{"text":"\xff"}', b'{"text":7}', b'{"text":"\\ud83d', b'{"text":7,"x":"\\ud83d"}',
     b'{"number":NaN,"text":"\\ud83d"}', b'{"x":"\\ud83d","y":' + b"[" * 5000],
)  # fmt: skip
def test_frames_that_fail_say_whose_they_are_and_how_they_begin(data: bytes) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        FRAMES.decode(data)
    assert caught.value.code == "provider-protocol"
    assert caught.value.message.startswith("The mill sent")
    assert len(caught.value.message) < 1000
    assert caught.value.__cause__ is not None


# -- blocks -----------------------------------------------------------------------------------------------


def test_one_block_is_open_at_a_time() -> None:
    made: list[events.Event] = []
    state = blocks()
    state.text(made, "")
    state.reasoning(made, "")
    assert not made
    state.reasoning(made, "Hm")
    state.text(made, "He")
    state.text(made, "llo")
    start = state.call(made, "c1", "look")
    state.close(made)
    assert made == [
        events.ReasoningStart(block="b1"),
        events.ReasoningDelta(block="b1", delta="Hm"),
        events.ReasoningEnd(block="b1"),
        events.TextStart(block="b2"),
        events.TextDelta(block="b2", delta="He"),
        events.TextDelta(block="b2", delta="llo"),
        events.TextEnd(block="b2"),
        events.ToolCallStart(call="c1", name="look", block="b3"),
    ]
    assert (start.call, start.block, state.kind, state.block) == ("c1", "b3", "", "")


def test_a_proof_ends_the_open_reasoning_or_has_a_block_of_its_own() -> None:
    made: list[events.Event] = []
    state = blocks()
    state.reasoning(made, "Hm")
    state.close(made, signature="s")
    state.text(made, "Hi")
    state.close(made, encrypted="e")
    assert made[2:] == [
        events.ReasoningEnd(block="b1", signature="s"),
        events.TextStart(block="b2"),
        events.TextDelta(block="b2", delta="Hi"),
        events.TextEnd(block="b2"),
        events.ReasoningStart(block="b3"),
        events.ReasoningEnd(block="b3", encrypted="e"),
    ]


def test_call_ids_are_unique() -> None:
    state = blocks()
    assert not state.called
    ids = [state.call([], id, "look").call for id in ("c1", None, "", "c1", "c2")]
    assert ids == ["c1", "call_b2", "call_b3", "call_b4", "c2"]
    assert state.called


# -- requests ---------------------------------------------------------------------------------------------


def test_merge() -> None:
    body = {"a": {"x": 1, "y": 2}, "b": [1], "c": 1}
    top: dict[str, Any] = {"a": {"y": 3, "z": {"q": 1}}, "b": [2], "c": None, "d": {"e": 1}}
    assert common.merge(body, top) == {
        "a": {"x": 1, "y": 3, "z": {"q": 1}}, "b": [2], "c": None, "d": {"e": 1},
    }  # fmt: skip
    assert body == {"a": {"x": 1, "y": 2}, "b": [1], "c": 1}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/b.png", None),
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("data:text/plain;charset=utf-8;base64,AAAA", ("text/plain", "AAAA")),
        ("data:,a%20b", ("text/plain", "YSBi")),
        ("data:image/svg+xml,<svg/>", ("image/svg+xml", "PHN2Zy8+")),
    ],
)
def test_inline_data(url: str, expected: tuple[str, str] | None) -> None:
    assert common.inline_data(url) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (messages.ToolCall("1", "f", {"a": 1}, "ignored"), {"a": 1}),
        (messages.ToolCall("1", "f", None, '{"a": 1}'), {"a": 1}),
        (messages.ToolCall("1", "f"), {}),
        (messages.ToolCall("1", "f", [1]), {"INVALID_JSON": [1]}),
        (messages.ToolCall("1", "f", None, '{"a"'), {"INVALID_JSON": '{"a"'}),
    ],
)
def test_arguments_are_an_object(call: messages.ToolCall, expected: dict[str, Any]) -> None:
    assert common.arguments_object(call) == expected


def test_system_text() -> None:
    conversation = (
        messages.system("a"),
        messages.user("b"),
        messages.Message("system"),
        messages.system("c"),
    )
    assert common.system_text(conversation) == "a\n\nc"
    assert common.system_text((messages.user("b"),)) == ""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", True),
        ("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", True),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", True),
        ("the request exceeds the available context size, try increasing it", True),
        ("This model's maximum context length is 8192 tokens", True),
        ("Input is too long for requested model.", True),
        ("max_tokens: 99 > 64, which is the maximum allowed", False),
        ("messages.0.content: field required", False),
        ("You exceeded your current quota", False),
        ("Number of request tokens has exceeded your per-minute rate limit", False),
    ],
)
def test_too_long(message: str, expected: bool) -> None:
    assert common.too_long(message) is expected


# -- damage -----------------------------------------------------------------------------------------------

ANTHROPIC: list[Any] = [
    {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "H"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "compaction", "content": None}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "compaction_delta", "content": "c"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "text", "text": "", "citations": []},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "citations_delta", "citation": {"url": "u"}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 2},
    {
        "type": "content_block_start",
        "index": 3,
        "content_block": {"type": "tool_use", "id": "t", "name": "f"},
    },
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 3},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
ARGUMENT = {"jsonPath": "$.a[0].b", "stringValue": "x", "willContinue": True}
GEMINI: list[Any] = [
    {"candidates": [{"content": {"parts": [{"text": "H", "thought": True}]}, "index": 0}], "responseId": "r"},
    {"candidates": [{"content": {"parts": [{"text": "Hi", "thoughtSignature": "s"}]}}]},
    {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}, "id": "i"}}]}}]},
    {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "willContinue": True}}]}}]},
    {"candidates": [{"content": {"parts": [{"functionCall": {"partialArgs": [ARGUMENT]}}]}}]},
    {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}}]},
    {"candidates": [{"groundingMetadata": {"groundingChunks": [{"web": {"uri": "u", "title": "t"}}]}}]},
    {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1}, "modelVersion": "g"},
]
OLLAMA: list[Any] = [
    {"message": {"role": "assistant", "content": "", "thinking": "Hm"}, "done": False},
    {"message": {"role": "assistant", "content": "Hi"}, "done": False},
    {"message": {"tool_calls": [{"id": "i", "function": {"name": "f", "arguments": {"a": 1}}}]}},
    {"message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 2, "model": "m"},
]
VALUES: list[Any] = [
    None,
    7,
    -1,
    "x",
    [],
    {},
    [None],
    [[]],
    {"type": "text"},
    {"a": {}},
    True,
    1.5,
    "$.x",
    "STOP",
]


def damage(frame: Any, dice: random.Random) -> Any:
    """The frame with one value somewhere in it replaced or taken out."""
    frame = copy.deepcopy(frame)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        inner = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, item in inner:
            places.append((value, key))
            walk(item)

    walk(frame)
    holder, key = dice.choice(places)
    if isinstance(holder, dict) and dice.random() < 0.3:
        del holder[key]
    else:
        holder[key] = dice.choice(VALUES)
    return frame


@pytest.mark.parametrize(
    ("wire", "frames", "form"),
    [
        (anthropic.Wire(), ANTHROPIC, b"event: x\ndata: %s\n\n"),
        (gemini.Wire(), GEMINI, b"data: %s\r\n\r\n"),
        (ollama.Wire(), OLLAMA, b"%s\n"),
    ],
    ids=["anthropic", "gemini", "ollama"],
)
def test_a_damaged_answer_is_read_or_fails_typed(wire: base.Wire, frames: list[Any], form: bytes) -> None:
    """Whatever one value is changed to: events in a legal order that can be written, or a typed error."""
    dice = random.Random(7)
    assert wires.read(wire, [form % json.dumps(frame).encode() for frame in frames]).error is None
    for _ in range(1500):
        broken = list(frames)
        at = dice.randrange(len(frames))
        broken[at : at + 1] = dice.choice(([damage(frames[at], dice)], [], [frames[at]] * 2))
        answer = wires.read(wire, [form % json.dumps(frame).encode() for frame in broken])
        wires.check_order(answer.events, complete=answer.error is None)
        assert answer.error is None or answer.error.code in ("provider-protocol", "stream-incomplete")
        assert all(events.encode(event) for event in answer.events)
