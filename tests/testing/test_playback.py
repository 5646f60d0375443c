"""The scripted server says what it was told to, and records what it was asked."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from headrace.testing import playback
from headrace.testing.playback import Request, RequestReader, Response, ScriptedHTTP


async def test_responses_in_turn_and_the_last_for_ever() -> None:
    busy = Response(429, {"error": "busy"}, {"Retry-After": "3"})
    async with ScriptedHTTP(busy, Response(body="<p>no</p>"), Response(body=b"data: 1\n\n")) as server:
        seen = []
        async with aiohttp.ClientSession() as session:
            for n in range(4):
                async with session.post(f"{server.url}/n/{n}", json={"n": n}) as response:
                    seen.append((response.status, response.content_type, await response.read()))
    stream = (200, "text/event-stream", b"data: 1\n\n")
    assert seen == [
        (429, "application/json", b'{"error": "busy"}'),
        (200, "text/html", b"<p>no</p>"),
        stream,
        stream,
    ]
    assert [(r.path, r.json()) for r in server.requests] == [(f"/n/{n}", {"n": n}) for n in range(4)]


async def test_a_function_answers() -> None:
    def echo(request: Request) -> Response:
        return Response(body={"path": request.path, "key": request.headers["x-key"]})

    async with ScriptedHTTP(echo) as server, aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/a", headers={"X-Key": "k"}) as response:
            assert await response.json() == {"path": "/a", "key": "k"}


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("cut", aiohttp.ClientPayloadError),
        ("reset", (aiohttp.ClientPayloadError, ConnectionResetError)),
        ("hang", TimeoutError),
    ],
)
async def test_bad_endings(ending: playback.Ending, error: type[Exception]) -> None:
    async with ScriptedHTTP(Response(pieces=[b"one", b"two"], ending=ending)) as server:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=0.2)) as session:
            async with session.get(server.url) as response:
                assert await response.content.readexactly(6) == b"onetwo"
                with pytest.raises(error):
                    await response.content.read()


async def test_delays_are_kept_and_a_client_that_leaves_is_noticed() -> None:
    gate = Response(pieces=[b"first", (60.0, b"never")])
    async with ScriptedHTTP(gate) as server:
        async with aiohttp.ClientSession() as session:
            async with session.get(server.url) as response:
                assert await response.content.readexactly(5) == b"first"
        await server.wait_left()
        assert server.closed_by_client == 1


@pytest.mark.parametrize("seed", [None, *range(5)])
def test_pieces_add_up(seed: int | None) -> None:
    data = bytes(range(256)) * 3
    found = playback.pieces(data, size=10, seed=seed)
    assert b"".join(found) == data
    assert all(1 <= len(piece) <= 10 for piece in found)
    assert found == playback.pieces(data, size=10, seed=seed)


def test_requests_are_read_from_any_cut() -> None:
    wire = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    wire += b"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"
    for size in (1, 7, len(wire)):
        reader = RequestReader()
        for piece in playback.pieces(wire, size=size):
            reader.feed(piece)
        assert [(r.path, r.json()) for r in reader.requests] == [("/a", {}), ("/b", [])]


async def test_a_recording_comes_out_as_it_went_in(recordings: Path) -> None:
    row = json.loads((recordings / "index.json").read_text())[0]
    data = (recordings / row["file"]).read_bytes()
    async with ScriptedHTTP(Response(pieces=playback.pieces(data, seed=1))) as server:
        async with aiohttp.ClientSession() as session, session.get(server.url) as response:
            assert await response.read() == data
