"""A run's events for a reader: as JSON lines, as text in a pipe, or as Markdown on a terminal.

`reader` chooses. Each of them takes batches of events, from this process or from a server, and is closed at
the end, however the end came. What the run came to is told by `ending`, on stderr. Next: `screen`, the one for
terminals.
"""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import Protocol

from headrace import events
from headrace.cli import clean, failures, out
from headrace.messages import Usage


class Reader(Protocol):
    """Shows one run."""

    async def batch(self, batch: list[events.Event]) -> None:
        """Show some events, in order.

        Raises:
            BrokenPipeError: nobody reads stdout any more.
        """
        ...

    async def __aenter__(self) -> Reader: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def reader(
    *, json: bool = False, markdown: bool = True, reasoning: bool = False, waiting: str = ""
) -> Reader:
    """The reader that fits stdout.

    Args:
        json: native events as JSON lines.
        markdown: on a terminal, render it; False prints the text, clean.
        reasoning: show it whole: dim on a terminal, on stderr otherwise.
        waiting: what is waited for until the first token, in words.
    """
    if json:
        return JsonLines()
    if markdown and out.is_terminal(1):
        from headrace.cli import screen

        return screen.Screen(reasoning=reasoning, waiting=waiting)
    return Plain(reasoning=reasoning)


class JsonLines:
    """One native event a line."""

    def __init__(self) -> None:
        self._out = out.Out()

    async def batch(self, batch: list[events.Event]) -> None:
        await self._out.write(b"".join(events.encode(event) + b"\n" for event in batch))

    async def __aenter__(self) -> JsonLines:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""


class Plain:
    """The text and nothing else, as it comes; into a terminal clean, into a pipe as it is.

    Text that is taken back cannot be unsaid in a pipe. In a file it is: the file is cut to where it began.
    """

    def __init__(self, *, reasoning: bool = False) -> None:
        self._out = out.Out()
        self._terminal = os.isatty(1)
        self._reasoning = reasoning
        self._thinking = False
        self._last = "\n"
        self._begin = _file_position(1)

    async def batch(self, batch: list[events.Event]) -> None:
        text = ""
        for event in batch:
            if isinstance(event, events.TextDelta):
                self._end_thinking()
                text += event.delta
            elif isinstance(event, events.OutputReset):
                await self._write(text)
                text = ""
                await self._take_back(event.reason)
            elif isinstance(event, events.ReasoningDelta) and self._reasoning:
                self._think(event.delta)
        await self._write(text)

    async def _write(self, text: str) -> None:
        if text:
            self._last = text[-1]
            shown = clean.clean(text) if self._terminal else text
            await self._out.write(shown.encode("utf-8", "replace"))

    async def _take_back(self, reason: str) -> None:
        if self._begin is not None:
            os.ftruncate(1, self._begin)
            os.lseek(1, self._begin, os.SEEK_SET)
            self._last = "\n"
            return
        if self._last != "\n":
            await self._write("\n")
        out.note(f"note: the text so far is taken back ({reason}); the answer begins again here", "warn")

    def _think(self, delta: str) -> None:
        import sys

        self._thinking = True
        sys.stderr.write(out.style(clean.clean(delta), "dim", 2))
        sys.stderr.flush()

    def _end_thinking(self) -> None:
        if self._thinking:
            self._thinking = False
            out.note("\n")

    async def __aenter__(self) -> Plain:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the last line, so that a shell's prompt is not in it."""
        self._end_thinking()
        if self._last != "\n" and not isinstance(error, BrokenPipeError) and self._out.ready():
            self._last = "\n"
            await self._out.write(b"\n")


def _file_position(fd: int) -> int | None:
    """Where an answer begins in a regular file; None for anything else."""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        end = os.lseek(fd, 0, os.SEEK_CUR)
        return max(end, os.fstat(fd).st_size) if _appends(fd) else end
    except OSError:
        return None


def _appends(fd: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)


def ending(end: events.RunEnd) -> int:
    """Say on stderr how a run ended where that needs saying; returns the exit code."""
    if end.outcome == "completed":
        if end.finish_reason == "length":
            out.note("note: the answer was cut off at the limit of tokens (--max-tokens)", "warn")
        elif end.finish_reason == "content-filter":
            out.note("note: the answer was cut off by the provider's content filter", "warn")
        return failures.DONE
    if end.outcome == "cancelled":
        out.note("stopped")
        return failures.STOPPED
    if end.error is not None:
        failures.say(end.error.code, end.error.message)
        return failures.WRONG_USE if end.error.code in ("usage", "missing-extra") else failures.FAILED
    failures.say("interrupted", f"the run was {end.outcome}")
    return failures.FAILED


def footer(end: events.RunEnd, model: str) -> str:
    """The figures of a run on one line: `~` is estimated, `—` is unknown."""
    usage = end.usage
    parts = [clean.line(model)]
    parts.append(f"{_count(usage, 'input_tokens')} in, {_count(usage, 'output_tokens')} out")
    parts.append(f"first token {_time(end.first_token_ms)}")
    rate = _rate(end)
    parts.append(f"{_mark(usage) if rate else ''}{rate or '—'} tokens/s")
    parts.append(f"cost {_cost(end)}")
    return " · ".join(parts)


def _mark(usage: Usage | None) -> str:
    return "~" if usage is not None and usage.basis == "estimated" else ""


def _count(usage: Usage | None, name: str) -> str:
    value = getattr(usage, name, None)
    return "—" if value is None else f"{_mark(usage)}{value:,}"


def _time(ms: float | None) -> str:
    if ms is None:
        return "—"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _rate(end: events.RunEnd) -> str:
    """Tokens a second after the first one."""
    tokens = end.usage.output_tokens if end.usage else None
    if tokens is None or tokens < 2 or end.first_token_ms is None or end.elapsed_ms is None:
        return ""
    seconds = (end.elapsed_ms - end.first_token_ms) / 1000
    return f"{(tokens - 1) / seconds:,.0f}" if seconds > 0 else ""


def _cost(end: events.RunEnd) -> str:
    if end.cost is None:
        return "—"
    amount = f"{end.cost:.6f}".rstrip("0").rstrip(".")
    return f"{_mark(end.usage)}{amount} {end.currency or ''}".rstrip()
