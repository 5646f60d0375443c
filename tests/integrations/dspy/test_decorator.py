"""`@instrument` on real DSPy: every kind of module, adapter and field; identical results; nothing leaks or breaks."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import pytest

import headrace
from headrace import errors
from headrace.integrations.dspy import internals
from headrace.sinks.base import BaseSink

dspy = pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

WORDS = "[a-z ]{8,40} [a-z]"
ADAPTERS = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": internals.adapters()["xml"]}


def qa(keep: Any, signature: Any = "question -> answer", fields: Any = ("answer",), make: Any = None) -> Any:
    """An instrumented module with one predictor."""

    @headrace.instrument(stream_fields=fields, sinks=[keep])
    class QA(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = (make or dspy.Predict)(signature)

        def forward(self, **inputs: Any) -> Any:
            return self.predict(**inputs)

        async def aforward(self, **inputs: Any) -> Any:
            return await self.predict.acall(**inputs)

    return QA()


async def called(module: Any, way: str, **inputs: Any) -> Any:
    """Call a module: in a thread, or as a coroutine."""
    return await (module.acall(**inputs) if way == "async" else asyncio.to_thread(module, **inputs))


def random_cut(seed: int) -> Callable[[str], list[str]]:
    def cut(text: str) -> list[str]:
        rng, out = random.Random(seed), []
        while text:
            n = rng.randint(1, 12)
            out.append(text[:n])
            text = text[n:]
        return out

    return cut


# -- the real engine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("backend", ["auto", "litellm"])
async def test_predict(keep: Any, lm: Any, chat: Any, way: str, backend: str) -> None:
    options = {"engine": backend} if hasattr(dspy.LM, "engine") else {}
    with dspy.context(lm=lm(chat(answer=WORDS), **options)):
        found = await called(qa(keep), way, question="What is a headrace?")
    assert keep.text("answer") == found.answer
    assert len(keep.tokens) > 4
    assert not any(token.cached for token in keep.tokens)
    keep.check()


@pytest.mark.parametrize("fields", [["reasoning"], ["answer"], ["reasoning", "answer"]])
async def test_chain_of_thought_either_field_or_both(
    keep: Any, lm: Any, chat: Any, fields: list[str]
) -> None:
    module = qa(keep, fields=fields, make=dspy.ChainOfThought)
    with dspy.context(lm=lm(chat(reasoning=WORDS, answer=WORDS))):
        found = await called(module, "async", question="Why?")
    assert {token.field for token in keep.tokens} == set(fields)
    for field in fields:
        assert keep.text(field) == str(found[field])
    keep.check()


async def test_several_predictors_nested_and_in_lists_and_dicts(keep: Any, lm: Any, chat: Any) -> None:
    class Inner(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = [dspy.Predict("text -> step"), dspy.Predict("text -> step")]
            self.named = {"last": dspy.Predict("text -> answer")}

        def forward(self, text: str) -> Any:
            for step in self.steps:
                text = step(text=text).step
            return self.named["last"](text=text)

    @headrace.instrument(stream_fields=["summary", "step", "answer"], sinks=[keep])
    class Pipeline(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.summarize = dspy.Predict("text -> summary")
            self.inner = Inner()
            self.found: list[str] = []

        def forward(self, text: str) -> Any:
            first = self.summarize(text=text)
            self.found.append(first.summary)
            return self.inner(text=first.summary)

    grammars = [chat(**{name: WORDS}) for name in ("summary", "step", "answer")]
    pipeline = Pipeline()
    pipeline.summarize.lm = lm(grammars[0])
    for step in pipeline.inner.steps:
        step.lm = lm(grammars[1])
    pipeline.inner.named["last"].lm = lm(grammars[2])
    found = await called(pipeline, "sync", text="A text.")
    assert keep.text("summary") == pipeline.found[0]
    assert keep.text("answer") == found.answer
    spans = {event.operation: event for event in keep.spans().values()}
    assert {"summarize", "inner", "inner.steps[0]", "inner.steps[1]", "inner.named[last]"} <= set(spans)
    for number in (0, 1):
        span = spans[f"inner.steps[{number}]"].span
        assert spans[f"inner.steps[{number}]"].data["parent"] == spans["inner"].span
        assert len(keep.text("step", span)) > 4
    keep.check()


async def test_react_with_a_tool(keep: Any, scripted: Any) -> None:
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    turn, done = (
        written("chat", {"next_thought": thought, "next_tool_name": tool, "next_tool_args": arguments})
        for thought, tool, arguments in (("I look.", "weather", {"city": "Rome"}), ("I know.", "finish", {}))
    )
    last = (
        "[[ ## reasoning ## ]]\nIt said so.\n\n[[ ## answer ## ]]\nSunny, of course.\n\n[[ ## completed ## ]]"
    )
    module = qa(
        keep,
        fields=["next_thought", "next_tool_args", "answer"],
        make=lambda s: dspy.ReAct(s, tools=[weather]),
    )
    async with scripted(turn, done, last, cut=5) as model:
        with dspy.context(lm=model):
            found = await called(module, "sync", question="The weather in Rome?")
    assert keep.text("answer") == found.answer == "Sunny, of course."
    assert keep.text("next_thought") == "I look.I know."
    assert [json.loads(t) for t in keep.text("next_tool_args").replace("}{", "}\n{").splitlines()] == [
        {"city": "Rome"},
        {},
    ]
    tools = [event for event in keep.spans().values() if event.data["kind"] == "tool"]
    assert [event.operation for event in tools] == ["weather", "finish"]
    ended = {event.span: event for event in keep.events if event.event_type == "end"}
    assert ended[tools[0].span].data["value"] == "sunny in Rome"
    keep.check()


class Person(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str]


class Typed(dspy.Signature):
    """Answer in several types."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
    count: int = dspy.OutputField()
    sure: bool = dspy.OutputField()
    tags: list[str] = dspy.OutputField()
    person: Person = dspy.OutputField()
    mood: Literal["good", "bad"] = dspy.OutputField()


