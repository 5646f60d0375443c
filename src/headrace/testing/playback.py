"""An HTTP server that answers what it was told to: scripts and recordings over a real socket.

    async with ScriptedHTTP(Response(429, headers={"Retry-After": "1"}), Response(body=recording)) as server:
        ...                                    # the first request gets 429, every later one the recording
    assert server.requests[0].json()["stream"] is True

A response is a status, headers and pieces with delays, and one of four endings: `clean` (a proper end of
the HTTP body), `cut` (the connection ends in the middle of the body), `reset` (the same with a TCP reset)
or `hang` (nothing more, the connection stays open until the client leaves).

Here too: `Request`, what a client sent, as `relay` also records it. Not here: wires. Next: `relay`.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self

import httptools

__all__ = ["Ending", "Request", "RequestReader", "Response", "ScriptedHTTP", "abort", "http_bytes", "pieces"]

Ending = Literal["clean", "cut", "reset", "hang"]

_READ = 1 << 14


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came over the wire. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body)


class RequestReader:
    """Bytes in, `Request`s out: whole requests are appended to `requests` as they become complete.

    Raises (from `feed`):
        httptools.HttpParserError: the bytes are not HTTP.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request that asks for the upgrade is complete; what follows is not HTTP

    # called by the parser
    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("ascii")
        self.requests.append(Request(method, self._url.decode("latin-1"), self._headers, bytes(self._body)))


@dataclass(frozen=True)
class Response:
    """What to answer.

    Args:
        status: the HTTP status.
        body: bytes, text, or a JSON value (a dict or a list); sent as one piece.
        headers: added to the ones of the framing; `Content-Type` is guessed from `body` when not given.
        pieces: instead of `body`: pieces in order, each bytes or (seconds to wait before it, bytes).
        ending: how the body ends; see the module.
    """

    status: int = 200
    body: bytes | str | Mapping[str, Any] | Sequence[Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes | tuple[float, bytes]] | None = None
    ending: Ending = "clean"

    def head(self, *, close: bool = False) -> bytes:
        """Status line and headers for a chunked body; `close`: the connection ends after it."""
        framing = {"Transfer-Encoding": "chunked", "Connection": "close" if close else "keep-alive"}
        return _head(self.status, _typed(self.headers, self.body), framing)

    def timed(self) -> list[tuple[float, bytes]]:
        """The body as (seconds to wait, bytes), without empty pieces."""
        given = [_encoded(self.body)] if self.pieces is None else self.pieces
        timed = [piece if isinstance(piece, tuple) else (0.0, piece) for piece in given]
        return [(seconds, data) for seconds, data in timed if data]


def http_bytes(
    status: int,
    body: bytes | str | Mapping[str, Any] | Sequence[Any] = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole HTTP response with `Content-Length` and `Connection: close`."""
    data = _encoded(body)
    framing = {"Content-Length": str(len(data)), "Connection": "close"}
    return _head(status, _typed(headers or {}, body), framing) + data


def pieces(data: bytes, *, size: int = 64, seed: int | None = None) -> list[bytes]:
    """Cut `data` into pieces of `size` bytes, or with a seed into pieces of 1 to `size` bytes."""
    rng = random.Random(seed)
    found, start = [], 0
    while start < len(data):
        step = size if seed is None else rng.randint(1, size)
        found.append(data[start : start + step])
        start += step
    return found


def abort(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ScriptedHTTP:
    """The server; an async context manager. It listens on a free port of 127.0.0.1.

    Args:
        answers: the n-th request gets the n-th response, and the last one goes on for ever; or one function
            from a `Request` to its `Response`.
    """

    def __init__(self, *answers: Response | Callable[[Request], Response]) -> None:
        if not answers:
            raise ValueError("ScriptedHTTP needs at least one Response or function")
        self._answers = answers
        self.requests: list[Request] = []
        """Every request that arrived whole, in order."""
        self.closed_by_client = 0
        """How many connections the client closed before their response was over."""
        self._left = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port, while the server listens."""
        assert self._server is not None, "use it as an async context manager"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_left(self) -> None:
        """Return when some client has closed its connection before its response was over."""
        await self._left.wait()

    def _count_left(self) -> None:
        self.closed_by_client += 1
        self._left.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            arrived = RequestReader()
            done = 0
            while data := await reader.read(_READ):
                arrived.feed(data)
                while done < len(arrived.requests):
                    request = arrived.requests[done]
                    done += 1
                    if not await self._answer(request, reader, writer):
                        return
        except ConnectionError:
            self._count_left()
        except asyncio.CancelledError:  # by __aexit__, for which this is an answer
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False when the connection is over with it."""
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        response = answer if isinstance(answer, Response) else answer(request)
        close = request.headers.get("connection", "").lower() == "close"
        writer.write(response.head(close=close))
        await writer.drain()
        for seconds, data in response.timed():
            if await _left(reader, seconds):
                self._count_left()
                return False
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        match response.ending:
            case "clean":
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return not close
            case "reset":
                abort(writer)
            case "hang":
                await _left(reader, None)
                self._count_left()
            case "cut":
                pass
        return False


async def _left(reader: asyncio.StreamReader, seconds: float | None) -> bool:
    """Wait, and say whether the client closed the connection meanwhile."""
    if seconds == 0:
        await asyncio.sleep(0)  # lets what was written go out as a piece of its own
        return reader.at_eof()
    try:
        async with asyncio.timeout(seconds):
            while await reader.read(_READ):
                pass
    except TimeoutError:
        return False
    return True


def _encoded(body: bytes | str | Mapping[str, Any] | Sequence[Any]) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _typed(headers: Mapping[str, str], body: object) -> Mapping[str, str]:
    if any(name.lower() == "content-type" for name in headers):
        return headers
    kind = "text/html; charset=utf-8" if isinstance(body, str) else "application/json"
    return {"Content-Type": "text/event-stream" if isinstance(body, bytes) else kind, **headers}


def _head(status: int, *groups: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Scripted"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{k}: {v}" for group in groups for k, v in group.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
