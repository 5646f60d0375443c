"""What is wrong with a structured answer: where (a JSON Pointer) and in which words.

The words are for the model, which is asked again with them, and for people. Next: `shape`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from headrace import errors
from headrace.protocol import json_tokens

MOST = 20  # problems that one error tells of
_SHOWN = 80  # characters of a value that words quote


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: a JSON Pointer (RFC 6901) into the answer; empty for all of it.
        message: what is wrong there, in words that say what would be right.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'the answer'}: {self.message}"


class ShapeError(errors.RunError):
    """An answer that has not the shape that was asked for.

    Attributes:
        problems: what is wrong, in the order of the answer; never empty.
        partial: the value as far as it came, of the user's type where that could be made.
        truncated: whether the text ended before the answer did.
    """

    default_code = "output-rejected"

    def __init__(
        self, problems: Sequence[Problem], *, partial: Any = None, truncated: bool = False, where: str = ""
    ) -> None:
        self.problems = tuple(problems[:MOST])
        self.partial = partial
        self.truncated = truncated
        told = "; ".join(str(problem) for problem in self.problems)
        more = len(problems) - len(self.problems)
        super().__init__(
            f"the answer does not fit{' ' + where if where else ''}: {told}"
            + (f"; and {more} more" if more else ""),
            details={
                "problems": [{"path": problem.path, "message": problem.message} for problem in self.problems],
                "truncated": truncated,
            },
        )


def pointer(steps: Iterable[Any]) -> str:
    """The JSON Pointer of keys and indexes."""
    return "".join(json_tokens.pointer(str(step)) for step in steps)


def shown(value: Any) -> str:
    """A value for words: its JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
