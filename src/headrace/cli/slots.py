"""A template's slots on a terminal: those that are being written grow side by side, finished ones stand above them.

At the foot of the screen each open slot has the end of its text, or its fields so far; it is drawn some ten times a
second, however fast tokens come. A finished slot is printed once, whole, and stays. Answers are clean before they
are shown. Next: `template`, which uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from headrace import events
from headrace.cli import clean
from headrace.templates.expressions import plain
from headrace.templates.values import (
    ProcessingError,
    Reader,
    SlotCompleted,
    TokenReceived,
    TokensReset,
    Value,
)

TAIL = 4000
"""Characters of an open slot that are looked at to draw its last lines."""


@dataclass(slots=True)
class _Open:
    """A slot that is being answered."""

    name: str
    again: bool = False
    pieces: list[str] = field(default_factory=list)


class Slots:
    """The slots of one run, on stderr.

    Args:
        partial: the growing value of a slot that comes field by field, by its span.
        console: instead of stderr's.
    """

    def __init__(self, partial: Callable[[str], Any], console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._reader = Reader()
        self._partial = partial
        self._open: dict[str, _Open] = {}
        self._console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            refresh_per_second=10,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def batch(self, batch: Iterable[events.Event]) -> None:
        """Take the next events of the run."""
        for event in batch:
            if isinstance(event, events.SpanStart) and event.kind == "slot":
                self._open[event.span] = _Open(event.name)
            for value in self._reader.read([event]):
                self._take(value)

    def _take(self, value: Value) -> None:
        match value:
            case TokenReceived():
                self._open[value.span].pieces.append(value.token)
            case TokensReset():
                self._open[value.span] = _Open(value.slot_key, True, [value.buffer])
            case SlotCompleted():
                self._open.pop(value.span, None)
                self._print(value.slot_key + (" (kept)" if value.was_cached else ""), _words(value.result))
            case ProcessingError(slot_key=str() as name) if value.text:
                self._open.clear()
                self._print(f"{name} (broken off)", value.text)
            case _:
                pass

    def _print(self, name: str, words: str) -> None:
        from rich.text import Text

        shown = Text.assemble((f"{clean.line(name)}: ", "dim"), clean.clean(words).rstrip())
        self._console.print(shown, soft_wrap=True)

    def _drawn(self) -> Any:
        """The open slots, each with its last lines."""
        from rich.text import Text

        slots = dict(self._open)  # drawn by a thread of its own, while slots come and go
        width = self._console.width
        lines = max(1, (self._console.height - 2) // max(1, len(slots)))
        drawn = Text()
        for span, slot in slots.items():
            text = self._so_far(span, slot)
            head = f"{clean.line(slot.name)}{' (again)' if slot.again else ''}: "
            mine = Text.assemble((head, "dim"), clean.clean(text) or "…").wrap(self._console, width)
            last = list(mine)[-lines:]
            if len(mine) > lines and lines > 1:
                last[0] = Text(head + "…", "dim")
            for line in last:
                drawn.append_text(line).append("\n")
        drawn.rstrip()
        return drawn

    def _so_far(self, span: str, slot: _Open) -> str:
        if not slot.pieces:
            value = self._partial(span)
            return "" if value is None else _words(value)
        text, size = [], 0
        for piece in reversed(slot.pieces):
            text.append(piece)
            size += len(piece)
            if size > TAIL:
                break
        return "".join(reversed(text))

    def __enter__(self) -> Slots:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def _words(value: Any) -> str:
    """A value as words: text as it is, everything else as JSON in one line."""
    import json

    found = plain(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
