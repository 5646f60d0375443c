"""The engine: one ending a run, stop from anywhere, queue, policies, idempotency, ledger, drain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.ledger import base as ledger_base
from headrace.ledger import open_ledger
from headrace.protocol.lifecycle import Lifecycle
from headrace.providers.scripted import Drop, Fail, Hang, Pause, Say, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.context import Context
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.spec import RunSpec


class Table:
    """Model names to providers."""

    def __init__(self, **providers: Scripted) -> None:
        self.providers = providers

    def resolve(self, name: str) -> tuple[Scripted, str]:
        if name not in self.providers:
            raise errors.ProviderError(f"no model {name}", code="model-not-found")
        return self.providers[name], name

    async def close(self) -> None:
        for provider in self.providers.values():
            await provider.close()


def make(ledger: Any = None, **options: Any) -> tuple[Engine, Table]:
    models = {k: v for k, v in options.items() if isinstance(v, Scripted)}
    rest = {k: v for k, v in options.items() if k not in models}
    table = Table(**models)
    return Engine(table, MemoryRunLog(), ledger, **rest), table


def spec(model: str = "m", **options: Any) -> RunSpec:
    options.setdefault("messages", (messages.user("hi"),))
    return RunSpec(model=model, **options)


def written(active: ActiveRun) -> list[events.Event]:
    return [entry.event for entry in active.writer.log.read(0)]


async def finished(active: ActiveRun) -> events.RunEnd:
    await active.ended.wait()
    found = written(active)
    lifecycle = Lifecycle()
    for event in found:
        lifecycle.check(event)
    assert lifecycle.ended
    assert active.end is found[-1]
    return active.end


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_plain_answer() -> None:
    engine, _ = make(m=Scripted("Hello there, world"))
    active = await engine.start(spec(metadata={"a": 1}))
    end = await finished(active)
    assert (end.outcome, end.finish_reason) == ("completed", "stop")
    assert end.result == {"text": "Hello there, world"}
    assert end.first_token_ms is not None
    assert end.elapsed_ms is not None
    info = active.info()
    assert (info.status, info.outcome, info.metadata) == ("ended", "completed", {"a": 1})
    assert info.conversation == active.run


async def test_stop_ends_once_and_closes_the_provider() -> None:
    provider = Scripted([Say("one two"), Hang()])
    engine, _ = make(m=provider)
    active = await engine.start(spec())
    await until(lambda: active.writer.deltas)
    first, second = await asyncio.gather(engine.cancel(active.run), engine.cancel(active.run))
    assert first.outcome == second.outcome == "cancelled"
    assert provider.calls[0].closed_early
    end = await finished(active)
    assert end.usage is not None
    assert end.usage.basis == "estimated"
    assert end.error is None
    again = await engine.cancel(active.run)
    assert again.elapsed_ms == first.elapsed_ms


async def test_stop_after_the_end_changes_nothing() -> None:
    engine, _ = make(m=Scripted("done"))
    active = await engine.start(spec())
    await active.ended.wait()
    assert (await engine.cancel(active.run)).outcome == "completed"


async def test_stop_of_an_unknown_run() -> None:
    engine, _ = make(m=Scripted(""))
    with pytest.raises(errors.ReadError) as raised:
        await engine.cancel("run_nothing")
    assert raised.value.code == "run-not-found"


@pytest.mark.parametrize("turns", range(12))
async def test_stop_races_with_completion(turns: int) -> None:
    engine, _ = make(m=Scripted([Say("a b c d"), Pause(0), Say(" e f")]), ledger=open_ledger("memory"))
    active = await engine.start(spec())
    for _ in range(turns):
        await asyncio.sleep(0)
    info = await engine.cancel(active.run)
    end = await finished(active)
    assert end.outcome == info.outcome
    assert engine.ledger is not None
    facts = await engine.ledger.facts(active.run)
    assert [fact.kind for fact in facts] == [
        "user",
        "response" if end.outcome == "completed" else "generation-ended",
    ]


async def test_a_provider_fault_is_typed_and_text_so_far_is_told() -> None:
    engine, _ = make(m=Scripted([Say("so far"), Drop()]))
    end = await finished(await engine.start(spec()))
    assert end.outcome == "failed"
    assert end.error is not None
    assert (end.error.code, end.error.retryable) == ("stream-incomplete", True)
    assert end.result["text"] == "so far"


async def test_a_fault_in_a_program_fails_the_run_and_no_other() -> None:
    engine, _ = make(m=Scripted("fine"))

    async def broken(context: Context) -> None:
        context.emit(events.Status(message="before"))
        raise ZeroDivisionError("one by nothing")

    end = await finished(await engine.start(spec(), broken))
    assert end.outcome == "failed"
    assert end.error is not None
    assert "one by nothing" in end.error.message
    assert (await finished(await engine.start(spec()))).outcome == "completed"


async def test_a_program_may_emit_spans_and_return_a_value() -> None:
    engine, _ = make(m=Scripted("in a step"))

    async def program(context: Context) -> Any:
        async with context.span("step", "first") as span:
            got = await context.call(span=span.id)
            span.value = got.text
        return {"n": 1}

    active = await engine.start(spec(), program)
    end = await finished(active)
    assert end.result == {"text": "in a step", "value": {"n": 1}}
    (ended,) = [e for e in written(active) if isinstance(e, events.SpanEnd)]
    assert (ended.outcome, ended.value) == ("completed", "in a step")
    assert {e.span for e in written(active) if isinstance(e, events.TextDelta)} == {ended.span}


async def test_what_is_open_is_closed_when_a_span_is_cancelled() -> None:
    engine, _ = make(m=Scripted([Say("x"), Hang()]))

    async def program(context: Context) -> None:
        async with context.span("step", "first") as span:
            await context.call(span=span.id)

    active = await engine.start(spec(), program)
    await until(lambda: active.writer.deltas)
    await engine.cancel(active.run)
    assert (await finished(active)).outcome == "cancelled"


# the queue


async def test_runs_wait_for_a_place_and_their_readers_are_told() -> None:
    provider = Scripted([Say("x"), Pause(0.02)])
    engine, _ = make(m=provider, max_running=2)
    runs = [await engine.start(spec()) for _ in range(5)]
    await asyncio.sleep(0)
    assert (engine.running, engine.queued) == (2, 3)
    assert runs[4].status == "queued"
    for active in runs:
        assert (await finished(active)).outcome == "completed"
    waited = [e.message for e in written(runs[4]) if isinstance(e, events.Status)]
    assert waited[0] == "Waiting: 2 ahead"
    assert waited[-1] == "Starting"
    assert (engine.running, engine.queued) == (0, 0)


async def test_a_queued_run_can_be_stopped_and_frees_its_place_in_line() -> None:
    provider = Scripted([Say("x"), Hang()])
    engine, _ = make(m=provider, max_running=1)
    first = await engine.start(spec())
    second = await engine.start(spec())
    third = await engine.start(spec())
    await until(lambda: engine.queued == 2)
    assert (await engine.cancel(second.run)).outcome == "cancelled"
    await engine.cancel(first.run)
    await until(lambda: third.status == "running")
    await engine.cancel(third.run)
    assert len(provider.calls) == 2
    assert (engine.running, engine.queued) == (0, 0)


async def test_too_many_waiting_is_refused() -> None:
    engine, _ = make(m=Scripted([Hang()]), max_running=1, max_queued=0)
    active = await engine.start(spec())
    await until(lambda: engine.running == 1)
    with pytest.raises(errors.UsageError) as raised:
        await engine.start(spec())
    assert raised.value.code == "too-many"
    await engine.cancel(active.run)


# policies


async def test_grace_cancels_when_nobody_reads() -> None:
    engine, _ = make(m=Scripted([Say("x"), Hang()]), grace_s=0.02)
    end = await finished(await engine.start(spec()))
    assert end.outcome == "cancelled"


async def test_a_reader_that_comes_back_within_the_grace_keeps_the_run() -> None:
    engine, _ = make(m=Scripted([Say("x"), Pause(0.1), Say(" y")]), grace_s=0.05)
    active = await engine.start(spec())
    for _ in range(4):
        follower = active.writer.log.follow(0)
        await asyncio.sleep(0.02)
        follower.close()
        await asyncio.sleep(0.005)
    follower = active.writer.log.follow(0)
    assert (await finished(active)).outcome == "completed"


async def test_cancel_policy_stops_at_once_when_the_reader_leaves() -> None:
    provider = Scripted([Say("x"), Hang()])
    engine, _ = make(m=provider)
    active = await engine.start(spec(on_disconnect="cancel"))
    follower = active.writer.log.follow(0)
    await until(lambda: active.writer.deltas)
    follower.close()
    assert (await finished(active)).outcome == "cancelled"
    assert provider.calls[0].closed_early


async def test_continue_policy_needs_no_reader() -> None:
    engine, _ = make(m=Scripted([Say("x"), Pause(0.05), Say(" y")]), grace_s=0.001)
    active = await engine.start(spec(on_disconnect="continue"))
    assert (await finished(active)).result == {"text": "x y"}


async def test_a_deadline_fails_the_run() -> None:
    engine, _ = make(m=Scripted([Say("x"), Hang()]))
    end = await finished(await engine.start(spec(deadline_s=0.02)))
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == "deadline"


# record


async def test_the_ledger_has_the_question_before_the_provider_is_asked_and_one_ending() -> None:
    ledger = open_ledger("memory")
    seen: list[list[str]] = []

    class Watching(Scripted):
        async def stream(self, request: Any, exchange: Any) -> Any:
            seen.append([fact.kind for fact in await ledger.facts("c1")])
            async for batch in super().stream(request, exchange):
                yield batch

    engine, _ = make(m=Watching("a whole answer"), ledger=ledger)
    active = await engine.start(spec(conversation="c1"))
    await finished(active)
    assert seen == [["user"]]
    facts = await ledger.facts("c1")
    assert [(fact.kind, fact.content) for fact in facts] == [("user", "hi"), ("response", "a whole answer")]
    record = await ledger.run(active.run)
    assert record is not None
    assert (record.status, record.outcome) == ("ended", "completed")
    info = await Engine(Table(), MemoryRunLog(), ledger).info(active.run)
    assert info.result == {"text": "a whole answer"}
    assert info.elapsed_ms == active.info().elapsed_ms


async def test_a_partial_answer_is_never_in_the_ledger() -> None:
    ledger = open_ledger("memory")
    engine, _ = make(m=Scripted([Say("half of it"), Fail(errors.ProviderError("x"))]), ledger=ledger)
    active = await engine.start(spec())
    await finished(active)
    facts = await ledger.facts(active.run)
    assert [(fact.kind, fact.content) for fact in facts] == [("user", "hi"), ("generation-ended", "")]
    assert "half" not in repr(facts) + repr(await ledger.run(active.run))


async def test_text_without_an_encoding_is_recorded_and_told_alike() -> None:
    ledger = open_ledger("memory")
    engine, _ = make(m=Scripted([Say("", pieces=["a\ud800", "b", "\ud83d\ude00"])]), ledger=ledger)
    active = await engine.start(spec(messages=(messages.user("\udfff?"),)))
    end = await finished(active)
    assert end.result == {"text": "a�b😀"}
    facts = await ledger.facts(active.run)
    assert [fact.content for fact in facts] == ["�?", "a�b😀"]
    assert b"\xf0\x9f\x98\x80" in b"".join(entry.frame for entry in active.writer.log.read(0))


async def test_a_ledger_that_cannot_begin_means_no_run() -> None:
    engine, _ = make(m=Scripted("x"), ledger=_Broken("begin"))
    with pytest.raises(errors.StoreError):
        await engine.start(spec())
    assert engine.all_active() == []


async def test_a_ledger_that_cannot_end_fails_the_run_and_says_so() -> None:
    engine, _ = make(m=Scripted("x"), ledger=_Broken("end"))
    end = await finished(await engine.start(spec()))
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == "store-unavailable"


class _Broken:
    """A ledger whose one method fails."""

    def __init__(self, method: str) -> None:
        self.method = method

    async def begin(self, *args: Any) -> Any:
        if self.method == "begin":
            raise errors.StoreError("the disk is full")
        return object()

    async def end(self, *args: Any, **kwargs: Any) -> Any:
        raise errors.StoreError("the disk is full")


async def test_a_run_that_another_process_has_closed_ends_as_the_ledger_says() -> None:
    ledger = open_ledger("memory")
    engine, _ = make(m=Scripted([Say("x"), Pause(0.02)]), ledger=ledger)
    active = await engine.start(spec())
    meta = {"outcome": "interrupted", "reason": "worker-died"}
    await ledger.end(active.run, ledger_base.GENERATION_ENDED, "", meta, outcome="interrupted", summary={})
    end = await finished(active)
    assert end.outcome == "interrupted"
    assert end.error is not None
    assert end.error.code == "interrupted"


async def test_a_run_that_writes_too_much_is_ended_and_says_so() -> None:
    provider = Scripted([Say("x" * 60), Say("y" * 60), Hang()])
    engine, _ = make(m=provider, max_run_chars=100)
    end = await finished(await engine.start(spec()))
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == "too-large"
    assert provider.calls[0].closed_early


# idempotency


async def test_the_same_key_is_the_same_run() -> None:
    provider = Scripted("x")
    engine, _ = make(m=provider, ledger=open_ledger("memory"))
    runs = await asyncio.gather(*(engine.start(spec(idempotency_key="k")) for _ in range(5)))
    assert len({active.run for active in runs}) == 1
    other = await engine.start(spec(idempotency_key="k", owner="somebody"))
    assert other.run != runs[0].run
    for active in (*runs, other):
        await active.ended.wait()
    assert len(provider.calls) == 2


async def test_the_same_key_after_a_restart_is_found_in_the_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    engine, _ = make(m=Scripted("x"), ledger=open_ledger(url))
    active = await engine.start(spec(idempotency_key="k"))
    await active.ended.wait()
    await engine.close()
    again, _ = make(m=Scripted("x"), ledger=open_ledger(url))
    found = await again.by_key("", "k")
    assert found is not None
    assert found.run == active.run
    await again.close()


# listing and owners


async def test_runs_are_listed_newest_first_for_their_owner() -> None:
    engine, _ = make(m=Scripted("x"), ledger=open_ledger("memory"))
    mine = [await engine.start(spec(owner="a")) for _ in range(3)]
    theirs = await engine.start(spec(owner="b"))
    for active in (*mine, theirs):
        await active.ended.wait()
    listed = await engine.list(owner="a")
    assert [info.run for info in listed] == sorted((active.run for active in mine), reverse=True)
    assert len(await engine.list(owner=None)) == 4
    page = await engine.list(owner="a", before=listed[0].run, limit=1)
    assert [info.run for info in page] == [listed[1].run]
    with pytest.raises(errors.ReadError):
        await engine.info(theirs.run, owner="a")


# shutting down


async def test_drain_waits_then_interrupts() -> None:
    engine, _ = make(
        quick=Scripted([Say("x"), Pause(0.02)]),
        stuck=Scripted([Say("y"), Hang()]),
        ledger=open_ledger("memory"),
    )
    quick = await engine.start(spec("quick"))
    stuck = await engine.start(spec("stuck"))
    await engine.drain(0.2)
    assert (await finished(quick)).outcome == "completed"
    end = await finished(stuck)
    assert end.outcome == "interrupted"
    assert end.error is not None
    assert end.error.code == "interrupted"
    with pytest.raises(errors.RunError):
        await engine.start(spec("quick"))
    assert engine.ledger is not None
    assert [f.kind for f in await engine.ledger.facts(stuck.run)] == ["user", ledger_base.GENERATION_ENDED]
