"""What is wrong with a template: where, what, and what to do; `FILE:LINE:COLUMN`, the line, and a caret.

All faults of a template are found in one go and raised together, as one `errors.UsageError` with the code
`template-error`; `details.errors` has them one by one. Next: `syntax`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from headrace import errors


class Place(NamedTuple):
    """Where something stands: a file (or `<template>`), line and column from 1, and the text of the line."""

    file: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Fault(NamedTuple):
    """One thing that is wrong."""

    place: Place
    message: str

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}"
        if not self.place.text:
            return head
        # A tab before the caret stays a tab, so that the two lines stay in step.
        margin = "".join("\t" if c == "\t" else " " for c in self.place.text[: self.place.column - 1])
        return f"{head}\n  {self.place.text}\n  {margin}^"

    def to_json(self) -> dict[str, Any]:
        """The form of `error.details.errors[]`."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "message": self.message,
        }


class TemplateError(errors.UsageError):
    """A template that cannot be run; nothing has been asked yet, or nothing more is.

    Attributes:
        faults: all that was found, in the order of the text.
    """

    default_code = "template-error"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = sorted(set(faults), key=lambda fault: fault.place[:3])
        super().__init__(
            "\n".join(str(fault) for fault in self.faults),
            details={"errors": [fault.to_json() for fault in self.faults]},
        )


def at(place: Place, message: str) -> TemplateError:
    """The error of a single fault."""
    return TemplateError([Fault(place, message)])


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is close to `word`, else nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
