"""Turns with a memory, over HTTP: every route that can ask for one, what its readers see, what the ledger has."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace.memory import runtime, views
from headrace.providers.scripted import Call, Drop, Finish
from headrace.server import remembering

MARKED = "Gladly.\nCOMMIT: water the plants\nDone."
SEEN = "Gladly.\nDone."


def tokens(reply: Any) -> str:
    """The joined tokens of `/chat/stream`."""
    data = [
        line.removeprefix("data: ") for line in reply.body.decode().splitlines() if line.startswith("data: ")
    ]
    assert data[-1] == "[DONE]"
    return "".join(json.loads(item)["token"] for item in data[:-1])


async def facts(site: Any) -> list[tuple[str, str]]:
    await site.service.memories.settle()
    found = (await site.get("/v1/conversations/c1/facts")).json["facts"]
    return [(fact["kind"], fact["content"]) for fact in found]


async def test_chat_stream_remembers_and_hides_marker_lines(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"], ["Fine."]]) as site:
        first = await site.post("/chat/stream", {"message": "Will you?", "conversation": "c1"})
        assert tokens(first) == SEEN
        assert await facts(site) == [
            ("user", "Will you?"), ("response", MARKED), ("commitment", "water the plants"),
        ]  # fmt: skip
        info = (await site.get(f"/v1/runs/{first.headers['x-headrace-run']}")).json
        assert info["result"]["text"] == SEEN
        assert tokens(await site.post("/chat/stream", {"message": "And?", "conversation": "c1"})) == ""
        told = site.provider.requests[1].messages[0].text
        assert "- c3: water the plants" in told
        assert "COMMIT: what you promise" in told
        assert (await facts(site))[-1][0] == "commitment-closed"
        plain = {"message": "Plainly", "conversation": "c1", "memory": False}
        assert tokens(await site.post("/chat/stream", plain)) == "Fine."
        assert site.provider.requests[2].messages[0].role == "user"


async def test_runs_and_a_reader_that_comes_back_in_the_middle(serving: Any) -> None:
    async with serving([[*MARKED]]) as site:
        run = await site.start("Will you?", conversation="c1", memory=True)
        found = await site.read(run)
        text = "".join(event["delta"] for event in found if event["type"] == "text-delta")
        assert text == SEEN == found[-1]["result"]["text"]
        for event in found:
            if event["type"] == "text-delta":
                rest = await site.read(run, after=f"{run}.{event['seq']}")
                at = "".join(
                    e["delta"] for e in found if e["type"] == "text-delta" and e["seq"] <= event["seq"]
                )
                assert at + "".join(e["delta"] for e in rest if e["type"] == "text-delta") == SEEN


async def test_api_chat_opts_in(serving: Any) -> None:
    async with serving([["COMMIT: a\nYes."], ["No."], ["So."]]) as site:

        def asked(text: str, **more: Any) -> dict[str, Any]:
            message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": text}]}
            return {"id": "c1", "messages": [message], **more}

        reply = await site.post("/api/chat", asked("Hello", memory=True))
        assert b"Yes." in reply.body
        assert b"COMMIT" not in reply.body
        assert (await facts(site))[-1] == ("commitment", "a")
        await site.post("/api/chat", asked("Again", memory=True))
        assert [m.text for m in site.provider.requests[1].messages][1:] == [
            "Hello",
            "COMMIT: a\nYes.",
            "Again",
        ]
        await site.get("/api/chat?message=More&conversation=c1&memory=true")
        assert "- c3: a" in site.provider.requests[2].messages[0].text


async def test_a_reply_that_was_cut_goes_on_in_the_same_stream(serving: Any) -> None:
    async with serving([["One, ", Finish("length")], ["One, two."]]) as site:
        reply = await site.post("/chat/stream", {"message": "Count", "conversation": "c1"})
        assert tokens(reply) == "One, two."
        assert await facts(site) == [("user", "Count"), ("response", "One, two.")]


async def test_reflections_stream(serving: Any) -> None:
    async with serving([["Hi."], ["I was ", "short."], ["I", Drop()]]) as site:
        await site.post("/chat/stream", {"message": "Hello", "conversation": "c1"})
        started = await site.post("/v1/conversations/c1/reflect", {})
        assert started.status == 201
        found = await site.read(started.json["run"])
        assert "".join(e["delta"] for e in found if e["type"] == "text-delta") == "I was short."
        assert (await facts(site))[-1] == ("reflection", "I was short.")
        streamed = await site.post(
            "/v1/conversations/c1/reflect", {"model": "scripted"}, headers={"accept": "text/event-stream"}
        )
        assert streamed.status == 201
        assert b'"outcome":"failed"' in streamed.body
        assert len(await facts(site)) == 3
        assert (await site.post("/v1/conversations/nobody/reflect")).error == "run-not-found"
        assert (await site.post("/v1/conversations/c1/reflect", {"modell": "x"})).error == "bad-request"


async def test_the_same_key_is_the_same_turn(serving: Any) -> None:
    async with serving([["Once."]]) as site:
        body = {"message": "Hello", "conversation": "c1"}
        replies = [await site.post("/chat/stream", body, headers={"idempotency-key": "k"}) for _ in range(2)]
        assert [tokens(reply) for reply in replies] == ["Once.", "Once."]
        assert await facts(site) == [("user", "Hello"), ("response", "Once.")]


@pytest.mark.parametrize(
    "body",
    [
        {"input": "a", "memory": True},
        {"messages": [{"role": "user", "content": "a"}], "conversation": "c1", "memory": True},
        {"input": "a", "conversation": "c1", "memory": True, "output_schema": {"type": "object"}},
        {"input": "a", "conversation": "c1", "memory": "yes"},
    ],
)
async def test_what_memory_does_not_go_with(serving: Any, body: dict[str, Any]) -> None:
    async with serving([["x"]]) as site:
        assert (await site.post("/v1/runs", body)).error == "bad-request"


async def test_only_so_many_conversations_stay_open(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "KEPT", 2)
    async with serving("Yes.") as site:
        for name in ("a", "b", "c", "a"):
            await site.post("/chat/stream", {"message": "Hello", "conversation": name})
        assert len(site.service.memories._open) <= 3
        turns = (await site.get("/v1/conversations/a/turns")).json["turns"]
        assert [turn["response"] for turn in turns] == ["Yes.", "Yes."]


async def test_a_long_conversation_is_read_while_its_turn_runs(
    serving: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No snapshot, and many facts: the turn starts at once, says what it waits for, and answers."""
    go_on = asyncio.Event()
    read = views.read

    async def slow(*args: Any, page: Any, **more: Any) -> None:
        await page()
        await go_on.wait()
        await read(*args, page=page, **more)

    monkeypatch.setattr(views, "read", slow)
    monkeypatch.setattr(runtime, "_LATE_S", 0.0)
    monkeypatch.setattr(runtime, "_TELL_S", 0.01)
    async with serving([["One."], ["Two."], ["Three."]]) as site:
        first = await site.post("/v1/runs", {"input": "Hello plants", "conversation": "c1", "memory": True})
        run = first.json["run"]
        assert first.status == 201
        reading = asyncio.create_task(site.read(run))
        plain = await site.read(await site.start("x", conversation="c2"))  # nobody else waits
        assert tools.text_of(plain) == "One."
        assert (await site.get(f"/v1/runs/{run}")).json["status"] == "running"
        go_on.set()
        events = await reading
        assert any(e.get("message", "").startswith("Reading the conversation") for e in events)
        assert tools.text_of(events) == "Two."
        assert await facts(site) == [("user", "Hello plants"), ("response", "Two.")]
        sent = site.provider.requests[1].messages
        assert [(m.role, m.text) for m in sent if m.role != "system"] == [("user", "Hello plants")]
        assert "n1" not in sent[0].text  # its own fact is no memory


