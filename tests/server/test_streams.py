"""Readers over real sockets: everything once and in order, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from headrace import messages
from headrace.providers.scripted import Pause, Say, Think, by_seed, by_size
from headrace.runs.spec import RunSpec
from headrace.server import streams
from headrace.testing import relay

TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🎻. " * 12


async def test_every_event_once_with_its_cursor(serving: Any, tools: Any) -> None:
    async with serving([Think("Hm."), Say(TEXT)]) as site:
        run = await site.start()
        async with site.http.get(f"/v1/runs/{run}/events") as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache, no-transform"
            assert answer.headers["x-accel-buffering"] == "no"
            assert answer.headers["x-headrace-run"] == run
            raw = await answer.read()
        assert raw.startswith(b"retry: 1000\n\n")
        found = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: ")]
        ids = [line[4:].decode() for line in raw.split(b"\n") if line.startswith(b"id: ")]
        tools.check_covered(found)
        assert ids == [f"{run}.{event['seq']}" for event in found]
        assert tools.text_of(found) == TEXT == found[-1]["result"]["text"]


async def test_resume_at_every_seq(serving: Any, tools: Any) -> None:
    async with serving([Pause(1), Say(TEXT, by_size(24))]) as site:
        run = await site.start()
        follower = site.engine.active(run).writer.log.follow()
        site.gate.release()
        whole = [json.loads(entry.json) async for batch in follower for entry in batch]
        last = whole[-1]["seq"]
        for seq in range(last):
            found = await site.read(run, after=f"{run}.{seq}")
            tools.check_covered(found, after=seq)
            assert [e for e in found if e["type"] != "text-delta"] == [
                e for e in whole if e["seq"] > seq and e["type"] != "text-delta"
            ]
            before = [e for e in whole if e["seq"] <= seq]
            assert tools.text_of(before + found) == TEXT
        assert site.engine.stats.resumes == last


async def test_after_in_the_query_and_the_header_wins(serving: Any, tools: Any) -> None:
    async with serving() as site:
        run = await site.start()
        whole = await site.read(run)
        for after, params in (
            ("", {"after": f"{run}.2"}),
            ("", {"after": "2"}),
            (f"{run}.2", {"after": f"{run}.1"}),
        ):
            found = await site.read(run, after=after, params=params)
            tools.check_covered(found, after=2)
        assert await site.read(run, params={"after": ""}) == whole


@pytest.mark.parametrize(
    ("cursor", "status", "code"),
    [
        ("nonsense", 400, "cursor-malformed"),
        ("{run}.", 400, "cursor-malformed"),
        ("{run}.-1", 400, "cursor-malformed"),
        ("{run}.1e3", 400, "cursor-malformed"),
        ("{run}.99999999999999999999", 400, "cursor-malformed"),
        ("{run}.9999", 400, "cursor-ahead"),
        ("run_01JD0000000000000000000000.1", 403, "cursor-foreign"),
    ],
)
async def test_a_cursor_that_does_not_fit(serving: Any, cursor: str, status: int, code: str) -> None:
    async with serving() as site:
        run = await site.start()
        await site.ended(run)
        for options in (
            {"headers": {"last-event-id": cursor.format(run=run)}},
            {"params": {"after": cursor.format(run=run)}},
        ):
            reply = await site.get(f"/v1/runs/{run}/events", **options)
            assert (reply.status, reply.error) == (status, code)


async def test_a_reader_that_has_it_all_gets_204(serving: Any) -> None:
    async with serving() as site:
        run = await site.start()
        last = (await site.read(run))[-1]["seq"]
        reply = await site.get(f"/v1/runs/{run}/events", headers={"last-event-id": f"{run}.{last}"})
        assert (reply.status, reply.body) == (204, b"")
        assert reply.headers["x-headrace-run"] == run


async def test_an_unknown_run_and_one_past_retention(serving: Any) -> None:
    async with serving(retention=0.05) as site:
        reply = await site.get("/v1/runs/run_01JD0000000000000000000000/events")
        assert (reply.status, reply.error) == (404, "run-not-found")
        run = await site.start()
        dropped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        forget = site.engine.runlog.on_drop

        def on_drop(gone: str) -> None:
            forget(gone)
            dropped.set_result(gone)

        site.engine.runlog.on_drop = on_drop
        assert await dropped == run
        reply = await site.get(f"/v1/runs/{run}/events", headers={"last-event-id": f"{run}.2"})
        assert (reply.status, reply.error) == (410, "retention-passed")
        known = reply.json["error"]["details"]["run"]
        assert known["outcome"] == "completed"
        assert known == (await site.get(f"/v1/runs/{run}")).json


@pytest.mark.parametrize(
    "params", [{"interval": "x"}, {"interval": "-1"}, {"interval": "60001"}, {"dialect": "morse"}]
)
async def test_a_query_that_does_not_fit(serving: Any, params: dict[str, str]) -> None:
    async with serving() as site:
        run = await site.start()
        reply = await site.get(f"/v1/runs/{run}/events", params=params)
        assert (reply.status, reply.error) == (400, "bad-request")


async def test_methods(serving: Any) -> None:
    async with serving() as site:
        run = await site.start()
        path = f"/v1/runs/{run}/events"
        head = await site.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
        options = await site.ask("OPTIONS", path)
        assert options.status == 204
        assert options.headers["allow"] == "GET, HEAD, OPTIONS"
        for method in ("POST", "PUT", "DELETE"):
            reply = await site.ask(method, path)
            assert (reply.status, reply.error) == (405, "bad-request")
            assert reply.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_live_events_come_as_they_are_made(serving: Any, tools: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two "), Pause(1), Say("three")]) as site:
        run = await site.start()
        seen = []
        async with site.http.get(f"/v1/runs/{run}/events") as answer:
            async for found in tools.events_of(answer):
                event = json.loads(found.data)
                if event["type"] == "text-delta":
                    seen.append(event["delta"])
                    if len(seen) < 3:
                        assert site.engine.active(run).status == "running"
                        site.gate.release()
        assert "".join(seen) == "one two three"


async def test_an_interval_merges(serving: Any, tools: Any) -> None:
    script = [step for i in range(40) for step in (Say(f"{i} "), Pause(1))]
    async with serving(script) as site:
        run = await site.start()
        reading = asyncio.create_task(site.read(run, params={"interval": "40"}))
        for _ in range(40):
            site.gate.release()
            await asyncio.sleep(0.002)
        found = await reading
        tools.check_covered(found)
        assert tools.text_of(found) == found[-1]["result"]["text"]
        assert len(found) < found[-1]["seq"]
        assert any("from" in event for event in found)


@pytest.mark.parametrize("seed", range(6))
async def test_drops_at_random_bytes(serving: Any, tools: Any, seed: int) -> None:
    """The reader loses its connection 1 to 50 times, at any byte; its text is the answer's."""
    dice = random.Random(seed)
    drops = dice.randint(1, 50)
    script = [step for piece in by_seed(seed)(TEXT) for step in (Say(piece, (piece,)), Pause(1))]
    plans = [relay.cut(after_bytes=dice.randint(150, 1500), reset=dice.random() < 0.5) for _ in range(drops)]
    async with serving(script) as site:
        run = await site.start(on_disconnect="continue")
        feeding = asyncio.create_task(_feed(site))
        found: list[dict[str, Any]] = []
        async with relay.Relay(site.url, *plans, relay.PASS) as between:
            while not found or found[-1]["type"] != "run-end":
                headers = {"last-event-id": f"{run}.{found[-1]['seq']}"} if found else {}
                try:
                    async with aiohttp.request(
                        "GET", f"{between.url}/v1/runs/{run}/events", headers=headers
                    ) as answer:
                        async for got in tools.events_of(answer):
                            found += [json.loads(got.data)]
                except aiohttp.ClientError:
                    continue
        feeding.cancel()
        tools.check_covered(found)
        assert tools.text_of(found) == TEXT == found[-1]["result"]["text"]


