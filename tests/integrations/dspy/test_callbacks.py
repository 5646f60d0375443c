"""Spans: who is in whom, for how long, with what usage; whose context ids are in which event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import headrace

dspy = pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

WORDS = "[a-z ]{8,40} [a-z]"
ANSWER = "[[ ## answer ## ]]\nIt is so.\n\n[[ ## completed ## ]]"


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_spans_nest_as_the_calls_do(keep: Any, scripted: Any, way: str) -> None:
    search = dspy.Tool(lambda query: f"found {query}", name="search")

    class Inner(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cot = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.cot(question=question)

        async def aforward(self, question: str) -> Any:
            return await self.cot.acall(question=question)

    @headrace.instrument(stream_fields=["answer"], sinks=[keep])
    class Outer(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, question: str) -> Any:
            with headrace.trace("prepare", k=3) as ctx:
                found = search(query=question)
                ctx.emit("found", {"count": 1})
                headrace.emit_event(headrace.StreamllEvent(event_type="mine", data={"n": 1}))
            return self.inner(question=found)

        async def aforward(self, question: str) -> Any:
            async with headrace.trace("prepare", k=3) as ctx:
                found = search(query=question)
                ctx.emit("found", {"count": 1})
                headrace.emit_event(headrace.StreamllEvent(event_type="mine", data={"n": 1}))
            return await self.inner.acall(question=found)

    async with scripted(ANSWER, cut=3) as model:
        with dspy.context(lm=model):
            module = Outer()
            found = await (
                module.acall(question="q") if way == "async" else asyncio.to_thread(module, question="q")
            )
    spans = keep.spans()
    kinds = {event.operation: event.data["kind"] for event in spans.values()}
    assert kinds == {
        "Outer": "module", "prepare": "trace", "search": "tool", "inner": "module", "inner.cot": "predictor",
        "ChatAdapter.format": "adapter", "openai/scripted": "lm", "ChatAdapter.parse": "adapter",
    }  # fmt: skip
    parents = {
        e.operation: spans[e.data["parent"]].operation if e.data.get("parent") else "" for e in spans.values()
    }
    assert parents == {
        "Outer": "", "prepare": "Outer", "search": "prepare", "inner": "Outer", "inner.cot": "inner",
        "ChatAdapter.format": "inner.cot", "openai/scripted": "inner.cot", "ChatAdapter.parse": "inner.cot",
    }  # fmt: skip
    by_name = {event.operation: event for event in keep.events if event.event_type == "end"}
    assert by_name["search"].data["value"] == "found q"
    assert by_name["openai/scripted"].data["elapsed_ms"] <= by_name["Outer"].data["elapsed_ms"]
    assert spans[by_name["openai/scripted"].span].data["attributes"]["model"] == "openai/scripted"
    assert spans[by_name["prepare"].span].data["attributes"] == {"k": 3}
    usage = next(event for event in keep.events if event.event_type == "usage")
    assert usage.span == by_name["openai/scripted"].span
    assert (usage.data["input_tokens"], usage.data["basis"]) == (7, "reported")
    assert [(e.event_type, e.span) for e in keep.events if e.event_type in ("found", "mine")] == [
        ("found", by_name["prepare"].span), ("mine", by_name["prepare"].span),
    ]  # fmt: skip
    last = keep.events[-1]
    assert (last.type, last.data["outcome"]) == ("run-end", "completed")
    assert last.data["result"] == {"value": {"answer": found.answer}}
    assert last.data["usage"]["input_tokens"] == 7
    assert keep.events[0].data["kind"] == "module"
    keep.check()


async def test_an_instrumented_module_inside_one_is_a_part_of_its_run(keep: Any, scripted: Any) -> None:
    @headrace.instrument(stream_fields=["answer"])
    class Inner(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question=question)

    @headrace.instrument(sinks=[keep])
    class Outer(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, question: str) -> Any:
            return self.inner(question=question)

    async with scripted(ANSWER, cut=3) as model:
        with dspy.context(lm=model):
            await asyncio.to_thread(Outer(), question="q")
    assert len({event.run for event in keep.events}) == 1
    assert [e.operation for e in keep.spans().values()][:3] == ["Outer", "inner", "inner.predict"]
    assert keep.text("answer") == "It is so."
    keep.check()


async def test_a_failing_tool_and_the_error_of_its_span(keep: Any) -> None:
    def broken(x: int) -> int:
        raise ValueError("no good")

    tool = dspy.Tool(broken)

    @headrace.instrument(sinks=[keep])
    class Uses(dspy.Module):
        def forward(self) -> Any:
            return tool(x=1)

    with pytest.raises(ValueError, match="no good"):
        await asyncio.to_thread(Uses())
    failed = [event for event in keep.events if event.event_type == "error"]
    assert [event.operation for event in failed] == ["broken", "Uses", "module"]
    assert failed[0].data["error"]["message"] == "no good"
    keep.check()


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_context_ids_never_leak_between_fifty_users(keep: Any, lm: Any, chat: Any, way: str) -> None:
    @headrace.instrument(stream_fields=["answer"], sinks=[keep])
    class QA(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("user -> answer")

        def forward(self, user: str) -> Any:
            return self.predict(user=user)

        async def aforward(self, user: str) -> Any:
            return await self.predict.acall(user=user)

    module = QA()

    async def user(name: str) -> None:
        headrace.set_context(user=name)
        await (module.acall(user=name) if way == "async" else asyncio.to_thread(module, user=name))

    with dspy.context(lm=lm(chat(answer="[a-z]{8,12}"), seed=None)):
        await asyncio.gather(*(user(f"u{n}") for n in range(50)))
    asked = {
        e.run: e.data["attributes"]["inputs"]["user"]
        for e in keep.events
        if e.operation == "QA" and e.event_type == "start"
    }
    assert len(asked) == 50
    assert {e.context["user"] == asked[e.run] for e in keep.events} == {True}
    keep.check()
