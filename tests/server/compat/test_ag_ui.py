"""`/ag-ui`: what its client sends, and the events in the order that it verifies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from headrace import errors, messages
from headrace.providers.scripted import Call, Fail, Hang, Say, Think
from headrace.server.compat import ag_ui

ASK: dict[str, Any] = {
    "threadId": "thread-1",
    "runId": "mine-1",
    "messages": [{"id": "m1", "role": "user", "content": "Hello"}],
    "tools": [],
    "context": [],
    "state": {},
    "forwardedProps": {},
}
TOOL = {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}}


def verify(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, whose order is legal."""
    blocks = [block.removeprefix(b"data: ") for block in body.split(b"\n\n") if not block.startswith(b":")]
    assert blocks.pop() == b""
    found: list[dict[str, Any]] = [json.loads(block) for block in blocks]
    opened: set[str] = set()
    assert found[0]["type"] in ("RUN_STARTED", "RUN_ERROR")
    for event in found:
        kind = event["type"]
        key = event.get("messageId") or event.get("toolCallId") or event.get("stepName") or ""
        family = kind.rpartition("_")[0] if not kind.startswith("STEP_") else "STEP"
        if kind.endswith(("MESSAGE_START", "CALL_START")) or kind == "STEP_STARTED":
            assert family + key not in opened
            opened.add(family + key)
        elif kind.endswith(("MESSAGE_CONTENT", "CALL_ARGS")):
            assert family + key in opened
            assert event["delta"]
        elif kind.endswith(("MESSAGE_END", "CALL_END")) or kind == "STEP_FINISHED":
            opened.remove(family + key)
        elif kind == "RUN_FINISHED":
            assert not opened
    assert [event["type"] for event in found].count("RUN_STARTED") == 1
    assert found[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    return found


def text_of(found: list[dict[str, Any]], kind: str = "TEXT_MESSAGE_CONTENT") -> str:
    return "".join(event["delta"] for event in found if event["type"] == kind)


async def test_a_run(serving: Callable) -> None:
    async with serving([Think("Hm."), Say("Hello “world”\n\ndata: x"), Call("weather", {"a": 1})]) as site:
        reply = await site.post("/ag-ui", {**ASK, "tools": [TOOL], "parentRunId": "mine-0"})
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        found = verify(reply.body)
        for event in (found[0], found[-1]):
            assert (event["threadId"], event["runId"]) == ("thread-1", "mine-1")
        assert text_of(found) == "Hello “world”\n\ndata: x"
        assert text_of(found, "REASONING_MESSAGE_CONTENT") == "Hm."
        assert json.loads(text_of(found, "TOOL_CALL_ARGS")) == {"a": 1}
        run = (await site.get(f"/v1/runs/{reply.headers['x-headrace-run']}")).json
        assert (run["conversation"], run["outcome"]) == ("thread-1", "completed")
        assert site.provider.requests[0].tools[0].name == "weather"


async def test_what_is_sent_reaches_the_provider(serving: Callable) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
    picture = {"type": "image", "source": {"type": "data", "value": "AA==", "mimeType": "image/png"}}
    older = {"type": "binary", "mimeType": "image/png", "url": "https://example.com/a.png"}
    thread = [
        {"id": "1", "role": "developer", "content": "Be brief."},
        {"id": "2", "role": "user", "content": [{"type": "text", "text": "What is this?"}, picture, older]},
        {"id": "3", "role": "reasoning", "content": "Hm."},
        {"id": "4", "role": "assistant", "toolCalls": [call]},
        {"id": "5", "role": "tool", "toolCallId": "c1", "content": "sunny"},
        {"id": "6", "role": "activity", "activityType": "x", "content": {}},
    ]
    asked = {
        **ASK,
        "messages": thread,
        "context": [{"description": "The page", "value": "maps"}],
        "state": {"n": 1},
        "forwardedProps": {"model": "scripted", "temperature": 0.5, "somebody": "else's"},
    }
    async with serving("It is sunny.") as site:
        verify((await site.post("/ag-ui", asked)).body)
        request = site.provider.requests[0]
        assert [m.role for m in request.messages] == ["system", "system", "user", "assistant", "tool"]
        assert "The page: maps" in request.messages[0].text
        assert request.messages[2].parts[1:] == (
            messages.Image("data:image/png;base64,AA=="),
            messages.Image("https://example.com/a.png"),
        )
        assert request.messages[3].parts[0] == messages.Reasoning("Hm.")
        assert request.messages[3].parts[1].arguments == {"a": 1}
        assert request.messages[4].parts == (messages.ToolResult("c1", "sunny"),)
        assert request.temperature == 0.5


async def test_a_failure_is_an_event(serving: Callable) -> None:
    async with serving(
        [Fail(errors.ProviderError("scripted: no", code="rate-limited", retryable=False))]
    ) as site:
        reply = await site.post("/ag-ui", ASK)
        assert reply.status == 200
        last = verify(reply.body)[-1]
        assert (last["type"], last["message"], last["code"]) == ("RUN_ERROR", "scripted: no", "rate-limited")


async def test_hanging_up_stops_the_run(serving: Callable) -> None:
    async with serving([Say("It is"), Hang()]) as site:
        async with site.http.post("/ag-ui", json=ASK) as answer:
            while b"It" not in await answer.content.readany():
                pass
            answer.close()
        (active,) = site.engine.all_active()
        await active.ended.wait()
        assert active.info().outcome == "cancelled"
        assert site.provider.calls[0].closed_early


async def test_a_thread_is_its_owners(serving: Callable) -> None:
    mine, other = ({"authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))
    async with serving("Hello", api_keys=["key-a", "key-b"]) as site:
        run = (await site.post("/ag-ui", ASK, headers=mine)).headers["x-headrace-run"]
        assert (await site.post("/ag-ui", ASK, headers=other)).error == "forbidden"
        assert (await site.get(f"/v1/runs/{run}", headers=other)).error == "run-not-found"
        assert (await site.post("/ag-ui", ASK)).error == "unauthorized"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"threadId": "no spaces"}, "conversation"),
    ({"threadId": 7}, "threadId"),
    ({"runId": ""}, "runId"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "activity"}]}, "messages"),
    ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].toolCallId"),
    ({"messages": [{"role": "assistant", "toolCalls": [{}]}]}, "messages[0].tool_calls[0]"),
    ({"tools": [{"description": "x"}]}, "tools[0]"),
    ({"forwardedProps": {"temperature": "hot"}}, "temperature"),
]


