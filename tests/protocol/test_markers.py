"""Fields by marker: DSPy headers, XML tags, sections; no marker leaks, nothing like one is lost, in any cut."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors, events
from headrace.protocol.markers import XML, DSPy, Sections, Splitter


def read(splitter: Splitter, pieces: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Text of no field, joined deltas by field; checks the events on the way."""
    out: list[events.Event | str] = []
    for piece in pieces:
        out += splitter.feed(piece)
    out += splitter.close()
    texts: dict[str, list[str]] = {}
    ended: dict[str, str] = {}
    for item in out:
        match item:
            case events.FieldStart(path=path):
                assert path not in texts
                texts[path] = []
            case events.FieldDelta(path=path, delta=delta, index=index):
                assert delta
                assert index == len(texts[path])
                texts[path].append(delta)
            case events.FieldEnd(path=path, value=value):
                ended[path] = value
                assert not isinstance(value, str) or "".join(texts[path]) == value
    assert set(texts) == set(ended)
    return "".join(item for item in out if isinstance(item, str)), ended


def cuts(text: str) -> list[list[str]]:
    sizes = (len(text) or 1, 1, 2, 3, 4, 7)
    return [[text[i : i + size] for i in range(0, len(text), size)] for size in sizes]


DSPY = "[[ ## reasoning ## ]]\nA [[is]] b [[ ## x ##\n\n  c\n\n  [[ ## answer ## ]]  \r\n 42 [[ #\r\n\r\n[[ ## completed ## ]]\n"


def test_dspy() -> None:
    for pieces in cuts(DSPY):
        splitter = DSPy(["reasoning", "answer"])
        rest, values = read(splitter, pieces)
        assert rest.strip() == ""
        assert values == {"/reasoning": "A [[is]] b [[ ## x ##\n\n  c", "/answer": "42 [[ #"}
        assert splitter.values == {"reasoning": values["/reasoning"], "answer": values["/answer"]}
        assert splitter.open == ""


def test_dspy_header_only_at_a_line_s_beginning_as_dspy_reads_it() -> None:
    for pieces in cuts("[[ ## a ## ]] x [[ ## b ## ]] y\n\t[[ ## b ## ]]\nz"):
        assert read(DSPy(["a", "b"]), pieces)[1] == {"/a": "x [[ ## b ## ]] y", "/b": "z"}


def test_dspy_unknown_and_repeated_headers_end_a_field() -> None:
    for pieces in cuts("pre\n[[ ## a ## ]]\nx\n[[ ## no ## ]]\nlost\n[[ ## a ## ]]\nagain"):
        rest, values = read(DSPy(["a"]), pieces)
        assert values == {"/a": "x"}
        assert rest == "pre\n\nlost\n\nagain"


def test_dspy_fields_of_json() -> None:
    text = '[[ ## items ## ]]\n[1, {"a": "b"}]\n\n[[ ## n ## ]]\n 42\n[[ ## f ## ]]\n```json\n[true]\n```\n'
    for pieces in cuts(text):
        splitter = DSPy(["items", "n", "f"], json=["items", "n", "f"])
        _, ended = read(splitter, pieces)
        assert ended == {"/items/0": 1, "/items/1/a": "b", "/n": 42, "/f/0": True}
        assert splitter.values == {"items": [1, {"a": "b"}], "n": 42, "f": [True]}


def test_a_field_of_json_that_is_none() -> None:
    splitter = DSPy(["n"], json=["n"])
    with pytest.raises(errors.RunError):
        read(splitter, ["[[ ## n ## ]]\nmany\n"])


def test_xml() -> None:
    text = "pre <b>x</b> <answer> a <b>bold</b> <r> < 3 </ans </answer> post <answer>2</answer><r>q"
    for pieces in cuts(text):
        rest, values = read(XML(["answer", "r"]), pieces)
        assert rest == "pre <b>x</b>  post 2"
        assert values == {"/answer": "a <b>bold</b> <r> < 3 </ans", "/r": "q"}


def test_sections() -> None:
    text = "intro\nTitle: A b\nc note: x\nnote: y\n**Body:** text\n## sum: last\n**sum**: again"
    for pieces in cuts(text):
        rest, values = read(Sections(["title", "body", "sum"]), pieces)
        assert values == {"/title": "A b\nc note: x\nnote: y", "/body": "text", "/sum": "last"}
        assert rest == "intro\n again"


def test_a_name_is_escaped_in_the_path() -> None:
    assert read(Sections(["a/b"]), ["a/b: 1"])[1] == {"/a~1b": "1"}


def test_wrong_use() -> None:
    with pytest.raises(errors.UsageError, match="'x' is not one of the fields: a"):
        XML(["a"], json=["x"])


def test_no_fields() -> None:
    for splitter in (XML([]), DSPy([])):
        assert read(splitter, "a <b> [[ ## c") == ("a <b> [[ ## c", {})


def test_white_space_is_held_back_until_something_follows() -> None:
    splitter = XML(["a"])
    splitter.feed("<a>")
    assert splitter.feed(" \n") == []
    assert splitter.feed("x  ") == [events.FieldDelta(path="/a", delta="x", index=0)]
    assert splitter.open == "a"
    assert splitter.feed(" y\n") == [events.FieldDelta(path="/a", delta="   y", index=1)]
    assert splitter.feed("</a>") == [events.FieldEnd(path="/a", value="x   y")]


PARTS = st.lists(
    st.sampled_from(["[[ ## a ## ]]", "[[ ## b ## ]]", "[[ ## ", "[[", "]]", "\n", "\r", "\n", " ", "x", "##", "\u2028", "é", "[[ ## c ## ]]"]),
    max_size=25,
).map("".join)  # fmt: skip


def dspy_itself(text: str) -> dict[str, str]:
    """How DSPy's chat adapter reads a completion, in our own words: by lines, first of a name wins, stripped."""
    found: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in text.splitlines():
        header = re.match(r"\[\[ ## (\w+) ## \]\]", line.strip())
        if header:
            found.append((header[1], [line.strip()[header.end() :]]))
        else:
            found[-1][1].append(line)
    values: dict[str, str] = {}
    for name, lines in found:
        if name in ("a", "b"):
            values.setdefault(f"/{name}", "\n".join(lines).strip())
    return values


@settings(max_examples=300, deadline=None)
@given(PARTS, st.lists(st.integers(0, 200), max_size=20))
def test_dspy_in_any_cut_as_dspy_reads_it(text: str, places: list[int]) -> None:
    at = [0, *sorted({min(place, len(text)) for place in places}), len(text)]
    _, got = read(DSPy(["a", "b"]), (text[a:b] for a, b in zip(at, at[1:], strict=False)))
    plain = {path: re.sub(r"[ \t]+\n", "\n", value) for path, value in got.items()}
    want = {path: re.sub(r"[ \t]+\n", "\n", value) for path, value in dspy_itself(text).items()}
    assert plain == want


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["<a>", "</a>", "<b>", "</b>", "<", "a>", "</", "a: ", "**a:**", "# b:", "\n", "x", " ", "*"]), max_size=20).map("".join),
    st.lists(st.integers(0, 100), max_size=15),
    st.sampled_from([XML, Sections]),
)  # fmt: skip
def test_others_in_any_cut(text: str, places: list[int], kind: Any) -> None:
    at = [0, *sorted({min(place, len(text)) for place in places}), len(text)]
    assert read(kind(["a", "b"]), [text]) == read(
        kind(["a", "b"]), (text[a:b] for a, b in zip(at, at[1:], strict=False))
    )
