"""Many readers of one run: what each further reader costs the server, in CPU an event and in memory.

The readers are this process; only the server's CPU and memory count. The floor is a bare ASGI app on the same
uvicorn that writes the same bytes. With `?interval=` what counts is the CPU for each token, however many of
them share a frame. Next: `memory`.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from benchmarks import measure

OF_BARE, MERGED_OF_BARE, READER_KB = 1.3, 1 / 3, 20.0
SETTLE_S = 1.0


class _Reader(asyncio.Protocol):
    """One connection; counts how often it was sent a token's text."""

    seen = 0

    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        _Reader.seen += data.count(b"text-delta")


@contextlib.asynccontextmanager
async def connected(url: str, readers: int) -> AsyncIterator[None]:
    """That many readers of the URL, for as long as the block runs."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    transports: list[asyncio.BaseTransport] = []
    try:
        for _ in range(readers):
            made = await loop.create_connection(lambda: _Reader(request), parts.hostname, parts.port)
            transports.append(made[0])
        await asyncio.sleep(SETTLE_S)
        yield
    finally:
        for transport in transports:
            transport.close()


async def cost(url: str, pid: int, readers: int, rate: float, seconds: float) -> dict[str, float]:
    """CPU for each token and reader."""
    async with connected(url, readers):
        before, began = _Reader.seen, measure.cpu_of(pid)
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        took, seen = measure.cpu_of(pid) - began, _Reader.seen - before
        elapsed = asyncio.get_running_loop().time() - start
    await asyncio.sleep(0.3)
    if "interval" not in url and not 0.8 < seen / (readers * rate * elapsed) < 1.2:
        raise RuntimeError(f"{readers} readers of {url} got {seen} events in {elapsed:.1f} s")
    return {"us": took / (readers * rate * elapsed) * 1e6}


async def memory(url: str, pid: int, readers: int) -> float:
    """KB of the server a connected reader takes."""
    async with connected(url, 20):
        before = measure.memory_of(pid)
        async with connected(url, readers):
            return (measure.memory_of(pid) - before) / readers / 1024


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    rounds, seconds = (1, 1.5) if quick else (3, 3.0)
    with contextlib.ExitStack() as stack, asyncio.Runner() as loop:

        def server(kind: str, rate: float) -> tuple[str, int]:
            child = stack.enter_context(measure.Child("benchmarks.serving", kind, str(rate), quiet=True))
            return child.hear()["url"], child.pid

        for readers, rate, more, target in (
            (1000, 10, "", OF_BARE),
            (100, 100, "?interval=50", MERGED_OF_BARE),
        ):
            url, pid = server("run", rate)
            if not more:
                kb = loop.run(memory(url, pid, readers))
                yield measure.Row("memory of a connected reader", "KB", kb, READER_KB)
            bare_url, bare_pid = server("bare", rate)

            def ask(url: str, pid: int, readers: int = readers, rate: int = rate) -> dict[str, float]:
                return loop.run(cost(url, pid, readers, rate, seconds))

            asks = {
                "ours": lambda url=url + more, pid=pid: ask(url, pid),
                "bare": lambda url=bare_url, pid=bare_pid: ask(url, pid),
            }
            found = measure.interleaved(rounds, asks)
            ours, bare = measure.median(found["ours"], "us"), measure.median(found["bare"], "us")
            what = (
                f"a token to one of {readers:,} readers at {rate} tokens/s{' with ' + more if more else ''}"
            )
            yield measure.Row(what, "µs CPU", ours, target, bare, "bare ASGI")
