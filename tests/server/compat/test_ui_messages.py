"""UI messages as messages: every kind of part, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors, messages
from headrace.server.compat import ui_messages


def said(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "m", "role": role, "parts": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "state": "done"}


def test_text_and_pictures() -> None:
    picture = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==", "filename": "a"}
    found = ui_messages.convert(
        [said("system", text("Be brief.")), said("user", text("What is "), text("this?"), picture)]
    )
    thread = messages.parse_messages(found)
    assert [(m.role, m.text) for m in thread] == [("system", "Be brief."), ("user", "What is this?")]
    assert thread[1].parts[-1] == messages.Image("data:image/png;base64,AA==")


def test_an_assistants_steps() -> None:
    done = {
        "toolCallId": "c1",
        "state": "output-available",
        "input": {"city": "Paris"},
        "output": {"sun": True},
    }
    parts = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "Hm."},
        text("Looking."),
        {"type": "tool-weather", **done},
        {"type": "dynamic-tool", **done, "toolName": "clock", "toolCallId": "c2", "output": "noon"},
        {
            "type": "tool-weather",
            "toolCallId": "c3",
            "state": "output-error",
            "rawInput": "{",
            "errorText": "No.",
        },
        {"type": "tool-weather", "toolCallId": "c4", "state": "output-denied", "input": {}},
        {"type": "tool-weather", "toolCallId": "c5", "state": "input-available", "input": {}},
        {"type": "data-status", "data": {}},
        {"type": "source-url", "sourceId": "s", "url": "https://example.com"},
        {"type": "file", "mediaType": "image/png", "url": "data:,"},
        {"type": "step-start"},
        text("Sunny."),
    ]
    thread = messages.parse_messages(
        ui_messages.convert([said("user", text("Hi")), said("assistant", *parts)])
    )
    roles = ["user", "assistant", "tool", "tool", "tool", "tool", "assistant"]
    assert [message.role for message in thread] == roles
    assert thread[1].parts[:2] == (messages.Reasoning("Hm."), messages.Text("Looking."))
    calls = [part for part in thread[1].parts if isinstance(part, messages.ToolCall)]
    assert [(call.id, call.name) for call in calls] == [
        ("c1", "weather"),
        ("c2", "clock"),
        ("c3", "weather"),
        ("c4", "weather"),
    ]
    assert calls[0].arguments == {"city": "Paris"}
    results = [message.parts[0].content for message in thread[2:6]]
    assert results == ['{"sun":true}', "noon", "No.", "the user did not allow this call"]
    assert thread[6].text == "Sunny."


def test_text_after_a_result_is_a_message_of_its_own() -> None:
    tool = {"type": "tool-f", "toolCallId": "c", "state": "output-available", "output": "x"}
    found = ui_messages.convert([said("assistant", tool, text("So."))])
    assert [message["role"] for message in found] == ["assistant", "tool", "assistant"]


REFUSED: list[tuple[Any, str]] = [
    ([], "messages"),
    ("x", "messages"),
    ([7], "messages[0].role"),
    ([said("tool")], "messages[0].role"),
    ([{"role": "user", "content": "old form"}], "messages[0].parts"),
    ([said("user", {"type": "video"})], "messages[0].parts[0].type"),
    ([said("assistant", {"type": "video"})], "messages[0].parts[0].type"),
    ([said("user", {"type": "text"})], "messages[0].parts[0].text"),
    ([said("user", {"type": "file", "mediaType": "application/pdf", "url": "x"})], "messages[0].parts[0]"),
    ([said("user", {"type": "data-x", "data": 1})], "messages"),
    ([said("assistant", {"type": "tool-f", "state": "output-denied"})], "messages[0].parts[0].toolCallId"),
]


@pytest.mark.parametrize(("raw", "where"), REFUSED)
def test_what_is_refused(raw: Any, where: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        ui_messages.convert(raw)
    assert caught.value.details["where"] == where
    assert caught.value.message.startswith(where)
