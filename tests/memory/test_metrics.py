from __future__ import annotations

from typing import Any

from headrace.memory import metrics

STEP = ("trait", "", {"trait": "openness", "step": 0.05})


def test_a_new_conversation() -> None:
    fresh = metrics.Metrics()
    assert (fresh.ias, fresh.gas) == (1.0, 0.0)


def test_ias_falls_with_the_steps_and_recovers(written: Any) -> None:
    facts = written([STEP] * 5 + [("completed", "a", "b")] * 3)
    seen = [metrics.rebuild(facts[:n]).ias for n in (5, 7, 9, 11)]
    assert seen == [1.0, 0.9, 0.91, 0.919]


def test_only_a_change_of_name_is_drift(written: Any) -> None:
    first = written([("identity", "Brook", {}), ("completed", "a", "b")])
    assert metrics.rebuild(first).ias == 1.0
    second = written([("identity", "Brook", {}), ("identity", "Weir", {}), ("completed", "a", "b")])
    assert metrics.rebuild(second).ias == 0.9


def test_gas(written: Any) -> None:
    history = [
        ("completed", "a", "b"),
        ("commitment", "x", {}),
        ("commitment", "y", {}),
        ("commitment-closed", "x", {"commitment": "c3"}),
        ("reflection", "r", {}),
        ("claim", "t", {"type": "t", "value": 1}),
    ]
    assert metrics.rebuild(written(history)).gas == 0.57  # 0.25 + 0.3 + 0.02
