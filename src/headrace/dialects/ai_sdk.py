"""`ai-sdk`: Vercel's AI SDK UI message stream, version 1.

    start ► per attempt: start-step, parts, finish-step ► finish ► [DONE]

A part's id is our block's or call's. What an attempt showed and then lost is dropped with `reset-step`, which
clears everything since the last `start-step`; what still stands of it is sent again, so an encoder keeps the
text of the running step. What is taken back from an earlier step has no words here and is an error. A step is
left open until the next attempt begins, because its reset comes after its end. Clients send no cursor when they
resume: they get the stream from the beginning. Next: `ag_ui`.
"""

from __future__ import annotations

import re
from typing import Any

from headrace import events
from headrace.dialects import base
from headrace.protocol.assembler import Pieces

_FINISH = frozenset({"stop", "length", "content-filter", "tool-calls", "other"})
_KINDS = {"text": b"text", "reasoning": b"reasoning"}


class AiSdkEncoder(base.Base):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._step = False
        self._open: set[str] = set()
        self._names: dict[str, str] = {}
        self._known: set[str] = set()  # every block that was shown in this run
        self._now: dict[str, tuple[str, Pieces]] = {}  # the text and reasoning of this step
        self._calls: dict[str, events.ToolCallEnd] = {}  # the tool calls of this step, by block
        self._sources = 0
        self._whole = False
        self._over = False

    def start(self) -> bytes:
        """`start`; the message has the run's id."""
        return base.data({"type": "start", "messageId": self.info.run})

    def encode(self, event: events.Event) -> bytes:
        """The parts of one event."""
        if self._over:
            return b""
        match event:
            case events.TextDelta():
                return self._delta(event.block, "text", event.delta)
            case events.ReasoningDelta():
                return self._delta(event.block, "reasoning", event.delta)
            case events.ToolCallDelta(call=call, delta=delta):
                if call not in self._open:
                    return b""
                return base.data({"type": "tool-input-delta", "toolCallId": call, "inputTextDelta": delta})
            case events.RunStart():
                self._whole = True
            case events.AttemptStart():
                return self._begin_step()
            case events.TextStart():
                return self._begin(event.block, "text")
            case events.ReasoningStart():
                return self._begin(event.block, "reasoning")
            case events.TextEnd():
                return self._close(event.block, {"type": "text-end", "id": event.block})
            case events.ReasoningEnd():
                return self._close(event.block, {"type": "reasoning-end", "id": event.block})
            case events.ToolCallStart():
                return self._call(event)
            case events.ToolCallEnd():
                return self._call_end(event)
            case events.OutputReset():
                return self._reset(event)
            case events.RunEnd():
                return self._end(event)
            case _:
                return self._other(event)
        return b""

    # steps

    def _begin_step(self) -> bytes:
        if self._step and (self._open or not (self._now or self._calls)):
            return b""  # beside another attempt, or in the place of one of which nothing stands
        ended = self._end_step()
        self._step = True
        return ended + b'data: {"type":"start-step"}\n\n'

    def _end_step(self) -> bytes:
        if not self._step:
            return b""
        self._step = False
        self._now.clear()
        self._calls.clear()
        return b'data: {"type":"finish-step"}\n\n'

    def _reset(self, event: events.OutputReset) -> bytes:
        mine = [block for block in event.blocks if block in self._now or block in self._calls]
        if any(block in self._known or not self._whole for block in event.blocks if block not in mine):
            return self.fail(
                events.ErrorInfo(
                    code="provider-error",
                    message=f"text of an earlier step has been taken back ({event.reason}); ask again",
                )
            )
        if not mine:
            return b""
        for block in mine:
            self._known.discard(block)
            self._now.pop(block, None)
            self._calls.pop(block, None)
        out = [b'data: {"type":"reset-step"}\n\n']
        for block, (kind, pieces) in self._now.items():
            out.append(base.data({"type": f"{kind}-start", "id": block}))
            out.append(base.data({"type": f"{kind}-delta", "id": block, "delta": str(pieces)}))
            if block not in self._open:
                out.append(base.data({"type": f"{kind}-end", "id": block}))
        out += [
            self._input(call.call) if call.call in self._open else self._available(call)
            for call in self._calls.values()
        ]
        return b"".join(out)

    # parts

    def _begin(self, block: str, kind: str) -> bytes:
        if block in self._open:
            return b""
        step = b"" if self._step else self._begin_step()
        self._open.add(block)
        self._known.add(block)
        self._now[block] = (kind, Pieces())
        return step + base.data({"type": f"{kind}-start", "id": block})

    def _delta(self, block: str, kind: str, text: str) -> bytes:
        opened = b"" if block in self._open else self._begin(block, kind)
        self._now[block][1].add(text)
        return b'%bdata: {"type":"%b-delta","id":%b,"delta":%b}\n\n' % (
            opened,
            _KINDS[kind],
            base.to_json(block),
            base.to_json(text),
        )

    def _close(self, key: str, part: dict[str, Any]) -> bytes:
        if key not in self._open:
            return b""
        self._open.discard(key)
        return base.data(part)

    def _call(self, event: events.ToolCallStart) -> bytes:
        step = b"" if self._step else self._begin_step()
        self._open.add(event.call)
        self._known.add(event.block)
        self._names[event.call] = event.name
        self._calls[event.block] = events.ToolCallEnd(call=event.call, block=event.block)
        return step + self._input(event.call)

    def _input(self, call: str) -> bytes:
        return base.data(
            {"type": "tool-input-start", "toolCallId": call, "toolName": self._names[call], "dynamic": True}
        )

    def _call_end(self, event: events.ToolCallEnd) -> bytes:
        if event.call not in self._open:
            return b""
        self._open.discard(event.call)
        self._calls[event.block] = event
        return self._available(event)

    def _available(self, event: events.ToolCallEnd) -> bytes:
        part: dict[str, Any] = {
            "type": "tool-input-available",
            "toolCallId": event.call,
            "toolName": self._names[event.call],
            "input": event.arguments,
            "dynamic": True,
        }
        if not isinstance(event.arguments, dict):
            part |= {"type": "tool-input-error", "errorText": "the call's arguments are not complete"}
        return base.data(part)

    def _other(self, event: events.Event) -> bytes:
        match event:
            case events.ToolResult(call=call, value=value, error=error):
                if call not in self._names:
                    return b""
                if error is not None:
                    return base.data({"type": "tool-output-error", "toolCallId": call, "errorText": error})
                part = {"type": "tool-output-available", "toolCallId": call, "output": value}
                return base.data(part | ({"preliminary": True} if event.preliminary else {}))
            case events.Source():
                return self._source(event)
            case events.File(url=url, media_type=media_type):
                return base.data(
                    {"type": "file", "url": url, "mediaType": media_type or "application/octet-stream"}
                )
            case events.Output(value=value):
                return base.data({"type": "data-output", "data": value})
            case events.Status(message=message):
                return base.data({"type": "data-status", "data": {"message": message}, "transient": True})
            case events.Custom(name=name, data=data):
                return base.data({"type": f"data-{_NAME.sub('-', name) or 'custom'}", "data": data})
            case events.HumanRequest():
                asked = {key: value for key, value in events.to_dict(event).items() if key not in _BASE}
                return base.data({"type": "data-human-request", "id": event.request, "data": asked})
        return b""

    def _source(self, event: events.Source) -> bytes:
        self._sources += 1
        id = f"source-{self._sources}"
        if event.url:
            part = {"type": "source-url", "sourceId": id, "url": event.url}
            return base.data(part | ({"title": event.title} if event.title else {}))
        title = event.title or (event.text or "source")[:80]
        return base.data(
            {"type": "source-document", "sourceId": id, "mediaType": "text/plain", "title": title}
        )

    # the end

    def _end(self, end: events.RunEnd) -> bytes:
        if end.outcome == "cancelled":
            self._over = True
            return self._end_step() + base.data({"type": "abort", "reason": "cancelled"})
        error = base.ending_error(end)
        if error is not None:
            return self.fail(error)
        self._over = True
        reason = end.finish_reason if end.finish_reason in _FINISH else "other"
        return self._end_step() + base.data({"type": "finish", "finishReason": reason})

    def fail(self, error: events.ErrorInfo) -> bytes:
        """`error` and `finish`."""
        self._over = True
        told = base.data({"type": "error", "errorText": error.message})
        return told + self._end_step() + base.data({"type": "finish", "finishReason": "error"})

    def end(self) -> bytes:
        """The end marker."""
        return b"data: [DONE]\n\n"


_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_BASE = frozenset({"type", "run", "seq", "time", "span"})

AI_SDK = base.Dialect(
    name="ai-sdk",
    encoder=AiSdkEncoder,
    headers=(*base.SSE_HEADERS, ("x-vercel-ai-ui-message-stream", "v1")),
)
