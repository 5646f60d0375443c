"""Runs into sinks: whole, in order, over an outage, and without being readers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import headrace
from headrace import events, messages
from headrace.core import events as core
from headrace.providers.scripted import Say, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec
from headrace.sinks import BaseSink, following
from headrace.sinks.base import Item
from headrace.testing.runs import check_stream

PIECES = [f" w{n}" for n in range(500)]


class Store(BaseSink):
    """Keeps what it gets, as far as it is up."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"failure_threshold": 1, "recovery_timeout": 0.01, **options})  # type: ignore[arg-type]
        self.found: list[core.HeadraceEvent] = []
        self.up = threading.Event()
        self.up.set()

    async def handle_batch(self, batch: Sequence[Item]) -> None:
        if not self.up.is_set():
            raise ConnectionResetError("away")
        self.found += [event for _, event in batch]


class Models:
    """One scripted model under every name."""

    def __init__(self) -> None:
        self.model = Scripted(Say("".join(PIECES), PIECES))

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.model, name

    async def close(self) -> None: ...


def spec(**options: object) -> RunSpec:
    return RunSpec(model="scripted", messages=(messages.user("go"),), **options)  # type: ignore[arg-type]


def whole(found: Sequence[core.HeadraceEvent]) -> list[events.Event]:
    """The native events, which must be a whole run."""
    native = [core.to_native(event) for event in found]
    check_stream(native)
    return native


async def test_one_run_from_its_first_event_to_its_last() -> None:
    sink = Store()
    model = Scripted(Say("".join(PIECES), PIECES))
    async with headrace.stream(model, "go") as run:
        attached = headrace.sinks.attach(run, sink)
        result = await run.result()
        assert await attached.wait(20)
    native = whole(sink.found)
    assert "".join(e.delta for e in native if isinstance(e, events.TextDelta)) == result.text
    assert attached.cursor == native[-1].seq
    await sink.astop()


async def test_from_a_checkpoint_only_the_rest() -> None:
    sink = Store()
    async with headrace.stream(Scripted(Say("".join(PIECES), PIECES)), "go") as run:
        await run.result()
        await headrace.sinks.attach(run, sink, after=100).wait(20)
    assert sink.found[0].seq == 101 or sink.found[0].data.get("from") == 101
    await sink.astop()


async def test_while_the_sink_is_away_the_run_keeps_the_events() -> None:
    sink = Store(buffer_size=10)
    sink.up.clear()
    engine = Engine(Models(), MemoryRunLog())
    followers = following.install(engine, [sink])
    runs = [await engine.start(spec()) for _ in range(3)]
    for run in runs:
        await run.ended.wait()  # the runs do not wait for it
    assert sink.found == []
    assert sink.buffered <= 10
    sink.up.set()
    await followers.close()
    assert sink.dropped == 0
    for run in runs:
        mine = whole([event for event in sink.found if event.run == run.run])
        text = "".join(e.delta for e in mine if isinstance(e, events.TextDelta))
        assert text == "".join(PIECES)
    await engine.close()


async def test_a_sink_is_no_reader() -> None:
    class Waits(Models):
        def __init__(self) -> None:
            self.model = Scripted(Say("never", ["ne", "ver"]))
            self.never = asyncio.Event()

    engine = Engine(Waits(), MemoryRunLog())
    sink = Store()
    followers = following.install(engine, [sink])

    async def program(context: object) -> None:
        await asyncio.Event().wait()

    run = await engine.start(spec(on_disconnect="grace", grace_s=0.01), program)
    await run.ended.wait()  # cancelled, because nobody but the sink is there
    assert run.end is not None
    assert run.end.outcome == "cancelled"
    await followers.close()
    assert isinstance(whole(sink.found)[-1], events.RunEnd)
    await engine.close()


async def test_a_log_that_is_closed_ends_its_followers() -> None:
    engine = Engine(Models(), MemoryRunLog())
    sink = Store()
    followers = following.install(engine, [sink])

    async def program(context: object) -> None:
        await asyncio.Event().wait()

    await engine.start(spec(), program)
    await engine.close()
    await followers.close()
    assert sink.found[-1].event_type == "end"
