"""Provider to server to one reader: what a token and a request cost the server, and what a first token waits.

Only the server's CPU counts; the upstream is a process of its own and the readers are this one. The floor is
an aiohttp server that forwards the same bytes; the peer is the LiteLLM proxy. Next: `readers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks import measure, peers, serving

TOKENS = 2000
LESS_THAN_PROXY, OF_RELAY, FIRST_TOKEN_MS = 15.0, 2.0, 5.0
CONCURRENT = 100


class Target:
    """A server under test: how it is asked.

    Args:
        url: up to the path.
        pid: whose CPU counts.
        path: what is posted to; `/v1/runs` is asked in our own words, everything else in OpenAI's.
        suffix: put behind the names of `serving.PATHS`.
    """

    def __init__(self, url: str, pid: int, path: str, suffix: str = "") -> None:
        self.address = urlsplit(url)
        self.pid = pid
        self.path = self.address.path.rstrip("/") + path
        self.suffix = suffix
        self.native = path == "/v1/runs"

    def request(self, model: str) -> bytes:
        """A request for a stream, after which the connection closes."""
        content: dict[str, Any] = {"model": model + self.suffix}
        if self.native:
            content |= {"input": "Tell me about the mill.", "on_disconnect": "cancel"}
        else:
            content |= {"messages": [{"role": "user", "content": "Tell me about the mill."}], "stream": True}
        body = json.dumps(content).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.address.netloc}\r\nAccept: text/event-stream\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


async def stream(target: Target, model: str, seen: Callable[[bytes], object]) -> float:
    """Read one stream to its end; returns when it was asked for."""
    reader, writer = await asyncio.open_connection(
        target.address.hostname, target.address.port, limit=1 << 20
    )
    try:
        asked = time.perf_counter()
        writer.write(target.request(model))
        while data := await reader.read(1 << 18):
            seen(data)
        return asked
    finally:
        writer.transport.abort()


async def whole(target: Target, model: str) -> None:
    """Read one stream and check that it came."""
    parts: list[bytes] = []
    await stream(target, model, parts.append)
    got = b"".join(parts)
    if not got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")) or b'"delta":' not in got:
        raise RuntimeError(f"{target.path} answered {got[:300]!r}")


async def fast(target: Target, count: int) -> dict[str, float]:
    """CPU a token of `count` streams, one after the other."""
    began = measure.cpu_of(target.pid)
    for _ in range(count):
        await whole(target, f"fast-{TOKENS}")
    return {"us": (measure.cpu_of(target.pid) - began) / count / TOKENS * 1e6}


async def requests(target: Target, count: int) -> dict[str, float]:
    """CPU a request for an answer of one token."""
    began = measure.cpu_of(target.pid)
    for _ in range(count):
        await whole(target, "fast-1")
    return {"ms": (measure.cpu_of(target.pid) - began) / count * 1e3}


@contextlib.asynccontextmanager
async def running(target: Target, model: str, streams: int, seen: Callable[[bytes], object]) -> Any:
    """That many streams at once, for as long as the block runs."""
    tasks = [asyncio.create_task(stream(target, model, seen)) for _ in range(streams)]
    try:
        await asyncio.sleep(1.5)
        yield
        for task in tasks:
            if task.done():
                task.result()
                raise RuntimeError(f"a stream of {target.path} ended early")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def paced(target: Target, seconds: float) -> dict[str, float]:
    """CPU a token of 20 streams at 50 tokens/s."""
    tokens = 0

    def seen(data: bytes) -> None:
        nonlocal tokens
        tokens += data.count(b'"delta":')

    async with running(target, "paced-50", 20, seen):
        before, began = tokens, measure.cpu_of(target.pid)
        await asyncio.sleep(seconds)
        took, count = measure.cpu_of(target.pid) - began, tokens - before
    if count < 0.8 * 20 * 50 * seconds:
        raise RuntimeError(f"only {count} tokens in {seconds} s from {target.path}")
    return {"us": took / count * 1e6}


async def window(one: Target, floor: Target, rounds: int, seconds: float) -> tuple[float, float]:
    """`paced` of a server and of its floor in the same windows, medians; what else the machine does hits both."""
    found = [await asyncio.gather(paced(one, seconds), paced(floor, seconds)) for _ in range(rounds + 1)]
    return measure.median([a for a, _ in found[1:]], "us"), measure.median([b for _, b in found[1:]], "us")


async def first_tokens(target: Target, direct: Target, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first token, through the server and from the provider, while 100 runs stream."""
    times: dict[Target, list[float]] = {target: [], direct: []}
    async with running(target, "paced-20", CONCURRENT, len):
        for _ in range(count):
            for one in (target, direct):
                arrived: list[float] = []
                begun = bytearray()

                def seen(data: bytes, begun: bytearray = begun, arrived: list[float] = arrived) -> None:
                    begun.extend(data)
                    if not arrived and (b"text-delta" in begun or b'"content":" ' in begun):
                        arrived.append(time.perf_counter())

                asked = await stream(one, "fast-1", seen)
                times[one].append((arrived[0] - asked) * 1e3)
                await asyncio.sleep(0.002)
    return times[target], times[direct]


