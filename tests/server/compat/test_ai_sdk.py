"""`/api/chat` as `useChat` asks it: stream, resume, stop; read by the rules of its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from headrace import errors
from headrace.protocol import sse
from headrace.providers.scripted import Call, Fail, Hang, Pause, Say, Think


def said(*words: str) -> list[dict[str, Any]]:
    """A chat of a user and an assistant in turn."""
    return [
        {"id": f"m{i}", "role": ("user", "assistant")[i % 2], "parts": [{"type": "text", "text": word}]}
        for i, word in enumerate(words)
    ]


ASK: dict[str, Any] = {
    "id": "chat-1",
    "messages": said("Hello"),
    "trigger": "submit-message",
    "messageId": None,
}


class Reading:
    """The message as their client builds it; a part out of order is refused."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.calls: dict[str, Any] = {}
        self.ends: list[str] = []
        self.errors: list[str] = []
        self.id = ""
        self._open: set[str] = set()

    def take(self, data: bytes) -> None:
        """One block."""
        assert "[DONE]" not in self.ends
        if data == b"[DONE]":
            self.ends.append("[DONE]")
            return
        part = json.loads(data)
        kind, id = part["type"], part.get("id", part.get("toolCallId"))
        if kind == "start":
            self.id = part["messageId"]
        elif kind in ("text-start", "reasoning-start", "tool-input-start"):
            assert id not in self._open
            self._open.add(id)
        elif kind in ("text-delta", "reasoning-delta", "tool-input-delta"):
            assert id in self._open
            self.text += part["delta"] if kind == "text-delta" else ""
            self.reasoning += part["delta"] if kind == "reasoning-delta" else ""
        elif kind in ("text-end", "reasoning-end", "tool-input-available"):
            self._open.remove(id)
            if kind == "tool-input-available":
                self.calls[part["toolName"]] = part["input"]
        elif kind == "error":
            self.errors.append(part["errorText"])
        elif kind in ("finish", "abort"):
            self.ends.append(part.get("finishReason", "abort"))
        else:
            assert kind in ("start-step", "finish-step") or kind.startswith("data-")


def read(body: bytes) -> Reading:
    """A whole stream, which is nothing but data blocks."""
    blocks = body.split(b"\n\n")
    assert blocks.pop() == b""
    reading = Reading()
    for block in blocks:
        assert block.startswith(b"data: ")
        assert b"\n" not in block
        reading.take(block[6:])
    assert reading.ends[-1] == "[DONE]"
    return reading


async def begin(site: Any, body: dict[str, Any], until: str, **options: Any) -> aiohttp.ClientResponse:
    """Ask, and read until so much text has come; the answer stays open."""
    answer = await site.http.post("/api/chat", json=body, **options)
    assert answer.status == 200, await answer.text()
    decoder, reading = sse.Decoder(), Reading()
    while reading.text != until:
        for found in decoder.feed(await answer.content.readany()):
            reading.take(found.data.encode() if isinstance(found.data, str) else bytes(found.data))
    return answer


async def test_a_chat(serving: Callable) -> None:
    async with serving([Think("Hm."), Say("Hello “world”\n\ndata: x"), Call("f", {"a": 1})]) as site:
        reply = await site.post("/api/chat", {**ASK, "model": "scripted", "system": "Be brief."})
        assert reply.status == 200
        assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        found = read(reply.body)
        assert found.id == reply.headers["x-headrace-run"]
        assert (found.reasoning, found.text) == ("Hm.", "Hello “world”\n\ndata: x")
        assert found.calls == {"f": {"a": 1}}
        assert found.ends == ["tool-calls", "[DONE]"]
        run = (await site.get(f"/v1/runs/{found.id}")).json
        assert (run["conversation"], run["kind"]) == ("chat-1", "chat")
        assert [m.text for m in site.provider.requests[0].messages] == ["Be brief.", "Hello"]


async def test_the_whole_chat_or_only_the_newest(serving: Callable) -> None:
    async with serving([["One."], ["Two."], ["Three."]]) as site:
        await site.post("/api/chat", ASK)
        await site.post("/api/chat", {"id": "chat-1", "messages": said("Hello", "One.", "And?")})
        (newest,) = said("More?")
        await site.post("/api/chat", {"id": "chat-1", "message": newest})
        thread = [message.text for message in site.provider.requests[1].messages]
        assert thread == ["Hello", "One.", "And?"]
        assert [message.text for message in site.provider.requests[2].messages] == [
            *thread,
            "Two.",
            "More?",
        ]
        turns = (await site.get("/v1/conversations/chat-1/turns")).json["turns"]
        assert len(turns) == 3


