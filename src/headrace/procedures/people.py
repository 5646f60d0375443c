"""Questions to people that runs of this process wait for, and what counts as an answer.

One `Desk` an engine. Whoever takes the answer (a terminal, an HTTP route, a page) gives it to `Desk.answer`, which
returns when the answer is on disk. Next: `journal`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from headrace import errors
from headrace.runs.engine import Engine

KINDS = ("approve", "input", "select", "review", "notify")
_DECISIONS = ("approve", "reject", "edit")


class NoSuchRequest(errors.UsageError):
    """A question that no run has open."""

    default_code = "bad-request"
    http_status = 404


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


class _Waiting:
    def __init__(self, question: Question, record: Callable[[Any], Awaitable[None]]) -> None:
        self.question = question
        self.record = record
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.taken = False


class Desk:
    """The open questions of one engine's runs."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], _Waiting] = {}

    async def ask(
        self, run: str, question: Question, record: Callable[[Any], Awaitable[None]], seconds: float | None
    ) -> Any:
        """Wait for the answer.

        Args:
            record: puts an answer on disk; awaited before the one who answers is told that it counts.
            seconds: how long; None is for ever.

        Raises:
            TimeoutError: nobody answered in time.
        """
        waiting = self._waiting[run, question.request] = _Waiting(question, record)
        try:
            async with asyncio.timeout(seconds):
                return await waiting.future
        finally:
            del self._waiting[run, question.request]

    async def answer(self, run: str, request: str, value: Any) -> None:
        """Answer a question.

        Raises:
            NoSuchRequest: it is not open here, or somebody was quicker.
            errors.UsageError: `bad-request`: no answer to this question.
        """
        waiting = self._waiting.get((run, request))
        if waiting is None or waiting.taken:
            raise NoSuchRequest(
                f"the run {run} has no open question {request[:80]!r}", details={"request": request[:80]}
            )
        value = fitting(waiting.question, value)
        waiting.taken = True
        try:
            await waiting.record(value)
        except BaseException:
            waiting.taken = False
            raise
        if not waiting.future.done():
            waiting.future.set_result(value)


_desks: weakref.WeakKeyDictionary[Engine, Desk] = weakref.WeakKeyDictionary()


def desk(engine: Engine) -> Desk:
    """The desk of an engine."""
    found = _desks.get(engine)
    if found is None:
        found = _desks[engine] = Desk()
    return found
