from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.memory import markers
from headrace.memory.markers import Filter, parse, parse_line, strip

REPLY = """Sure.
COMMIT: water the plants
COMMITMENT issues are prose
```
COMMIT: in a fence, so prose
```
CLAIM: weather={"city": "Oslo"}\r
TRAIT: openness +0.02
TRAIT: openness much
CLOSE: c12
 REFLECT: indented, so prose
REFLECT: I answer too quickly"""


def test_the_markers_of_a_reply() -> None:
    assert [(m.kind, m.content, m.meta) for m in parse(REPLY)] == [
        ("commitment", "water the plants", {}),
        ("claim", 'weather={"city": "Oslo"}', {"type": "weather", "value": {"city": "Oslo"}}),
        ("trait", "openness +0.02", {"trait": "openness", "step": 0.02}),
        ("commitment-closed", "c12", {}),
        ("reflection", "I answer too quickly", {}),
    ]


def test_what_a_person_reads() -> None:
    assert strip(REPLY) == (
        "Sure.\nCOMMITMENT issues are prose\n```\nCOMMIT: in a fence, so prose\n```\n"
        "TRAIT: openness much\n REFLECT: indented, so prose\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "COMMIT:",
        "COMMIT: ",
        "commit: x",
        "COMMIT x",
        "CLAIM: x",
        "CLAIM: a=NaN",
        'CLAIM: a="\\ud800"',
        "CLAIM: a=" + "[" * 1500,
        "TRAIT: charm +0.01",
        "TRAIT: openness 0.01",
        "TRAIT: openness +",
        "COMMIT: " + "x" * markers.LONGEST,
    ],
)
def test_what_does_not_parse_is_prose(line: str) -> None:
    assert parse_line(line) is None
    assert strip(line) == line


def test_a_trait_moves_by_a_small_step() -> None:
    found = parse_line("TRAIT: openness -9.5")
    assert found is not None
    assert found.meta["step"] == -markers.STEP


_PIECES = st.sampled_from(
    [
        "COMMIT",
        ": ",
        "COMMIT: a",
        "\n",
        "\r\n",
        "```",
        "  ~~~",
        "x",
        "CLOSE: b",
        "TRAIT: openness +0.01",
        " ",
        "é🌊",
    ]
)


@given(st.lists(_PIECES, max_size=30).map("".join), st.data())
def test_any_cut_of_the_stream_shows_the_same(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    reader = Filter()
    shown = ""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        shown += reader.feed(text[start:end])
    shown += reader.end()
    assert shown == strip(text)
    assert reader.markers == parse(text)
    assert len(shown) <= len(text)


def test_prose_is_shown_at_once() -> None:
    reader = Filter()
    assert reader.feed("CO") == ""
    assert reader.feed("LD") == "COLD"
    assert reader.feed(" and more") == " and more"


def test_no_more_than_a_line_is_held_back() -> None:
    reader = Filter()
    assert reader.feed("COMMIT: " + "x" * markers.LONGEST) != ""
