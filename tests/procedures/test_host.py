"""Whole programs: agents, tools, history, retries, checks; what a reader sees and what a program gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from headrace import Procedure, errors, events
from headrace.ledger import base as ledger_base
from headrace.procedures.sandbox import Limits
from headrace.protocol.lifecycle import Lifecycle
from headrace.providers import base
from headrace.providers.scripted import Call, Drop, Fail, Finish, Say, Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine

STORY = """
storyteller = Agent {
    provider = "openai",
    model = "gpt-4o-mini",
    system_prompt = "You tell stories about {input.topic}.",
}
input { topic = field.string{required = true} }
local result = storyteller({message = "Tell me one"})
return { story = result.response }
"""


class Everything:
    """One scripted provider under every name."""

    def __init__(self, provider: Scripted) -> None:
        self.provider = provider
        self.names: list[str] = []

    def resolve(self, name: str) -> tuple[base.Provider, str]:
        self.names.append(name)
        return self.provider, name

    async def close(self) -> None:
        await self.provider.close()


class Played:
    def __init__(self, found: list[events.Event], models: Everything) -> None:
        self.events = found
        self.models = models
        self.end: Any = found[-1]
        self.result = self.end.result
        self.requests = models.provider.requests

    def of(self, kind: type[events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def error(self) -> str:
        return "" if self.end.error is None else str(self.end.error.message)


async def play(
    text: str,
    script: Any = "Once upon a time",
    inputs: dict[str, Any] | None = None,
    *,
    ledger: ledger_base.Ledger | None = None,
    name: str = "t.tac",
    **options: Any,
) -> Played:
    provider = script if isinstance(script, Scripted) else Scripted(script)
    models = Everything(provider)
    engine = Engine(models, MemoryRunLog(), ledger)
    procedure = Procedure(text, name=name, **options)
    async with procedure.stream(inputs, engine=engine, model="default:model") as run:
        found = [event async for event in run]
    lifecycle = Lifecycle()
    for event in found:
        lifecycle.check(event)
    assert lifecycle.ended
    await engine.close()
    return Played(found, models)


async def test_a_story_streams_and_is_the_result() -> None:
    played = await play(STORY, inputs={"topic": "rivers"})
    assert played.result == {"story": "Once upon a time"}
    assert [event.delta for event in played.of(events.TextDelta)] == ["Once", " upon", " a", " time"]
    (span,) = played.of(events.SpanStart)
    assert (span.kind, span.name) == ("agent", "storyteller")
    assert {event.span for event in played.of(events.TextDelta)} == {span.span}
    assert played.models.names == ["openai:gpt-4o-mini"]
    assert played.requests[0].messages[0].text == "You tell stories about rivers."
    assert played.requests[0].messages[1].text == "Tell me one"
    assert played.of(events.Checkpoint)[0].name == "storyteller"


@pytest.mark.parametrize("example", [0, 1, 2])
async def test_the_examples_of_the_streaming_guide_run_unchanged(example: int, shared: Path) -> None:
    text = (shared / "seeds" / "agent-ide-streaming.md").read_text("utf-8")
    programs = [part.partition("```")[0] for part in text.split("```lua\n")[1:]]
    assert len(programs) == 3
    played = await play(programs[example])
    assert played.error == ""
    assert played.result == ({"story": "Once upon a time"} if example != 1 else None)


async def test_every_form_of_an_agent_and_of_a_call() -> None:
    played = await play(
        """
        one = Agent { model = "openai/gpt-4o", initial_message = "Start here" }
        Agent "two" { model = "m2" }
        local three = agent("three", { provider = "anthropic", model = "claude" })
        local r = three({ message = "Hi", temperature = 0.5, max_tokens = 9 })
        return { one().text, two("Hello").value, r.output, r.data, r.message, r.finish_reason, #r:new_messages() }
        """,
        [["C"], ["A"], ["B"]],
    )
    assert played.error == ""
    assert played.result == ["A", "B", "C", "C", "C", "stop", 2]
    assert played.models.names == ["anthropic:claude", "openai/gpt-4o", "m2"]
    assert [r.messages[-1].text for r in played.requests] == ["Hi", "Start here", "Hello"]
    assert (played.requests[0].temperature, played.requests[0].max_tokens) == (0.5, 9)
    assert [span.name for span in played.of(events.SpanStart)] == ["three", "one", "two"]


async def test_history_own_shared_and_none() -> None:
    played = await play(
        """
        own = Agent {}
        a = Agent { history = "shared" }
        b = Agent { history = "shared" }
        no = Agent { history = "none" }
        own("1") own("2") a("3") b("4") no("5") no("6")
        """,
        "ok",
    )
    assert [[m.text for m in r.messages] for r in played.requests] == [
        ["1"],
        ["1", "ok", "2"],
        ["3"],
        ["3", "ok", "4"],
        ["5"],
        ["6"],
    ]


async def test_streaming_can_be_disabled() -> None:
    played = await play('w = Agent { disable_streaming = true }\nreturn w("Hi").text', "one two three")
    assert played.requests[0].stream is False
    assert played.result == "one two three"
    assert len(played.of(events.TextDelta)) == 1
    assert played.of(events.SpanStart)[0].attributes["streaming"] is False


async def test_tools_are_called_by_the_model_and_counted() -> None:
    played = await play(
        """
        local add = Tool {
            description = "Adds.",
            input = { a = field.integer{required = true}, b = field.integer{required = true} },
            function(given) return { sum = given.a + given.b } end,
        }
        local done = require("headrace.tools.done")
        w = Agent { tools = { add, done } }
        local r = w("What is 2 + 3?")
        return { add.called(), add.call_count(), add.last_result().sum, add.last_call().arguments.a, done.called() }
        """,
        [[Call("add", {"a": 2, "b": 3})], [Call("done", {"reason": "added"})]],
    )
    assert played.error == ""
    assert played.result == [True, 1, 5, 2, True]
    assert [event.value for event in played.of(events.ToolResult)] == [{"sum": 5}, "added"]
    assert played.requests[0].tools[0].parameters["required"] == ["a", "b"]
    assert played.requests[1].messages[-1].role == "tool"


async def test_a_tool_refuses_wrong_arguments_and_tells_the_model() -> None:
    played = await play(
        """
        local t = Tool { input = { a = field.integer{required = true} }, function(given) error("no") end }
        w = Agent { tools = { t } }
        return w("go").text
        """,
        [[Call("t", {"a": "x"})], [Call("t", {"a": 1})], ["fine"]],
    )
    first, second = played.of(events.ToolResult)
    assert "arguments.a must be an integer" in first.error
    assert "t.tac:2: no" in second.error
    assert played.result == "fine"


async def test_an_answer_that_does_not_fit_is_taken_back_and_asked_for_again() -> None:
    played = await play(
        """
        w = Agent { output = { age = field.integer{required = true} } }
        return w("How old?").output
        """,
        [['{"age": "ten"}'], ['{"age": 10}']],
    )
    assert played.result == {"age": 10}
    (reset,) = played.of(events.OutputReset)
    assert reset.reason == "early-reject: output.age must be an integer, not a string"
    assert [end.reason for end in played.of(events.AttemptEnd)] == ["output-rejected", "stop"]
    assert "output.age must be an integer" in played.requests[1].messages[-1].text
    assert played.of(events.Output)[0].value == {"age": 10}


PEOPLE = """
w = Agent { output = {
  mood = field.string{required = true, enum = {"calm", "wild"}},
  people = field.array{required = true, max = 2, items = field.object{properties = {
    name = field.string{required = true, pattern = "[A-Z][a-z]+"}, age = field.integer{min = 1},
  }}},
  note = field.string{},
} }
return w("Who?").output
"""
ADA = '{"mood": "calm", "people": [{"name": "Ada", "age": 36}], "note": null}'


async def test_an_agent_with_an_output_streams_its_fields_beside_the_text() -> None:
    pieces = [ADA[at : at + 7] for at in range(0, len(ADA), 7)]
    played = await play(PEOPLE, [[Say(piece) for piece in pieces]])
    assert played.result == {"mood": "calm", "people": [{"name": "Ada", "age": 36}]}
    (span,) = [event for event in played.of(events.SpanStart) if event.kind == "agent"]
    assert span.attributes["structured"] is True
    assert "".join(event.delta for event in played.of(events.TextDelta)) == ADA
    ends = played.of(events.FieldEnd)
    assert {event.span for event in ends} == {span.span}
    assert [(event.path, event.value) for event in ends if not isinstance(event.value, dict | list)] == [
        ("/mood", "calm"), ("/people/0/name", "Ada"), ("/people/0/age", 36), ("/note", None),
    ]  # fmt: skip
    grown = "".join(event.delta for event in played.of(events.FieldDelta) if event.path == "/people/0/name")
    assert grown == "Ada"
    kinds = [type(event) for event in played.events]
    assert kinds.index(events.FieldEnd) < len(kinds) - 1 - kinds[::-1].index(events.TextDelta), (
        "while it comes"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"mood": "sad", "people": []}', 'early-reject: output.mood must be one of "calm", "wild"'),
        ('{"mood": "calm", "people": [{"name": "Ada", "age": "7a"}]}',
         "early-reject: output.people[1].age must be an integer, not a string"),
        ('{"mood": "calm", "people": [{"name": "Ada", "age": 1.5}]}', "output.people[1].age"),
        ('{"mood": "calm", "people": [{"name": "ada"}]}', "output.people[1].name"),
        ('{"mood": "calm", "people": [{"name": "Ada"}, {"name": "Bo"}, {"name": "Cy"}]}', "output.people"),
        ('{"mood": "calm", "other": 1}', "early-reject: output"),
        ('{"mood": "calm"}', "early-reject: output.people is missing"),
        ('{"mood": "calm", "people": [', "validation: output.people: the answer is cut off"),
        ("I would rather not say", "output: not JSON"),
        ("[1]", "must be an object"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_named_by_its_path_and_asked_for_again(answer: str, reason: str) -> None:
    played = await play(PEOPLE, [[Say(piece) for piece in re.findall(r"\S+\s*", answer)], [ADA]])
    assert played.error == ""
    assert played.result["people"][0]["age"] == 36
    (reset,) = played.of(events.OutputReset)
    assert reason in reset.reason
    assert len(played.of(events.AttemptStart)) == 2
    assert played.requests[1].messages[-1].text.startswith("That answer does not fit: output")


async def test_what_stops_fitting_is_stopped_on_its_way() -> None:
    long = '{"mood": "sad", "people": [' + ", ".join(['{"name": "Ada"}'] * 500)
    played = await play(PEOPLE, [[Say(piece) for piece in re.findall(r"\S+\s*", long)], [ADA]])
    first = played.of(events.AttemptEnd)[0]
    assert (first.outcome, first.reason) == ("failed", "output-rejected")
    shown = "".join(event.delta for event in played.of(events.TextDelta))
    assert len(shown) < len(ADA) + 30, "the rest was not waited for"


async def test_an_answer_cut_off_by_its_limit_is_not_asked_for_again() -> None:
    played = await play(PEOPLE, [[Say('{"mood": "calm", "peo'), Finish("length")], [ADA]])
    assert played.end.error.code == "output-rejected"
    assert "raise max_tokens" in played.error
    assert len(played.requests) == 1


async def test_an_answer_with_an_output_comes_after_the_tools_also_after_done() -> None:
    played = await play(
        """
        local done = require("headrace.tools.done")
        w = Agent { tools = { done }, output = { n = field.integer{required = true} } }
        return w("x").output
        """,
        [[Call("done", {"reason": "ready"})], ['{"n": 3}']],
    )
    assert played.error == ""
    assert played.result == {"n": 3}


async def test_an_answer_that_never_fits_fails_the_run_with_its_line() -> None:
    played = await play('w = Agent { output = { a = field.string{required = true} } }\nw("x")\n', "no JSON")
    assert played.end.outcome == "failed"
    assert played.end.error.code == "output-rejected"
    assert played.end.error.details["line"] == 2
    assert played.error.startswith("t.tac:2: the answer of w was refused")


async def test_a_broken_answer_is_a_visible_new_attempt() -> None:
    played = await play(
        'w = Agent { retry = { attempts = 2, delay = 0 } }\nreturn w("x").text',
        [[Say("half of it"), Drop()], ["the whole"]],
    )
    assert played.result == "the whole"
    assert played.of(events.OutputReset)[0].reason == "retry"
    assert [event.outcome for event in played.of(events.AttemptEnd)] == ["failed", "completed"]


async def test_an_error_of_a_model_can_be_caught_and_else_keeps_its_code() -> None:
    failing = Fail(errors.ProviderError("no key", code="auth-failed"))
    played = await play('w = Agent {}\nlocal ok, e = pcall(w, "x")\nreturn { ok = ok, e = e }', [[failing]])
    assert played.result["ok"] is False
    assert "no key" in played.result["e"]
    played = await play('w = Agent {}\n\nlocal r = w("x")', [[failing]])
    assert (played.end.error.code, played.end.error.details["line"]) == ("auth-failed", 3)


async def test_entry_procedures_and_sub_procedures_are_checked() -> None:
    text = """
    double = Procedure {
        input = { n = field.integer{required = true} },
        output = { n = field.integer{required = true} },
        function(input) return { n = input.n * 2 } end,
    }
    Procedure {
        input = { n = field.integer{required = true, min = 1}, label = field.string{default = "x"} },
        output = { n = field.integer{required = true}, label = field.string{} },
        function(input) return { n = double({ n = input.n }).n, label = input.label } end,
    }
    """
    assert (await play(text, inputs={"n": 4})).result == {"n": 8, "label": "x"}
    for inputs, words in [
        ({}, "input.n is missing"),
        ({"n": 0}, "input.n is 0; at least 1"),
        ({"n": 1.5}, "input.n must be an integer"),
        ({"n": 1, "m": 2}, "input.m is not declared"),
    ]:
        played = await play(text, inputs=inputs)
        assert words in played.error
        assert played.end.error.code == "procedure-error"


async def test_a_script_without_inputs_refuses_some() -> None:
    assert "input.x is not declared" in (await play("return 1", inputs={"x": 1})).error


async def test_outputs_are_checked() -> None:
    played = await play("output { n = field.integer{required = true} }\nreturn { n = 'x' }")
    assert "output.n must be an integer" in played.error


async def test_errors_carry_file_and_line() -> None:
    played = await play("local x = nil\n\nreturn x.y", name="broken.tac")
    assert played.error.startswith("broken.tac:3: attempt to index a nil value")
    assert played.end.error.details == {"file": "broken.tac", "line": 3}
    assert (await play("x = = 1")).error.startswith("t.tac:1: ")
    assert "there is no foo" in (await play("return foo")).error


async def test_files_below_the_folder_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    text = 'File.write("a/b.txt", "hi")\nFile.append("a/b.txt", "!")\nreturn { File.read("a/b.txt"), File.list("a") }'
    assert (await play(text, root=tmp_path / "in")).result == ["hi!", ["b.txt"]]
    for path in ("../secret", "/etc/passwd", "link"):
        played = await play(f'return File.read("{path}")', root=tmp_path / "in")
        assert "outside the working directory" in played.error
    assert "not to be had" in (await play('return File.read("a")')).error


async def test_logs_json_state_and_templates() -> None:
    played = await play(
        """
        input { who = field.string{default = "you"} }
        state.mood = { name = "glad" }
        w = Agent { system_prompt = "Be {state.mood.name} with {params.who}. {unknown} {HOME}" }
        Log.info("start", { a = 1 })
        local text = Json.encode({ list = { 1, 2 } })
        w("x {input.who}")
        return Json.decode(text).list[2]
        """
    )
    assert played.error == ""
    assert played.result == 2
    assert played.requests[0].messages[0].text == "Be glad with you. {unknown} {HOME}"
    assert played.requests[0].messages[1].text == "x {input.who}"
    (log,) = played.of(events.Custom)
    assert log.data == {"level": "info", "message": "start", "data": {"a": 1}, "line": 5}


async def test_retry_and_sleep() -> None:
    played = await play(
        """
        local n = 0
        local v = Retry(function() n = n + 1 if n < 3 then error("not yet") end return n end, { delay = 0 })
        Sleep(0)
        return v
        """
    )
    assert played.result == 3


async def test_unknown_settings_are_refused_by_name() -> None:
    assert "temprature" in (await play("w = Agent { temprature = 1 }")).error
    assert "no option 'minimum'" in (await play("input { a = field.integer{minimum = 1} }")).error
    assert "there is no field.text" in (await play("input { a = field.text{} }")).error


async def test_the_program_runs_out_of_time_between_calls() -> None:
    played = await play("while true do end", limits=Limits(wall_s=0.3, cpu_s=5))
    assert "more than 0.3 s without asking" in played.error
