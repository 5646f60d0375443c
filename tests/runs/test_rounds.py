"""Rounds of calls and tools: order, parallel, early, errors, time, approval, stop, bounds; each stream is legal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.protocol.retry import RetryPolicy
from headrace.providers.scripted import Call, Drop, Fail, Finish, Hang, Pause, Say, Scripted, Think
from headrace.runlog import MemoryRunLog
from headrace.runs import rounds
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.questions import NoSuchRequest
from headrace.runs.spec import RunSpec
from headrace.runs.tools import Tool, ToolContext, ToolError, as_tools, tool
from headrace.testing.engine import Engine as RealEngine
from headrace.testing.runs import Played, engine_for, play


class Table:
    """Model names to providers."""

    def __init__(self, providers: dict[str, Scripted]) -> None:
        self.providers = providers

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.providers[name], name

    async def close(self) -> None:
        return


def make(*script: Any, **others: Scripted) -> tuple[Engine, Scripted]:
    model = Scripted(list(script))
    return Engine(Table({"m": model, **others}), MemoryRunLog()), model


async def played(active: ActiveRun) -> Played:
    follower = active.writer.log.follow(0)
    found: list[events.Event] = []
    while (batch := await follower.next()) is not None:
        found.extend(entry.event for entry in batch)
    follower.close()
    return Played(active.run, found)


async def run(engine: Engine, *tools: Any, **options: Any) -> Played:
    return await play(engine, "m", tools=as_tools(tools), **options)


async def begin(engine: Engine, *tools: Any, **options: Any) -> ActiveRun:
    spec = RunSpec(model="m", messages=(messages.user("hi"),), tools=as_tools(tools), **options)
    return await engine.start(spec)


async def event_of(active: ActiveRun, kind: type[events.Event]) -> Any:
    """Wait for the first event of a type."""
    follower = active.writer.log.follow(0)
    try:
        while (batch := await follower.next()) is not None:
            for entry in batch:
                if isinstance(entry.event, kind):
                    return entry.event
    finally:
        follower.close()
    raise AssertionError(f"no {kind.__name__}")


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def roles(request: Any) -> list[str]:
    return [message.role for message in request.messages]


def results(request: Any) -> list[messages.ToolResult]:
    return [part for m in request.messages for part in m.parts if isinstance(part, messages.ToolResult)]


async def test_a_call_and_its_answer() -> None:
    engine, model = make(
        [Think("Hm.", signature="sig"), Say("Let me see. "), Call("add", {"a": "2", "b": 3})], ["It is 5."]
    )
    done = await run(engine, add, tool_choice="required")
    assert (done.end.outcome, done.end.finish_reason) == ("completed", "stop")
    assert done.text == "Let me see. It is 5."
    assert done.end.result["tool_calls"] == [
        {"id": "call_1", "name": "add", "arguments": {"a": "2", "b": 3}, "value": 5}
    ]
    (result,) = done.of(events.ToolResult)
    assert (result.call, result.value, result.error, result.preliminary) == ("call_1", 5, None, False)
    assert result.elapsed_ms >= 0
    (span,) = done.of(events.SpanStart)
    assert (span.kind, span.name, span.attributes) == ("tool", "add", {"call": "call_1"})
    assert result.span == span.span == done.of(events.SpanEnd)[0].span
    first, second = (call.request for call in model.calls)
    assert (first.tool_choice, second.tool_choice) == ("required", None)
    assert roles(second) == ["user", "assistant", "tool"]
    said = second.messages[1].parts
    assert said[0] == messages.Reasoning("Hm.", signature="sig")
    assert isinstance(said[2], messages.ToolCall)
    assert results(second) == [messages.ToolResult("call_1", "5", "add")]
    assert [event.attempt for event in done.of(events.AttemptStart)] == [1, 2]


async def test_ids_are_unique_over_rounds() -> None:
    engine, model = make([Call("add", {"a": 1})], [Call("add", {"a": 2}), Call("add", {"a": 3})], ["ok"])
    done = await run(engine, add)
    assert [event.call for event in done.of(events.ToolCallStart)] == ["call_1", "call_1-2", "call_2"]
    assert [event.call for event in done.of(events.ToolCallEnd)] == ["call_1", "call_1-2", "call_2"]
    assert [call["value"] for call in done.end.result["tool_calls"]] == [2, 3, 4]
    assert [result.call for result in results(model.calls[2].request)] == ["call_1", "call_1-2", "call_2"]


async def test_a_call_starts_while_the_answer_still_streams() -> None:
    began = asyncio.Event()

    async def early() -> str:
        began.set()
        return "x"

    async def late() -> str:
        return "y"

    class Waits(Scripted):
        async def stream(self, request: Any, exchange: Any) -> Any:  # type: ignore[override]
            async for batch in super().stream(request, exchange):
                yield batch
                if any(isinstance(event, events.ToolCallEnd) for event in batch):
                    await began.wait()

    model = Waits([[Call("early"), Pause(0.001), Call("late"), Pause(0.001), Say("and more")], ["done"]])
    engine = Engine(Table({"m": model}), MemoryRunLog())
    done = await run(engine, early, Tool.of(late, early=False))
    kinds = [(type(event), getattr(event, "call", "")) for event in done.events]
    said = next(i for i, event in enumerate(done.events) if isinstance(event, events.TextDelta))
    assert kinds.index((events.ToolResult, "call_1")) < said < kinds.index((events.ToolResult, "call_2"))
    assert done.text == "and moredone"


async def test_calls_of_one_answer_run_in_parallel_with_a_bound() -> None:
    count = rounds.PARALLEL + 3
    here, most = 0, 0
    full = asyncio.Event()

    async def meet(n: int) -> int:
        nonlocal here, most
        here += 1
        most = max(most, here)
        if here == rounds.PARALLEL:
            full.set()
        await full.wait()
        here -= 1
        return n

    engine, model = make([Call("meet", {"n": n}) for n in range(count)], ["ok"])
    done = await run(engine, meet)
    assert most == rounds.PARALLEL
    assert [result.content for result in results(model.calls[1].request)] == [str(n) for n in range(count)]
    assert len(done.of(events.SpanEnd)) == count


def raises() -> None:
    raise ValueError("no such city")


def refuses() -> None:
    raise ToolError("try tomorrow")


def stops_iteration() -> None:
    raise StopIteration(3)


async def cancels_itself() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (Call("raises"), "ValueError: no such city"),
        (Call("refuses"), "try tomorrow"),
        (Call("stops_iteration"), "RuntimeError: StopIteration: 3"),
        (Call("cancels_itself"), "the tool cancelled itself"),
        (Call("add", {"a": "x"}), "a: Input should be a valid integer"),
        (Call("add", {"c": 1}), "a: is missing; c: there is no such argument"),
        (Call("add", '{"a": 1'), "not JSON"),
        (Call("add", "[1]"), "valid dictionary"),
        (Call("nothing"), "there is no tool 'nothing'; there are: add, cancels_itself"),
    ],
)
async def test_what_goes_wrong_is_told_to_the_model(call: Call, words: str) -> None:
    engine, model = make([call], ["I see."])
    done = await run(engine, raises, refuses, stops_iteration, cancels_itself, add)
    assert (done.end.outcome, done.text) == ("completed", "I see.")
    (result,) = done.of(events.ToolResult)
    assert words in result.error
    assert done.of(events.SpanEnd)[0].outcome == "failed"
    (told,) = results(model.calls[1].request)
    assert told.error == told.content == result.error
    assert done.end.result["tool_calls"][0]["error"] == result.error


async def test_a_tool_that_hangs_is_given_up() -> None:
    hold = threading.Event()
    stopped = threading.Event()

    def thread(context: ToolContext) -> None:
        hold.wait(30)
        context.status("late: nobody sees this")
        if context.stopped:
            stopped.set()

    async def coroutine() -> None:
        await asyncio.Event().wait()

    engine, _ = make([Call("thread"), Call("coroutine")], ["Too slow."])
    done = await run(engine, Tool.of(thread, timeout=0.02), Tool.of(coroutine, timeout=0.02))
    assert [event.error for event in done.of(events.ToolResult)] == ["no result within 0.02 s"] * 2
    assert done.text == "Too slow."
    hold.set()
    assert await asyncio.to_thread(stopped.wait, 10)
    assert not done.of(events.Status)


async def test_preliminary_results() -> None:
    async def steps() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    def blocking(context: ToolContext) -> Iterator[str]:
        yield "a"
        context.custom("half", {"call": context.call})
        yield "b"

    engine, model = make([Call("steps"), Call("blocking")], ["ok"])
    done = await run(engine, steps, blocking)

    def of(call: str) -> list[tuple[Any, bool]]:
        return [(e.value, e.preliminary) for e in done.of(events.ToolResult) if e.call == call]

    assert of("call_1") == [(0, True), (1, True), (2, True), (2, False)]
    assert of("call_2") == [("a", True), ("b", True), ("b", False)]
    assert [result.content for result in results(model.calls[1].request)] == ["2", "b"]
    (custom,) = done.of(events.Custom)
    assert (custom.name, custom.data) == ("half", {"call": "call_2"})


async def test_a_result_that_is_too_long() -> None:
    engine, _ = make([Call("long")], ["ok"])

    def long() -> str:
        return "x" * 11

    done = await run(engine, Tool.of(long, max_chars=10))
    assert "11 characters; 10 is the limit" in done.of(events.ToolResult)[0].error


async def test_rounds_are_bounded() -> None:
    ran: list[int] = []

    def again(n: int = 0) -> None:
        ran.append(n)

    engine, model = make(*[[Call("again", {"n": n})] for n in range(4)])
    done = await run(engine, again, max_rounds=3)
    assert (done.end.outcome, done.code) == ("failed", "tool-failed")
    assert "after 3 rounds (again); max_rounds" in done.end.error.message
    assert ran == [0, 1]  # nobody would read what the last round's calls say
    assert len(model.calls) == 3


async def test_a_tool_of_the_callers_ends_the_run() -> None:
    theirs = messages.ToolSpec("theirs", parameters={"type": "object"})
    engine, model = make([Call("add", {"a": 1}), Call("theirs", {"x": 1})], ["never"])
    done = await run(engine, add, theirs)
    assert (done.end.outcome, done.end.finish_reason) == ("completed", "tool-calls")
    assert done.end.result["tool_calls"] == [
        {"id": "call_1", "name": "add", "arguments": {"a": 1}, "value": 2},
        {"id": "call_2", "name": "theirs", "arguments": {"x": 1}},
    ]
    assert len(model.calls) == 1


async def test_calls_that_are_taken_back_are_cancelled() -> None:
    cancelled = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    gone = errors.ProviderError("gone", code="provider-overloaded")
    engine, first = make(
        [Call("slow"), Pause(0.001), Fail(gone)], spare=Scripted([[Call("add", {"a": 1})], ["x"]])
    )
    done = await run(engine, slow, add, fallbacks=("spare",), max_rounds=2)
    assert cancelled.is_set()
    assert done.of(events.OutputReset)[0].reason == "failover"
    ends = {span.span: span.outcome for span in done.of(events.SpanEnd)}
    assert sorted(ends.values()) == ["cancelled", "completed"]
    assert [event.call for event in done.of(events.ToolResult)] == ["call_1-2"]
    assert [call["name"] for call in done.end.result["tool_calls"]] == ["add"]
    assert len(first.calls) >= 1


async def test_a_failing_run_takes_its_tools_with_it() -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    engine, _ = make([Call("slow"), Pause(0.001), Drop()])
    done = await run(engine, slow)
    assert done.code == "stream-incomplete"
    assert [span.outcome for span in done.of(events.SpanEnd)] == ["cancelled"]


@pytest.mark.parametrize("script", [[Call("slow")], [Call("slow"), Pause(0.001), Hang()]])
async def test_stop_cancels_a_tool(script: list[Any]) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    engine, _ = make(script)
    active = await begin(engine, slow)
    await begun.wait()
    info = await engine.cancel(active.run)
    assert info.outcome == "cancelled"
    assert cleaned.is_set()
    done = await played(active)
    assert [span.outcome for span in done.of(events.SpanEnd)] == ["cancelled"]
    assert not done.of(events.ToolResult)


async def test_a_person_allows_and_refuses() -> None:
    engine, model = make([Call("add", {"a": 1}), Call("add", {"a": 2}), Call("add", {"a": 50})], ["ok"])
    guarded = Tool.of(add, approval=lambda arguments: arguments["a"] < 50)
    active = await begin(engine, guarded)
    asked: dict[str, Any] = {}
    follower = active.writer.log.follow(0)
    while (batch := await follower.next()) is not None and len(asked) < 2:
        asked |= {e.event.request: e.event for e in batch if isinstance(e.event, events.HumanRequest)}
    follower.close()
    assert [(q.kind, q.message, q.options, q.default) for q in asked.values()] == [
        ("approve", f"Allow add(a={n})?", [True, False], False) for n in (1, 2)
    ]
    with pytest.raises(errors.UsageError, match="must be true or false"):
        await engine.respond(active.run, "q1", "maybe")
    await engine.respond(active.run, "q1", True)
    await engine.respond(active.run, "q2", {"approved": False, "reason": "not that one"})
    with pytest.raises(NoSuchRequest, match="may have been answered"):
        await engine.respond(active.run, "q2", True)
    done = await played(active)
    assert [r.content for r in results(model.calls[1].request)] == [
        "2", "a person did not allow this call: not that one", "51",
    ]  # fmt: skip
    responses = done.of(events.HumanResponse)
    assert [event.request for event in responses] == ["q1", "q2"]
    assert responses[0].span == asked["q1"].span
    with pytest.raises(NoSuchRequest):
        await engine.respond(active.run, "q1", True)
    with pytest.raises(errors.ReadError):
        await engine.respond("run_none", "q1", True)


async def test_nobody_answers() -> None:
    engine, _ = make([Call("add", {"a": 1})], ["ok"])
    done = await run(engine, Tool.of(add, approval=True, approval_timeout=0.01))
    (asked,) = done.of(events.HumanRequest)
    assert asked.deadline is not None
    assert [(e.request, e.value) for e in done.of(events.HumanResponse)] == [("q1", False)]
    assert "did not allow" in done.of(events.ToolResult)[0].error


async def test_a_stop_while_a_person_is_asked() -> None:
    engine, _ = make([Call("add", {"a": 1})])
    active = await begin(engine, Tool.of(add, approval=True))
    await event_of(active, events.HumanRequest)
    assert active.questions.open == ["q1"]
    assert (await engine.cancel(active.run)).outcome == "cancelled"
    assert active.questions.open == []
    assert not (await played(active)).of(events.HumanResponse)


async def test_a_program_asks() -> None:
    engine, _ = make()

    async def program(context: Any) -> Any:
        chosen = await context.ask_human("select", "Which?", options=["a", "b"])
        given = await context.ask_human("input", "Name?", default="Ada", timeout=0.001)
        return [chosen, given]

    active = await engine.start(RunSpec(model="m", messages=(messages.user("hi"),)), program)
    asked = await event_of(active, events.HumanRequest)
    await engine.respond(active.run, asked.request, "b")
    assert (await played(active)).end.result["value"] == ["b", "Ada"]


async def test_rounds_inside_a_span() -> None:
    engine, _ = make([Call("add", {"a": 1})], ["two"])

    async def program(context: Any) -> Any:
        async with context.span("step", "sum") as span:
            talk = await rounds.converse(context, tools=as_tools([add]), span=span.id)
        return [talk.rounds, [message.role for message in talk.messages]]

    done = await played(await engine.start(RunSpec(model="m", messages=(messages.user("hi"),)), program))
    assert done.end.result["value"] == [2, ["user", "assistant", "tool", "assistant"]]
    step, call = done.of(events.SpanStart)
    assert (call.parent, call.kind) == (step.span, "tool")


async def test_after_a_failover_the_rounds_go_on_with_the_model_that_answered() -> None:
    gone = errors.ProviderError("gone", code="provider-error", retryable=False)
    first = Scripted([Fail(gone)], name="first")
    second = Scripted([[Call("add", {"a": 1})], [Drop()]], name="second")
    third = Scripted(["two"], name="third")
    engine = Engine(Table({"m": first, "b": second, "c": third}), MemoryRunLog())
    done = await run(engine, add, fallbacks=("b", "c"), retry=RetryPolicy(attempts=1))
    assert (done.end.outcome, done.text) == ("completed", "two")
    assert [event.provider for event in done.of(events.AttemptStart)] == [
        "first",
        "second",
        "second",
        "third",
    ]


async def test_what_proves_reasoning_goes_only_to_the_provider_that_made_it() -> None:
    thought = Think("Hm.", signature="of-first", encrypted="sealed-by-first")
    call = events.ToolCallEnd(call="c", block="b9", arguments={"a": 1}, signature="on-a-call")
    start = events.ToolCallStart(call="c", block="b9", name="add")
    first = Scripted(
        [[thought, start, call, Finish("tool-calls")], [Call("add", {"a": 2})], [Drop()]], name="first"
    )
    second = Scripted([[Think("Ho.", signature="of-second"), Call("add", {"a": 3})], ["done"]], name="second")
    engine = Engine(Table({"m": first, "b": second}), MemoryRunLog())
    done = await run(engine, add, fallbacks=("b",), retry=RetryPolicy(attempts=1))
    assert (done.end.outcome, done.text) == ("completed", "done")

    def proofs(request: Any) -> list[str]:
        parts = [part for message in request.messages for part in message.parts]
        found = [getattr(part, key, None) for part in parts for key in ("signature", "encrypted")]
        return [proof for proof in found if proof]

    own = ["of-first", "sealed-by-first", "on-a-call"]
    assert [proofs(request) for request in first.requests] == [[], own, own]
    assert [proofs(request) for request in second.requests] == [[], ["of-second"]]
    thoughts = [part for part in second.requests[0].messages[1].parts if isinstance(part, messages.Reasoning)]
    assert thoughts == [messages.Reasoning("Hm.")]
    assert len(results(second.requests[1])) == 3


async def test_the_real_engine_calls_a_function(engine: RealEngine) -> None:
    given: list[Any] = []

    @tool
    def lookup(word: str) -> dict[str, Any]:
        """Look a word up.

        Args:
            word: what to look for.
        """
        given.append(word)
        return {"word": word, "found": True}

    ours = engine_for(
        openai_base_url=engine.base_url,
        openai_api_key="none",
        anthropic_base_url=engine.url,
        anthropic_api_key="none",
    )
    for wire in ("openai", "openai-responses", "anthropic"):
        given.clear()
        done = await play(
            ours, f"{wire}:tiny", "What is a millrace?", tools=(lookup,), max_tokens=120, seed=4
        )
        assert done.end.outcome == "completed", done.end.error
        assert len(done.of(events.AttemptStart)) >= 2
        assert done.of(events.ToolResult)
        assert done.text
        assert done.end.usage.basis == "reported"
        assert all(isinstance(word, str) for word in given)
    await ours.close()
