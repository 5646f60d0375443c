"""Events folded into finished values."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import events, messages
from headrace.protocol.assembler import Assembler, Pieces, parse_arguments

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines


def text(block: str, *deltas: str) -> list[events.Event]:
    return [
        events.TextStart(block=block),
        *(events.TextDelta(block=block, delta=delta) for delta in deltas),
        events.TextEnd(block=block),
    ]


def thought(block: str, *deltas: str, signature: str | None = None) -> list[events.Event]:
    return [
        events.ReasoningStart(block=block),
        *(events.ReasoningDelta(block=block, delta=delta) for delta in deltas),
        events.ReasoningEnd(block=block, signature=signature),
    ]


def call(id: str, *deltas: str, block: str = "") -> list[events.Event]:
    return [
        events.ToolCallStart(call=id, name="look", block=block),
        *(events.ToolCallDelta(call=id, delta=delta, block=block) for delta in deltas),
        events.ToolCallEnd(call=id, arguments=parse_arguments("".join(deltas)), block=block, signature="sig"),
    ]


def fold(*made: list[events.Event]) -> Assembler:
    state = Assembler()
    for batch in made:
        state.add(batch)
    return state


def test_parts_in_the_order_they_began() -> None:
    state = fold(
        thought("b1", "Hm", "m.", signature="s"), text("b2", "He", "llo"), call("c1", '{"a"', ":1}", block="b3"),
        call("c2"), text("b4", "!"),
    )  # fmt: skip
    assert state.parts() == (
        messages.Reasoning("Hmm.", "s"),
        messages.Text("Hello"),
        messages.ToolCall("c1", "look", {"a": 1}, '{"a":1}', "sig"),
        messages.ToolCall("c2", "look", {}, "", "sig"),
        messages.Text("!"),
    )
    assert (state.text, state.reasoning) == ("Hello!", "Hmm.")
    assert [found.id for found in state.tool_calls] == ["c1", "c2"]
    assert state.blocks() == ["b1", "b2", "b3", "call:c2", "b4"]
    assert state.parts(["b4"]) == (messages.Text("!"),)


def test_interleaved_blocks_keep_apart() -> None:
    one, two = text("b1", "a", "b"), text("b2", "x", "y")
    mixed = [event for pair in zip(one, two, strict=True) for event in pair]
    assert [str(part.text) for part in fold(mixed).parts() if isinstance(part, messages.Text)] == ["ab", "xy"]


def test_unfinished_blocks_are_parts_too() -> None:
    state = fold(text("b1", "He")[:-1], thought("b2", "Hm")[:-1], call("c1", '{"a', block="b3")[:-1])
    assert state.parts() == (
        messages.Text("He"), messages.Reasoning("Hm"), messages.ToolCall("c1", "look", None, '{"a'),
    )  # fmt: skip


def test_a_reset_takes_back_its_blocks_for_good() -> None:
    state = fold(
        text("b1", "wrong"), [events.Output(value=1)], thought("b2", "x")[:-1], call("c1", block="b3")[:1]
    )
    assert state.output == 1
    state.add([events.OutputReset(blocks=["b1", "b2", "b3", "b9"], reason="retry")])
    state.add([events.ReasoningEnd(block="b2", signature="s"), events.ToolCallEnd(call="c1", block="b3")])
    state.add(text("b4", "right"))
    assert (state.text, state.reasoning, state.tool_calls, state.output) == ("right", "", [], None)
    assert (state.blocks(), state.resets) == (["b4"], 1)


def test_a_call_may_be_made_again_after_a_reset() -> None:
    state = fold(call("c1", "{}", block="b1"), [events.OutputReset(blocks=["b1"], reason="retry")])
    state.add(call("c1", '{"a":2}', block="b2"))
    assert [found.arguments for found in state.tool_calls] == [{"a": 2}]


def test_arguments_are_read_while_they_are_written() -> None:
    assembler = Assembler()
    start, *deltas, end = call("c1", '{"q": "wa', 'ter", "n": [1', ", 2]}")
    assembler.add([start])
    assert assembler.arguments("c1") is None
    assert assembler.arguments("c2") is None
    seen = []
    for delta in deltas:
        assembler.add([delta])
        live = assembler.arguments("c1")
        seen.append(str(live))
    assert seen == ["{'q': 'wa'}", "{'q': 'water', 'n': []}", "{'q': 'water', 'n': [1, 2]}"]
    assembler.add([end])
    assert assembler.arguments("c1") == {"q": "water", "n": [1, 2]}


def test_arguments_that_are_no_json_keep_what_there_was() -> None:
    assembler = Assembler()
    assembler.add(call("c1", '{"q": "a", ', "]]]", '"b": 1}')[:-1])
    assert assembler.arguments("c1") == {"q": "a"}


def test_sources_files_and_the_rest() -> None:
    state = fold(
        [events.Source(url="u"), events.File(url="f"), events.Status(message="x"), events.Custom(name="n")]
    )
    assert state.sources == [events.Source(url="u")]
    assert state.files == [events.File(url="f")]


@UNHURRIED
@given(st.lists(st.text()), st.lists(st.integers(0, 50)))
def test_pieces_are_the_text_whenever_it_is_asked_for(deltas: list[str], asked: list[int]) -> None:
    pieces = Pieces()
    for at, delta in enumerate(deltas):
        pieces.add(delta)
        if at in asked:
            assert str(pieces) == "".join(deltas[: at + 1])
    assert str(pieces) == str(pieces) == "".join(deltas)


def test_a_long_answer_costs_about_its_own_size() -> None:
    deltas = [f" token{at:05d}"[:6] for at in range(100_000)]
    tracemalloc.start()
    try:
        pieces = Pieces()
        for delta in deltas:
            pieces.add(delta)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * sum(map(len, deltas))


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [("", {}), ("  \n", {}), ("{}", {}), ('{"a": [1]}', {"a": [1]}), ("7", 7), ("not json", "not json"),
     ('{"a":', '{"a":'), ("[" * 5000, "[" * 5000), ('"\ud800"', '"\ud800"')],
)  # fmt: skip
def test_arguments(given_text: str, expected: object) -> None:
    assert parse_arguments(given_text) == expected
