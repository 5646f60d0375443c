"""What a procedure costs beside a plain run: its child's start, each turn before the provider is asked, each token.

A turn's cost is the time between the end of one provider call and the beginning of the next in a program that does
nothing else: the facts of the turn before on disk, Lua, the journal, the request; the provider is scripted. Tokens
come over a socket from `upstream`, as a vendor sends them. Next: `upstream`.
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

from pydantic import SecretStr

from benchmarks import measure
from headrace import settings
from headrace.ledger import open_ledger
from headrace.messages import user
from headrace.procedures import api
from headrace.procedures.journal import Source
from headrace.procedures.sandbox import Limits, Sandbox
from headrace.providers import base
from headrace.providers.registry import Registry
from headrace.providers.scripted import Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec

START_MS, TURN_MS, TOKEN_RATIO = 150.0, 5.0, 1.05
_TURNS = "a = Agent { history = 'none' }\nfor i = 1, %d do a('x') end\nreturn 1\n"
_SHORT, _TALL = 2_000, 42_000
_MODEL = "openai:gpt-5-mini"
_LONG = "a = Agent {}\nreturn #a('x').text\n"


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    starts = asyncio.run(_starts(5 if quick else 25))
    yield measure.Row("start of a program's process", "ms", statistics.median(starts), START_MS)
    gaps = asyncio.run(_turns(30 if quick else 200))
    others: dict[str, float | str] = {"of 100, 95 are below": statistics.quantiles(gaps, n=20)[18]}
    yield measure.Row(
        "a turn, before the provider is called", "ms", statistics.median(gaps), TURN_MS, others=others
    )
    with measure.Child("benchmarks.upstream") as child:
        ours, plain = asyncio.run(_tokens(child.hear()["url"], 5 if quick else 15))
    yield measure.Row(
        "CPU of an agent's token", "µs", ours, TOKEN_RATIO, reference=plain, reference_name="a plain run"
    )


async def _starts(count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        async with Sandbox(
            "return 1", "p.tac", Limits(), {"inputs": {}, "seed": 1, "check": False}
        ) as sandbox:
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


async def _tokens(upstream: str, rounds: int) -> tuple[float, float]:
    """CPU of a token in microseconds: an agent's, and a plain run's.

    Long answers less short ones, so that what a run costs once is not in it; all four in turn, the middle one of all
    rounds.
    """
    engines = {}
    for count in (_SHORT, _TALL):
        chosen = settings.Settings(
            openai_base_url=f"{upstream}/fast/{count}/v1", openai_api_key=SecretStr("k")
        )
        engines[count] = Engine(Registry(chosen), MemoryRunLog(), max_run_chars=1 << 30)

    async def agent(engine: Engine) -> None:
        active = await api.start(engine, Source(text=_LONG), api.Extras(), model=_MODEL, record=False)
        await active.ended.wait()
        assert active.info().outcome == "completed", active.info().error

    async def plain(engine: Engine) -> None:
        spec = RunSpec(model=_MODEL, messages=(user("x"),), record=False)
        active = await engine.start(spec)
        await active.ended.wait()
        assert active.info().outcome == "completed"

    took: dict[tuple[Any, int], list[float]] = {(work, n): [] for n in engines for work in (agent, plain)}
    for number in range(rounds + 1):
        for (work, count), times in took.items():
            gc.collect()
            began = time.process_time()
            await work(engines[count])
            if number:
                times.append((time.process_time() - began) * 1e6)
    for engine in engines.values():
        await engine.close()
    middle = {key: statistics.median(times) for key, times in took.items()}
    more = _TALL - _SHORT
    return (
        (middle[agent, _TALL] - middle[agent, _SHORT]) / more,
        (middle[plain, _TALL] - middle[plain, _SHORT]) / more,
    )