TYPED = {
    "answer": 'Sure: [[is]] a <b>, "quoted" – 世界',
    "count": 42,
    "sure": True,
    "tags": ["a", "b [c]", "ü"],
    "person": {"name": 'Ann \\ "x"', "age": 3, "tags": []},
    "mood": "good",
}


def written(adapter: str, fields: dict[str, Any]) -> str:
    """An answer in an adapter's format."""
    if adapter == "json":
        return json.dumps(fields, ensure_ascii=False, indent=2)

    def text(value: Any) -> str:
        found = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if adapter == "xml" and internals.format_of(ADAPTERS["xml"]())[1]:
            found = found.replace("&", "&amp;").replace("<", "&lt;")
        return found

    if adapter == "xml":
        return "\n".join(f"<{name}>\n{text(value)}\n</{name}>" for name, value in fields.items())
    body = "".join(f"[[ ## {name} ## ]]\n{text(value)}\n\n" for name, value in fields.items())
    return body + "[[ ## completed ## ]]"


@pytest.mark.parametrize("cut", [1, 7, 0, "random"])
@pytest.mark.parametrize("adapter", list(ADAPTERS))
async def test_typed_fields_in_every_adapter_and_cut(
    keep: Any, scripted: Any, adapter: str, cut: Any
) -> None:
    module = qa(keep, Typed, list(TYPED))
    async with scripted(written(adapter, TYPED), cut=random_cut(3) if cut == "random" else cut) as model:
        with dspy.context(lm=model, adapter=ADAPTERS[adapter]()):
            found = await called(module, "async", question="?")
    assert keep.text("answer") == found.answer == TYPED["answer"]
    assert keep.text("mood") == found.mood
    for name in ("count", "sure", "tags"):
        assert json.loads(keep.text(name)) == found[name] == TYPED[name]
    assert json.loads(keep.text("person")) == found.person.model_dump() == TYPED["person"]
    if cut == 1:
        assert len([t for t in keep.tokens if t.field == "tags"]) > 5
    ends = {e.data["path"]: e.data.get("value") for e in keep.events if e.type == "field-end"}
    if keep.text("person")[:1] == "{" and adapter != "xml":
        assert [ends[f"/tags/{n}"] for n in range(3)] == TYPED["tags"]
        assert (ends["/person/name"], ends["/person/age"]) == ('Ann \\ "x"', 3)
        assert (ends["/tags"], ends["/count"]) == (TYPED["tags"], 42)
    keep.check()


