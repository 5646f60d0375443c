"""Each fault of the relay is seen by a real client, and recorded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from headrace import errors
from headrace.testing import relay
from headrace.testing.engine import Engine
from headrace.testing.playback import Response, ScriptedHTTP
from headrace.testing.relay import PASS, Flow, Plan, Relay

EVENTS = [f'data: {{"n":{n},"text":"día {n}"}}\n\n'.encode() for n in range(10)] + [b"data: [DONE]\n\n"]
BODY = b"".join(EVENTS)
SSE = {"Content-Type": "text/event-stream"}


def upstream(**options: Any) -> ScriptedHTTP:
    return ScriptedHTTP(Response(pieces=EVENTS, headers=SSE, **options))


async def fetch(url: str, **options: Any) -> tuple[bytes, BaseException | None]:
    """The body as far as it came, and what broke it off."""
    body = b""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(url, json={"stream": True}, **options) as response:
                async for data in response.content.iter_any():
                    body += data
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            return body, error
    return body, None


async def raw(port: int, request: bytes = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n") -> tuple[bytes, bool]:
    """The bytes of the wire, and whether a TCP reset ended them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    data = b""
    try:
        while more := await reader.read(1 << 16):
            data += more
    except ConnectionResetError:
        return data, True
    finally:
        writer.close()
    return data, False


async def test_by_default_everything_passes_and_is_recorded() -> None:
    async with upstream() as server, Relay(server.url) as between:
        assert await fetch(f"{between.url}/v1/x?y=1") == (BODY, None)
        connection = between.connections[0]
        await connection.wait_ended()
    (request,) = connection.requests
    assert (request.method, request.path, request.json()) == ("POST", "/v1/x?y=1", {"stream": True})
    assert request.headers["content-type"] == "application/json"
    assert connection.bytes_down > len(BODY)
    assert connection.bytes_up > len(request.body)
    assert connection.ended_at is not None
    assert connection.ended_at >= connection.opened_at
    assert between.requests == [request]
    assert server.requests[0].headers["connection"] == "close"


async def test_each_request_has_a_connection_and_a_plan_of_its_own() -> None:
    async with upstream() as server, Relay(server.url, relay.reply(500, {}), PASS) as between:
        async with aiohttp.ClientSession() as session:
            for expected in (500, 200, 200):
                async with session.post(between.url, json={}) as response:
                    await response.read()
                    assert response.status == expected
    assert len(between.connections) == 3
    assert len(server.requests) == 2


async def test_keep_alive_leaves_requests_as_they_are() -> None:
    async with upstream() as server, Relay(server.url, keep_alive=True) as between:
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(between.url, json={}) as response:
                    assert await response.read() == BODY
        assert len(between.connections) == 1
        assert len(between.connections[0].requests) == 2


async def test_a_function_chooses_the_plan() -> None:
    def every_other(number: int) -> Plan:
        return relay.refuse() if number % 2 else PASS

    async with upstream() as server, Relay(server.url, every_other) as between:
        outcomes = [(await fetch(between.url))[1] is None for _ in range(4)]
    assert outcomes == [True, False, True, False]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("count", [0, 1, 20, 150, 400])
async def test_cut_after_bytes(count: int, reset: bool) -> None:
    async with upstream() as server:
        async with Relay(server.url) as whole:
            expected, _ = await raw(whole.port)
        async with Relay(server.url, relay.cut(after_bytes=count, reset=reset)) as between:
            assert await raw(between.port) == (expected[:count], reset)
            connection = between.connections[0]
            await connection.wait_ended()
    assert connection.closed_by == "relay"
    assert connection.bytes_down == count
    assert connection.client_closed_at is None


@pytest.mark.parametrize("count", range(0, 11, 2))
async def test_cut_after_events(count: int) -> None:
    async with upstream() as server, Relay(server.url, relay.cut(after_events=count)) as between:
        body, error = await fetch(between.url)
    assert body == b"".join(EVENTS[:count])
    assert isinstance(error, aiohttp.ClientPayloadError)
    assert between.connections[0].events_down == count


