"""What readers see of a reply with marker lines, however it comes and whatever is taken back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import events
from headrace.memory import markers
from headrace.memory.veil import Veil

LINES = st.sampled_from(
    ["COMMIT: a", "COMMIT:", "CLOSE: c1", "prose", "COM", "```", "", "TRAIT: openness +0.02"]
)


def shown(pieces: list[str]) -> str:
    veil, out = Veil(), []
    out += veil.batch([events.TextStart(block="b")])
    for piece in pieces:
        out += veil.batch([events.TextDelta(block="b", delta=piece)])
    out += veil.batch([events.TextEnd(block="b")])
    assert isinstance(out[-1], events.TextEnd)
    return "".join(event.delta for event in out if isinstance(event, events.TextDelta))


@given(st.lists(LINES, max_size=6).map("\n".join), st.lists(st.integers(0, 60), max_size=8))
def test_however_it_is_cut_readers_see_the_stripped_text(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert shown(pieces) == markers.strip(text) == Veil().text(text)


def test_what_passes_is_not_copied() -> None:
    delta = events.TextDelta(block="b", delta="prose")
    assert Veil().batch([delta]) == [delta]
    assert Veil().batch([delta])[0] is delta


def test_after_a_reset_it_stands_where_the_text_that_is_left_ends() -> None:
    veil = Veil()

    def say(block: str, text: str) -> str:
        batch = [events.TextDelta(block=block, delta=text), events.TextEnd(block=block)]
        return "".join(e.delta for e in veil.batch(batch) if isinstance(e, events.TextDelta))

    assert say("b1", "Hello\n") == "Hello\n"
    assert say("b2", "COMMIT: a\nand ") == "and "
    assert veil.batch([events.OutputReset(blocks=["b2"], reason="retry")])
    assert say("b3", "COMMIT: b\nthen") == "then"


@pytest.mark.parametrize(
    ("head", "tail", "seen"), [("COMMIT: a", "b\nx", "x"), ("COM", "MIT: a\nx", "COMMIT: a\nx")]
)
def test_a_line_that_goes_on_in_the_next_block(head: str, tail: str, seen: str) -> None:
    """A marker that stands at the end of a block stays hidden; what might have become one has been shown."""
    veil = Veil()
    out = []
    for block, text in (("b1", head), ("b2", tail)):
        out += veil.batch([events.TextDelta(block=block, delta=text), events.TextEnd(block=block)])
    assert "".join(e.delta for e in out if isinstance(e, events.TextDelta)) == seen
