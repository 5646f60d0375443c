"""The JSON in an answer: prose, fences, reasoning, brackets that are none; in any cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors, events
from headrace.protocol.find import MAX_HELD, Finder


def read(pieces: Iterable[str], **more: Any) -> tuple[str, Any, str]:
    """Prose, value (`...` when none was found), error."""
    finder, out, error = Finder(**more), [], ""
    try:
        for piece in pieces:
            out += finder.feed(piece)
        out += finder.close()
    except errors.RunError as caught:
        error = caught.code
        out.append(caught.details.get("prose", ""))
    prose = "".join(piece for piece in out if isinstance(piece, str))
    return prose, finder.parser.value if finder.found else ..., error


CASES = [
    ('{"a": 1}', "", {"a": 1}),
    ("  [1, 2]\n", "  \n", [1, 2]),
    ("{}", "", {}),
    ('Sure! Here it is: {"a": [1]} Enjoy {"b": 2}.', "Sure! Here it is:  Enjoy {\"b\": 2}.", {"a": [1]}),
    ('```json\n{"a": "`x`"}\n```\nHope it helps', "\nHope it helps", {"a": "`x`"}),
    ("Text\n```\n[1]\n```", "Text\n", [1]),
    ("```json\n\n  {}```", "", {}),
    ('```JSON5 title="x"\n{a: 1,}\n```', "", {"a": 1}),
    ('```python\nx = {"a": 1}\n```\nso ```\n[2]\n```.', '```python\nx = {"a": 1}\n```\nso .', [2]),
    ('```js\n[ -f x ]\n``` {"z": 1}', "```js\n[ -f x ]\n``` ", {"z": 1}),
    ('use ``` in {"a": "b"}', "use ``` in ", {"a": "b"}),
    ('<think>maybe {"a": 1}?</think>\n{"b": 2}', '<think>maybe {"a": 1}?</think>\n', {"b": 2}),
    ('<Reasoning>[1, {"a": "b"}]</reasoning>{}', '<Reasoning>[1, {"a": "b"}]</reasoning>', {}),
    ('<thin {"a": true}', "<thin ", {"a": True}),
    ('Use {name}, see [1], [a](b), [[Wiki]], {}, []: {"a": 1}', "Use {name}, see [1], [a](b), [[Wiki]], {}, []: ", {"a": 1}),
    ("Result: {'a': True, b: None,}", "Result: ", {"a": True, "b": None}),
    ('x [{"a": 1}] y', "x  y", [{"a": 1}]),
    ('x ["a", "b"] y', "x  y", ["a", "b"]),
    ('{{name}} {"a": 1}', "{{name}} ", {"a": 1}),
    ('no { "a" but {"b": 1}', 'no { "a" but ', {"b": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "prose", "value"), CASES)
def test_found_in_any_cut(text: str, prose: str, value: Any) -> None:
    assert read([text]) == (prose, value, "")
    assert read(text) == (prose, value, "")
    for size in (2, 3, 5, 8):
        assert read(text[i : i + size] for i in range(0, len(text), size)) == (prose, value, "")


@pytest.mark.parametrize(
    "text", ["", "no JSON", "a { b", "a [1] b", "```\nx\n```", "<think>{}", "{name}", "a ``", "``", "see {}"]
)
def test_none_found(text: str) -> None:
    for pieces in ([text], list(text)):
        assert read(pieces) == (text, ..., "output-rejected")


def test_the_kind_that_is_expected() -> None:
    text = '["a"] {"b": 1}'
    assert read(text, expect="object") == ('["a"] ', {"b": 1}, "")
    assert read(text, expect="array") == (' {"b": 1}', ["a"], "")


def test_a_truncated_document() -> None:
    assert read('So: {"a": "b') == ("So: ", {"a": "b"}, "")
    assert read("```json\n{") == ("", {}, "")
    finder = Finder()
    finder.feed('{"a": "b')
    assert [event.type for event in finder.close() if isinstance(event, events.Event)] == ["field-end"]
    assert finder.parser.truncated


def test_once_taken_a_fault_is_an_error() -> None:
    for pieces in (['x {"a": "b" ! }'], 'x {"a": "b" ! }'):
        prose, value, error = read(pieces)
        assert (prose, value, error) == ("x ", {"a": "b"}, "output-rejected")


def test_strictly() -> None:
    assert read("x {'a': 1} {\"b\": 2}", mode="strict") == ("x {'a': 1} ", {"b": 2}, "")


def test_order_of_prose_and_events() -> None:
    out = Finder(root="/answer").feed('a {"x": 1} b')
    assert [piece if isinstance(piece, str) else piece.path for piece in out] == [
        "a ",
        "/answer/x",
        "/answer/x",
        " b",
    ]


def test_what_is_held_back_is_bounded() -> None:
    finder, out = Finder(), 0
    for _ in range(MAX_HELD * 2):
        out += sum(len(piece) for piece in finder.feed("{ ") if isinstance(piece, str))
        assert len(finder._held) <= MAX_HELD + 2
    assert out


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["{", "}", "[", "]", '"a"', ":", "1", ",", " ", "\n", "```", "`", "json", "<think>", "</think>", "x", "'"]), max_size=20),
    st.lists(st.integers(0, 60), max_size=15),
)  # fmt: skip
def test_rubbish_ends_the_same_in_any_cut(words: list[str], places: list[int]) -> None:
    text = "".join(words)
    at = [0, *sorted({min(place, len(text)) for place in places}), len(text)]
    assert read([text]) == read(text[a:b] for a, b in zip(at, at[1:], strict=False))
