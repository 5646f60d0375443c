"""What is inside a field that is not a text: field events of its own for each part, by path, while it forms. Pure.

A field of type `list[str]` streams as its JSON text under its own path (`/tags`, the tokens of a sink); beside that
`/tags/0`, `/tags/1` … begin, grow and end with their values, as in any structured answer. They say `part_of`, so that
whoever joins a field's tokens leaves them out. A value that is one piece (an `int`) has no parts. Next: `predicting`.
"""

from __future__ import annotations

from typing import Any

from headrace import errors, events
from headrace.protocol import json as machine


class Parts:
    """The parts of one field.

    Args:
        path: of the field.
        span: of its predictor.
    """

    def __init__(self, path: str, span: str) -> None:
        self._path = path
        self._span = span
        self._parser: machine.Parser | None = machine.Parser(mode="lenient", root=path, containers=True)
        self._open: dict[str, None] = {}

    def feed(self, text: str) -> list[events.Event]:
        """More of the field's JSON."""
        if self._parser is None:
            return []
        try:
            return self._told(self._parser.feed(text))
        except errors.HeadraceError:  # not JSON: the adapter says what that means, not we
            return self.drop()

    def close(self) -> list[events.Event]:
        """The field ends here."""
        if self._parser is None:
            return []
        try:
            found = self._told(self._parser.close())
        except errors.HeadraceError:  # as in `feed`
            found = []
        return [*found, *self.drop()]

    def drop(self) -> list[events.Event]:
        """No more of it: what is open ends without a value."""
        self._parser = None
        ends: list[Any] = [events.FieldEnd(path=path) for path in reversed(self._open)]
        return self._told(ends)

    def _told(self, found: list[Any]) -> list[events.Event]:
        out: list[events.Event] = []
        for event in found:
            if event.path == self._path:
                continue
            if isinstance(event, events.FieldStart):
                self._open[event.path] = None
            elif isinstance(event, events.FieldEnd):
                self._open.pop(event.path, None)
            event.span = self._span
            event.extra = {"part_of": self._path}
            out.append(event)
        return out
