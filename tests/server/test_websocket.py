"""A run over WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from headrace.providers.scripted import Pause, Say, by_size

TEXT = "the mill wheel turns " * 20


async def _all(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    return [json.loads(message.data) async for message in socket]


async def test_the_same_events(serving: Any, tools: Any) -> None:
    async with serving(Say(TEXT, by_size(7))) as site:
        run = await site.start()
        async with site.http.ws_connect(f"/v1/runs/{run}/ws") as socket:
            found = await _all(socket)
            assert socket.close_code == 1000
        tools.check_covered(found)
        assert tools.text_of(found) == TEXT
        async with site.http.ws_connect(f"/v1/runs/{run}/ws", params={"after": f"{run}.5"}) as socket:
            tools.check_covered(await _all(socket), after=5)
        last = found[-1]["seq"]
        async with site.http.ws_connect(f"/v1/runs/{run}/ws", params={"after": f"{run}.{last}"}) as socket:
            assert await _all(socket) == []
            assert socket.close_code == 1000
        assert site.service.readers == 0


async def test_cancel_from_the_reader(serving: Any, tools: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        run = await site.start()
        async with site.http.ws_connect(f"/v1/runs/{run}/ws") as socket:
            assert (await socket.receive_json())["type"] == "run-start"
            await socket.send_json({"type": "cancel"})
            found = await _all(socket)
            assert found[-1]["outcome"] == "cancelled"
            assert socket.close_code == 1000


async def test_resume_in_the_same_connection(serving: Any) -> None:
    async with serving([Say("one ", ("one ",)), Pause(1), Say("two")]) as site:
        run = await site.start()
        async with site.http.ws_connect(f"/v1/runs/{run}/ws") as socket:
            seen = [await socket.receive_json() for _ in range(4)]
            assert [event["seq"] for event in seen] == [1, 2, 3, 4]
            await socket.send_json({"type": "resume", "after": f"{run}.1"})
            again = [await socket.receive_json() for _ in range(3)]
            assert again == seen[1:]
            site.gate.release()
            found = await _all(socket)
            assert found[0]["seq"] == 5
            assert found[-1]["type"] == "run-end"
        assert site.engine.stats.resumes == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type":"dance"}', "bad-request"),
        ("not json", "bad-request"),
        ('{"type":"resume"}', "bad-request"),
        ('{"type":"resume","after":"x"}', "cursor-malformed"),
        ('{"type":"resume","after":"999"}', "cursor-ahead"),
        ('{"type":"resume","after":"run_01JD0000000000000000000000.1"}', "cursor-foreign"),
    ],
)
async def test_a_message_that_does_not_fit(serving: Any, message: str, code: str) -> None:
    async with serving(Pause(1)) as site:
        run = await site.start()
        async with site.http.ws_connect(f"/v1/runs/{run}/ws") as socket:
            await socket.send_str(message)
            found = await _all(socket)
            assert found[-1]["type"] == "error"
            assert found[-1]["error"]["code"] == code
            assert socket.close_code in (4400, 4403)


async def test_errors_before_the_first_event(serving: Any) -> None:
    async with serving(api_keys=("alpha",)) as site:
        auth = {"authorization": "Bearer alpha"}
        run = await site.start(headers=auth)
        await site.ended(run)
        for path, headers, code, close in (
            (f"/v1/runs/{run}/ws", {}, "unauthorized", 4401),
            ("/v1/runs/nope/ws", auth, "run-not-found", 4404),
            (f"/v1/runs/{run}/ws?after=x", auth, "cursor-malformed", 4400),
            (f"/v1/runs/{run}/ws?after=99", auth, "cursor-ahead", 4400),
            (f"/v1/runs/{run}/ws?interval=x", auth, "bad-request", 4400),
        ):
            async with site.http.ws_connect(path, headers=headers) as socket:
                (found,) = await _all(socket)
                assert (found["error"]["code"], socket.close_code) == (code, close)


async def test_other_sites_and_other_paths_are_refused(serving: Any) -> None:
    async with serving() as site:
        run = await site.start()
        for path, headers in (
            (f"/v1/runs/{run}/ws", {"origin": "https://evil.example"}),
            (f"/v1/runs/{run}/ws", {"host": "evil.example"}),
            ("/v1/elsewhere", {}),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await site.http.ws_connect(path, headers=headers)
            assert caught.value.status == 403


async def test_a_reader_that_leaves_is_noticed(serving: Any) -> None:
    async with serving(Pause(1)) as site:
        run = await site.start(on_disconnect="cancel")
        socket = await site.http.ws_connect(f"/v1/runs/{run}/ws")
        await socket.receive_json()
        await socket.close()
        await site.ended(run)
        assert site.engine.active(run).end.outcome == "cancelled"
        while site.service.readers:
            await asyncio.sleep(0.001)
