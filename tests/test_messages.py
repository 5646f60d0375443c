"""Finished values, and the role-and-content form they are read from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import errors, messages

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines

USER = {"role": "user", "content": "Hi"}


def parse(*raw: Any) -> tuple[messages.Message, ...]:
    return messages.parse_messages(list(raw))


def test_roles_and_content() -> None:
    assert parse(
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": None},
        USER,
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "input_text", "text": "b"},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
            ],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "reasoning_content": "Hm"},
    ) == (
        messages.system("Be brief."),
        messages.Message("system", ()),
        messages.user("Hi"),
        messages.Message(
            "user",
            (
                messages.Text("a"),
                messages.Text("b"),
                messages.Image("https://a.example/b.png"),
                messages.Image("data:image/png;base64,AAAA"),
            ),
        ),
        messages.Message("assistant", (messages.Reasoning("Hm"), messages.Text("No."))),
    )


def test_calls_and_results() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    bad = {"id": "2", "function": {"name": "look", "arguments": "not json"}}
    whole = {"id": "3", "function": {"name": "look", "arguments": {"a": [2]}}}
    bare = {"function": {"name": "look"}}
    assistant, result = parse(
        {"role": "assistant", "content": None, "tool_calls": [call, bad, whole, bare]},
        {"role": "tool", "tool_call_id": "1", "name": "look", "content": [{"type": "text", "text": "sunny"}]},
    )
    assert assistant.parts == (
        messages.ToolCall("1", "look", {"a": 1}, '{"a": 1}'),
        messages.ToolCall("2", "look", None, "not json"),
        messages.ToolCall("3", "look", {"a": [2]}),
        messages.ToolCall("", "look", {}, "{}"),
    )
    assert result == messages.Message("tool", (messages.ToolResult("1", "sunny", name="look"),))
    deep = {"function": {"name": "look", "arguments": "[" * 5000}}
    assert parse({"role": "assistant", "tool_calls": [deep]})[0].parts[0].arguments is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("text", "messages"),
        ([], "messages"),
        ({}, "messages"),
        (None, "messages"),
        (["text"], "messages[0]"),
        ([{"role": "robot"}], "messages[0].role"),
        ([{"role": ["user"]}], "messages[0].role"),
        ([USER, {"role": "user", "content": 7}], "messages[1].content"),
        ([{"role": "user", "content": ["text"]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages[0].content[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "assistant", "tool_calls": 7}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": 7}}]}], "messages[0].tool_calls[0]"),
    ],
)
def test_what_is_wrong_is_named(raw: Any, where: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        messages.parse_messages(raw)
    assert caught.value.code == "bad-request"
    assert caught.value.details == {"where": where}
    assert caught.value.message.startswith(where)


KEYS = st.sampled_from(
    [
        "role",
        "content",
        "tool_calls",
        "tool_call_id",
        "type",
        "text",
        "image_url",
        "function",
        "name",
        "arguments",
    ]
)
LEAF = st.sampled_from(["user", "tool", "assistant", "text", "{", "{}", "", 7, True, None])
PART = st.dictionaries(
    KEYS, LEAF | st.lists(LEAF, max_size=2) | st.dictionaries(KEYS, LEAF, max_size=2), max_size=4
)


@UNHURRIED
@given(st.lists(st.dictionaries(KEYS, LEAF | PART | st.lists(PART, max_size=2), max_size=4), max_size=3))
def test_anything_is_read_or_refused_typed(raw: list[dict[str, Any]]) -> None:
    try:
        read = messages.parse_messages(raw)
    except errors.UsageError:
        return
    assert len(read) == len(raw)


def test_there_and_back() -> None:
    conversation = (
        messages.system("Be brief."),
        messages.user("Hi"),
        messages.Message("user", (messages.Text("See"), messages.Image("https://a.example/b.png"))),
        messages.Message("assistant", (messages.ToolCall("1", "look", {"a": 1}, '{"a": 1}'),)),
        messages.Message("tool", (messages.ToolResult("1", "sunny"),)),
        messages.assistant("Sunny."),
    )
    forms = [messages.to_openai(message) for message in conversation]
    assert messages.parse_messages(forms) == conversation
    assert forms[3]["content"] is None
    assert forms[2]["content"][1] == {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}


@pytest.mark.parametrize("count", [0, 2])
def test_a_tool_message_of_this_form_has_one_result(count: int) -> None:
    with pytest.raises(errors.UsageError, match=f"{count} results"):
        messages.to_openai(messages.Message("tool", (messages.ToolResult("1", "x"),) * count))


def test_arguments_text() -> None:
    assert messages.arguments_text(messages.ToolCall("1", "f", {"a": 1})) == '{"a":1}'
    assert messages.arguments_text(messages.ToolCall("1", "f")) == "{}"
    assert messages.arguments_text(messages.ToolCall("1", "f", {"a": 1}, "as written")) == "as written"


def test_values_have_no_identity() -> None:
    assert messages.user("a") == messages.user("a")
    assert len({messages.Text("a"), messages.Text("a")}) == 1
    message = messages.Message("assistant", (messages.Text("a"), messages.Reasoning("x"), messages.Text("b")))
    assert message.text == "ab"
    again = msgspec.json.decode(msgspec.json.encode(message), type=messages.Message)
    assert again == message


def usage(basis: messages.Basis = "reported", **counts: Any) -> messages.Usage:
    return messages.Usage(basis=basis, **counts)


def test_usage_adds_up_and_what_is_unknown_stays_unknown() -> None:
    one = usage(input_tokens=1, output_tokens=2, cached_tokens=1, cost=0.5, currency="USD")
    two = usage(input_tokens=10, cost=0.25, currency="USD")
    assert one + two == usage(input_tokens=11, output_tokens=2, cached_tokens=1, cost=0.75, currency="USD")
    assert (one + usage(input_tokens=1)).cost is None
    assert (one + usage(cost=1.0, currency="EUR")).currency is None
    assert (one + usage("estimated")).basis == "estimated"
    assert (usage("unknown") + one).basis == "unknown"
    assert usage() + usage() == usage()
    assert msgspec.json.encode(usage(input_tokens=1)) == b'{"input_tokens":1,"basis":"reported"}'
