"""A look at a program tells of everything that is wrong, and does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import Procedure, errors
from headrace.procedures.checking import MOST_ACTS


async def problems(text: str, **options: object) -> list[tuple[int, str]]:
    caught: errors.HeadraceError | None = None
    try:
        await Procedure(text, name="p.tac", **options).check()  # type: ignore[arg-type]
    except errors.UsageError as error:
        caught = error
    if caught is None:
        return []
    assert caught.code == "procedure-error"
    if "problems" not in caught.details:
        return [(caught.details["line"], caught.message)]
    found = [(one["line"], one["message"]) for one in caught.details["problems"]]
    assert caught.message == "\n".join(f"p.tac:{line}: {message}" for line, message in found)
    return found


async def test_everything_is_told_with_its_line() -> None:
    found = await problems(
        """input { topic = field.string{minimum = 1}, n = field.text{}, k = field.integer{min = "a"} }
w = Agent { temprature = 1, model = 3, tools = { "files__read" }, history = "mine", retry = { attemps = 3 } }
v = Agent { output = { a = field.string{pattern = "("}, b = "no" }, system_prompt = "About {input.tpic}" }
t = Tool { description = "x" }
u = Agent { tools = { w }, max_turns = 0 }
p = Procedure { inputs = {} }
local r = w("x")
if r.text == "never" then print(whatever) end
z = Agent { max_turnss = 3, tools = { "nope" } }
return wrter("x")
"""
    )
    for line, words in [
        (1, "no option 'minimum'"), (1, "there is no field.text"), (1, "input.k: min must be a number, not a string"),
        (2, "no setting 'temprature'; is it 'temperature'?"), (2, "model must be a string, not an integer"),
        (2, "history is 'mine'; use one of own, shared, none"), (2, "no setting retry.'attemps'"),
        (2, "there is no tool 'files__read'"),
        (3, "output.a.pattern is no regular expression"), (3, "output.b is no field"),
        (3, "the system_prompt of v names {input.tpic}, which is not declared"),
        (4, "Tool t has no function"),
        (5, "tools holds something that is no tool"), (5, "max_turns"),
        (6, "Procedure has no function"), (6, "no setting inputs"),
        (8, "there is no whatever"),
        (9, "no setting 'max_turnss'; is it 'max_turns'?"), (9, "there is no tool 'nope'"),
        (10, "there is no wrter"),
    ]:  # fmt: skip
        assert any(at == line and words in message for at, message in found), (line, words, found)
    assert found == sorted(found)


async def test_a_fault_of_the_language_is_told_beside_the_others() -> None:
    assert [line for line, _ in await problems("w = Agent { modl = 1 }\nlocal x = 1 + nil\n")] == [1, 2]
    ((line, message),) = await problems("x = {\nreturn x(")
    assert line == 2
    assert "near 'return'" in message


@pytest.mark.parametrize(
    "text",
    [
        "w = Agent {}\nlocal r = w('x')\nlocal n = tonumber(r.text) + 1\nreturn n",
        "w = Agent {}\nrepeat local r = w('x') until r.text == 'yes'",
        "w = Agent { output = { n = field.integer{required = true, min = 2} } }\n"
        "if w().output.n < 2 then error('no') end",
        "local ok = Human.approve('x') local c = Human.select('y', {options = {1, 2}}) return File.read('x') .. c",
        "return Step.checkpoint(function() return Json.decode(File.read('x')) end)",
        "d = Procedure { input = { n = field.integer{required = true} }, function(i) return { n = i.n } end }\n"
        "Procedure { input = { s = field.string{required = true} }, function(i) return d({ n = #i.s }).n end }",
        "w = Agent {}\nw('x')\nerror('after')",
    ],
)
async def test_what_a_stand_in_causes_is_nobodys_fault(text: str, tmp_path: Path) -> None:
    assert await problems(text, root=tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_look_ends() -> None:
    assert MOST_ACTS <= 1000
    assert await problems("w = Agent {}\nw('x')\nwhile true do end") == []


async def test_a_run_does_not_mind_what_it_never_comes_to() -> None:
    text = "if false then return nowhere end return 1"
    assert await problems(text) == [(1, "there is no nowhere (a variable that was never set)")]
    await Procedure(text).check(explore=False)
