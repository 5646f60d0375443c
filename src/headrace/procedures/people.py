"""Questions to people: what is asked, and what counts as an answer. Pure.

Asking and waiting are the run's own (`runs.questions`). Next: `journal`, which keeps questions and answers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace import errors, events

KINDS = ("approve", "input", "select", "review", "notify")
_DECISIONS = ("approve", "reject", "edit")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        request: its id in the run.
        deadline: seconds since the epoch after which `default` is the answer.
    """

    request: str
    kind: str
    message: str = ""
    options: list[Any] | None = None
    default: Any = None
    deadline: float | None = None

    @property
    def event(self) -> events.HumanRequest:
        """What readers are shown."""
        deadline = None if self.deadline is None else datetime.fromtimestamp(self.deadline, UTC)
        return events.HumanRequest(
            request=self.request,
            kind=self.kind,
            message=self.message,
            options=self.options,
            default=self.default,
            deadline=deadline,
        )


def fitting(question: Question, value: Any) -> Any:
    """The answer, if it is one.

    Raises:
        errors.UsageError: `bad-request`, with what would be.
    """
    match question.kind:
        case "approve" if isinstance(value, bool):
            return value
        case "input" if isinstance(value, str):
            return value
        case "select" if value in (question.options or []):
            return value
        case "review" if value in _DECISIONS:
            return {"decision": value}
        case "review" if isinstance(value, dict) and value.get("decision") in _DECISIONS:
            return value
    wanted = {
        "approve": "true or false",
        "input": "a string",
        "select": f"one of {msgspec.json.encode(question.options or []).decode()}",
        "review": f'one of {", ".join(_DECISIONS)}, or {{"decision": …, "value": …}}',
    }[question.kind]
    raise errors.UsageError(
        f"value does not answer {question.request}: it must be {wanted}",
        code="bad-request",
        details={"where": "value"},
    )
