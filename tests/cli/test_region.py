from __future__ import annotations

import random
from typing import Any

from headrace.cli.region import Region


def test_only_lines_that_differ_are_written() -> None:
    region = Region()
    region.draw(["one", "two"], 80)
    text = region.draw(["one", "two, longer"], 80)
    assert "one" not in text
    assert "\x1b[1A" in text
    assert region.draw(["one", "two, longer"], 80) == ""


def test_an_update_is_one_synchronized_write() -> None:
    text = Region().draw(["a"], 80)
    assert text.startswith("\x1b[?2026h")
    assert text.endswith("\x1b[?2026l")


def test_what_is_above_stays(screenful: Any) -> None:
    region, screen = Region(), screenful()
    screen.feed("$ command\n")
    for lines, above in ((["waiting"], []), (["a", "b", "c"], []), (["c"], ["a", "b"]), ([], ["c"])):
        screen.feed(region.draw(lines, 80, above))
    assert screen.text == ["$ command", "a", "b", "c"]


def test_any_sequence_of_pictures_shows_the_last(screenful: Any) -> None:
    rng = random.Random(7)
    for _ in range(200):
        region, screen, kept = Region(), screenful(), []
        for _ in range(rng.randint(1, 8)):
            above = [f"kept {rng.randint(0, 9)}" for _ in range(rng.randint(0, 2))]
            lines = [f"line {rng.randint(0, 2)}" for _ in range(rng.randint(0, 5))]
            kept += above
            screen.feed(region.draw(lines, 80, above))
            assert screen.text == kept + lines


def test_a_terminal_that_became_narrower_is_erased_whole() -> None:
    region = Region()
    region.draw(["x" * 60, "y"], 80)
    text = region.draw(["x" * 30, "y"], 30)
    assert "\x1b[3A" in text  # two rows of the line that was folded, one of the other
    assert text.count("\x1b[2K") == 2
