from __future__ import annotations

import unicodedata

import pytest

from headrace.cli import clean

NASTY = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\x00\x08\x0b\x0c\x7f",
    "over\rwritten",
    "\u202egnirts\u2066",
    "\x1bP$q\x1b\\",
    "lone \ud800 surrogate",
]


@pytest.mark.parametrize("text", NASTY)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    cleaned = clean.clean(text)
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs")]
    assert not set(cleaned) & {"\u202e", "\u2066"}
    cleaned.encode()


def test_every_control_character_is_known() -> None:
    every = "".join(map(chr, range(0x3000)))
    left = {c for c in clean.clean(every) if unicodedata.category(c) == "Cc"}
    assert left == {"\n", "\t"}


def test_words_stay_as_they_are() -> None:
    text = "Grüße, 世界 👩‍👩‍👧 \u200f\u05d0\n\ttab"
    assert clean.clean(text) == text


def test_what_is_shown_instead() -> None:
    assert clean.clean("\x1b[1m\x00\x9b\r\n") == "␛[1m␀\ufffd\n"


@pytest.mark.parametrize("text", NASTY)
def test_a_cut_anywhere_gives_the_same(text: str) -> None:
    for cut in range(len(text)):
        assert clean.clean(text[:cut]) + clean.clean(text[cut:]) == clean.clean(text)


def test_a_line_is_one_line_and_not_endless() -> None:
    assert clean.line("a\n b\x1b[0m\tc") == "a b␛[0m c"
    assert len(clean.line("x" * 10_000, 100)) == 100
