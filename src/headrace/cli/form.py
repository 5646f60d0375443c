"""A structured answer on a terminal: the value as indented JSON that grows in place, a mark where it is written.

What is drawn is the value so far, not the model's text: prose, fences and answers that were taken back never
stand there. At the end the checked value is printed for good, so it can be copied. In a pipe or a file there is
the value alone, on one line, once it is checked. Next: `ask`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import msgspec

from headrace import events
from headrace.cli import clean, out, region
from headrace.outputs.shape import Shape
from headrace.runs import growing

_FPS = 15
_TICKS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MARK = "▌"


class Value:
    """The checked value and nothing else, on one line: for pipes and files."""

    def __init__(self) -> None:
        self._out = out.Out()

    async def batch(self, batch: list[events.Event]) -> None:
        for event in batch:
            if isinstance(event, events.Output):
                await self._out.write(msgspec.json.encode(event.value) + b"\n")
            elif isinstance(event, events.OutputReset):
                out.note(f"note: an answer was taken back ({event.reason}); asking again", "warn")

    async def __aenter__(self) -> Value:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""


class Form:
    """Shows one structured answer on the terminal at stdout.

    Args:
        shape: what it must look like.
        waiting: what is waited for until the first field, in words.
    """

    def __init__(self, shape: Shape, *, waiting: str = "") -> None:
        self._out = out.Out()
        self._region = region.Region()
        self._growing = growing.Growing(shape)
        self._open = ""  # path of the text that is written now
        self._calls: dict[str, str] = {}
        self._status = waiting or "waiting"
        self._began = time.monotonic()
        self._above: list[str] = []
        self._dirty = False
        self._begun = False
        self._held = False
        self._task: asyncio.Task[None] | None = None

    async def batch(self, batch: list[events.Event]) -> None:
        for event in batch:
            match event:
                case events.FieldStart(path=path):
                    self._open = path
                case events.FieldEnd():
                    self._open = ""
                case events.OutputReset(reason=reason):
                    self._say(f"an answer was taken back ({reason}); asking again")
                    self._status, self._begun, self._open = f"asking again ({reason})", False, ""
                case events.ToolCallStart(name=name, call=call):
                    self._calls[call] = clean.line(name, 80)
                    self._status = f"calls {self._calls[call]}"
                case events.ToolCallEnd(call=call, arguments=arguments):
                    self._say(f"{self._calls.get(call, call)} {clean.value(arguments)}")
                case events.ToolResult(call=call, value=value, error=error, preliminary=preliminary):
                    name = self._calls.get(call, call)
                    if preliminary:
                        self._status = f"{name}: {clean.value(value)}"
                    else:
                        self._say(f"{name} → {clean.line(error, 200) if error else clean.value(value)}")
                case events.Status(message=message):
                    self._status = clean.line(message, 80)
        self._begun |= self._growing.add(batch)
        self._dirty = True

    async def __aenter__(self) -> Form:
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._redraw(), name="redraw")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print for good what has come."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BrokenPipeError):
                await self._task
        if isinstance(error, BrokenPipeError):
            return
        self._open = ""
        if self._begun:
            self._above += list(lines(self._growing.value))
        await self._draw([])

    async def hold(self) -> None:
        """Leave the terminal to somebody else until `release`."""
        self._held = True
        await self._draw([])

    async def release(self) -> None:
        """Draw again."""
        self._held = False
        self._dirty = True

    def _say(self, line: str) -> None:
        """A line of ours, above the value."""
        self._above.append(_dim(f"· {line}"))

    async def _redraw(self) -> None:
        while True:
            began = time.monotonic()
            if not self._held and (self._dirty or not self._begun):
                self._dirty = False
                await self._draw(self._now())
            # a value of thousands of lines takes long to draw: most of the time is still the run's
            await asyncio.sleep(max(1 / _FPS, 4 * (time.monotonic() - began)))

    def _now(self) -> list[str]:
        """The lines that may still change: the end of a value that is longer than the screen."""
        width, height = shutil.get_terminal_size()
        if not self._begun:
            seconds = time.monotonic() - self._began
            tick = _TICKS[int(seconds * 10) % len(_TICKS)]
            return [_dim(f"{tick} {self._status}  {seconds:.1f} s")]
        found = list(lines(self._growing.value, self._open))
        return [
            line if len(line) < width else line[: width - 2] + "…" for line in found[-max(1, height - 2) :]
        ]

    async def _draw(self, now: list[str]) -> None:
        above, self._above = self._above, []
        text = self._region.draw(now, shutil.get_terminal_size().columns, above)
        if text:
            await self._out.write(text.encode("utf-8", "replace"))


def lines(
    value: Any, opened: str = "", path: str = "", head: str = "", indent: str = "", tail: str = ""
) -> Iterator[str]:
    """A value as lines of indented JSON, clean; the text at the path `opened` has the mark where it is written."""
    pairs: list[tuple[str, str, Any]] = []
    if isinstance(value, dict):
        brackets = "{}"
        pairs = [(f"{_json(key)}: ", f"{path}/{_step(key)}", inner) for key, inner in value.items()]
    elif isinstance(value, list):
        brackets = "[]"
        pairs = [("", f"{path}/{number}", inner) for number, inner in enumerate(value)]
    if not pairs:
        text = _json(value)
        if opened and path == opened and isinstance(value, str):
            text = text[:-1] + _MARK
        yield f"{indent}{head}{text}{tail}"
        return
    yield f"{indent}{head}{brackets[0]}"
    for number, (name, place, inner) in enumerate(pairs, 1):
        yield from lines(inner, opened, place, name, indent + "  ", "," if number < len(pairs) else "")
    yield f"{indent}{brackets[1]}{tail}"


def _step(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _json(value: Any) -> str:
    return clean.clean(msgspec.json.encode(value).decode())


def _dim(text: str) -> str:
    return out.style(text[: max(1, shutil.get_terminal_size().columns - 1)], "dim", 1)
