"""What text stands after resets."""

from __future__ import annotations

from headrace import events
from headrace.dialects.standing import Standing


def _standing(*deltas: tuple[str, str], whole: bool = True) -> Standing:
    standing = Standing()
    if whole:
        standing.begin()
    for block, text in deltas:
        standing.add(events.TextDelta(block=block, delta=text))
    return standing


def test_other_blocks_stand_in_the_order_they_began() -> None:
    standing = _standing(("b1", "a"), ("b2", "x"), ("b1", "b"), ("b3", "c"))
    assert standing.reset(["b2"]) == "abc"
    assert standing.reset(["b1", "b3"]) == ""


def test_nothing_shown_is_nothing_taken_back() -> None:
    assert _standing(("b1", "a")).reset(["b9"]) is None


def test_without_the_beginning_the_worst_is_assumed() -> None:
    assert _standing(whole=False).reset(["b9"]) == ""
