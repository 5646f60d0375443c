"""Names that nothing sets: found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.procedures import names
from headrace.procedures.sandbox import Limits, Sandbox

CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.tac"))


def test_each_is_told_once_with_its_line() -> None:
    program = """
local a <const>, b = 1, 2
for i, v in ipairs({a, b}) do print(i, v, whatever) end
local function f(x, ...) return x + y end
function g.h:m(z) return z, self end
-- comment --[[ and ]] words
local s = [==[ not me ]==] .. "nor \\" me" .. 'x' .. 0x1F .. 1e-5 .. 3..4 --[[ nor
me ]]
x2, x3 = 1, 2
goto done
::done::
return { key = whatever, [k] = 2, s }, a.field, a:method(), x2, f
"""
    assert names.unset(program) == [(3, "whatever"), (4, "y"), (12, "k")]


def test_agents_and_tools_by_a_string_are_names() -> None:
    assert names.unset('Agent "two" {} agent("three", {}) Tool "t" {} return two() .. three() .. t()') == []


def test_who_sets_names_by_hand_is_believed() -> None:
    assert names.unset("_G['x'] = 1 return x") == []
    assert names.unset("setmetatable(_G, {}) return x") == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_right_programs_have_none(path: Path) -> None:
    assert names.unset(path.read_text("utf-8")) == []


async def test_the_known_names_are_those_of_the_prelude() -> None:
    program = "local out = {}\n" + "\n".join(
        f"out[#out + 1] = pcall(function() return {name} end) and '' or '{name}'"
        for name in sorted(names.GLOBALS - {"self"})
    )
    async with Sandbox(program + "\nreturn out", "n.tac", Limits(), {"seed": 1}) as sandbox:
        while (asked := await sandbox.next()).kind != "done":
            assert asked.kind != "failed", asked.given
            await sandbox.answer({"value": asked.given.get("value")})
    assert set(asked.given["value"]) == {""}
