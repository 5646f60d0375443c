from __future__ import annotations

import pytest

from headrace.cli import blocks

TEXT = """# Title

A paragraph
of two lines.

- one
- two

  still two

```python
x = 1

y = 2
```

| a | b |
|---|---|
| 1 | 2 |

Last words.
"""


def test_finished_blocks_never_change() -> None:
    """However the text is cut, the blocks given out as done are those of the whole text."""
    for cut in range(len(TEXT)):
        done, rest = blocks.split(TEXT[:cut])
        assert done + rest == TEXT[:cut]
        assert TEXT.startswith(done)


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("one paragraph", ""),
        ("first\n\nsec", "first\n\n"),
        ("```\ncode\n\nmore", ""),
        ("- a\n- b\n\n- c", ""),
        ("text\n```\ncode", "text\n"),
        ("", ""),
    ],
)
def test_the_block_that_still_grows_is_the_rest(text: str, done: str) -> None:
    assert blocks.split(text)[0] == done


def test_growing_block_by_block_shows_what_the_whole_shows() -> None:
    shown: list[str] = []
    rest = ""
    for character in TEXT:
        done, rest = blocks.split(rest + character)
        shown += blocks.render(done, 60, colours=False) if done else []
    shown += blocks.render(rest, 60, colours=False)
    assert [line for line in shown if line] == [
        line for line in blocks.render(TEXT, 60, colours=False) if line
    ]


def test_lines_fit_the_width() -> None:
    for line in blocks.render(TEXT + "\n\n" + "word " * 100 + "x" * 200, 40, colours=False):
        assert len(line) <= 40


@pytest.mark.parametrize(
    "text", ["<b>bold</b>", "before\n\n<div onclick=x>\n\nafter", "a <think> b", "List<int>"]
)
def test_html_is_words(text: str) -> None:
    shown = "\n".join(blocks.render(text, 80, colours=False))
    for word in text.split():
        assert word in shown


@pytest.mark.parametrize("entity", ["&#27;[31m", "&#x9b;31m", "&#13;x", "&#7;", "&#8238;x", "&NewLine;"])
def test_entities_are_no_way_round(entity: str) -> None:
    for line in blocks.render(f"a {entity} b", 80, colours=False):
        assert all(c.isprintable() for c in line), ascii(line)


def test_a_link_shows_where_it_leads() -> None:
    assert "https://example.com/x" in "".join(
        blocks.render("[safe](https://example.com/x)", 80, colours=False)
    )
    assert "\x1b]8" not in "".join(blocks.render("[safe](https://example.com/x)", 80))


def test_rich_markup_is_words() -> None:
    assert blocks.render("[red]hi[/red] :smile:", 80, colours=False) == ["[red]hi[/red] :smile:"]
