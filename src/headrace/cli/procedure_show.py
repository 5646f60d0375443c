"""How a procedure's run is shown in a terminal or a pipe; and how a person at the terminal answers it.

Text on stdout as it comes; who speaks, tool calls and the line of figures on stderr. Nothing of a model's reaches the
terminal unclean. Next: `failures`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgspec

from headrace import errors, events
from headrace.cli import clean, failures, out, show
from headrace.messages import Usage
from headrace.procedures.api import ProcedureRun


class Show:
    """Shows one run.

    Args:
        json: native events as JSON lines instead.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = show.JsonLines() if json else None
        self._out = out.Out()
        self._terminal = os.isatty(1)
        self._agents: dict[str, tuple[str, float | None]] = {}
        self._usage: dict[str, Usage] = {}
        self._calls: dict[str, str] = {}
        self._middle = False

    async def batch(self, batch: list[events.Event]) -> None:
        """Show some events, in order."""
        if self._json is not None:
            await self._json.batch(batch)
            return
        for event in batch:
            await self._one(event)

    async def _one(self, event: events.Event) -> None:
        match event:
            case events.TextDelta(delta=delta):
                text = clean.clean(delta) if self._terminal else delta
                self._middle = not text.endswith("\n")
                await self._out.write(text.encode("utf-8", "replace"))
            case events.SpanStart(kind="agent", name=name):
                self._agents[event.span] = (name, None)
                await self._note(f"{name}:", "bold")
            case events.SpanEnd() if event.span in self._agents:
                name, _ = self._agents.pop(event.span)
                usage = self._usage.pop(event.span, None)
                await self._note(f"[{name}: {_figures(usage, event.elapsed_ms)}]")
            case events.UsageReport():
                got = Usage(**{field: getattr(event, field) for field in Usage.__struct_fields__})
                before = self._usage.get(event.span)
                self._usage[event.span] = got if before is None else before + got
            case events.ToolCallStart(call=call, name=name):
                self._calls[call] = name
            case events.ToolCallEnd(call=call, arguments=arguments):
                await self._note(f"→ {self._calls.pop(call, call)} {clean.value(arguments, 200)}")
            case events.SpanStart(kind="tool", name=name):
                await self._note(f"→ {name}")
            case events.ToolResult(error=error, value=value):
                await self._note(f"← {error or clean.value(value, 200)}")
            case events.OutputReset(reason=reason):
                await self._note(f"[taken back: {reason}]")
            case events.Status(message=message):
                await self._note(message)
            case events.Custom(name="log", data=dict(data)):
                more = "" if data.get("data") is None else f" {clean.value(data['data'], 200)}"
                await self._note(f"{data.get('level')}: {data.get('message')}{more}")
            case events.HumanRequest(kind="notify", message=message):
                await self._note(message, "bold")

    async def _note(self, text: str, style: str = "dim") -> None:
        if self._middle:
            await self._out.write(b"\n")
            self._middle = False
        out.note(clean.clean(text), style)

    async def ending(self, end: events.RunEnd) -> int:
        """The result, or why there is none; the exit code."""
        if end.error is not None:
            await self._note("")
            failures.say(end.error.code, end.error.message)
            return failures.FAILED
        if end.outcome != "completed":
            return failures.STOPPED
        if self._json is None and end.result is not None:
            await self._note("result:")
            out.line(clean.clean(msgspec.json.encode(end.result).decode()))
        return failures.DONE


async def answer(run: ProcedureRun, asked: events.HumanRequest) -> None:
    """Ask at the terminal until the answer is one."""
    form = {"approve": "yes or no", "review": "approve, reject or edit"}.get(asked.kind, "")
    if asked.options:
        form = ", ".join(str(option) for option in asked.options)
    while True:
        out.note(f"\n{clean.clean(asked.message)}{f' [{clean.clean(form)}]' if form else ''}", "bold")
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        if not line:
            out.note("nobody is there to answer; the run waits (Ctrl-C stops it)")
            return
        try:
            await run.answer(asked.request, _value(asked, line.strip()))
        except errors.UsageError as error:
            out.note(error.message)
            if error.details.get("where") == "value":
                continue
        return


def _value(asked: events.HumanRequest, text: str) -> Any:
    if asked.kind == "approve":
        return {"y": True, "yes": True, "n": False, "no": False}.get(text.lower(), text)
    if asked.kind == "select":
        return next((option for option in asked.options or [] if str(option) == text), text)
    return text


def _figures(usage: Usage | None, elapsed_ms: float | None) -> str:
    parts = []
    if usage is not None and usage.output_tokens is not None:
        parts.append(
            f"{usage.input_tokens if usage.input_tokens is not None else '?'} in, {usage.output_tokens} out"
        )
    if usage is not None and usage.cost is not None:
        parts.append(f"{usage.cost:.6f} {usage.currency or ''}".strip())
    if elapsed_ms is not None:
        parts.append(f"{elapsed_ms / 1000:.1f} s")
    return ", ".join(parts) or "done"
