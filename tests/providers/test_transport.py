"""The HTTP shell against real sockets: endings, failures, time-outs, pooling, and nothing of the key."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers import base, openai_chat, transport
from headrace.testing.engine import Engine
from headrace.testing.playback import Response, ScriptedHTTP

KEY = "sk-secret-0123456789"
NEVER = base.Timeouts(connect=None, first_chunk=None, stall=None, total=None)


def chunk(text: str = "", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode()


END = chunk(finish="stop") + b"data: [DONE]\n\n"


@asynccontextmanager
async def provided(url: str, **options: Any) -> AsyncIterator[transport.HttpProvider]:
    wire = options.pop("wire", None) or openai_chat.OpenAIChatWire()
    provider = transport.HttpProvider("test", wire, url, {"Authorization": f"Bearer {KEY}"}, **options)
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def raw(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that reads the head of one request and then does as it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    tasks: list[asyncio.Task[Any] | None] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)


def exchange(timeouts: base.Timeouts = NEVER) -> base.Exchange:
    numbers = itertools.count(1)
    return base.Exchange(lambda: f"b{next(numbers)}", timeouts)


def request(**fields: Any) -> base.ModelRequest:
    return base.ModelRequest(model="m", messages=(messages.user("Hi"),), **fields)


async def collect(
    provider: transport.HttpProvider, timeouts: base.Timeouts = NEVER, **fields: Any
) -> tuple[list[events.Event], errors.ProviderError | None]:
    out: list[events.Event] = []
    try:
        async for batch in provider.stream(request(**fields), exchange(timeouts)):
            out += batch
    except errors.ProviderError as error:
        return out, error
    return out, None


async def failure(server: ScriptedHTTP, **fields: Any) -> errors.ProviderError:
    async with provided(server.url) as provider:
        _, error = await collect(provider, **fields)
    assert error is not None
    return error


def text(out: list[events.Event]) -> str:
    return "".join(event.delta for event in out if isinstance(event, events.TextDelta))


# -- answers ----------------------------------------------------------------------------------------------


async def test_an_answer_in_pieces() -> None:
    data = chunk("Hel") + chunk("lo") + END
    async with ScriptedHTTP(Response(pieces=[data[i : i + 7] for i in range(0, len(data), 7)])) as server:
        async with provided(server.url + "/v1/") as provider:
            out, error = await collect(provider)
        sent = server.requests[0]
    assert error is None
    assert text(out) == "Hello"
    assert isinstance(out[-1], base.ModelEnd)
    assert (sent.method, sent.path) == ("POST", "/v1/chat/completions")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.json()["stream"] is True


async def test_usage_is_there_with_the_model_end() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    async with ScriptedHTTP(Response(body=chunk("a") + usage + b'data: {"x":1}\n\n' + END)) as server:
        async with provided(server.url) as provider:
            call = exchange()
            async for batch in provider.stream(request(), call):
                if isinstance(batch[-1], base.ModelEnd):
                    assert call.usage == messages.Usage(input_tokens=1, output_tokens=2, basis="reported")
    assert call.skipped == 1


async def test_usage_is_there_when_the_answer_breaks_off() -> None:
    data = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n' + chunk("a")
    async with ScriptedHTTP(Response(body=data, ending="reset")) as server:
        async with provided(server.url) as provider:
            call = exchange()
            with pytest.raises(errors.ProviderError):
                async for _ in provider.stream(request(), call):
                    pass
    assert call.usage == messages.Usage(input_tokens=1, output_tokens=2, basis="reported")


async def test_the_end_of_the_bytes_after_a_finish_reason() -> None:
    async with ScriptedHTTP(Response(body=chunk("a") + chunk(finish="stop"))) as server:
        async with provided(server.url) as provider:
            out, error = await collect(provider)
    assert error is None
    assert isinstance(out[-1], base.ModelEnd)


@pytest.mark.parametrize("stream", [True, False])
async def test_one_json_answer(stream: bool) -> None:
    body = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
    async with ScriptedHTTP(Response(body=body)) as server:
        async with provided(server.url) as provider:
            out, error = await collect(provider, stream=stream)
            assert "stream" not in server.requests[0].json() or stream
    assert error is None
    assert text(out) == "Hello"


async def test_a_200_with_an_error_in_it() -> None:
    async with ScriptedHTTP(
        Response(body={"error": {"message": "no", "code": "rate_limit_exceeded"}})
    ) as server:
        assert (await failure(server)).code == "rate-limited"


# -- endings that are failures ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["clean", "cut", "reset"])
async def test_an_answer_without_its_end_is_incomplete(ending: Any) -> None:
    async with ScriptedHTTP(Response(pieces=[chunk("a"), (0.02, b"data: {")], ending=ending)) as server:
        async with provided(server.url) as provider:
            out, error = await collect(provider)
    assert text(out) == "a"
    assert error is not None
    assert (error.code, error.retryable) == ("stream-incomplete", True)


async def test_a_short_body_of_known_length_is_incomplete() -> None:
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5000\r\n\r\n"
        writer.write(head + chunk("a") + chunk(finish="stop"))
        await writer.drain()

    async with raw(short) as url, provided(url) as provider:
        _, error = await collect(provider)
    assert error is not None
    assert error.code == "stream-incomplete"


async def test_events_come_before_the_error_in_the_same_bite_and_at_once() -> None:
    bad = b'data: {"error":{"message":"boom","code":500}}\n\n'
    async with ScriptedHTTP(Response(body=chunk("a") + bad, ending="hang")) as server:
        async with provided(server.url) as provider:
            out, error = await collect(provider)
        await server.wait_left()
    assert text(out) == "a"
    assert error is not None
    assert error.code == "provider-error"
    assert error.message == "test: boom"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"data: {nope\n\n", "provider-protocol"), (b"data: " + b"x" * 10_000_000, "provider-protocol")],
)
async def test_bytes_that_are_not_this_wire(body: bytes, code: str) -> None:
    async with ScriptedHTTP(Response(body=body, ending="hang")) as server:
        error = await failure(server)
        await server.wait_left()
    assert error.code == code


# -- errors instead of an answer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, {"error": {"message": "bad"}}, "bad-request", False),
        (401, {"error": {"message": "key"}}, "auth-failed", False),
        (404, "<html>not here</html>", "model-not-found", False),
        (429, {"error": {"message": "slow"}}, "rate-limited", True),
        (500, "oops", "provider-error", True),
        (503, b"", "provider-overloaded", True),
        (529, b"", "provider-overloaded", True),
        (302, b"", "provider-error", True),
    ],
)
async def test_statuses(status: int, body: Any, code: str, retryable: bool) -> None:
    async with ScriptedHTTP(Response(status, body, {"Location": "http://127.0.0.1/x"})) as server:
        error = await failure(server)
    assert (error.code, error.retryable, error.provider_status) == (code, retryable, status)
    assert error.message.startswith("test: ")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5), ({}, None)],
)
async def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    async with ScriptedHTTP(Response(429, {"error": {"message": "slow"}}, headers)) as server:
        error = await failure(server)
    assert error.retry_after == seconds
    assert error.details.get("retry_after") == seconds


async def test_no_redirect_is_followed() -> None:
    async with ScriptedHTTP(Response(307, b"", {"Location": "/elsewhere"})) as server:
        error = await failure(server)
        assert len(server.requests) == 1
    assert "/elsewhere" in error.message


async def test_a_page_instead_of_an_answer() -> None:
    page = "<html>" + "sign in here " * 10_000
    async with ScriptedHTTP(Response(200, page)) as server:
        error = await failure(server)
    assert error.code == "provider-protocol"
    assert error.details == {"content_type": "text/html", "start": page[:200]}


async def test_no_http_at_all() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")

    async with raw(babble) as url, provided(url) as provider:
        _, error = await collect(provider)
    assert error is not None
    assert error.code == "provider-protocol"


async def test_an_error_body_is_read_to_its_bound_only() -> None:
    async with ScriptedHTTP(Response(500, b"x" * 1_000_000, ending="hang")) as server:
        error = await failure(server)
        await server.wait_left()
    assert error.code == "provider-error"
    assert len(error.message) < 1000


async def test_nobody_listens() -> None:
    async with provided("http://127.0.0.1:1/v1") as provider:
        _, error = await collect(provider)
    assert error is not None
    assert (error.code, error.retryable) == ("provider-unreachable", True)


async def test_a_connection_closed_before_the_answer() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with raw(leave) as url, provided(url) as provider:
        _, error = await collect(provider)
    assert error is not None
    assert (error.code, error.retryable) == ("provider-unreachable", True)


async def test_tls_that_cannot_be_trusted_is_not_tried_again() -> None:
    async with ScriptedHTTP(Response()) as server:
        async with provided(server.url.replace("http:", "https:")) as provider:
            _, error = await collect(provider)
    assert error is not None
    assert error.code == "provider-unreachable"


async def test_keys_never_get_into_errors() -> None:
    echo = {"error": {"message": f"Incorrect API key {KEY}", "code": "invalid_api_key", "param": [KEY]}}
    async with ScriptedHTTP(
        Response(401, echo), Response(200, f"<html>{KEY}"), Response(418, f"{KEY}?key={KEY}")
    ) as server:
        for _ in range(3):
            error = await failure(server)
            assert KEY not in f"{error!r} {error.message} {error.details} {error}"
    async with provided(f"http://127.0.0.1:1/v1?key={KEY}") as provider:
        _, unreachable = await collect(provider)
        assert KEY not in str(unreachable)


# -- time-outs --------------------------------------------------------------------------------------------


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def head_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    await reader.read()


@pytest.mark.parametrize("server", [silence, head_only])
@pytest.mark.parametrize(("field", "phase"), [("first_chunk", "first-chunk"), ("total", "total")])
async def test_no_first_chunk(server: Any, field: str, phase: str) -> None:
    left = asyncio.Event()

    async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server(reader, writer)
        finally:
            left.set()

    async with raw(watched) as url, provided(url) as provider:
        _, error = await collect(provider, base.Timeouts(**{**vars_of(NEVER), field: 0.1}))
        await left.wait()
    assert error is not None
    assert (error.code, error.details) == ("provider-timeout", {"phase": phase, "seconds": 0.1})


def vars_of(timeouts: base.Timeouts) -> dict[str, Any]:
    return {name: getattr(timeouts, name) for name in timeouts.__struct_fields__}


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog is silent on Linux only")
async def test_a_connection_that_is_not_made() -> None:
    # A full backlog: the kernel answers no more SYNs, as a host behind a silent firewall does.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            async with provided(f"http://127.0.0.1:{listener.getsockname()[1]}") as provider:
                _, error = await collect(provider, base.Timeouts(connect=0.2, first_chunk=5.0))
        finally:
            for filler in fillers:
                filler.close()
    assert error is not None
    assert (error.code, error.details) == ("provider-timeout", {"phase": "connect", "seconds": 0.2})


async def test_a_stall_after_the_first_chunk() -> None:
    limits = base.Timeouts(connect=None, first_chunk=30.0, stall=0.1, total=30.0)
    async with ScriptedHTTP(Response(body=chunk("a"), ending="hang")) as server:
        async with provided(server.url) as provider:
            out, error = await collect(provider, limits)
        await server.wait_left()
    assert text(out) == "a"
    assert error is not None
    assert (error.code, error.details) == ("provider-timeout", {"phase": "stall", "seconds": 0.1})


async def test_pieces_that_keep_coming_are_no_stall_but_end_with_the_total() -> None:
    limits = base.Timeouts(connect=None, first_chunk=None, stall=0.3, total=0.6)
    async with ScriptedHTTP(Response(pieces=[(0.05, b": hb\n\n")] * 200)) as server:
        async with provided(server.url) as provider:
            _, error = await collect(provider, limits)
    assert error is not None
    assert error.details == {"phase": "total", "seconds": 0.6}


async def test_a_slow_consumer_is_not_a_stalled_provider() -> None:
    limits = base.Timeouts(connect=None, first_chunk=None, stall=0.3, total=None)
    async with ScriptedHTTP(Response(pieces=[chunk("a"), chunk("b"), END])) as server:
        async with provided(server.url) as provider:
            out: list[events.Event] = []
            async for batch in provider.stream(request(), exchange(limits)):
                out += batch
                await asyncio.sleep(0.5)
    assert text(out) == "ab"


async def test_a_stall_in_one_json_answer() -> None:
    limits = base.Timeouts(connect=None, first_chunk=None, stall=0.1, total=None)
    response = Response(body=b'{"choices"', headers={"Content-Type": "application/json"}, ending="hang")
    async with ScriptedHTTP(response) as server, provided(server.url) as provider:
        _, error = await collect(provider, limits, stream=False)
    assert error is not None
    assert error.details["phase"] == "stall"


# -- leaving ----------------------------------------------------------------------------------------------


async def test_closing_the_iterator_closes_the_socket_at_once() -> None:
    async with (
        ScriptedHTTP(Response(body=chunk("a"), ending="hang")) as server,
        provided(server.url) as provider,
    ):
        stream = provider.stream(request(), exchange())
        async for _ in stream:
            break
        began = time.monotonic()
        await stream.aclose()
        await server.wait_left()
        assert time.monotonic() - began < 0.1


@pytest.mark.parametrize("answer", [Response(body=chunk("a"), ending="hang"), None])
async def test_cancelling_the_task_closes_the_socket_at_once(answer: Response | None) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        if answer is not None:
            writer.write(answer.head() + b"%x\r\n%b\r\n" % (len(chunk("a")), chunk("a")))
        while await reader.read(999):
            pass
        left.set()

    async with raw(hold) as url, provided(url) as provider:
        task = asyncio.create_task(collect(provider))
        await arrived.wait()
        await asyncio.sleep(0.02)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left.wait()
        assert time.monotonic() - began < 0.1


async def test_a_complete_answer_gives_its_connection_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SETTLE_SECONDS", 10.0)  # a busy machine may take its time
    peers = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        body = chunk("a") + END
        for number in range(5):
            if number:
                await reader.readuntil(b"\r\n\r\n")
            await reader.read(1)  # the request's body has begun
            writer.write(Response().head() + b"%x\r\n%b\r\n" % (len(body), body))
            await asyncio.sleep(0.001)  # the end of the body comes a little later than the end marker
            writer.write(b"0\r\n\r\n")

    async with raw(answer) as url, provided(url) as provider:
        for _ in range(5):
            out, error = await collect(provider)
            assert error is None
            assert text(out) == "a"
    assert len(peers) == 1


async def test_a_complete_answer_whose_body_does_not_end_costs_the_connection_only() -> None:
    async with ScriptedHTTP(Response(body=chunk("a") + END, ending="hang")) as server:
        async with provided(server.url) as provider:
            out, error = await collect(provider)
            assert error is None
            assert isinstance(out[-1], base.ModelEnd)
        await server.wait_left()


async def test_many_streams_at_once_have_a_connection_each() -> None:
    async with (
        ScriptedHTTP(Response(pieces=[chunk("a"), (0.05, END)])) as server,
        provided(server.url) as provider,
    ):
        results = await asyncio.gather(*(collect(provider) for _ in range(150)))
    assert [error for _, error in results if error] == []
    assert {text(out) for out, _ in results} == {"a"}


def test_every_event_loop_has_a_session_of_its_own() -> None:
    async def once(provider: transport.HttpProvider) -> str:
        async with ScriptedHTTP(Response(body=chunk("a") + END)) as server:
            provider.base_url = server.url
            out, _ = await collect(provider)
            await provider.close()
            return text(out)

    provider = transport.HttpProvider("test", openai_chat.OpenAIChatWire(), "http://127.0.0.1:1")
    assert [asyncio.run(once(provider)) for _ in range(3)] == ["a", "a", "a"]


async def test_no_cookies_and_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    response = Response(
        body=chunk("a") + END, headers={"Set-Cookie": "a=b", "Content-Type": "text/event-stream"}
    )
    async with ScriptedHTTP(response) as server, provided(server.url) as provider:
        for _ in range(2):
            _, error = await collect(provider)
            assert error is None
        assert all("cookie" not in sent.headers for sent in server.requests)


# -- around it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "path", "joined"),
    [
        ("http://h/v1", "/chat", "http://h/v1/chat"),
        ("http://h/v1/", "/chat", "http://h/v1/chat"),
        ("http://h", "chat", "http://h/chat"),
        ("http://h/v1?api-version=1", "/chat", "http://h/v1/chat?api-version=1"),
        ("http://h/v1/?a=1", "/models/x:stream?alt=sse", "http://h/v1/models/x:stream?a=1&alt=sse"),
        ("http://h/openai/deployments/a%20b", "/chat", "http://h/openai/deployments/a%20b/chat"),
    ],
)
def test_urls(root: str, path: str, joined: str) -> None:
    provider = transport.HttpProvider("test", openai_chat.OpenAIChatWire(), root)
    assert str(provider.url(path)) == joined


def test_a_base_url_must_be_one() -> None:
    with pytest.raises(errors.UsageError):
        transport.HttpProvider("test", openai_chat.OpenAIChatWire(), "api.openai.com/v1")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"data": [{"id": "b"}, {"id": "a"}, {"odd": 1}, 7]}, ["a", "b"]),
        ({"models": [{"name": "models/gemini"}, {"name": "llama3.2"}]}, ["gemini", "llama3.2"]),
        (["x"], ["x"]),
        ({}, []),
    ],
)
async def test_models(body: Any, names: list[str]) -> None:
    async with ScriptedHTTP(Response(body=body)) as server:
        async with provided(server.url + "/v1") as provider:
            assert await provider.models() == names
        assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1/models")


async def test_models_that_cannot_be_listed() -> None:
    async with provided("http://127.0.0.1:1", models_path=None) as provider:
        assert await provider.models() == []
    async with ScriptedHTTP(Response(401, {"error": {"message": KEY}}), Response(200, b"nope")) as server:
        async with provided(server.url) as provider:
            with pytest.raises(errors.ProviderError) as refused:
                await provider.models()
            assert refused.value.code == "auth-failed"
            with pytest.raises(errors.ProviderError) as bent:
                await provider.models()
            assert bent.value.code == "provider-protocol"


def test_capabilities() -> None:
    small = base.Capabilities(images=False)
    wire = openai_chat.OpenAIChatWire()
    assert transport.HttpProvider("t", wire, "http://h").capabilities("m") == base.Capabilities()
    assert transport.HttpProvider("t", wire, "http://h", capabilities=small).capabilities("m") == small
    chosen = transport.HttpProvider("t", wire, "http://h", capabilities=lambda model: small)
    assert chosen.capabilities("m") == small


async def test_leaving_stops_the_engine(engine: Engine) -> None:
    async with provided(engine.base_url) as provider:
        endless = request(max_tokens=20_000, options={"ignore_eos": True})
        stream = provider.stream(endless, exchange())
        async for batch in stream:
            if any(isinstance(event, events.TextDelta) for event in batch):
                break
        await stream.aclose()
        await asyncio.to_thread(engine.wait_idle)


async def test_the_engine_lists_its_models(engine: Engine) -> None:
    async with provided(engine.base_url) as provider:
        assert await provider.models() == ["tiny"]


async def test_a_pooled_connection_that_the_server_has_closed_is_replaced_in_silence() -> None:
    """Some servers close after an answer that said keep-alive; the next call gets a fresh connection."""
    chunk = (
        b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(chunk)
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        request = await reader.readuntil(b"\r\n\r\n")
        length = int(request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        asked += 1
        writer.write(head + chunk)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = transport.HttpProvider("test", openai_chat.OpenAIChatWire(), f"http://127.0.0.1:{port}/v1")
    request = base.ModelRequest(model="m", messages=(messages.user("Hi"),))
    for _ in range(5):
        batches = [b async for b in provider.stream(request, base.Exchange(lambda: "b1"))]
        assert isinstance(batches[-1][-1], base.ModelEnd)
    assert asked == 5
    await provider.close()
    server.close()
