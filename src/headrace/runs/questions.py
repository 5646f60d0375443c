"""What a run asks people: a question goes out as `human-request`, the answer comes back as `human-response`.

The program waits in `ask`; `Engine.respond` brings the answer, from whatever door it came through. A question is
answered once. Its time may pass: then its default is the answer, and readers see that too. When the run is
stopped, the question goes with it. Next: `context`, whose `ask_human` this is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace import errors, events
from headrace.runs.writer import Writer

MAX_OPEN = 64
"""Questions of one run that may wait at the same time."""


class NoSuchRequest(errors.UsageError):
    """A question that is not there, or not any more."""

    @property
    def status(self) -> int:
        """404."""
        return 404


class Questions:
    """The questions of one run."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._open: dict[str, tuple[asyncio.Future[Any], str]] = {}
        self._asked = 0

    @property
    def open(self) -> list[str]:
        """The ids of the questions that wait for an answer, oldest first."""
        return list(self._open)

    async def ask(
        self,
        kind: str,
        message: str,
        *,
        options: Sequence[Any] | None = None,
        default: Any = None,
        timeout: float | None = None,
        span: str = "",
    ) -> Any:
        """Ask, and wait.

        Args:
            kind: what sort of question, such as `approval`, `input`, `select`, `review`.
            options: what to choose from: JSON values, or `{"label", "value"}`.
            default: the answer when `timeout` passes.
            timeout: seconds; None waits as long as the run lives.

        Raises:
            errors.RunError: `too-many` questions are open.
        """
        if len(self._open) >= MAX_OPEN:
            raise errors.RunError(f"{MAX_OPEN} questions to people are open in this run", code="too-many")
        self._asked += 1
        request = f"q{self._asked}"
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[request] = (answer, span)
        deadline = None if timeout is None else datetime.now(UTC) + timedelta(seconds=timeout)
        try:
            self._writer.write(
                events.HumanRequest(
                    request=request,
                    kind=kind,
                    message=message,
                    options=None if options is None else list(options),
                    default=default,
                    deadline=deadline,
                ),
                span=span,
            )
            await asyncio.wait({answer}, timeout=timeout)
            if not answer.done():
                self.answer(request, default)
            return answer.result()
        finally:
            self._open.pop(request, None)

    def answer(self, request: str, value: Any) -> None:
        """Answer a question; readers see it before the program goes on.

        Raises:
            NoSuchRequest: no such question is open: there was none, or it has been answered.
        """
        found = self._open.pop(request, None)
        if found is None:
            raise NoSuchRequest(
                f"no question {request[:80]!r} is open in this run; it may have been answered already",
                code="bad-request",
                details={"request": request[:80]},
            )
        waiting, span = found
        self._writer.write(events.HumanResponse(request=request, value=value), span=span)
        waiting.set_result(value)
