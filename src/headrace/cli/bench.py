"""`headrace bench`: how fast it is here, in under ten seconds, with the machine named beside the figures.

With `demo` nothing but Headrace is measured: from the start of a run to its first token, the CPU time of one
token in this process, and the events that a server process sends to readers over loopback, with many runs at
once. With another model, the model is measured: first token and tokens a second.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace import errors
from headrace.cli import failures, options, out

if TYPE_CHECKING:
    from headrace import events
    from headrace.runs.engine import Engine

_TOKENS = 20_000
_READERS = 20
_PACED_S = 2.0
_START_S = 10.0


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "bench",
        epilog=options.examples(
            "headrace bench",
            "headrace bench --runs 100 --rate 50",
            "headrace bench -m ollama:llama3.2 --runs 3",
        ),
    )(bench)


def bench(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="demo measures Headrace itself.")
    ] = "demo",
    runs: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Runs for the first token.")] = 20,
    rate: Annotated[
        float, typer.Option(min=1, metavar="N", help="Tokens a second of each paced run.")
    ] = 60.0,
    json: options.Json = False,
) -> int:
    """Measure how fast it is here."""
    ours = model.partition(":")[0] == "demo"
    figures = asyncio.run(_ours(runs, rate) if ours else _model(model, runs))
    if ours:
        figures |= asyncio.run(_server())
    machine = f"{_processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    if json:
        import msgspec

        out.line(msgspec.json.encode({"machine": machine, "model": model, **figures}).decode())
        return failures.DONE
    out.line(machine, "dim")
    for name, value in figures.items():
        label, unit = _LABELS[name]
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
        out.line(f"{label:44} {shown:>12} {unit}")
    return failures.DONE


_LABELS = {
    "first_token_ms": ("first token, median", "ms"),
    "first_token_p95_ms": ("first token, 95 of 100", "ms"),
    "cpu_us_per_token": ("CPU a token, engine and one reader", "µs"),
    "late_ms": ("paced tokens reach the reader after, median", "ms"),
    "late_p99_ms": ("paced tokens reach the reader after, 99 of 100", "ms"),
    "server_events_per_s": (f"events a second, server to {_READERS} readers", ""),
    "tokens_per_s": ("tokens a second, median", ""),
}


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


async def _model(model: str, runs: int) -> dict[str, float]:
    from headrace.cli import local

    ends: list[events.RunEnd] = []
    async with local.opened() as here:
        for _ in range(runs):
            end = await here.follow(_Nothing(), model, "Write a hundred words about water.", max_tokens=200)
            if end.error is not None:
                raise errors.error_for(end.error.code, end.error.message)
            ends.append(end)
    figures = _first([end.first_token_ms for end in ends if end.first_token_ms is not None])
    rates = [
        (end.usage.output_tokens - 1) / (end.elapsed_ms - end.first_token_ms) * 1000
        for end in ends
        if end.usage and end.usage.output_tokens and end.elapsed_ms and end.first_token_ms
    ]
    return figures | ({"tokens_per_s": statistics.median(rates)} if rates else {})


def _first(times: list[float]) -> dict[str, float]:
    if not times:
        return {}
    ordered = sorted(times)
    return {
        "first_token_ms": statistics.median(ordered),
        "first_token_p95_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
    }


async def _ours(runs: int, rate: float) -> dict[str, float]:
    from headrace.cli import local
    from headrace.providers import demo
    from headrace.runs import api

    figures: dict[str, float] = {}
    async with local.opened() as here:
        times: list[float] = []
        for _ in range(runs + 1):
            end = await here.follow(_Nothing(), "demo:fast", "Hi")
            times.append(end.first_token_ms or 0.0)
        figures |= _first(times[1:])  # the first one loads modules
        words = _Words()
        began = time.process_time()
        async with api.stream(words, "Hi", engine=here.engine) as run:
            count = 0
            async for batch in run.batches():
                count += len(batch)
        figures["cpu_us_per_token"] = (time.process_time() - began) / count * 1e6
        figures |= await _paced(here.engine, demo.Demo(rate=rate))
    return figures


async def _paced(engine: Engine, model: object) -> dict[str, float]:
    """How long after it was written an event reaches its reader, with `_READERS` paced runs at once."""
    from datetime import UTC, datetime

    from headrace.runs import api

    late: list[float] = []

    async def one() -> None:
        async with api.stream(model, "long", engine=engine) as run:
            async for batch in run.batches():
                now = datetime.now(UTC)
                late.extend((now - event.time).total_seconds() * 1000 for event in batch if event.time)

    tasks = [asyncio.create_task(one()) for _ in range(_READERS)]
    await asyncio.sleep(_PACED_S)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    late.sort()
    return {"late_ms": statistics.median(late), "late_p99_ms": late[int(len(late) * 0.99)]} if late else {}


async def _server() -> dict[str, float]:
    """Events a second from a server process over loopback: `_READERS` runs, each with its reader."""
    from headrace.client import Client

    async with _serving() as url, Client(url) as client:
        began, counts = time.monotonic(), [0] * _READERS

        async def one(index: int) -> None:
            run = await client.start("demo:fast", "long")
            async for batch in client.batches(run):
                counts[index] += batch[-1].seq - counts[index]  # merged deltas count as what they cover

        await asyncio.gather(*(one(index) for index in range(_READERS)))
        return {"server_events_per_s": sum(counts) / (time.monotonic() - began)}


@asynccontextmanager
async def _serving() -> AsyncIterator[str]:
    """A server process without a ledger on disk, for the length of a block; its URL."""
    arguments = ("-m", "headrace", "serve", "--port", "0", "--store", "memory", "--grace", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(_START_S):
            async for line in process.stderr:
                words = [
                    word for word in line.decode("utf-8", "replace").split() if word.startswith("http://")
                ]
                if words:
                    break
            else:
                raise errors.RunError("the server did not start; see: headrace serve --port 0")
        yield words[0]
    except TimeoutError as error:
        raise errors.RunError(f"the server did not start within {_START_S:g} s") from error
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class _Words:
    """A model that says one word at a time, as fast as they are taken."""

    name = "words"

    async def stream(self, request: Any, exchange: Any) -> AsyncIterator[list[events.Event]]:
        """One event a batch, so that each is written, followed and read on its own."""
        from headrace import events
        from headrace.providers import base

        block = exchange.new_block()
        yield [events.TextStart(block=block)]
        for _ in range(_TOKENS):
            yield [events.TextDelta(block=block, delta=" water")]
            await asyncio.sleep(0)
        yield [events.TextEnd(block=block), base.ModelEnd(finish_reason="stop")]


class _Nothing:
    """Shows nothing."""

    async def batch(self, batch: list[events.Event]) -> None:
        """Pass it over."""
