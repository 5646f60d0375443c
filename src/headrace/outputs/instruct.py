"""The words around a schema: for models that take none, and for asking again when an answer did not fit.

Short, for small models read the last lines best: what to write, the schema, then an example's outline. The errors
are the problems with their places, and the answer is not quoted again: it stands in the conversation. Next: `reader`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.outputs.problems import Problem

MOST = 10  # problems told of at once


def schema_words(schema: Mapping[str, Any]) -> str:
    """The words that ask for JSON of this schema."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "Answer only with JSON that fits this JSON Schema, without any other words and without a code fence.\n"
        f"JSON Schema: {text}"
    )


def again_words(problems: Sequence[Problem], *, truncated: bool = False) -> str:
    """The words that ask once more, with what was wrong.

    Args:
        truncated: whether the answer was cut off.
    """
    told = "\n".join(f"- {problem}" for problem in problems[:MOST])
    if len(problems) > MOST:
        told += f"\n- and {len(problems) - MOST} more"
    short = " Write less, so that it is complete." if truncated else ""
    return f"That answer is not right:\n{told}\nWrite the whole answer again as JSON, with this put right.{short}"
