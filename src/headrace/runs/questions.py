"""What a run asks people: a question goes out as `human-request`, the answer comes back as `human-response`.

The program waits in `ask`; `Engine.respond` brings the answer, from whatever door it came through. A question is
answered once. Its time may pass: then its default is the answer, and readers see that too. When the run is
stopped, the question goes with it. Next: `context`, whose `ask_human` this is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace import errors, events
from headrace.runs.writer import Writer

Check = Callable[[Any], Any]
Record = Callable[[Any], Awaitable[None]]

MAX_OPEN = 64
"""Questions of one run that may wait at the same time."""


class NoSuchRequest(errors.UsageError):
    """A question that is not there, or not any more."""

    @property
    def status(self) -> int:
        """404."""
        return 404


class _Waiting:
    """An open question."""

    def __init__(self, span: str, check: Check | None, record: Record | None) -> None:
        self.span = span
        self.check = check
        self.record = record
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.taken: asyncio.Future[None] | None = None


class Questions:
    """The questions of one run."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._open: dict[str, _Waiting] = {}
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
        request: str | None = None,
        check: Check | None = None,
        record: Record | None = None,
    ) -> Any:
        """Ask, and wait; see `Context.ask_human`."""
        if len(self._open) >= MAX_OPEN:
            raise errors.RunError(f"{MAX_OPEN} questions to people are open in this run", code="too-many")
        self._asked += 1
        request = request or f"q{self._asked}"
        waiting = self._open[request] = _Waiting(span, check, record)
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
            await asyncio.wait({waiting.answer}, timeout=timeout)
            while not waiting.answer.done():
                if waiting.taken is not None:  # somebody's answer is being recorded
                    await asyncio.wait({waiting.taken})
                else:
                    await self._take(request, waiting, default)
            return waiting.answer.result()
        finally:
            self._open.pop(request, None)

    async def answer(self, request: str, value: Any) -> None:
        """Answer a question; it is recorded, and readers see it, before the program goes on.

        Raises:
            NoSuchRequest: no such question is open: there was none, or it has been answered.
            errors.HeadraceError: what `check` and `record` of the question raise; it stays open.
        """
        waiting = self._open.get(request)
        if waiting is None or waiting.taken is not None or waiting.answer.done():
            raise NoSuchRequest(
                f"no question {request[:80]!r} is open in this run; it may have been answered already",
                code="bad-request",
                details={"request": request[:80]},
            )
        if waiting.check is not None:
            value = waiting.check(value)
        await self._take(request, waiting, value)

    async def _take(self, request: str, waiting: _Waiting, value: Any) -> None:
        if waiting.record is not None:
            waiting.taken = asyncio.get_running_loop().create_future()
            try:
                await waiting.record(value)
            finally:
                waiting.taken.set_result(None)
                waiting.taken = None
        if request in self._open and not waiting.answer.done():  # else the run was stopped meanwhile
            self._writer.write(events.HumanResponse(request=request, value=value), span=waiting.span)
            waiting.answer.set_result(value)