async def _feed(site: Any) -> None:
    while True:
        site.gate.release()
        await asyncio.sleep(0.0005)


async def test_a_frozen_reader_harms_nobody_and_catches_up(serving: Any, tools: Any) -> None:
    piece = "x" * 2000
    script = [step for i in range(1500) for step in (Say(piece, (f"{i:04} {piece}",)), Pause(1))]
    async with serving(script, max_prompt_chars=10_000_000) as site:
        run = await site.start(on_disconnect="continue")
        address = urlsplit(site.url)
        frozen = socket.socket()
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        frozen.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(frozen, (address.hostname, address.port))
        await loop.sock_sendall(
            frozen,
            f"GET /v1/runs/{run}/events HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode(),
        )
        first = await loop.sock_recv(frozen, 1000)
        others = [asyncio.create_task(site.read(run)) for _ in range(2)]
        for _ in range(1500):
            site.gate.release()
            await asyncio.sleep(0)
        for found in await asyncio.gather(*others):
            tools.check_covered(found)
            text = tools.text_of(found)
        got = [first]
        while data := await loop.sock_recv(frozen, 65536):
            got.append(data)
        frozen.close()
        found = [
            json.loads(line[6:])
            for line in _unchunked(b"".join(got)).split(b"\n")
            if line.startswith(b"data: ")
        ]
        tools.check_covered(found)
        assert tools.text_of(found) == text
        assert any("from" in event for event in found), "what it missed came merged"


