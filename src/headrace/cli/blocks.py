"""Markdown as lines of a terminal, and which part of a growing text will not change any more. Pure.

`split` cuts a growing text after its last finished block: what is before it is rendered once, what is after it
again with each redraw. Raw HTML is text here, not markup, so nothing that a model wrote disappears; a link
shows where it leads. Next: `region`.
"""

from __future__ import annotations

import io
import re
from functools import cache
from typing import ClassVar

from markdown_it import MarkdownIt
from rich import markdown
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from headrace.cli import clean

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_CODE_THEME = "ansi_dark"  # the terminal's own colours on its own background


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def split(text: str) -> tuple[str, str]:
    """The finished blocks of a growing text, and the rest: its last block, which can still change."""
    starts = [token.map[0] for token in _parser().parse(text) if token.level == 0 and token.map]
    first = max(starts, default=0)
    if first <= 0:
        return "", text
    lines = text.split("\n")
    return "\n".join(lines[:first]) + "\n", "\n".join(lines[first:])


def tail(text: str, count: int) -> str:
    """The end of a long code block that is still open, as a block of its own; any other text as it is.

    Args:
        count: lines to keep.
    """
    if not text.startswith(("```", "~~~")):
        return text
    lines = text.split("\n")
    return text if len(lines) <= count + 1 else "\n".join([lines[0], *lines[-count:]])


def render(text: str, width: int, *, colours: bool = True) -> list[str]:
    """The text as lines of at most `width` columns, with colours as SGR sequences and no other escapes."""
    console = Console(
        file=io.StringIO(),
        force_terminal=colours,
        no_color=not colours,
        color_system="standard" if colours else None,
        width=max(width, 10),
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    made = _Markdown("", code_theme=_CODE_THEME, hyperlinks=False)
    made.parsed = _parser().parse(clean.clean(text))
    with console.capture() as capture:
        console.print(made, end="")
    # once more, after rendering: an entity such as &#8238; only becomes its character in the parser
    parts = _COLOUR.split(capture.get())
    text = "".join(part if place % 2 else clean.clean(part) for place, part in enumerate(parts))
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


class _Heading(markdown.Heading):
    """A heading at the left, without a frame."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text: Text = self.text
        text.justify = "left"
        text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield text


class _Table(markdown.TableElement):
    """A table that folds long words instead of cutting them off."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for made in super().__rich_console__(console, options):
            if isinstance(made, Table):
                for column in made.columns:
                    column.overflow = "fold"
            yield made


class _Markdown(markdown.Markdown):
    elements: ClassVar[dict[str, type[markdown.MarkdownElement]]] = {
        **markdown.Markdown.elements,
        "heading_open": _Heading,
        "table_open": _Table,
    }