@pytest.mark.parametrize("adapter", list(ADAPTERS))
async def test_the_real_engine_through_every_adapter(keep: Any, lm: Any, chat: Any, adapter: str) -> None:
    grammar = {"chat": chat(answer=WORDS), "xml": 'root ::= "<answer>\\n" ' + WORDS + ' "\\n</answer>"'}
    answer = {"type": "string", "minLength": 20, "maxLength": 60}
    schema = {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    body = {"response_format": form} if adapter == "json" else {"grammar": grammar[adapter]}
    with dspy.context(lm=lm(extra_body=body), adapter=ADAPTERS[adapter]()):
        found = await called(qa(keep), "sync", question="?")
    assert keep.text("answer") == found.answer
    assert len(keep.tokens) > 4
    keep.check()


async def test_unicode_and_a_signature_of_ones_own(keep: Any, scripted: Any) -> None:
    class Translate(dspy.Signature):
        """Translate."""

        text: str = dspy.InputField()
        translation: str = dspy.OutputField(desc="Japanese")

    text = "こんにちは世界 👩‍🚀 – naïve\n\nzweiter Absatz"
    async with scripted(written("chat", {"translation": text}), cut=1) as model:
        with dspy.context(lm=model):
            found = await called(qa(keep, Translate, ["translation"]), "sync", text="Hello")
    assert keep.text("translation") == found.translation == text
    assert "".join(t.token for t in keep.tokens[:5]) == "こんにちは"
    keep.check()


# -- one instance, many callers --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_one_instance_twenty_times_at_once(keep: Any, lm: Any, chat: Any, way: str) -> None:
    module = qa(keep)
    with dspy.context(lm=lm(chat(answer=WORDS), seed=None)):
        found = await asyncio.gather(*(called(module, way, question=f"Number {n}") for n in range(20)))
    runs: dict[str, str] = {}
    asked: dict[str, str] = {}
    for event in keep.events:
        if event.event_type == "start" and event.operation == "QA":
            asked[event.run] = event.data["attributes"]["inputs"]["question"]
        if event.event_type == "token":
            runs[event.run] = runs.get(event.run, "") + event.token  # type: ignore[attr-defined]
    assert len(runs) == 20
    expected = {f"Number {n}": prediction.answer for n, prediction in enumerate(found)}
    assert {asked[run]: text for run, text in runs.items()} == expected
    keep.check()


async def test_called_twice(keep: Any, lm: Any, chat: Any) -> None:
    module = qa(keep)
    with dspy.context(lm=lm(chat(answer=WORDS))):
        first = await called(module, "sync", question="one")
        second = await called(module, "async", question="two")
    runs = list(dict.fromkeys(event.run for event in keep.events))
    texts = ["".join(t.token for t in keep.tokens if t.run == run) for run in runs]
    assert texts == [first.answer, second.answer]
    keep.check()


async def test_parallel_threads_of_dspy(keep: Any, scripted: Any) -> None:
    @headrace.instrument(stream_fields=["answer"], sinks=[keep])
    class Many(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, questions: list[str]) -> Any:
            pairs = [(self.predict, dspy.Example(question=q).with_inputs("question")) for q in questions]
            return dspy.Prediction(
                answers=[p.answer for p in dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs)]
            )

    async with scripted(written("chat", {"answer": "the same for all"}), cut=3) as model:
        with dspy.context(lm=model):
            found = await called(Many(), "sync", questions=["a", "b", "c"])
    spans = [event.span for event in keep.spans().values() if event.operation == "predict"]
    assert len(spans) == 3
    assert [keep.text("answer", span) for span in spans] == found.answers
    keep.check()