@pytest.mark.parametrize("count", [0, 3])
async def test_end_is_proper_http(count: int) -> None:
    async with upstream() as server, Relay(server.url, relay.end(after_events=count)) as between:
        assert await fetch(between.url) == (b"".join(EVENTS[:count]), None)


@pytest.mark.parametrize("plan", [relay.stall(after_bytes=0), relay.stall(after_events=2)])
async def test_stall_stays_open_until_the_client_leaves(plan: Plan) -> None:
    async with upstream() as server, Relay(server.url, plan) as between:
        body, error = await fetch(between.url, timeout=aiohttp.ClientTimeout(sock_read=0.2))
        assert isinstance(error, TimeoutError)
        left = time.monotonic()
        connection = between.connections[0]
        await connection.wait_ended()
    assert body == b"".join(EVENTS[: plan.down.after_events or 0])
    assert connection.closed_by == "client"
    assert connection.client_closed_at is not None
    assert connection.client_closed_at < left + 5
    assert connection.upstream_closed_at is None


async def test_drop_loses_the_tail_and_ends_with_the_upstream() -> None:
    async with upstream() as server, Relay(server.url, relay.drop(after_events=4)) as between:
        body, error = await fetch(between.url)
        await between.connections[0].wait_ended()
    assert body == b"".join(EVENTS[:4])
    assert error is not None
    assert between.connections[0].closed_by == "upstream"


@pytest.mark.parametrize(
    "plan", [relay.slices(1), relay.slices(7), *(relay.slices(seed=n) for n in range(4))]
)
async def test_slices_change_no_byte(plan: Plan) -> None:
    async with upstream() as server, Relay(server.url, plan) as between:
        assert await fetch(between.url) == (BODY, None)


async def test_slices_arrive_one_by_one() -> None:
    async with upstream() as server, Relay(server.url, relay.slices(9, pause=0.002)) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        sizes = [len(data) async for data in reads(reader)]
        writer.close()
    assert len(sizes) > sum(sizes) / 9 / 2


async def reads(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(1 << 16):
        yield data


async def test_pace_of_events_and_bytes() -> None:
    async with (
        upstream() as server,
        Relay(server.url, relay.pace(events=100), relay.pace(bytes=4000)) as between,
    ):
        for least in (10 / 100, len(BODY) / 4000):
            began = time.monotonic()
            assert await fetch(between.url) == (BODY, None)
            assert time.monotonic() - began >= 0.9 * least


@pytest.mark.parametrize("at", [0, 5, 11])
async def test_inject(at: int) -> None:
    extra = b"data: {broken\n\n"
    async with upstream() as server, Relay(server.url, relay.inject(at, extra)) as between:
        body, error = await fetch(between.url)
    assert error is None
    assert body == b"".join([*EVENTS[:at], extra, *EVENTS[at:]])


async def test_inject_a_line_of_ten_megabytes() -> None:
    line = b"data: " + b"x" * 10_000_000 + b"\n\n"
    async with upstream() as server, Relay(server.url, relay.inject(1, line)) as between:
        body, error = await fetch(between.url)
    assert error is None
    assert len(body) == len(BODY) + len(line)


async def test_lines_are_the_events_of_ndjson() -> None:
    lines = [b'{"n":%d}\n' % n for n in range(5)]
    answer = Response(pieces=lines, headers={"Content-Type": "application/x-ndjson"})
    async with ScriptedHTTP(answer) as server, Relay(server.url, relay.end(after_events=2)) as between:
        assert await fetch(between.url) == (b"".join(lines[:2]), None)


async def test_a_body_without_framing_is_framed() -> None:
    raw_reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + BODY + b"data: rest"
    plan = Plan(reply=raw_reply, down=Flow(events_per_second=1000))
    async with upstream() as server, Relay(server.url, plan) as between:
        assert await fetch(between.url) == (BODY + b"data: rest", None)
    assert server.requests == []


async def test_reply_is_seen_as_written() -> None:
    busy = relay.reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "7"})
    async with upstream() as server, Relay(server.url, busy, relay.reply(502, "<h1>Bad</h1>")) as between:
        async with aiohttp.ClientSession() as session:
            async with session.post(between.url, data=b"x" * 300_000) as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
                assert (await response.json())["error"]["message"] == "slow down"
            async with session.post(between.url, json={}) as response:
                assert response.content_type == "text/html"
                assert await response.text() == "<h1>Bad</h1>"
    assert server.requests == []
    assert len(between.requests[0].body) == 300_000


