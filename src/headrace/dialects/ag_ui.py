"""`ag-ui`: the events of AG-UI.

    RUN_STARTED ► messages, reasoning, tool calls, steps ► RUN_FINISHED | RUN_ERROR

A thread is our conversation, a message a block. The format has no event for a cancelled run and none that takes
text back: both are RUN_ERROR (`base.OneWay`). Spans are steps; a step's name stands for it, so a name that is
already open gets its span's id behind it. Next: `registry`.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from headrace import events
from headrace.dialects import base


class AgUiEncoder(base.OneWay):
    """See `base.Encoder`.

    Args:
        run: what the reader calls this run; default: its id.
    """

    def __init__(self, info: base.Info, *, run: str | None = None) -> None:
        super().__init__(info)
        self._ids = {"threadId": info.conversation or info.run, "runId": run or info.run}
        self._open: dict[str, str] = {}  # by block or call: text, reasoning or call
        self._heads: dict[str, bytes] = {}  # by open text: its deltas up to their text
        self._calls: set[str] = set()
        self._argued: set[str] = set()
        self._steps: dict[str, str] = {}  # by span: its step's name
        self._results = 0

    def start(self) -> bytes:
        """`RUN_STARTED`."""
        return _frame("RUN_STARTED", **self._ids)

    def part(self, event: events.Event) -> bytes:
        """The events of one of ours."""
        match event:
            case events.TextDelta():
                return self._text(event.block, event.delta) if event.delta else b""  # theirs is never empty
            case events.ReasoningDelta(block=block, delta=delta):
                return self._reasoning(block, delta) if delta else b""
            case events.ToolCallDelta(call=call, delta=delta):
                return self._arguments(call, delta)
            case events.TextStart(block=block):
                return self._begin(block, "text")
            case events.ReasoningStart(block=block):
                return self._begin(block, "reasoning")
            case events.ToolCallStart(call=call, name=name, block=block):
                self.show(block)
                self._open[call] = "call"
                self._calls.add(call)
                return _frame("TOOL_CALL_START", toolCallId=call, toolCallName=name)
            case events.TextEnd(block=block) | events.ReasoningEnd(block=block):
                return self._close(block)
            case events.ToolCallEnd(call=call, arguments=arguments):
                rest = b""
                if call not in self._argued and arguments is not None:
                    rest = self._arguments(call, base.arguments_text(arguments))
                return rest + self._close(call)
            case _:
                return self._other(event)

    def _begin(self, block: str, kind: str) -> bytes:
        if block in self._open:
            return b""
        self._open[block] = kind
        id = self._message(block)
        if kind == "text":
            return _frame("TEXT_MESSAGE_START", messageId=id, role="assistant")
        return _frame("REASONING_START", messageId=id) + _frame(
            "REASONING_MESSAGE_START", messageId=id, role="reasoning"
        )

    def _text(self, block: str, delta: str) -> bytes:
        head = self._heads.get(block)
        if head is not None:
            return b"%b%b}\n\n" % (head, base.to_json(delta))
        self.show(block)
        opened = b"" if block in self._open else self._begin(block, "text")
        head = self._heads[block] = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":' % (
            base.to_json(self._message(block))
        )
        return b"%b%b%b}\n\n" % (opened, head, base.to_json(delta))

    def _reasoning(self, block: str, delta: str) -> bytes:
        opened = b"" if block in self._open else self._begin(block, "reasoning")
        return opened + _frame("REASONING_MESSAGE_CONTENT", messageId=self._message(block), delta=delta)

    def _arguments(self, call: str, text: str) -> bytes:
        if call not in self._open or not text:
            return b""
        self._argued.add(call)
        return _frame("TOOL_CALL_ARGS", toolCallId=call, delta=text)

    def _close(self, key: str) -> bytes:
        match self._open.pop(key, None):
            case "text":
                self._heads.pop(key, None)
                return _frame("TEXT_MESSAGE_END", messageId=self._message(key))
            case "reasoning":
                id = self._message(key)
                return _frame("REASONING_MESSAGE_END", messageId=id) + _frame("REASONING_END", messageId=id)
            case "call":
                return _frame("TOOL_CALL_END", toolCallId=key)
        return b""

    def _other(self, event: events.Event) -> bytes:
        match event:
            case events.SpanStart(span=span, name=name, kind=kind):
                step = name or kind
                if step in self._steps.values():
                    step = f"{step} ({span})"
                self._steps[span] = step
                return _frame("STEP_STARTED", stepName=step)
            case events.SpanEnd(span=span):
                done = self._steps.pop(span, None)
                return b"" if done is None else _frame("STEP_FINISHED", stepName=done)
            case events.ToolResult():
                return self._result(event)
            case events.Output(value=value):
                return _frame("CUSTOM", name="output", value=value)
            case events.Custom(name=name, data=data):
                return _frame("CUSTOM", name=name, value=data)
            case events.Source() | events.File() | events.Status() | events.HumanRequest():
                told = {key: value for key, value in events.to_dict(event).items() if key not in _BASE}
                return _frame("CUSTOM", name=event.type, value=told)
        return b""

    def _result(self, event: events.ToolResult) -> bytes:
        if event.preliminary or event.call not in self._calls:
            return b""
        self._results += 1
        value = event.value if event.error is None else event.error
        return _frame(
            "TOOL_CALL_RESULT",
            messageId=self._message(f"result-{self._results}"),
            toolCallId=event.call,
            content=value if isinstance(value, str) else base.to_json(value).decode(),
            role="tool",
        )

    def finish(self, end: events.RunEnd) -> bytes:
        """`RUN_FINISHED`."""
        return _frame("RUN_FINISHED", **self._ids, result=end.result)

    def error(self, error: events.ErrorInfo) -> bytes:
        """`RUN_ERROR`."""
        return _frame("RUN_ERROR", message=error.message, code=error.code)

    def _message(self, block: str) -> str:
        return f"{self.info.run}-{block}"


_BASE = frozenset({"type", "run", "seq", "time", "span"})


def _frame(type: str, **body: Any) -> bytes:
    return base.data({"type": type, **body})


def named(run: str) -> base.Dialect:
    """The dialect for a reader that has its own name for the run it started."""
    return msgspec.structs.replace(AG_UI, encoder=functools.partial(AgUiEncoder, run=run))


AG_UI = base.Dialect(name="ag-ui", encoder=AgUiEncoder)
