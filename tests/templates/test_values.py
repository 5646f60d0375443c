from __future__ import annotations

from headrace import events
from headrace.templates import values


def started(span: str = "s1", key: str = "a") -> events.SpanStart:
    return events.SpanStart(span=span, kind="slot", name=key, attributes={"segment": 2})


def delta(text: str, block: str = "b1", span: str = "s1") -> events.TextDelta:
    return events.TextDelta(span=span, block=block, delta=text)


def test_a_buffer_is_joined_only_when_looked_at() -> None:
    found = list(values.Reader().read([started(), *(delta("x") for _ in range(20_000))]))
    tokens = [value for value in found if isinstance(value, values.TokenReceived)]
    assert len({id(token._pieces) for token in tokens}) == 1  # all share one list
    assert tokens[2].buffer == "xxx"
    assert len(tokens[-1].buffer) == 20_000
    assert (tokens[0].type, tokens[0].segment_index, tokens[0].slot_key) == ("token", 2, "a")


def test_slots_side_by_side_and_a_reset_of_one() -> None:
    reader = values.Reader()
    found = list(
        reader.read(
            [
                started(),
                started("s2", "b"),
                delta("wrong"),
                delta("other", "b2", "s2"),
                events.OutputReset(span="s1", blocks=["b1"], reason="validation"),
                delta("right", "b3"),
                events.SpanEnd(span="s1", outcome="completed", value="right", elapsed_ms=3.0, cached=True),
            ]
        )
    )
    assert [value.type for value in found] == ["token", "token", "reset", "token", "slot"]
    first, other, reset, again, done = found
    assert isinstance(first, values.TokenReceived)
    assert isinstance(again, values.TokenReceived)
    assert isinstance(done, values.SlotCompleted)
    assert isinstance(reset, values.TokensReset)
    assert (first.buffer, other.slot_key, reset.buffer, again.buffer) == ("wrong", "b", "", "right")
    assert (done.result, done.was_cached, done.elapsed_ms) == ("right", True, 3.0)


def test_text_outside_slots_is_not_a_token() -> None:
    assert list(values.Reader().read([delta("x", span="")])) == []


def test_a_run_that_was_stopped_keeps_what_it_had() -> None:
    end = events.RunEnd(outcome="cancelled", result={"values": {"a": 1}})
    (value,) = values.Reader().read([end])
    assert isinstance(value, values.ProcessingError)
    assert value.partial_results == {"a": 1}
    assert value.error.code == "interrupted"
