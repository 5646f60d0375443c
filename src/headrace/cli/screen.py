"""A run on a terminal: Markdown that grows in place and does not flicker.

Finished blocks are printed once and scroll away; only the last block, which still grows, is drawn again, at
most `_FPS` times a second (`region`, `blocks`). Until the first token one line says what is waited for, and
for how long. Reasoning is one dim line that counts, or all of it when asked for. Every text of the model goes
through `clean` first, so the only escape sequences are those made here.

One task, owned by the `async with` block, redraws; it ends with the block. Next: `ask`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import textwrap
import time
from types import TracebackType

from headrace import events
from headrace.cli import blocks, clean, out, region

_FPS = 15
_TICKS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Screen:
    """Shows one run on the terminal at stdout.

    Args:
        reasoning: show it whole, dim, above the answer.
        waiting: what is waited for until the first token, in words.
    """

    def __init__(self, *, reasoning: bool = False, waiting: str = "") -> None:
        self._out = out.Out()
        self._region = region.Region()
        self._whole = reasoning
        self._waiting = waiting
        self._status = ""
        self._text = ""  # of the answer, not yet printed for good
        self._printed = False  # whether something of the answer is above the region
        self._thought = ""
        self._think_began: float | None = None
        self._began = time.monotonic()
        self._ended = False
        self._held = False
        self._calls: dict[str, str] = {}
        self._above: list[str] = []
        self._dirty = False
        self._task: asyncio.Task[None] | None = None

    async def batch(self, batch: list[events.Event]) -> None:
        for event in batch:
            match event:
                case events.TextDelta(delta=delta):
                    self._end_thinking()
                    self._text += clean.clean(delta)
                case events.TextStart() if self._text:
                    self._text = self._text.rstrip("\n") + "\n\n"
                case events.ReasoningDelta(delta=delta):
                    self._think_began = self._think_began or time.monotonic()
                    self._thought += clean.clean(delta)
                case events.ReasoningEnd():
                    self._end_thinking()
                case events.OutputReset(reason=reason):
                    self._take_back(reason)
                case events.ToolCallStart(name=name, call=call):
                    self._flush()
                    self._calls[call] = name
                    self._status = f"calls {clean.line(name, 80)}"
                case events.ToolCallEnd(call=call, arguments=arguments):
                    self._say(f"{clean.line(self._calls.get(call, call), 80)} {clean.value(arguments)}")
                case events.ToolResult(call=call, value=value, error=error, preliminary=preliminary):
                    name = clean.line(self._calls.get(call, call), 80)
                    if preliminary:
                        self._status = f"{name}: {clean.value(value)}"
                    else:
                        self._say(f"{name} → {clean.line(error, 200) if error else clean.value(value)}")
                case events.Status(message=message):
                    self._status = clean.line(message, 80)
                case events.RunEnd():
                    self._ended = True
        self._dirty = True

    async def __aenter__(self) -> Screen:
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._redraw(), name="redraw")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the rest for good."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BrokenPipeError):
                await self._task
        if isinstance(error, BrokenPipeError):
            return
        self._ended = True
        self._end_thinking()
        self._flush()
        await self._draw()

    async def hold(self) -> None:
        """Leave the terminal to somebody else until `release`."""
        self._end_thinking()
        self._flush()
        ended, self._ended, self._held = self._ended, True, True
        await self._draw()
        self._ended = ended

    async def release(self) -> None:
        """Draw again."""
        self._held = False
        self._dirty = True

    async def _redraw(self) -> None:
        while True:
            began = time.monotonic()
            if not self._held and (self._dirty or not (self._text or self._printed)):
                self._dirty = False
                await self._draw()
            # a block of thousands of lines takes long to draw: most of the time is still the run's
            await asyncio.sleep(max(1 / _FPS, 4 * (time.monotonic() - began)))

    async def _draw(self) -> None:
        width, height = shutil.get_terminal_size()
        done, self._text = blocks.split(self._text)
        if done:
            self._print(done, width)
        room = max(1, height - 2)
        lines = self._open(width, room)
        if (
            len(lines) > room
        ):  # the block's end is what the person wants to see; all of it comes when it is done
            lines = lines[-room:]
        above, self._above = self._above, []
        text = self._region.draw(lines, width, above)
        if text:
            await self._out.write(text.encode("utf-8", "replace"))

    def _open(self, width: int, room: int) -> list[str]:
        """The lines that may still change; at least the last `room` of them."""
        lines: list[str] = []
        if self._think_began is not None:
            if self._whole:
                lines += self._thought_lines(width)
            else:
                lines.append(_dim(f"{self._tick()} thinking, {len(self._thought.split())} words", width))
        elif self._text:
            if self._printed:
                lines.append("")
            lines += blocks.render(blocks.tail(self._text, room), width, colours=out.colours(1))
        elif not self._ended and not self._printed:
            seconds = time.monotonic() - self._began
            what = self._status or self._waiting or "waiting"
            lines.append(_dim(f"{self._tick()} {what}  {seconds:.1f} s", width))
        return lines

    def _tick(self) -> str:
        return _TICKS[int((time.monotonic() - self._began) * 10) % len(_TICKS)]

    def _print(self, text: str, width: int) -> None:
        lines = blocks.render(text, width, colours=out.colours(1))
        if lines:
            self._above += ([""] if self._printed else []) + lines
            self._printed = True

    def _flush(self) -> None:
        """What is open now is done."""
        if self._text.strip():
            self._print(self._text, shutil.get_terminal_size().columns)
        self._text = ""

    def _say(self, line: str) -> None:
        """A line of ours among the answer."""
        self._above.append(_dim(f"· {line}", shutil.get_terminal_size().columns))
        self._printed = True

    def _end_thinking(self) -> None:
        if self._think_began is None:
            return
        width = shutil.get_terminal_size().columns
        seconds = time.monotonic() - self._think_began
        if self._whole:
            self._above += self._thought_lines(width)
        else:
            self._above.append(_dim(f"· thought for {seconds:.1f} s (--reasoning shows it)", width))
        self._printed = True
        self._think_began = None
        self._thought = ""

    def _thought_lines(self, width: int) -> list[str]:
        """The reasoning as dim lines."""
        return [
            _dim(part, width)
            for line in self._thought.strip().splitlines()
            for part in textwrap.wrap(line, max(10, width - 2)) or [""]
        ]

    def _take_back(self, reason: str) -> None:
        """Text that was not printed for good disappears; what was stays, and a line says that it is void."""
        self._text = ""
        if self._printed:
            self._say(f"what is above was taken back ({reason}); the answer begins again")
        self._status = f"asking again ({reason})"


def _dim(text: str, width: int) -> str:
    return out.style(text[: max(1, width - 1)], "dim", 1)
