"""The plain chats, read as a browser's EventSource and as a line reader would; and guarded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from headrace import errors
from headrace.protocol import sse
from headrace.providers.scripted import Fail, Hang, Pause, Say


class EventSource:
    """A browser's: keeps the last event id, comes back with it, stops at 204."""

    def __init__(self, site: Any, url: str) -> None:
        self.site = site
        self.url = url
        self.last: str | None = None
        self.status = 0
        self.runs: set[str] = set()
        self.text = ""
        self.types: list[str] = []

    async def connect(self, *, until: int | None = None) -> None:
        """Read until the stream ends, or until so much text has come; then the line breaks."""
        headers = {"last-event-id": self.last} if self.last is not None else {}
        async with self.site.http.get(self.url, headers=headers) as answer:
            self.status = answer.status
            if answer.status != 200:
                return
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            self.runs.add(answer.headers["x-headrace-run"])
            decoder = sse.Decoder(last_id=self.last)
            async for data in answer.content.iter_any():
                for block in decoder.feed(data):
                    self._take(json.loads(block.data))
                self.last = decoder.last_id
                if until is not None and len(self.text) >= until:
                    answer.close()
                    return

    def _take(self, body: dict[str, Any]) -> None:
        self.types.append(body["type"])
        if body["type"] == "text":
            self.text += body["content"]
        elif body["type"] == "reset":
            self.text = ""


async def test_the_five_lines_of_javascript(serving: Callable) -> None:
    async with serving("Hello “world”\n\ndata: x") as site:
        source = EventSource(site, "/api/chat?message=Hi")
        await source.connect()
        assert source.text == "Hello “world”\n\ndata: x"
        assert source.types[-1] == "done"
        assert set(source.types) == {"text", "done"}
        await source.connect()  # a page that does not close it comes back, and is told to stop
        assert source.status == 204
        assert len(site.provider.calls) == 1
        assert site.provider.requests[0].messages[-1].text == "Hi"


async def test_a_reconnect_goes_on_in_the_same_run(serving: Callable) -> None:
    script = [Say("One "), Pause(1), Say("two "), Pause(1), Say("three")]
    async with serving(script) as site:
        source = EventSource(site, "/api/chat?message=Hi")
        await source.connect(until=4)
        site.gate.release()
        await source.connect(until=8)
        assert source.text == "One two "
        site.gate.release()
        await source.connect()
        assert source.text == "One two three"
        assert len(source.runs) == 1
        assert len(site.provider.calls) == 1
        assert source.types.count("done") == 1


async def test_a_line_that_breaks_before_the_first_word_starts_no_second_run(serving: Callable) -> None:
    async with serving([Pause(1), Say("Hello")]) as site:
        source = EventSource(site, "/api/chat?message=Hi")
        await source.connect(until=0)
        assert source.last is not None
        site.gate.release()
        await source.connect()
        assert source.text == "Hello"
        assert len(site.provider.calls) == 1


async def test_a_key_makes_even_an_answer_that_was_lost_the_same_run(serving: Callable) -> None:
    async with serving("Hello") as site:
        first, second = (EventSource(site, "/api/chat?message=Hi&key=k1") for _ in range(2))
        await first.connect()
        await second.connect()
        assert first.runs == second.runs
        assert second.text == "Hello"


async def test_a_failure_is_told_in_the_stream(serving: Callable) -> None:
    failure = errors.ProviderError("no such model", code="model-not-found")
    async with serving([Fail(failure)]) as site:
        source = EventSource(site, "/api/chat?message=Hi")
        await source.connect()
        assert source.types == ["error", "done"]


