"""The default sink: tokens as lines, `[TOKEN] answer: "Machine"`, or as running text; other events as lines.

Colours on a terminal only, and where NO_COLOR is not set. Text of a model never reaches the terminal as a control
character. Next: `jsonl`.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from headrace.core.events import HeadraceEvent, TokenEvent
from headrace.sinks.base import BaseSink

_COLOURS = {"token": "36", "start": "2", "end": "32", "error": "31"}
_SHOWN = ("outcome", "elapsed_ms", "error", "name", "message", "value")
_WIDEST = 200  # characters of a line that is not a token


class TerminalSink(BaseSink):
    """Prints events.

    Args:
        inline: print tokens as running text, one paragraph a field, instead of a line each.
        file: where to; default: the standard output as it is when an event is printed.
        colour: default: only where `file` is a terminal.
        verbose: print all events, not just tokens, errors and those of the program's own.
        options: of `BaseSink`; the interval is 20 ms here.
    """

    def __init__(
        self,
        *,
        inline: bool = False,
        file: TextIO | None = None,
        colour: bool | None = None,
        verbose: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**{"flush_interval": 0.02, **options})
        self._inline = inline
        self._file = file
        self._colour = colour
        self._verbose = verbose
        self._open = ""  # the field whose text is being printed

    def handle_event(self, event: HeadraceEvent) -> None:
        """Print it."""
        out = self._file or sys.stdout
        if isinstance(event, TokenEvent):
            if self._inline:
                self._text(event, out)
            else:
                line = json.dumps(event.token, ensure_ascii=False)
                self._line(out, "token", f"[TOKEN] {event.field}: {_clean(line)}")
        elif self._verbose or event.event_type == "error" or not (event.type or event.event_type in _COLOURS):
            told = {name: event.data[name] for name in _SHOWN if event.data.get(name) is not None}
            more = " ".join(f"{name}={value}" for name, value in (told or event.data).items())
            parts = (f"[{event.event_type.upper()}]", event.operation, more)
            line = " ".join(part for part in parts if part).replace("\n", " ")
            self._line(out, event.event_type, _clean(line[:_WIDEST]))
        out.flush()

    async def disconnect(self) -> None:
        """End the paragraph."""
        if self._open:
            (self._file or sys.stdout).write("\n")
            self._open = ""

    def _text(self, event: TokenEvent, out: TextIO) -> None:
        place = f"{event.run} {event.span} {event.field}"
        if place != self._open or event.token_index == 0:
            out.write(f"{chr(10) if self._open else ''}{event.field}: ")
            self._open = place
        out.write(_clean(event.token))

    def _line(self, out: TextIO, kind: str, line: str) -> None:
        if self._open:
            out.write("\n")
            self._open = ""
        colour = out.isatty() if self._colour is None else self._colour
        code = _COLOURS.get(kind, "33")
        out.write(f"\x1b[{code}m{line}\x1b[0m\n" if colour else line + "\n")


def _clean(text: str) -> str:
    """Without what a terminal would obey; what it cannot encode becomes `\N{REPLACEMENT CHARACTER}`."""
    if text.isprintable():
        return text
    kept = "".join(c if c.isprintable() or c in "\n\t" or c == "\u200d" else "\ufffd" for c in text)
    return kept.encode("utf-8", "replace").decode()