async def test_a_page_that_comes_back_gets_it_from_the_beginning(serving: Callable) -> None:
    async with serving([Say("One"), Pause(1), Say(" two")]) as site:
        assert (await site.get("/api/chat/chat-1/stream")).status == 204
        answer = await begin(site, ASK, "One")
        answer.close()
        resuming = asyncio.create_task(site.get("/api/chat/chat-1/stream"))
        (active,) = site.engine.all_active()
        while site.engine.stats.resumes == 0:
            await asyncio.sleep(0)
        site.gate.release()
        reply = await resuming
        assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
        found = read(reply.body)
        assert (found.text, found.id) == ("One two", active.run)
        assert (await site.get("/api/chat/chat-1/stream")).status == 204
        assert len(site.provider.calls) == 1


async def test_stop(serving: Callable) -> None:
    async with serving([Say("It is"), Hang()]) as site:
        answer = await begin(site, ASK, "It is")
        run = answer.headers["x-headrace-run"]
        assert (await site.post("/api/chat/chat-1/stop")).json == {"stopped": [run]}
        rest = await answer.read()
        assert b'{"type":"abort"' in rest
        assert rest.endswith(b"data: [DONE]\n\n")
        assert (await site.post("/api/chat/chat-1/stop")).json == {"stopped": []}
        assert (await site.get("/api/chat/chat-1/stream")).status == 204
        assert site.provider.calls[0].closed_early


async def test_a_page_that_does_not_resume_stops_by_leaving(serving: Callable) -> None:
    async with serving([Say("It is"), Hang()]) as site:
        answer = await begin(site, {**ASK, "on_disconnect": "cancel"}, "It is")
        answer.close()
        (active,) = site.engine.all_active()
        await active.ended.wait()
        assert active.info().outcome == "cancelled"


async def test_a_failure_is_told_in_words(serving: Callable) -> None:
    failure = errors.ProviderError("scripted: no", code="rate-limited", retryable=False)
    async with serving([Fail(failure)]) as site:
        reply = await site.post("/api/chat", ASK)
        assert reply.status == 200
        found = read(reply.body)
        assert found.errors == ["scripted: no"]
        assert found.ends == ["error", "[DONE]"]


async def test_a_key_sees_only_its_own_chats(serving: Callable) -> None:
    mine, other = ({"authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))
    async with serving([Say("It is"), Hang()], api_keys=["key-a", "key-b"]) as site:
        answer = await begin(site, ASK, "It is", headers=mine)
        assert (await site.post("/api/chat", ASK, headers=other)).error == "forbidden"
        assert (await site.get("/api/chat/chat-1/stream", headers=other)).status == 204
        assert (await site.post("/api/chat/chat-1/stop", headers=other)).json == {"stopped": []}
        (active,) = site.engine.all_active()
        assert active.status == "running"
        for path in ("/api/chat/chat-1/stream", "/api/chat/chat-1/stop"):
            reply = await site.ask("GET" if path.endswith("m") else "POST", path)
            assert reply.error == "unauthorized"
        assert (await site.post("/api/chat", ASK)).error == "unauthorized"
        answer.close()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"id": None}, "id"),
    ({"id": "no spaces"}, "conversation"),
    ({"messages": None}, "messages"),
    ({"message": said("Hi")[0]}, "messages"),
    ({"messages": []}, "messages"),
    ({"modle": "x"}, "modle"),
    ({"temperature": "hot"}, "temperature"),
]


@pytest.mark.parametrize(("body", "where"), REFUSED)
async def test_what_is_wrong_is_refused_by_name(serving: Callable, body: dict, where: str) -> None:
    async with serving("Hello") as site:
        reply = await site.post("/api/chat", {**ASK, **body})
        assert (reply.status, reply.error) == (400, "bad-request")
        assert reply.json["error"]["details"]["where"] == where
        assert not site.provider.calls


async def test_limits_and_bodies_that_are_none(serving: Callable) -> None:
    async with serving("Hello", max_prompt_chars=10) as site:
        reply = await site.post("/api/chat", {**ASK, "messages": said("x" * 11)})
        assert (reply.status, reply.error) == (413, "too-large")
        for data in (b"{", b"[]", b'{"id":' + b"[" * 5000):
            assert (await site.post("/api/chat", data=data)).status == 400
        deep: Any = "x"
        for _ in range(80):
            deep = [deep]
        part = {"type": "data-x", "data": deep}
        asked = {**ASK, "messages": [{"id": "m", "role": "user", "parts": [part]}]}
        assert (await site.post("/api/chat", asked)).error == "bad-request"


async def test_the_plain_form_still_works(serving: Callable) -> None:
    async with serving("Hello") as site:
        assert b'"type":"done"' in (await site.get("/api/chat?message=Hi")).body