async def test_a_reset_after_a_reconnect_sends_what_stands(serving: Callable) -> None:
    script = [Say("Wrong"), Pause(1), Fail(errors.ProviderError("gone", retryable=True))]
    async with serving(script) as site:
        from headrace.providers import scripted

        site.service.registry.register("spare", scripted.Scripted("Right"))
        run = await site.start(fallbacks=["spare"])
        source = EventSource(site, f"/v1/runs/{run}/events?dialect=text")
        await source.connect(until=5)
        site.gate.release()
        await source.connect()
        assert source.text == "Right"
        assert "reset" in source.types


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("nonsense", 400),
        ("17", 400),
        ("run_01JD0000000000000000000000.3", 404),
        ("{run}.99", 400),
        ("{run}.x", 400),
        ("", 400),
    ],
)
async def test_a_cursor_that_cannot_be_read_never_starts_a_run(
    serving: Callable, last: str, status: int
) -> None:
    async with serving("Hello") as site:
        run = await site.start()
        await site.ended(run)
        reply = await site.get("/api/chat?message=Hi", headers={"last-event-id": last.format(run=run)})
        assert reply.status == status
        assert reply.error
        assert len(site.provider.calls) == 1


async def test_turns_of_a_conversation_are_sent_along(serving: Callable) -> None:
    async with serving("Hello") as site:
        for message in ("One", "Two"):
            await EventSource(site, f"/api/chat?message={message}&conversation=c1").connect()
        said = [(m.role, m.text) for m in site.provider.requests[1].messages]
        assert said == [("user", "One"), ("assistant", "Hello"), ("user", "Two")]


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}],
)
async def test_a_page_of_another_site_cannot_ask(serving: Callable, headers: dict[str, str]) -> None:
    async with serving("Hello") as site:
        for reply in (
            await site.get("/api/chat?message=Hi", headers=headers),
            await site.post("/chat/stream", {"message": "Hi"}, headers=headers),
        ):
            assert (reply.status, reply.error) == (403, "forbidden")
        assert not site.provider.calls


async def test_somebody_elses_run_is_not_there(serving: Callable) -> None:
    async with serving("Hello", api_keys=["a", "b"]) as site:
        mine = {"authorization": "Bearer a"}
        reply = await site.get("/api/chat?message=Hi", headers=mine)
        run = reply.headers["x-headrace-run"]
        other = {"authorization": "Bearer b", "last-event-id": f"{run}.1"}
        assert (await site.get("/api/chat?message=Hi", headers=other)).error == "run-not-found"


async def test_a_message_has_to_be_there(serving: Callable) -> None:
    async with serving("Hello") as site:
        assert (await site.get("/api/chat")).error == "bad-request"
        assert (await site.post("/chat/stream", {"message": ""})).error == "bad-request"
        assert (await site.post("/chat/stream", {"text": "Hi"})).error == "bad-request"
        assert (await site.post("/chat/stream", data=b"{")).error == "bad-request"
        assert not site.provider.calls


async def test_tokens(serving: Callable) -> None:
    async with serving("Hello “world”\nagain") as site:
        reply = await site.post("/chat/stream", {"message": "Hi", "conversation": "c1"})
        lines = [line for line in reply.body.decode().split("\n") if line]
        assert lines.pop() == "data: [DONE]"
        assert "".join(json.loads(line[6:])["token"] for line in lines) == "Hello “world”\nagain"
        run = (await site.get(f"/v1/runs/{reply.headers['x-headrace-run']}")).json
        assert (run["outcome"], run["conversation"]) == ("completed", "c1")


@pytest.mark.parametrize(("policy", "outcome"), [("cancel", "cancelled"), ("grace", None)])
async def test_whose_reader_leaves_is_up_to_the_policy(
    serving: Callable, policy: str, outcome: str | None
) -> None:
    async with serving([Say("One "), Hang()]) as site:
        body = {"message": "Hi", "on_disconnect": policy}
        async with site.http.post("/chat/stream", json=body) as answer:
            await answer.content.readany()
            answer.close()
        (active,) = site.engine.all_active()
        while active.writer.log.followers:
            await asyncio.sleep(0)
        if outcome is not None:
            await active.ended.wait()
        assert active.info().outcome == outcome