async def test_a_turn_that_is_stopped_while_its_conversation_is_read(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, read = asyncio.Event(), views.read

    async def slow(*args: Any, page: Any, **more: Any) -> None:
        await go_on.wait()
        await read(*args, page=page, **more)

    monkeypatch.setattr(views, "read", slow)
    monkeypatch.setattr(runtime, "_LATE_S", 0.0)
    async with serving([["One."]]) as site:
        run = (await site.post("/v1/runs", {"input": "a", "conversation": "c1", "memory": True})).json["run"]
        stopped = await site.post(f"/v1/runs/{run}/cancel", {})
        assert stopped.json["outcome"] == "cancelled"
        go_on.set()
        assert await facts(site) == [("user", "a"), ("generation-ended", "")]
        later = await site.post("/chat/stream", {"message": "b", "conversation": "c1"})
        assert tokens(later) == "One."


async def test_the_servers_tools_go_with_memory(serving: Any) -> None:
    def add(a: int, b: int) -> int:
        """The sum."""
        return a + b

    script = [[Call("add", {"a": 2, "b": 3})], ["Five.\nCOMMIT: count again"], ["Fine."]]
    async with serving(script, tools=[add]) as site:
        asked = {"input": "2+3?", "conversation": "c1", "memory": True, "tools": ["add"]}
        await site.read((await site.post("/v1/runs", asked)).json["run"])
        assert await facts(site) == [
            ("user", "2+3?"), ("response", "Five.\nCOMMIT: count again"), ("commitment", "count again"),
        ]  # fmt: skip
        trace = (await site.get("/v1/conversations/c1/traces")).json["traces"][0]
        assert trace["steps"][2]["tools"] == ["add"]
        own = [{"type": "function", "function": {"name": "mine"}}]
        refused = await site.post("/v1/runs", {**asked, "tools": own})
        assert refused.error == "bad-request"
