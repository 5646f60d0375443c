"""Many at once: 500 paced runs through the server, and 1,000 readers of one run, a tenth of them slow.

The first token's added delay is measured against the upstream asked directly, the same crowd at the same pace,
in the same run. The healthy readers' delay is taken with and without slow ones beside them. Memory is the
server's own, before and after. Next: `memory`, which measures one run and one reader exactly.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks import measure, server, serving

RUNS, MODEL = 500, "paced-30"
READERS, SLOW_BYTES = 1000, 1024


def run(*, quick: bool = False) -> Iterator[measure.Row]:
    """The rows of this benchmark."""
    runs = 100 if quick else RUNS
    yield from asyncio.run(_runs(runs))
    yield from asyncio.run(_readers(200 if quick else READERS, seconds=4.0 if quick else 8.0))


async def _runs(count: int) -> list[measure.Row]:
    with measure.Child("benchmarks.upstream") as upstream:
        url = upstream.hear()["url"]
        with measure.Child("benchmarks.serving", "headrace", url, quiet=True) as ours:
            heard = ours.hear()
            direct = server.Target(f"{url}/{serving.PATHS[MODEL]}", upstream.pid, "/chat/completions")
            through = server.Target(heard["url"], ours.pid, "/v1/runs", suffix=":m")
            await _first_tokens(through, MODEL, 20)
            before = measure.memory_of(ours.pid)
            bare = await _first_tokens(direct, "m", count)
            added = await _first_tokens(through, MODEL, count)
            after = measure.memory_of(ours.pid)
    what = f"first token added, {count} runs at 30 tokens/s"
    return [
        measure.Row(f"{what}, median", "ms", _ms(added, 50) - _ms(bare, 50), 5.0),
        measure.Row(f"{what}, p99", "ms", _ms(added, 99) - _ms(bare, 99), 50.0),
        measure.Row(f"memory a run of 90 tokens, {count} kept", "KB", (after - before) / count / 1024, 64.0),
    ]


async def _first_tokens(target: server.Target, model: str, count: int) -> list[float]:
    """Seconds to the first token of each of `count` streams that are begun over one second."""
    waits: list[float] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        first: list[float] = []
        seen = bytearray()

        def see(data: bytes) -> None:
            if not first:
                seen.extend(data)
                if b'"delta":"' in seen or b'"content":"' in seen.replace(b'"content":""', b""):
                    first.append(time.perf_counter())

        asked = await server.stream(target, model, see)
        waits.append(first[0] - asked)

    await asyncio.gather(*(one(i / count) for i in range(count)))
    return waits


async def _readers(count: int, seconds: float) -> list[measure.Row]:
    with measure.Child("benchmarks.serving", "run", "20", quiet=True) as ours:
        url = ours.hear()["url"]
        alone = await _crowd(url, count - count // 10, 0, seconds)
        before = measure.memory_of(ours.pid)
        mixed = await _crowd(url, count - count // 10, count // 10, seconds, pid=ours.pid)
    healthy = f"{count - count // 10} readers"
    return [
        measure.Row(
            f"p99 delay of {healthy} beside {count // 10} at 1 KB/s",
            "ms",
            _ms(mixed["late"], 99),
            1.3,
            _ms(alone["late"], 99),
            "without them",
        ),
        measure.Row(
            "memory a reader, a tenth of them slow", "KB", (mixed["peak"] - before) / count / 1024, 20.0
        ),
    ]


async def _crowd(url: str, healthy: int, slow: int, seconds: float, pid: int | None = None) -> dict[str, Any]:
    """Read for a while; `late` is when each frame came after the first reader had it."""
    arrivals: dict[bytes, list[float]] = {}
    until = time.perf_counter() + seconds
    tasks = [asyncio.create_task(_read(url, until, arrivals)) for _ in range(healthy)]
    tasks += [asyncio.create_task(_sip(url, until)) for _ in range(slow)]
    await asyncio.sleep(seconds * 0.9)
    peak = measure.memory_of(pid) if pid else 0
    await asyncio.gather(*tasks)
    late = [t - min(times) for times in arrivals.values() if len(times) > healthy // 2 for t in times]
    return {"late": late, "peak": peak}


@contextlib.asynccontextmanager
async def _opened(url: str, limit: int) -> Any:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=limit)
    try:
        writer.write(
            f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
        )
        yield reader
    finally:
        writer.transport.abort()


async def _read(url: str, until: float, arrivals: dict[bytes, list[float]]) -> None:
    async with _opened(url, 1 << 16) as reader:
        begun = time.perf_counter() + 1.0  # the replay of what was there before is not late
        while (left := until - time.perf_counter()) > 0:
            try:
                data = await asyncio.wait_for(reader.read(1 << 16), left)
            except TimeoutError:
                return
            now = time.perf_counter()
            if now > begun:
                for line in data.split(b"\n"):
                    if line.startswith(b"id: "):
                        arrivals.setdefault(line, []).append(now)


async def _sip(url: str, until: float) -> None:
    async with _opened(url, SLOW_BYTES) as reader:
        while time.perf_counter() < until:
            await reader.read(SLOW_BYTES // 4)
            await asyncio.sleep(0.25)


def _ms(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] * 1000
