"""A typed slot shown field by field while the model writes it, and stopped as soon as it cannot fit.

The answer's text is not shown; its fields are, as `field-start`, `-delta` and `-end` under the slot's span, with
paths inside the slot's value. What is taken back is an `output-reset` under that span that names no block: all
fields of the span so far. `outputs.reader` does the reading. Next: `asking`.
"""

from __future__ import annotations

from typing import Any

from headrace import errors, events
from headrace.outputs import portable, reader
from headrace.runs.context import Context
from headrace.templates.types import Shape

_WRAPPED = portable.Portable({}, "prompt", wrapped=True)
"""Our questions want every value under the key `value`; an answer without it is taken too."""


class Refused(errors.RunError):
    """An answer that cannot fit any more; `reason` has words for the model."""

    default_code = "output-rejected"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the answer cannot fit any more: {reason}")
        self.reason = reason


class FieldStream:
    """Shows one slot's answer, however often it is asked for.

    Attributes:
        value: the value so far, as JSON has it; of a type of the user's, a growing value of that type.
    """

    def __init__(self, context: Context, span: str, shape: Shape) -> None:
        self._context = context
        self._span = span
        self._wanted = shape.early()
        self._reader = self._begun()
        self._told = False

    def _begun(self) -> reader.Reader:
        return reader.Reader(self._wanted, form=_WRAPPED)

    @property
    def value(self) -> Any:
        return self._reader.value

    def feed(self, text: str) -> None:
        """Take the next piece of the answer and show what it brings.

        Raises:
            Refused: it cannot fit any more.
        """
        found = self._reader.feed(text)
        if found:
            self._told = True
            self._context.emit(*found, span=self._span)
        problem = self._reader.problem
        if problem is not None and not problem.message.startswith("not JSON"):
            raise Refused(str(problem))

    def take_back(self, reason: str) -> None:
        """What was shown does not stand; the answer begins again."""
        if self._told:
            self._context.emit(events.OutputReset(blocks=[], reason=reason), span=self._span)
        self._told = False
        self._reader = self._begun()
