"""Structured answers through the engine: fields, early rejection, asking again, failover, truncation, tools."""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import Any, Literal

import pydantic
import pytest

import headrace
from headrace import errors, events, messages
from headrace.outputs.shape import Shape
from headrace.protocol.retry import RetryPolicy
from headrace.providers.base import Capabilities
from headrace.providers.scripted import Call, Drop, Fail, Finish, Hang, Say, Script, Scripted, Usage, by_size
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.testing.runs import Played

WORDS = Capabilities(json_schema=False)
NATIVE = Capabilities()
APART = Capabilities(schema_with_tools=False)


class Line(pydantic.BaseModel):
    name: str
    amount: float


class Invoice(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    number: str
    day: datetime.date
    status: Literal["open", "paid"]
    lines: list[Line] = pydantic.Field(max_length=3)


VALUE = {
    "number": "A-17",
    "day": "2026-11-20",
    "status": "paid",
    "lines": [{"name": "a gate", "amount": 12.5}, {"name": "a wheel", "amount": 3.0}],
}
GOOD = json.dumps(VALUE)
WRONG = GOOD.replace('"paid"', '"lost"')
LATE = GOOD.replace("2026-11-20", "2026-11-31")


def small(text: str, size: int = 4) -> Say:
    return Say(text, pieces=by_size(size), every=0.001)  # `tick` makes it no time, and each piece a batch


async def tick(seconds: float) -> None:
    await asyncio.sleep(0)


class Table:
    def __init__(self, **providers: Scripted) -> None:
        self.providers = providers

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.providers[name], name

    async def close(self) -> None: ...


def scripted(*answers: Script, capabilities: Capabilities = NATIVE) -> Scripted:
    scripts: Any = [[a] if isinstance(a, str | Say) else list(a) for a in answers]  # type: ignore[arg-type]
    return Scripted(scripts, sleep=tick, capabilities=capabilities)


async def play(model: Scripted, **options: Any) -> tuple[Played, headrace.Result | errors.HeadraceError]:
    engine = Engine(Table(m=model), MemoryRunLog())
    options = {"output": Invoice, "engine": engine, **options}
    async with headrace.stream("m", "the invoice", **options) as run:
        result: headrace.Result | errors.HeadraceError
        try:
            result = await run.result()
        except errors.HeadraceError as error:
            result = error
        found = [event async for event in run]
    return Played(run.id, found), result


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in leaves(inner, f"{path}/{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for i, inner in enumerate(value) for k, v in leaves(inner, f"{path}/{i}").items()}
    return {path: value}


# what is asked for, and what comes


async def test_fields_stream_behind_their_text_and_the_value_is_checked() -> None:
    model = scripted(small(GOOD))
    played, result = await play(model)
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    assert result.output.day == datetime.date(2026, 11, 20)
    assert (result.text, result.rejections, result.tokens_saved) == (GOOD, [], None)
    ends = {e.path: e.value for e in played.of(events.FieldEnd)}
    assert ends == leaves(VALUE)
    texts: dict[str, str] = {}
    for event in played.of(events.FieldDelta):
        texts[event.path] = texts.get(event.path, "") + event.delta
    assert texts == {path: value for path, value in leaves(VALUE).items() if isinstance(value, str)}
    kinds = [event.type for event in played.events]
    assert kinds.index("output") > kinds.index("attempt-end")
    (output,) = played.of(events.Output)
    assert output.value == VALUE
    assert played.end.result["output"] == VALUE


async def test_a_provider_with_schemas_gets_the_schema() -> None:
    model = scripted(small(GOOD))
    await play(model)
    (request,) = model.requests
    assert request.output_schema is not None
    assert set(request.output_schema["properties"]) == set(VALUE)
    assert request.output_name == "Invoice"
    assert request.messages == (messages.user("the invoice"),)


async def test_a_provider_without_schemas_gets_it_in_words_and_may_answer_in_prose() -> None:
    model = scripted(
        small(f"<think>{{hm</think>Here it is:\n```json\n{GOOD}\n```\nThat is all."), capabilities=WORDS
    )
    played, result = await play(model)
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    (request,) = model.requests
    assert request.output_schema is None
    assert '"lines"' in "".join(message.text for message in request.messages)
    assert {e.path: e.value for e in played.of(events.FieldEnd)} == leaves(VALUE)
    assert result.text.startswith("<think>")


class Branch(pydantic.BaseModel):
    name: str
    branches: list[Branch] = []


@pytest.mark.parametrize("flavour", ["anthropic", "openai-strict", "grammar", "gemini"])
async def test_a_schema_that_the_provider_cannot_hold_is_put_into_words(flavour: str) -> None:
    tree = {"name": "root", "branches": [{"name": "leaf", "branches": []}]}
    model = scripted(small(json.dumps(tree)), capabilities=Capabilities(schema_flavour=flavour))
    played, result = await play(model, output=Branch)
    assert isinstance(result, headrace.Result)
    assert result.output == Branch.model_validate(tree)
    (request,) = model.requests
    asked = request.messages[-1].text
    holds = model.capabilities("m").holds(Shape.of(Branch).schema)
    assert holds == (flavour != "anthropic")
    assert (request.output_schema is not None) == holds
    assert ('"branches"' in asked and "the invoice" in asked) != holds
    assert [field.path for field in played.of(events.FieldEnd)] == [
        "/name",
        "/branches/0/name",
        "/branches/0/branches",
    ]


async def test_after_a_failover_an_answer_is_asked_for_again_where_it_came_from() -> None:
    broken = scripted([Fail(errors.ProviderError("no", code="auth-failed"))])
    other = scripted(small(WRONG), small(LATE), small(GOOD))
    engine = Engine(Table(m=broken, other=other), MemoryRunLog())
    options = {"fallbacks": ["other"], "output_retries": 2}
    async with headrace.stream("m", "x", output=Invoice, engine=engine, **options) as run:
        result = await run.result()
    assert result.output == Invoice.model_validate(VALUE)
    assert (len(broken.requests), len(other.requests)) == (1, 3)


async def test_a_json_schema_is_an_output_too() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    for name in ("output", "output_schema"):
        options = {"output": None, name: schema}
        _, result = await play(scripted('{"n": 3}'), **options)
        assert isinstance(result, headrace.Result)
        assert result.output == {"n": 3}


@pytest.mark.parametrize(("output", "text", "value"), [(list[int], "[1, 2]", [1, 2]), (int, "42", 42)])
async def test_any_type_can_be_the_whole_answer(output: Any, text: str, value: Any) -> None:
    for capabilities in (NATIVE, WORDS):
        played, result = await play(scripted(text, capabilities=capabilities), output=output)
        assert isinstance(result, headrace.Result)
        assert result.output == value
        if capabilities is NATIVE or output is not int:
            assert {event.path: event.value for event in played.of(events.FieldEnd)} == leaves(value)


async def test_misuse_is_told_at_once() -> None:
    with pytest.raises(errors.UsageError):
        headrace.stream("m", "x", output=Invoice, output_schema={"type": "object"})
    with pytest.raises(errors.UsageError):
        headrace.stream("m", "x", output={"type": "nothing"})


# an answer that does not fit


async def test_an_answer_that_can_no_longer_fit_is_stopped_and_asked_for_again() -> None:
    model = scripted(small(WRONG + " " * 400), small(GOOD))
    played, result = await play(model)
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    assert model.calls[0].closed_early, "the provider's stream was closed"
    first, second = played.of(events.AttemptEnd)
    assert (first.outcome, first.reason) == ("failed", "output-rejected")
    assert (second.outcome, second.reason) == ("completed", "stop")
    (reset,) = played.of(events.OutputReset)
    assert reset.reason == "early-reject"
    (rejection,) = result.rejections
    assert rejection["reason"] == "early-reject"
    assert rejection["problems"][0]["path"] == "/status"
    assert GOOD.startswith(rejection["text"][:40])
    assert '"lost' not in rejection["text"] or len(rejection["text"]) < len(WRONG)
    shown = "".join(e.delta for e in played.of(events.TextDelta) if e.block in reset.blocks)
    assert shown == rejection["text"], "the reader saw what was refused, and nothing behind it"
    asked = model.requests[1].messages
    assert [message.role for message in asked] == ["user", "assistant", "user"]
    assert asked[1].text == rejection["text"]
    assert "status" in asked[2].text


async def test_the_tokens_that_an_early_stop_saves_are_counted() -> None:
    usage = Usage(input_tokens=10, output_tokens=60, basis="reported")
    played, result = await play(scripted(small(WRONG), [small(GOOD), usage]))
    assert isinstance(result, headrace.Result)
    (rejection,) = result.rejections
    assert result.tokens_saved == 60 - rejection["output_tokens"] > 20
    assert played.end.result["tokens_saved"] == result.tokens_saved


async def test_a_whole_answer_that_is_wrong_is_asked_for_again() -> None:
    model = scripted("no JSON at all", GOOD[:-30], small(GOOD), capabilities=WORDS)
    played, result = await play(model)
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    assert [reset.reason for reset in played.of(events.OutputReset)] == ["validation"] * 2
    assert [rejection["reason"] for rejection in result.rejections] == ["validation"] * 2
    assert result.rejections[1]["problems"]
    assert played.text == GOOD


async def test_a_provider_that_does_not_keep_its_promise_gets_the_schema_in_words_too() -> None:
    model = scripted("Here you are:", f"Here you are: {GOOD}")
    _, result = await play(model)
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    first, second = model.requests
    assert first.output_schema == second.output_schema is not None
    assert "JSON Schema" not in first.messages[-1].text
    assert "JSON Schema" in second.messages[-1].text


async def test_halves_of_characters_do_no_harm() -> None:
    text = GOOD.replace("A-17", "A\\ud83d")
    played, result = await play(scripted(small(text)))
    assert isinstance(result, headrace.Result)
    assert result.output.number == "A\ufffd"
    assert b"A\xef\xbf\xbd" in events.encode(played.of(events.Output)[0])


async def test_the_last_failure_has_every_attempt() -> None:
    played, error = await play(scripted(small(WRONG), "nothing", "no more", capabilities=WORDS))
    assert isinstance(error, errors.RunError)
    assert (error.code, error.retryable) == ("output-rejected", True)
    assert "3 tries" in error.message
    assert [attempt["reason"] for attempt in error.details["attempts"]] == [
        "early-reject",
        "validation",
        "validation",
    ]
    assert all(attempt["text"] and attempt["problems"] for attempt in error.details["attempts"])
    assert played.end.outcome == "failed"
    assert "output" not in played.end.result
    assert played.text == ""


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_retries_are_bounded(retries: int) -> None:
    model = scripted(*["nothing"] * 10, capabilities=WORDS)
    _, error = await play(model, output_retries=retries)
    assert isinstance(error, errors.RunError)
    assert len(model.calls) == retries + 1


async def test_an_answer_cut_off_by_length_is_an_error_with_what_there_was() -> None:
    model = scripted([small(GOOD[:60]), Finish("length")], GOOD)
    _, error = await play(model)
    assert isinstance(error, errors.RunError)
    assert (error.code, error.retryable, error.details["reason"]) == ("output-rejected", False, "length")
    assert error.details["partial"]["number"] == "A-17"
    assert error.details["attempts"][0]["text"] == GOOD[:60]
    assert len(model.calls) == 1


async def test_a_whole_value_at_the_limit_is_a_value() -> None:
    _, result = await play(scripted([small(GOOD), Finish("length")]))
    assert isinstance(result, headrace.Result)
    assert (result.finish_reason, result.output.number) == ("length", "A-17")


async def test_a_content_filter_is_no_wrong_answer() -> None:
    _, result = await play(scripted([small(GOOD[:30]), Finish("content-filter")]))
    assert isinstance(result, headrace.Result)
    assert (result.finish_reason, result.output, result.rejections) == ("content-filter", None, [])


# stop and failover in the middle of a field


async def test_stopped_in_mid_field() -> None:
    engine = Engine(Table(m=scripted([small('{"number": "A-17", "day": "2026-1'), Hang()])), MemoryRunLog())
    async with headrace.stream("m", "x", output=Invoice, engine=engine) as run:
        async for field in run.fields():
            if field.path == "/day":
                break
        result = await run.cancel()
        found = [event async for event in run]
        last = [value async for value in run.partials()][-1]
        assert run.is_complete("/number")
        assert not run.is_complete("/day")
    assert result.outcome == "cancelled"
    assert result.output is None
    played = Played(run.id, found)
    assert [(e.path, e.cut) for e in played.of(events.FieldEnd)] == [("/number", False), ("/day", True)]
    assert last.number == "A-17"


async def test_failover_in_mid_field_begins_again_and_may_change_the_mode() -> None:
    broken = scripted([small('{"number": "A-17", "day": "2026-1'), Drop()])
    other = scripted(small(f"Here: {GOOD}"), capabilities=WORDS)
    engine = Engine(Table(m=broken, other=other), MemoryRunLog())
    retry = RetryPolicy(attempts=1)
    options = {"fallbacks": ["other"], "failover": "continue", "retry": retry}
    async with headrace.stream("m", "x", output=Invoice, engine=engine, **options) as run:
        result = await run.result()
        found = [event async for event in run]
    played = Played(run.id, found)
    assert result.output == Invoice.model_validate(VALUE)
    assert [reset.reason for reset in played.of(events.OutputReset)] == ["failover"]
    assert result.text == f"Here: {GOOD}"
    assert other.requests[0].output_schema is None
    assert result.rejections == []


async def test_a_retry_before_the_first_token_reads_anew() -> None:
    busy = errors.ProviderError("busy", code="provider-overloaded")
    _, result = await play(scripted([Fail(busy)], small(GOOD)), retry=RetryPolicy(attempts=2, base=0.001))
    assert isinstance(result, headrace.Result)
    assert result.output.number == "A-17"


# growing values


async def test_partials_grow_and_end_with_the_checked_value() -> None:
    model = Scripted([Say(GOOD, pieces=by_size(3), every=0.01)], sleep=tick)
    engine = Engine(Table(m=model), MemoryRunLog())
    moments: list[Any] = []
    complete: list[bool] = []
    async with headrace.stream("m", "x", output=Invoice, engine=engine) as run:
        async for value in run.partials():
            assert isinstance(value, Invoice)
            assert isinstance(getattr(value, "day", None), datetime.date | None)
            assert getattr(value, "status", None) in (None, "paid")
            moments.append((getattr(value, "number", None) or "", len(getattr(value, "lines", None) or ())))
            complete.append(run.is_complete("/lines/0"))
        result = await run.result()
    assert value == result.output == Invoice.model_validate(VALUE)
    assert moments == sorted(moments)
    assert len(moments) > 15
    assert {"A-17"} < {number for number, _ in moments}
    assert complete == sorted(complete)
    assert complete[0] is False
    assert complete[-1] is True


async def test_a_reader_that_comes_late_has_the_value() -> None:
    engine = Engine(Table(m=scripted(small(WRONG), small(GOOD))), MemoryRunLog())
    async with headrace.stream("m", "x", output=Invoice, engine=engine) as run:
        await run.result()
        assert run.is_complete("/lines/1/name")
        assert [value async for value in run.partials()][-1] == Invoice.model_validate(VALUE)
        fields = [field async for field in run.fields()]
    retracted = [i for i, field in enumerate(fields) if field.retracted]
    assert [fields[i].retracted for i in retracted] == ["early-reject"]
    assert {f.path: f.value for f in fields[retracted[0] + 1 :] if f.done} == leaves(VALUE)


async def test_callbacks_for_one_path() -> None:
    engine = Engine(Table(m=scripted(small(GOOD))), MemoryRunLog())
    names: list[str] = []
    numbers: list[Any] = []

    async def name(field: Any) -> None:
        if field.done:
            names.append(field.value)

    async with headrace.stream("m", "x", output=Invoice, engine=engine) as run:
        run.on_field("/lines/*/name", name)
        run.on_field("/number", numbers.append)
        await run.result()
    assert names == ["a gate", "a wheel"]
    assert "".join(field.delta for field in numbers) == "A-17"
    assert numbers[-1].done


async def test_what_a_callback_raises_is_raised() -> None:
    engine = Engine(Table(m=scripted(small(GOOD))), MemoryRunLog())

    def fail(field: Any) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):  # noqa: PT012
        async with headrace.stream("m", "x", output=Invoice, engine=engine) as run:
            run.on_field("/number", fail)
            await run.result()


async def test_a_run_without_output_has_no_partials() -> None:
    engine = Engine(Table(m=Scripted("hello")), MemoryRunLog())
    async with headrace.stream("m", "x", engine=engine) as run:
        with pytest.raises(errors.UsageError):
            _ = [value async for value in run.partials()]


def test_the_blocking_twins() -> None:
    class Model:
        def generate_stream(self, prompt: str) -> Any:
            yield from by_size(3)(GOOD)

    with headrace.stream_sync(Model(), "x", output=Invoice) as run:
        seen: list[str] = []
        run.on_field("/number", lambda field: seen.append(field.delta))
        numbers = [getattr(value, "number", None) for value in run.partials()]
        assert run.is_complete("/lines")
        assert run.result().output == Invoice.model_validate(VALUE)
        assert [field.path for field in run.fields() if field.done] == list(leaves(VALUE))
    assert numbers[-1] == "A-17"
    assert "".join(seen) == "A-17"
    assert headrace.ask_sync(Model(), "x", output=Invoice).output.status == "paid"


# beside tools


def look(q: str) -> str:
    """Look something up."""
    return f"found {q}"


async def test_tools_first_then_the_value() -> None:
    calls = [Say("Let me see."), Call("look", {"q": "a"}), Call("look", {"q": "b"})]
    model = scripted(calls, small(WRONG), small(GOOD))
    played, result = await play(model, tools=[look])
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    assert [call["value"] for call in result.tool_calls] == ["found a", "found b"]
    assert result.text == f"Let me see.{GOOD}"
    assert all(request.output_schema is not None and request.tools for request in model.requests)
    assert len(played.of(events.Output)) == 1


async def test_tools_that_raise_hang_or_ask_a_person_on_the_way_to_a_value() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    def broken() -> str:
        """Raises."""
        raise headrace.ToolError("the gauge is gone")

    @headrace.tool(timeout=0.05)
    async def hangs() -> str:
        """Never comes back."""
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return ""

    @headrace.tool(approval=True)
    def gate() -> str:
        """Opens the gate."""
        return "open"

    model = scripted([Call("broken"), Call("hangs"), Call("gate")], small(GOOD))
    engine = Engine(Table(m=model), MemoryRunLog())
    tools = [broken, hangs, gate]
    async with headrace.stream("m", "x", output=Invoice, tools=tools, engine=engine) as run:
        async for event in run:
            if isinstance(event, events.HumanRequest):
                await run.respond(event.request, True)
        result = await run.result()
    assert result.output == Invoice.model_validate(VALUE)
    said = {call["name"]: call.get("value", call.get("error")) for call in result.tool_calls}
    assert said["broken"] == "the gauge is gone"
    assert said["hangs"] == "no result within 0.05 s"
    assert said["gate"] == "open"
    assert begun.is_set()
    assert gone.is_set()
    told = [m.parts[0].content for m in model.requests[1].messages if m.role == "tool"]  # type: ignore[union-attr]
    assert told == list(said.values())


async def test_where_tools_and_schemas_exclude_each_other_the_value_is_asked_for_last() -> None:
    calls = [Call("look", {"q": "a"}), Call("look", {"q": "b"})]
    model = scripted(calls, "It is a gate and a wheel.", small(GOOD), capabilities=APART)
    played, result = await play(model, tools=[look])
    assert isinstance(result, headrace.Result)
    assert result.output == Invoice.model_validate(VALUE)
    assert result.text == f"It is a gate and a wheel.{GOOD}"
    assert [bool(request.tools) for request in model.requests] == [True, True, False]
    assert [request.output_schema is not None for request in model.requests] == [False, False, True]
    assert not played.of(events.OutputReset)
    assert result.rejections == []


async def test_the_value_may_also_come_at_once() -> None:
    model = scripted([Call("look", {"q": "a"})], small(f"Here: {GOOD}"), capabilities=APART)
    _, result = await play(model, tools=[look])
    assert isinstance(result, headrace.Result)
    assert result.output.number == "A-17"
    assert len(model.requests) == 2


async def test_calls_for_the_caller_end_the_run_without_a_value() -> None:
    tool = messages.ToolSpec(name="mine", description="", parameters={"type": "object"})
    _, result = await play(scripted([Call("mine", {})]), tools=[tool])
    assert isinstance(result, headrace.Result)
    assert (result.finish_reason, result.output) == ("tool-calls", None)


async def test_counts_are_kept() -> None:
    engine = Engine(Table(m=scripted(small(WRONG), "{", small(GOOD))), MemoryRunLog())
    await headrace.ask("m", "x", output=Invoice, engine=engine)
    assert dict(engine.stats.rejections) == {"early-reject": 1, "validation": 1}
    assert engine.stats.tokens_saved > 0
