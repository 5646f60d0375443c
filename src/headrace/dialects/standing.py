"""What text of a run still stands: for formats whose frames do not say which block they belong to.

Such a format can only say "drop everything"; what stands is then sent again. So an encoder keeps the text of
its reader's blocks: about the text of the run, once a reader. Next: `text` and `token`, which use it.
"""

from __future__ import annotations

from headrace import events
from headrace.protocol import assembler


class Standing:
    """The shown text, by block, in the order the blocks began."""

    __slots__ = ("_blocks", "_whole")

    def __init__(self) -> None:
        self._blocks: dict[str, assembler.Pieces] = {}
        self._whole = False

    def begin(self) -> None:
        """`run-start` was seen: nothing has been missed."""
        self._whole = True

    def add(self, event: events.TextDelta) -> None:
        """More text was shown."""
        pieces = self._blocks.get(event.block)
        if pieces is None:
            pieces = self._blocks[event.block] = assembler.Pieces()
        pieces.add(event.delta)

    def reset(self, blocks: list[str]) -> str | None:
        """Drop blocks. The text that stands when some of it was shown, None when nothing was."""
        shown = not self._whole
        for block in blocks:
            shown |= self._blocks.pop(block, None) is not None
        return "".join(str(pieces) for pieces in self._blocks.values()) if shown else None
