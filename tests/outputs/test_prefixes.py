"""Patterns read a character at a time: never wrong, and decided where they can be."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.outputs.prefixes import MAX_STATES, Pattern


def dies_after(source: str, text: str) -> int | None:
    """How many characters are read when no match can follow; None when one can."""
    pattern = Pattern(source)
    place = pattern.start
    assert place is not None
    for number, character in enumerate(text):
        place = pattern.step(place, character)
        if place is None:
            return number + 1
    return None


@pytest.mark.parametrize(
    ("source", "text", "dead"),
    [
        ("^abc", "abd", 3),
        ("^abc", "abcd", None),
        ("^abc$", "abcd", 4),
        ("^abc$", "abc\n", None),
        ("^abc$", "abc\n\n", 5),
        ("^[A-Z]{2,3}-\\d+$", "ABCD", 4),
        ("^[A-Z]{2,3}-\\d+$", "AB-x", 4),
        ("^[A-Z]{2,3}-\\d+$", "AB-1234", None),
        ("^(red|green)$", "grey", 4),
        ("^(?:a|b)*c$", "ababd", 5),
        ("^a{0}b$", "a", 1),
        ("^(a?b)+$", "abbaa", 5),
        ("^x$|^yy$", "yz", 2),
        ("^[^,]*,[^,]*$", "a,b,", 4),
        ("^[]a]+$", "]a]b", 4),
        ("^.$", "\n", 1),
        ("^", "anything", None),
        ("^\\.\\x41\\u0042$", ".AC", 3),
        ("^a{2,}b", "ab", 2),
        ("^a+?$", "ab", 2),
    ],
)
def test_when_it_is_decided(source: str, text: str, dead: int | None) -> None:
    assert dies_after(source, text) == dead


@pytest.mark.parametrize(
    "source",
    [
        "abc",
        "a|^b",
        "^(?=a)",
        "^(a)\\1$",
        "(?i)^a",
        "^a\\b",
        "^a{,}",
        "^(a$)b",
        "^(?P<n>a)",
        "^a++",
        "^x{3000}",
        "^\\Z",
    ],
)
def test_what_is_not_decided(source: str) -> None:
    assert Pattern(source).start is None


def test_what_is_not_decided_is_still_matched() -> None:
    assert Pattern("(?i)^A").matches("abc")
    assert not Pattern("(?i)^A").matches("b")
    assert MAX_STATES >= 1000


_ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", "\\d", ".", "\\w", "\\.", "é"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    counts = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}|{both[1]})"),
        st.tuples(inner, counts).map(lambda both: f"(?:{both[0]}){both[1]}"),
    )


SOURCES = st.tuples(st.recursive(_ATOMS, _grown, max_leaves=5), st.sampled_from(["", "$"])).map(
    lambda both: f"^(?:{both[0]}){both[1]}"
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_text_that_matches_is_refused(data: st.DataObject) -> None:
    source = data.draw(SOURCES)
    text = data.draw(st.from_regex(source))
    assert dies_after(source, text) is None


@settings(max_examples=300, deadline=None)
@given(SOURCES, st.text(alphabet="ab1.é\n ", max_size=8))
def test_a_text_that_is_refused_matches_with_nothing_behind_it(source: str, text: str) -> None:
    dead = dies_after(source, text)
    if dead is not None:
        assert re.search(source, text[:dead]) is None
        assert re.search(source, text) is None


def test_it_is_linear() -> None:
    pattern = Pattern("^(a|b|ab)*$")
    place = pattern.start
    for _ in range(50_000):
        assert place is not None
        place = pattern.step(place, "ab")
    assert place is not None