@pytest.mark.parametrize(("body", "where"), REFUSED)
async def test_what_is_wrong_is_refused_by_name(serving: Callable, body: dict, where: str) -> None:
    async with serving("Hello") as site:
        reply = await site.post("/ag-ui", {**ASK, **body})
        assert (reply.status, reply.error) == (400, "bad-request"), reply.body
        assert reply.json["error"]["details"]["where"] == where
        assert not site.provider.calls


async def test_limits_and_bodies_that_are_none(serving: Callable) -> None:
    async with serving("Hello", max_prompt_chars=10) as site:
        long = [{"id": "m", "role": "user", "content": "x" * 11}]
        assert (await site.post("/ag-ui", {**ASK, "messages": long})).error == "too-large"
        for data in (b"{", b"[]", b"{}", b'{"state":' + b"[" * 5000):
            assert (await site.post("/ag-ui", data=data)).error == "bad-request"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image"},
        {"type": "image", "source": {"type": "file", "value": "file-1"}},
        {"type": "binary", "mimeType": "audio/wav", "data": "AA=="},
    ],
)
def test_pictures_that_are_none(part: dict[str, Any]) -> None:
    with pytest.raises(errors.UsageError, match=r"messages\[0\]\.content\[0\]"):
        ag_ui.parse(msgspec.json.encode({**ASK, "messages": [{"role": "user", "content": [part]}]}))
