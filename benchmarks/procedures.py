"""What a procedure costs beside a plain run: its child's start, each turn before the provider is asked, each token.

All in this process, with a scripted provider that takes no time and a ledger on disk, as `serve` has. A turn's cost is
the time between the end of one provider call and the beginning of the next in a program that does nothing else: the
facts of the turn before, Lua, the journal, the request. Next: `upstream`.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import measure
from headrace import settings
from headrace.ledger import open_ledger
from headrace.messages import user
from headrace.procedures import api
from headrace.procedures.journal import Source
from headrace.procedures.sandbox import Limits, Sandbox
from headrace.providers import base
from headrace.providers.registry import Registry
from headrace.providers.scripted import Say, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec

START_MS, TURN_MS, TOKEN_RATIO = 150.0, 5.0, 1.05
_TURNS = "a = Agent { history = 'none' }\nfor i = 1, %d do a('x') end\nreturn 1\n"
_LONG = "a = Agent {}\nreturn #a('x').text\n"


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    starts = asyncio.run(_starts(5 if quick else 25))
    yield measure.Row("start of a program's process", "ms", statistics.median(starts), START_MS)
    gaps = asyncio.run(_turns(30 if quick else 200))
    others: dict[str, float | str] = {"of 100, 95 are below": statistics.quantiles(gaps, n=20)[18]}
    yield measure.Row("a turn, before the provider is called", "ms", statistics.median(gaps), TURN_MS, others=others)
    ours, plain = asyncio.run(_tokens(5_000 if quick else 40_000, 5 if quick else 9))
    yield measure.Row("CPU of an agent's token", "µs", ours, TOKEN_RATIO, reference=plain, reference_name="a plain run")


async def _starts(count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        async with Sandbox("return 1", "p.tac", Limits(), {"inputs": {}, "seed": 1, "check": False}) as sandbox:
            await sandbox.next()
            took.append((time.perf_counter() - began) * 1000)
    return took


class _Clocked:
    """A provider that notes when it is asked and when it is done."""

    def __init__(self, script: Any) -> None:
        self.inner = Scripted(script, "clocked")
        self.asked: list[float] = []
        self.done: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def stream(self, request: base.ModelRequest, exchange: base.Exchange) -> Any:
        """As the scripted one does."""
        self.asked.append(time.perf_counter())
        async for batch in self.inner.stream(request, exchange):
            yield batch
        self.done.append(time.perf_counter())


def _engine(provider: Any, store: str | None = None) -> Engine:
    registry = Registry(settings.Settings())
    registry.register("clocked", provider)
    return Engine(registry, MemoryRunLog(), open_ledger(store) if store else None, max_run_chars=1 << 30)


async def _turns(count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        provider = _Clocked("one two")
        engine = _engine(provider, f"sqlite:///{Path(folder) / 'l.db'}")
        active = await api.start(engine, Source(text=_TURNS % count), api.Extras(), model="clocked")
        await active.ended.wait()
        assert active.info().outcome == "completed", active.info().error
        await engine.close()
    return [(b - a) * 1000 for a, b in zip(provider.done, provider.asked[1:], strict=False)]


async def _tokens(count: int, rounds: int) -> tuple[float, float]:
    """CPU of a token in microseconds: an agent's, and a plain run's; in turn, the middle one of all rounds."""
    provider = Scripted([Say("", pieces=["word "] * count)], "clocked")
    engine = _engine(provider)

    async def agent() -> None:
        active = await api.start(engine, Source(text=_LONG), api.Extras(), model="clocked", record=False)
        await active.ended.wait()
        assert active.info().result == 5 * count, active.info().error

    async def plain() -> None:
        active = await engine.start(RunSpec(model="clocked", messages=(user("x"),), record=False))
        await active.ended.wait()

    took: dict[Any, list[float]] = {agent: [], plain: []}
    for number in range(rounds + 1):
        for work in took:
            gc.collect()
            began = time.process_time()
            await work()
            if number:
                took[work].append((time.process_time() - began) / count * 1e6)
    await engine.close()
    return statistics.median(took[agent]), statistics.median(took[plain])
