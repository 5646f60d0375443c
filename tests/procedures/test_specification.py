"""A procedure's own tests: Gherkin, and mocks that stream."""

from __future__ import annotations

import pytest

from headrace import Procedure, errors
from headrace.procedures import specification

PROGRAM = """
input { topic = field.string{required = true} }
local add = Tool { input = { a = field.integer{} }, function(given) return given.a + 1 end }
teller = Agent { tools = { add }, system_prompt = "About {input.topic}" }
judge = Agent { output = { good = field.boolean{required = true} } }
Mocks {
    teller = { { tool_calls = { { name = "add", arguments = { a = 1 } } } }, "Once upon a time" },
    judge = { output = { good = true } },
}
Specification([[
Feature: Stories
  Every story is judged.

  Background:
    Given the input topic is "rivers"

  Scenario: A story is told
    When the procedure runs
    Then the procedure completes
    And the result story contains "upon"
    And the result good is true
    And the agent teller was called 1 time
    And the agent teller streamed
    And the tool add was called

  Scenario: A wrong expectation is told in words
    When the procedure runs
    Then the result story is "Never"

  Scenario: Wrong inputs
    Given the input topic is 5
    When the procedure runs
    Then the procedure fails with "input.topic must be a string"

  Scenario: A step that is none
    When the moon is full
]])
local story = teller("Tell").text
return { story = story, good = judge(story).output.good }
"""


async def test_scenarios() -> None:
    outcomes = await specification.test(Procedure(PROGRAM, name="t.tac"))
    assert [(o.name, o.problem) for o in outcomes] == [
        ("A story is told", ""),
        (
            "A wrong expectation is told in words",
            'Then the result story is "Never": it is "Once upon a time"',
        ),
        ("Wrong inputs", ""),
        ("A step that is none", "there is no step 'the moon is full'"),
    ]


async def test_an_agent_without_a_mock_fails_its_scenario() -> None:
    text = 'w = Agent {}\nSpecification([[\nScenario: x\nThen the procedure completes\n]])\nw("x")'
    (outcome,) = await specification.test(Procedure(text))
    assert "the agent 'w' has no mock" in outcome.problem


def test_what_is_no_gherkin_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="line 2: 'nonsense' is no step"):
        specification.parse("Scenario: a\nnonsense")