class Direct(Target):
    """The upstream itself: models are paths."""

    def request(self, model: str) -> bytes:
        """See `Target.request`; the upstream does not read the body."""
        path = f"/{serving.PATHS[model]}/chat/completions"
        return b"POST %b HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % path.encode()


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    with contextlib.ExitStack() as stack, asyncio.Runner() as loop:
        upstream = stack.enter_context(measure.Child("benchmarks.upstream")).hear()["url"]
        server = stack.enter_context(measure.Child("benchmarks.serving", "headrace", upstream, quiet=True))
        relay = stack.enter_context(measure.Child("benchmarks.serving", "relay", upstream, quiet=True))
        ours = server.hear()["url"]
        targets = {
            "native": Target(ours, server.pid, "/v1/runs", ":m"),
            "openai-chat": Target(ours, server.pid, "/v1/chat/completions", ":m"),
            "byte relay": Target(relay.hear()["url"], relay.pid, "/v1/chat/completions"),
        }
        try:
            url, pid = stack.enter_context(peers.proxy(upstream, install=not quick))
            targets["LiteLLM proxy"] = Target(url, pid, "/chat/completions")
            name = "LiteLLM proxy"
        except peers.MissingPeer as error:
            name = f"LiteLLM proxy (recorded, not measured: {error})"

        def figures(key: str, rounds: int, work: Callable[[str, Target], Any]) -> dict[str, float]:
            asks = {k: (lambda k=k, t=t: loop.run(work(k, t))) for k, t in targets.items()}
            return {k: measure.median(found, key) for k, found in measure.interleaved(rounds, asks).items()}

        def count(kind: str) -> int:
            return (1 if quick else 2) if "LiteLLM" in kind else 20

        found = figures("us", 1 if quick else 3, lambda kind, target: fast(target, count(kind)))
        proxy = found.get("LiteLLM proxy", peers.RECORDED_PROXY_US)
        others: dict[str, float | str] = {"byte relay": found["byte relay"]}
        for kind in ("native", "openai-chat"):
            what = f"server, {kind}: a token, one fast stream"
            yield measure.Row(
                what, "µs CPU", found[kind], LESS_THAN_PROXY, proxy, name, at_least=True, others=others
            )
        seconds = 1.0 if quick else 2.0
        others = {}
        if "LiteLLM proxy" in targets:
            others["LiteLLM proxy"] = loop.run(paced(targets["LiteLLM proxy"], seconds))["us"]
        for kind in ("native", "openai-chat"):
            what = f"server, {kind}: a token, 20 streams at 50 tokens/s"
            work = window(targets[kind], targets["byte relay"], 2 if quick else 5, seconds)
            us, floor = loop.run(work)
            yield measure.Row(what, "µs CPU", us, OF_RELAY, floor, "byte relay", others=others)
        found = figures("ms", 1 if quick else 3, lambda kind, target: requests(target, 10 * count(kind)))
        others = {k: v for k, v in found.items() if k not in ("native", "openai-chat")}
        for kind in ("native", "openai-chat"):
            yield measure.Row(
                f"server, {kind}: a request of its own", "ms CPU", found[kind], 5.0, others=others
            )
        direct = Direct(upstream, 0, "")
        through, plain = loop.run(first_tokens(targets["native"], direct, 100 if quick else 400))
        p = statistics.quantiles(through, n=100), statistics.quantiles(plain, n=100)
        yield measure.Row(
            f"server: first token, added, p99, while {CONCURRENT} runs stream",
            "ms",
            p[0][98] - p[1][98],
            FIRST_TOKEN_MS,
            others={"p50": p[0][49] - p[1][49], "provider alone, p99": p[1][98]},
        )
