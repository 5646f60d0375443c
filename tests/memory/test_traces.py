from __future__ import annotations

from typing import Any

from headrace.memory import traces


def test_a_trace_ends_with_the_turns_ending(written: Any) -> None:
    made = traces.rebuild(written([("completed", "a", "b"), ("open", "c", "")]))
    first, second = made.last()
    assert [step["step"] for step in first.steps] == ["user", "context", "response"]
    assert (first.nodes, first.outcome, first.end) == (["n1"], "completed", 2)
    assert first.elapsed_ms is not None
    assert (second.end, second.outcome, second.elapsed_ms) == (None, None, None)


def test_only_the_last_are_held(written: Any) -> None:
    made = traces.rebuild(written([("completed", "a", "b")] * (traces.KEPT + 3)))
    assert len(made.last(1000)) == traces.KEPT
    assert made.last(1)[0].user == 2 * (traces.KEPT + 3) - 1
