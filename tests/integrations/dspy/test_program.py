"""An instrumented module as a run of the engine; and stopping: the provider's socket is closed, the caller lives."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import headrace
from headrace import events
from headrace.testing import relay
from headrace.testing.engine import Engine

from .conftest import sse

dspy = pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

ENDLESS = "[a-z ]+"
STOP_S = 0.1


class Base(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.predict(question=question)


class WithAsync(Base):
    async def aforward(self, question: str) -> Any:
        return await self.predict.acall(question=question)


def made(keep: Any, base: type = Base) -> Any:
    return headrace.instrument(stream_fields=["answer"], sinks=[keep])(type("QA", (base,), {}))()


def paced(lm: Any, chat: Any, through: relay.Relay, backend: str) -> Any:
    """The real engine behind a relay that lets 50 events a second pass."""
    options = {"engine": backend} if hasattr(dspy.LM, "engine") else {}
    return lm(chat(answer=ENDLESS), api_base=f"{through.url}/v1", max_tokens=2000, **options)


async def first_token(keep: Any) -> None:
    while not keep.tokens and not any(event.type == "run-end" for event in keep.events):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("base", [Base, WithAsync])
async def test_a_module_is_streamed_like_any_run(keep: Any, lm: Any, chat: Any, base: type) -> None:
    module = made(keep, base)
    with dspy.context(lm=lm(chat(answer="[a-z ]{8,60} [a-z]"))):
        async with headrace.stream(module, question="Why?") as run:
            seen = [event async for event in run]
            result = await run.result()
    assert result.outcome == "completed"
    assert "".join(e.delta for e in seen if isinstance(e, events.FieldDelta)) == result.value["answer"]
    assert (seen[0].type, seen[0].kind, seen[-1].type) == ("run-start", "module", "run-end")
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert {event.run for event in keep.events} == {run.id}
    assert keep.text("answer") == result.value["answer"]
    keep.check()


def test_the_blocking_twin(keep: Any, lm: Any, chat: Any) -> None:
    module = made(keep)
    dspy.configure(lm=lm(chat(answer="[a-z ]{8,60} [a-z]")))
    try:
        with headrace.stream_sync(module, question="Why?") as run:
            text = "".join(e.delta for e in run if isinstance(e, events.FieldDelta))
            assert text == run.result().value["answer"]
    finally:
        dspy.configure(lm=None)


async def test_a_failing_module_fails_its_run(keep: Any) -> None:
    class Raises(dspy.Module):
        def forward(self) -> Any:
            raise ValueError("no good")

    module = headrace.instrument(sinks=[keep])(Raises)()
    async with headrace.stream(module) as run:
        with pytest.raises(headrace.errors.HeadraceError, match="no good"):
            await run.result()
    assert keep.events[-1].data["outcome"] == "failed"


async def test_a_module_that_writes_too_much_fails_its_run(keep: Any, lm: Any, chat: Any) -> None:
    from headrace import settings
    from headrace.providers.registry import Registry
    from headrace.runlog import MemoryRunLog
    from headrace.runs.engine import Engine as RunEngine

    engine = RunEngine(Registry(settings.Settings()), MemoryRunLog(), max_run_chars=50)
    with dspy.context(lm=lm(chat(answer=ENDLESS), max_tokens=400)):
        for base in (Base, WithAsync):
            async with headrace.stream(made(keep, base), engine=engine, question="?") as run:
                with pytest.raises(headrace.errors.HeadraceError) as raised:
                    await run.result()
                assert raised.value.code == "too-large"
    await engine.close()


def test_a_prompt_is_asked_for() -> None:
    with pytest.raises(headrace.errors.UsageError, match="needs a prompt"):
        headrace.stream("demo")


@pytest.mark.parametrize("backend", ["auto", "litellm"])
async def test_cancelling_the_task_closes_the_providers_socket(
    keep: Any, lm: Any, chat: Any, engine: Engine, backend: str
) -> None:
    module = made(keep, WithAsync)
    async with relay.Relay(engine.url, relay.pace(events=50)) as through:
        with dspy.context(lm=paced(lm, chat, through, backend)):
            task = asyncio.create_task(module.acall(question="?"))
            await first_token(keep)
            connection = await through.wait_connection(0)
            began = time.monotonic()
            task.cancel()
            await asyncio.wait({task})
            await connection.wait_ended()
            assert time.monotonic() - began < STOP_S
    assert task.cancelled()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert connection.closed_by == "client"
    assert keep.events[-1].data["outcome"] == "cancelled"
    before = len(keep.events)
    await asyncio.sleep(0.1)
    assert len(keep.events) == before
    keep_open = [e for e in keep.events if e.event_type == "start"]
    assert len(keep_open) == len([e for e in keep.events if e.event_type in ("end", "error")])


@pytest.mark.parametrize("backend", ["auto", "litellm"])
@pytest.mark.parametrize("base", [Base, WithAsync])
async def test_stopping_the_run_closes_the_providers_socket(
    keep: Any, lm: Any, chat: Any, engine: Engine, base: type, backend: str
) -> None:
    module = made(keep, base)
    async with relay.Relay(engine.url, relay.pace(events=50)) as through:
        with dspy.context(lm=paced(lm, chat, through, backend)):
            async with headrace.stream(module, question="?") as run:
                await first_token(keep)
                connection = await through.wait_connection(0)
                began = time.monotonic()
                result = await run.cancel()
                await connection.wait_ended()
                assert time.monotonic() - began < STOP_S
    assert result.outcome == "cancelled"
    assert connection.closed_by == "client"


@pytest.mark.parametrize("backend", ["auto", "litellm"])
@pytest.mark.parametrize(("streams", "after"), [(True, 0), (True, 12), (False, 0)])
async def test_a_provider_that_stalls_does_not_keep_a_stopped_thread(
    keep: Any, backend: str, streams: bool, after: int
) -> None:
    """It has sent nothing at all, not even a status line, or some pieces and then nothing."""
    asked = asyncio.Event()
    ended = asyncio.Event()
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        if after:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for piece in sse("[[ ## answer ## ]]\n" + "word " * 40, 4)[:after]:
                writer.write(piece)
            await first_token(keep)
        asked.set()
        while await reader.read(1 << 16):
            pass
        ended.set()
        writer.close()

    module = made(keep) if streams else headrace.instrument(sinks=[keep])(type("QA", (Base,), {}))()
    options = {"engine": backend} if hasattr(dspy.LM, "engine") else {}
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        lm = dspy.LM(
            "openai/m",
            api_base=f"http://127.0.0.1:{port}/v1",
            api_key="x",
            cache=False,
            num_retries=3,
            **options,
        )
        with dspy.context(lm=lm):
            async with headrace.stream(module, question="?") as run:
                await asyncio.wait_for(asked.wait(), 20)
                await asyncio.sleep(0.05)  # the thread reads again
                began = time.monotonic()
                result = await run.cancel()
                await ended.wait()
                assert time.monotonic() - began < STOP_S
    assert result.outcome == "cancelled"
    assert connections == 1  # nobody asked again
