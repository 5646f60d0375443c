"""The tokens of JSON: pointers, numbers, escapes and halves of surrogate pairs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.protocol import json_tokens as tokens


@given(st.lists(st.text(st.sampled_from("a~/01é"), max_size=6), max_size=5))
def test_a_pointer_and_back(keys: list[str]) -> None:
    assert tokens.steps("".join(map(tokens.pointer, keys))) == keys


@given(st.text(st.sampled_from("-+.0123456789eE_x"), max_size=8))
def test_strict_numbers_are_those_of_json(text: str) -> None:
    try:
        want = json.loads(text)
    except ValueError:
        want = None
    got = tokens.STRICT.number(text)
    assert (got, type(got)) == (want, type(want))
    if want is not None:
        assert tokens.LENIENT.number(text) == want


@given(st.text(max_size=20))
def test_both_decode_what_json_encodes(text: str) -> None:
    for ascii_only in (True, False):
        raw = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        assert tokens.STRICT.decode(raw) == text
        assert tokens.LENIENT.decode(raw) == text
        assert tokens.STRICT.body['"'].fullmatch(raw)
        assert tokens.LENIENT.body['"'].fullmatch(raw)


@pytest.mark.parametrize(
    ("raw", "high"),
    [
        ("\\ud83d", True),
        ("x\\uDBFF", True),
        ("\\\\ud83d", False),
        ("\\\\\\ud83d", True),
        ("\\ude00", False),
        ("", False),
    ],
)
def test_a_first_half_at_the_end(raw: str, high: bool) -> None:
    assert tokens.ends_high(raw) is high