def _unchunked(raw: bytes) -> bytes:
    body = raw.partition(b"\r\n\r\n")[2]
    out = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        out.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(out)


async def test_two_readers_and_a_late_one(serving: Any, tools: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        run = await site.start()
        readers = [asyncio.create_task(site.read(run)) for _ in range(2)]
        while site.service.readers < 2:
            await asyncio.sleep(0.001)
        site.gate.release()
        first, second = await asyncio.gather(*readers)
        late = await site.read(run)
        assert first == second
        assert tools.text_of(late) == tools.text_of(first) == "one two"


async def test_a_reader_that_leaves_is_noticed(serving: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        run = await site.start(on_disconnect="cancel")
        async with site.http.get(f"/v1/runs/{run}/events") as answer:
            await answer.content.readuntil(b"one")
            assert site.service.readers == 1
            answer.close()
        await site.ended(run)
        assert site.engine.active(run).end.outcome == "cancelled"
        assert site.service.readers == 0
        assert site.provider.calls[0].closed_early


async def test_a_disconnect_alone_stops_nothing(serving: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        run = await site.start(on_disconnect="continue")
        async with site.http.get(f"/v1/runs/{run}/events") as answer:
            await answer.content.readuntil(b"one")
            answer.close()
        while site.service.readers:
            await asyncio.sleep(0.001)
        site.gate.release()
        await site.ended(run)
        assert site.engine.active(run).end.outcome == "completed"


async def test_hostile_text_stays_inside_its_frame(serving: Any, tools: Any) -> None:
    hostile = 'a\r\n\r\nid: forged.9\ndata: {"type":"run-end"}\n\n</script>\x1b[31m\x00\u2028 <|im_start|> \ud83d end'
    async with serving(Say(hostile, by_size(3))) as site:
        run = await site.start(hostile.replace("\ud83d", ""))
        found = await site.read(run)
        tools.check_covered(found)
        assert tools.text_of(found) == hostile.replace("\ud83d", "\ufffd")


async def test_one_line_of_a_megabyte(serving: Any, tools: Any) -> None:
    line = "é" * 1_000_000
    async with serving(Say(line, (line,))) as site:
        run = await site.start()
        assert tools.text_of(await site.read(run)) == line


# -- the stream itself, on bare ASGI ----------------------------------------------------------------------


class Wire:
    """An ASGI connection that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def _hanging(site: Any) -> Any:
    return await site.engine.start(
        RunSpec(model="scripted", messages=(messages.user("Hello"),), on_disconnect="continue")
    )


async def test_heartbeats_fill_silence_only(serving: Any) -> None:
    async with serving([Say("one"), Pause(1), Say("two")]) as site:
        active = await _hanging(site)
        wire = Wire()
        task = asyncio.create_task(
            streams.stream(site.service, active, {"type": "http"}, wire.receive, wire.send, heartbeat=0.05)
        )
        bodies = []
        while bodies.count(b": hb\n\n") < 2:
            message = await wire.sent.get()
            if message["type"] == "http.response.body":
                bodies.append(message["body"])
        assert bodies[0].startswith(b"retry: 1000\n\nid: ")
        assert bodies[-2:] == [b": hb\n\n"] * 2
        site.gate.release()
        await task
        rest = [wire.sent.get_nowait() for _ in range(wire.sent.qsize())]
        assert b"run-end" in b"".join(message["body"] for message in rest)
        assert rest[-1].get("more_body", False) is False


async def test_a_stream_ends_when_its_reader_has_left(serving: Any) -> None:
    async with serving([Say("one"), Pause(1)]) as site:
        active = await _hanging(site)
        wire = Wire()
        task = asyncio.create_task(
            streams.stream(site.service, active, {"type": "http"}, wire.receive, wire.send)
        )
        await wire.sent.get()
        wire.left.set()
        await task
        assert site.service.readers == 0
        assert active.writer.log.followers == 0


async def test_a_stream_whose_log_is_dropped_ends(serving: Any) -> None:
    async with serving([Say("one"), Pause(1)]) as site:
        active = await _hanging(site)
        wire = Wire()
        task = asyncio.create_task(
            streams.stream(site.service, active, {"type": "http"}, wire.receive, wire.send)
        )
        await wire.sent.get()
        active.writer.log.drop()
        await task
        assert site.service.readers == 0
