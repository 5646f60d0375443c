"""Bodies of Responses as runs: pure, so here are the shapes that the client tests do not show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace import errors
from headrace.server.compat import responses_body


def parse(**body: Any) -> responses_body.Asked:
    return responses_body.parse(msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("how", "policy"), [({}, "cancel"), ({"stream": True}, "grace"), ({"background": True}, "continue")]
)
def test_what_becomes_of_a_run_that_nobody_reads(how: dict[str, bool], policy: str) -> None:
    asked = parse(input="Hello", **how)
    assert asked.body.on_disconnect == policy
    assert asked.body.failover == "continue"
    assert (asked.stream, asked.background) == ("stream" in how, "background" in how)


def test_calls_join_the_message_they_follow_and_reasoning_the_one_it_precedes() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    out = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "x"}]}
    found = responses_body.messages_of(
        [
            {"role": "user", "content": "Hello"},
            reasoning,
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            call,
            {**call, "call_id": "c2"},
            out,
            reasoning,
            call,
        ]
    )
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1]["content"] == [{"type": "text", "text": "No."}]
    assert found[1]["reasoning_content"] == "Hm."
    assert [made["id"] for made in found[1]["tool_calls"]] == ["c1", "c2"]
    assert found[2]["content"] == [{"type": "text", "text": "x"}]
    assert (found[3]["reasoning_content"], len(found[3]["tool_calls"])) == ("Hm.", 1)


def test_nulls_are_absent_and_what_is_ours_or_unknown_goes_along() -> None:
    asked = parse(
        input="Hello", tools=None, text=None, reasoning=None, fallbacks=["spare"], store=False, top_k=5
    )
    assert asked.body.fallbacks == ["spare"]
    assert asked.body.options == {"top_k": 5}
    assert asked.previous is None


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_formats_without_a_schema(kind: str) -> None:
    found = parse(input="Hello", text={"format": {"type": kind}}).body.output_schema
    assert found == (None if kind == "text" else {"type": "object"})


@pytest.mark.parametrize("items", [["x"] * 5000, [{"type": "reasoning", "summary": []}], [{"role": "user"}]])
def test_input_that_is_none(items: list[Any]) -> None:
    with pytest.raises(errors.UsageError, match="input"):
        parse(input=items)
