"""Questions of a run to the person at the terminal: may this tool be called? Asked on stderr, answered on stdin.

Where nobody can answer (stdin is a pipe, `--json`), a call that wants a yes gets a no, and a line says how to allow
it. Questions of procedures have a way of their own: `procedure_show`. Next: `local`.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol

from headrace import errors, events
from headrace.cli import clean, out
from headrace.runs import handle
from headrace.runs.tools import in_thread


class Holds(Protocol):
    """A reader that can leave the terminal to a question."""

    async def hold(self) -> None:
        """Leave it."""

    async def release(self) -> None:
        """Take it back."""


class People:
    """Answers the questions of one run.

    Args:
        yes: allow every call.
        silent: nobody may be asked.
    """

    def __init__(self, *, yes: bool = False, silent: bool = False) -> None:
        self._yes = yes
        self._asks = not silent and os.isatty(0) and os.isatty(2)

    async def batch(self, run: handle.Run, show: object, batch: list[events.Event]) -> None:
        """Answer what is asked in a batch; the reader holds still meanwhile."""
        for event in batch:
            if isinstance(event, events.HumanRequest) and event.kind != "notify":
                await self._answer(run, show, event)

    async def _answer(self, run: handle.Run, show: object, asked: events.HumanRequest) -> None:
        message = clean.clean(asked.message)
        if self._yes:
            out.note(f"allowed: {message}")
            await self._say(run, asked, True)
        elif not self._asks:
            out.note(f"not allowed, nobody is asked: {message} (--yes allows all calls)", "warn")
            await self._say(run, asked, False)
        else:
            holder: Holds | None = show if hasattr(show, "hold") else None  # type: ignore[assignment]
            if holder is not None:
                await holder.hold()
            try:
                out.note(f"{message} [y/N]", "bold")
                line = (await in_thread(sys.stdin.readline)).strip().lower()
                await self._say(run, asked, line in ("y", "yes"))
            finally:
                if holder is not None:
                    await holder.release()

    async def _say(self, run: handle.Run, asked: events.HumanRequest, value: bool) -> None:
        try:
            await run.respond(asked.request, value)
        except errors.HeadraceError:
            pass  # answered elsewhere, or its time was over