@pytest.mark.parametrize("then", ["reset", "close", "stall", "drop"])
async def test_a_fault_of_the_request(then: relay.Action) -> None:
    plan = Plan(up=Flow(after_bytes=10, then=then))
    async with upstream() as server, Relay(server.url, plan) as between:
        body, error = await fetch(between.url, timeout=aiohttp.ClientTimeout(sock_read=0.2))
        assert error is not None
        await between.connections[0].wait_ended()
    assert body == b""
    assert server.requests == []
    assert between.connections[0].bytes_up == 10
    assert between.connections[0].closed_by == ("relay" if then in ("reset", "close") else "client")


async def test_the_reset_of_one_side_is_told_to_the_other() -> None:
    async with upstream(ending="reset") as server, Relay(server.url) as between:
        data, was_reset = await raw(between.port)
        await between.connections[0].wait_ended()
    assert was_reset
    assert data.count(b"data: ") == len(EVENTS)
    assert between.connections[0].closed_by == "upstream"
    assert between.connections[0].upstream_closed_at is not None


async def test_break_now_cuts_what_lives() -> None:
    async with upstream(ending="hang") as server, Relay(server.url) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(EVENTS[-1])
        await between.break_now()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert (await between.wait_connection(0)).ended_at is not None


async def test_an_upstream_that_is_not_there_ends_the_connection() -> None:
    async with upstream() as server:
        port = server.port
    async with Relay(("127.0.0.1", port)) as between:
        assert await raw(between.port) == (b"", False)
    assert between.connections[0].closed_by == "upstream"


async def test_what_is_not_http_passes() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Relay(server.sockets[0].getsockname()[:2]) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        for data in (b"\x00\x01binary", b"HELLO\r\n\r\n", b"more"):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
        writer.close()
        await between.connections[0].wait_ended()
    assert between.connections[0].bytes_up == between.connections[0].bytes_down


def test_an_address_must_be_one() -> None:
    with pytest.raises(errors.UsageError, match="no address"):
        Relay("http://nowhere")
    with pytest.raises(errors.UsageError, match="size, a seed"):
        relay.slices()


async def test_a_stalled_client_slows_the_upstream_down() -> None:
    answer = Response(pieces=[b"x" * 10_000] * 2000, headers=SSE)
    async with ScriptedHTTP(answer) as server, Relay(server.url, relay.stall(after_bytes=1000)) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readexactly(1000)
        assert server.closed_by_client == 0
        writer.close()
        await between.connections[0].wait_ended()
    assert server.closed_by_client == 1  # it was still writing its 20 MB


async def test_engine_through_the_relay(engine: Engine) -> None:
    body = {
        "messages": [{"role": "user", "content": "Go on"}],
        "stream": True,
        "max_tokens": 30_000,
        "ignore_eos": True,
    }
    async with Relay(engine.url, relay.pace(events=200)) as between, aiohttp.ClientSession() as session:
        async with session.post(f"{between.url}/v1/chat/completions", json=body) as response:
            for _ in range(10):
                line = await response.content.readline()
                assert "choices" in json.loads(line.removeprefix(b"data: "))
                await response.content.readline()
            assert engine.busy() == 1
        connection = between.connections[0]
        await connection.wait_ended()
        await asyncio.to_thread(engine.wait_idle)
    assert connection.closed_by == "client"
    assert 10 <= connection.events_down < 30_000