# -- the same program as without -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_results_are_those_without(keep: Any, lm: Any, chat: Any, way: str) -> None:
    class Plain(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.ChainOfThought("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question=question)

        async def aforward(self, question: str) -> Any:
            return await self.predict.acall(question=question)

    class Twin(Plain):
        pass

    instrumented = headrace.instrument(stream_fields=["answer"], sinks=[keep])(Twin)()
    with dspy.context(lm=lm(chat(reasoning=WORDS, answer=WORDS)), track_usage=True):
        a = await called(Plain(), way, question="Same?")
        b = await called(instrumented, way, question="Same?")
    assert a.toDict() == b.toDict()
    usage = [next(iter(p.get_lm_usage().values())) for p in (a, b)]
    for name in ("prompt_tokens", "completion_tokens"):
        assert usage[0][name] == usage[1][name]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_cache_hit_is_replayed_as_tokens_marked_cached(keep: Any, scripted: Any, way: str) -> None:
    text = "one two  three\nfour"
    async with scripted(written("chat", {"answer": text}), cut=4, cache=True, plain=1) as model:
        with dspy.context(lm=model):
            bare = await called(dspy.Predict("question -> answer"), way, question=f"cached {way}")
            assert not keep.events
            found = await called(qa(keep), way, question=f"cached {way}")
        assert len(model.server.requests) == 1  # the cache of the program without
    assert keep.text("answer") == found.answer == bare.answer == text
    assert all(token.cached for token in keep.tokens)
    assert len(keep.tokens) > 3
    assert any(
        e.data.get("cached")
        for e in keep.events
        if e.event_type == "end" and e.operation == "openai/scripted"
    )
    keep.check()


async def test_an_adapter_that_asks_again_takes_back_what_was_shown(keep: Any, scripted: Any) -> None:
    bad = "[[ ## answer ## ]]\nnot a number of days\n\n[[ ## days ## ]]\nmany\n\n[[ ## completed ## ]]"
    good = json.dumps({"answer": "seven it is", "days": 7})
    module = qa(keep, "question -> answer, days: int", ["answer", "days"])
    async with scripted(bad, good, cut=6) as model:
        with dspy.context(lm=model):
            found = await called(module, "async", question="?")
        assert len(model.server.requests) == 2
    assert (found.answer, found.days) == ("seven it is", 7)
    reset = next(i for i, e in enumerate(keep.events) if e.type == "output-reset")
    after = [e for e in keep.events[reset:] if e.event_type == "token"]
    assert "".join(e.token for e in after if e.field == "answer") == "seven it is"  # type: ignore[attr-defined]
    assert "".join(e.token for e in after if e.field == "days") == "7"  # type: ignore[attr-defined]
    keep.check()


async def test_an_adapter_of_ones_own_is_told_in_one_piece(keep: Any, scripted: Any) -> None:
    class Own(dspy.ChatAdapter):
        def parse(self, signature: Any, completion: str) -> dict[str, Any]:
            return {"answer": completion.upper()}

    async with scripted("quite another format", plain=1) as model:
        with dspy.context(lm=model, adapter=Own()):
            found = await called(qa(keep), "async", question="?")
    assert [t.token for t in keep.tokens] == [found.answer, ""] == ["QUITE ANOTHER FORMAT", ""]
    keep.check()


async def test_an_lm_that_does_not_stream_and_several_completions(keep: Any, lm: Any, chat: Any) -> None:
    dummy = dspy.utils.DummyLM([{"answer": "from a list"}])
    with dspy.context(lm=dummy):
        found = await called(qa(keep), "sync", question="?")
    assert keep.text("answer") == found.answer == "from a list"
    assert not any(token.cached for token in keep.tokens)
    keep.check()


async def test_truncated_by_length(keep: Any, scripted: Any) -> None:
    async with scripted("[[ ## answer ## ]]\nand then it br", cut=3, finish="length") as model:
        with dspy.context(lm=model):
            found = await called(qa(keep), "async", question="?")
    assert keep.text("answer") == found.answer == "and then it br"
    assert keep.tokens[-1].finish_reason == "length"
    keep.check()


async def test_exceptions_pass_through_unchanged(keep: Any, scripted: Any) -> None:
    class Mine(Exception):
        pass

    @headrace.instrument(stream_fields=["answer"], sinks=[keep])
    class Raises(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            self.predict(question=question)
            raise self.error

    module = Raises()
    module.error = Mine("as it was")
    async with scripted(written("chat", {"answer": "x y"}), cut=2) as model:
        with dspy.context(lm=model):
            with pytest.raises(Mine) as raised:
                await called(module, "sync", question="?")
    assert raised.value is module.error
    last = keep.events[-1]
    assert (last.event_type, last.type, last.data["outcome"]) == ("error", "run-end", "failed")
    assert last.data["error"]["message"] == "as it was"
    assert last.data["error"]["details"]["type"].endswith("Mine")
    keep.check()


async def test_a_provider_that_fails_is_the_programs_own_error(keep: Any, scripted: Any) -> None:
    plain, instrumented = dspy.Predict("question -> answer"), qa(keep)
    text = "nothing in a format"
    async with scripted(text, text, cut=2, plain=1) as model:
        with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
            kinds = []
            for module in (plain, instrumented):
                with pytest.raises(Exception) as raised:
                    await called(module, "async", question="?")
                kinds.append((type(raised.value), str(raised.value)))
    assert kinds[0] == kinds[1]
    assert keep.events[-1].data["outcome"] == "failed"


# -- what is asked for ----------------------------------------------------------------------------------------


def test_only_modules_can_be_instrumented() -> None:
    with pytest.raises(TypeError, match="subclasses of dspy"):
        headrace.instrument(object)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="subclasses of dspy"):
        headrace.instrument(stream_fields=["a"])(len)  # type: ignore[type-var]
    with pytest.raises(errors.UsageError, match="no operation 'steps'; there are module, predictor"):
        headrace.instrument(operations=["steps"])


async def test_twice_has_no_effect_subclasses_included(keep: Any, lm: Any, chat: Any) -> None:
    module = qa(keep)
    cls = type(module)
    before = cls.__call__
    assert headrace.instrument(cls) is cls
    assert cls.__call__ is before

    @headrace.instrument(stream_fields=["nothing"])
    class Child(cls):  # type: ignore[misc,valid-type]
        pass

    with dspy.context(lm=lm(chat(answer=WORDS))):
        found = await called(Child(), "sync", question="?")
    assert keep.text("answer") == found.answer
    assert len([e for e in keep.events if e.type == "run-end"]) == 1


def test_a_field_that_is_not_there_is_an_error_that_lists_those_there_are(keep: Any) -> None:
    module = qa(keep, fields=["anwser"], make=dspy.ChainOfThought)
    with pytest.raises(errors.UsageError) as raised:
        module(question="?")
    assert raised.value.message == (
        "QA has no output field 'anwser' to stream; there are 'reasoning' (predict.predict),"
        " 'answer' (predict.predict)"
    )
    assert not keep.events


async def test_the_fields_of_one_call_are_set_inside_forward(keep: Any, lm: Any, chat: Any) -> None:
    @headrace.instrument(sinks=[keep])
    class Adaptive(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        async def aforward(self, question: str) -> Any:
            self._headrace_stream_fields = ["answer"] if len(question) > 10 else []
            await asyncio.sleep(0.01)  # the other calls set theirs meanwhile
            return await self.predict.acall(question=question)

    module = Adaptive()
    with dspy.context(lm=lm(chat(answer=WORDS))):
        await asyncio.gather(*(module.acall(question="x" * n) for n in (3, 30, 4, 40)))
    asked = {
        e.run: e.data["attributes"]["inputs"]["question"]
        for e in keep.events
        if e.operation == "Adaptive" and e.event_type == "start"
    }
    streamed = {asked[token.run] for token in keep.tokens}
    assert {len(question) for question in streamed} == {30, 40}
    assert module._streamll_stream_fields == []
    module._streamll_stream_fields = ["answer"]
    assert module._headrace_stream_fields == ["answer"]
    keep.check()


async def test_what_is_told_can_be_chosen(scripted: Any, keep: Any) -> None:
    @headrace.instrument(
        stream_fields=["answer"],
        sinks=[keep],
        include_inputs=False,
        include_outputs=False,
        operations=["forward", "lm"],
        event_filter=["start", "token", "run-end"],
    )
    class QA(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.predict(question=question)

    async with scripted(written("chat", {"answer": "one two"}), cut=2) as model:
        with dspy.context(lm=model):
            await called(QA(), "sync", question="secret")
    spans = keep.spans()
    assert [event.data["kind"] for event in spans.values()] == ["module", "lm"]
    assert spans["s2"].data["parent"] == "s1"
    assert "secret" not in repr(keep.events)
    assert {event.type for event in keep.events} == {"run-start", "span-start", "field-delta", "run-end"}
    assert keep.text("answer") == "one two"


async def test_dspy_streamify_around_it_still_streams(keep: Any, scripted: Any) -> None:
    module = qa(keep)
    listener = dspy.streaming.StreamListener(signature_field_name="answer", predict=module.predict)
    async with scripted(written("chat", {"answer": "one two three four five six seven"}), cut=4) as model:
        with dspy.context(lm=model):
            program = dspy.streamify(module, stream_listeners=[listener], is_async_program=True)
            seen = [value async for value in program(question="?")]
    chunks = [value.chunk for value in seen if isinstance(value, dspy.streaming.StreamResponse)]
    assert "".join(chunks).strip() == seen[-1].answer
    assert keep.text("answer") == seen[-1].answer
    keep.check()


class Stuck(BaseSink):
    """Blocks in its first event until the test is over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.let_go = threading.Event()

    def handle_event(self, event: Any) -> None:
        self.let_go.wait(30)


class Raising(BaseSink):
    def handle_event(self, event: Any) -> None:
        raise RuntimeError("never works")


async def test_sinks_that_block_raise_or_are_full_change_nothing(keep: Any, lm: Any, chat: Any) -> None:
    stuck, full = Stuck(), Stuck(buffer_size=2, overflow="raise")
    module = headrace.instrument(stream_fields=["answer"], sinks=[stuck, Raising(), full, keep])(
        type("QA", (dspy.Module,), {"__init__": build, "forward": forward})
    )()
    with dspy.context(lm=lm(chat(answer=WORDS))):
        found = await called(
            module, "sync", question="?"
        )  # ends while both sinks are still in their first event
    stuck.let_go.set()
    full.let_go.set()
    assert keep.text("answer") == found.answer
    assert keep.events[-1].data["outcome"] == "completed"
    keep.check()


def build(self: Any) -> None:
    self.predict = dspy.Predict("question -> answer")


def forward(self: Any, question: str) -> Any:
    return self.predict(question=question)
