"""Lines at the bottom of a terminal that are redrawn in place: only from the first line that differs. Pure.

The cursor rests at the start of the line below the region. An update goes out as one write between the marks
of a synchronized update, so a terminal never shows it half done; lines that did not change are not touched.
Lines pushed above the region (`above`) are the terminal's own from then on, and scroll away like any output.
Next: `screen`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_SGR = re.compile(r"\x1b\[[0-9;]*m")
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


class Region:
    """What is drawn now, and the bytes from there to the next picture."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._width = 0

    def draw(self, lines: Sequence[str], width: int, above: Sequence[str] = ()) -> str:
        """The text to write so that the terminal shows `above`, to keep, and then `lines`.

        Args:
            lines: each at most `width` columns wide, without a newline; fewer than the terminal has rows.
            width: columns of the terminal now.
        """
        old = self._rows(width)
        new = [*above, *lines]
        same = 0
        while same < min(len(old), len(new)) and old[same] is not None and old[same] == new[same]:
            same += 1
        self._lines, self._width = list(lines), width
        if same == len(old) == len(new):
            return ""
        up = len(old) - same
        move = f"\x1b[{up}A" if up else ""
        drawn = "".join(f"\x1b[2K{line}\x1b[0m\n" for line in new[same:])
        # erasing the whole screen instead would put each picture into some terminals' scrollback
        rest = "\x1b[J" if len(new) < len(old) else ""
        return f"{_BEGIN}\r{move}{drawn}{rest}{_END}"

    def _rows(self, width: int) -> list[str | None]:
        """The rows the region takes up now; after the terminal became narrower a line takes several."""
        if width >= self._width:
            return list(self._lines)
        rows: list[str | None] = []
        for line in self._lines:
            taken = max(1, math.ceil(len(_SGR.sub("", line).rstrip()) / max(width, 1)))
            rows += [line] if taken == 1 else [None] * taken
        return rows
