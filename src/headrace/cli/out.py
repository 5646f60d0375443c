"""stdout for data, stderr for people; whether they are terminals, and their colours.

`Out` writes to stdout without ever blocking the event loop on a full pipe: a reader that is slow slows the run
down, and Ctrl-C still works. Each write goes out at once; nothing is kept. A closed pipe is a
`BrokenPipeError`, which `app` ends quietly. Next: `failures`.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from headrace.cli import clean

if TYPE_CHECKING:
    from rich.console import Console

_PIECE = 4096  # PIPE_BUF: what a pipe that polls as writable takes without blocking

debugging = False
"""Whether `--debug` was given; `app` sets it."""

_STYLES = {"error": "1;31", "good": "32", "warn": "33", "dim": "2", "bold": "1"}


def is_terminal(fd: int = 1) -> bool:
    """Whether `fd` is a terminal that can move its cursor."""
    return os.isatty(fd) and not _console(fd).is_dumb_terminal


def colours(fd: int = 1) -> bool:
    """Whether to use colours on `fd`: a terminal, and NO_COLOR is not set (no-color.org)."""
    return is_terminal(fd) and not _console(fd).no_color


def style(text: str, name: str, fd: int = 1) -> str:
    """`text` in a style (error, good, warn, dim, bold) where `fd` shows colours, else as it is."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if colours(fd) else text


def note(text: str, name: str = "dim") -> None:
    """A line for people, on stderr; clean."""
    print(style(clean.clean(text), name, 2), file=sys.stderr, flush=True)


def line(text: str, name: str = "") -> None:
    """A line of data on stdout: clean, and in a style, on a terminal; as it is in a pipe."""
    if os.isatty(1):
        text = style(clean.clean(text), name) if name else clean.clean(text)
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows on stdout: aligned under `heads` on a terminal, tab-separated and without heads in a pipe."""
    if not os.isatty(1):
        for row in rows:
            line("\t".join(clean.line(cell) for cell in row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        made.add_column(head, overflow="fold")
    for row in rows:
        made.add_row(*(Text(clean.line(cell)) for cell in row))
    _console(1).print(made)


class Out:
    """stdout for streams: bytes go out as they come. Belongs to one event loop."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._left = b""  # of a write that was cancelled: the next one goes on from there
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    async def write(self, data: bytes) -> None:
        """Write all of it, waiting for a slow reader.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        view = memoryview(self._left + data)
        try:
            while view:
                if not self.ready():
                    await self._writable()
                view = view[os.write(self._fd, view[:_PIECE]) :]
        finally:
            self._left = bytes(view)

    def ready(self) -> bool:
        """Whether the reader has room."""
        return self._poll is None or bool(self._poll.poll(0))

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def set_ready() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_writer(self._fd, set_ready)
        try:
            await ready
        finally:
            loop.remove_writer(self._fd)


@cache
def _console(fd: int) -> Console:
    """What rich knows of a terminal: it reads TERM and NO_COLOR."""
    from rich.console import Console

    return Console(stderr=fd == 2, markup=False, highlight=False, emoji=False)
