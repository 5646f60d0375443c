"""`ollama`: the lines of Ollama's `/api/chat`.

One JSON object a line (NDJSON): pieces of the message, tool calls whole, and a last one with `done`, the reason,
the counts that are known and the time in nanoseconds. A failure is a line `{"error":"…"}`; see `base.OneWay` for
what else ends so. Next: `ai_sdk`.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from headrace import events
from headrace.dialects import base


class OllamaEncoder(base.OneWay):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._created = info.created.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._head = b'{"model":%b,"created_at":%b,"message":{"role":"assistant","content":' % (
            base.to_json(info.model),
            base.to_json(self._created),
        )
        self._names: dict[str, str] = {}

    def part(self, event: events.Event) -> bytes:
        """Text, thinking, tool calls."""
        match event:
            case events.TextDelta():
                self.show(event.block)
                return b'%b%b},"done":false}\n' % (self._head, base.to_json(event.delta))
            case events.ReasoningDelta():
                return b'%b"","thinking":%b},"done":false}\n' % (self._head, base.to_json(event.delta))
            case events.ToolCallStart():
                self._names[event.call] = event.name
            case events.ToolCallEnd(arguments=dict() as arguments):
                self.show(event.block)
                function = {"name": self._names.get(event.call, ""), "arguments": arguments}
                calls = [{"id": event.call, "function": function}]
                return b'%b"","tool_calls":%b},"done":false}\n' % (self._head, base.to_json(calls))
        return b""

    def finish(self, end: events.RunEnd) -> bytes:
        """The last line."""
        body: dict[str, Any] = {
            "model": self.info.model,
            "created_at": self._created,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "length" if end.finish_reason == "length" else "stop",
        }
        if end.elapsed_ms is not None:
            body["total_duration"] = int(end.elapsed_ms * 1_000_000)
        if end.usage is not None and end.usage.input_tokens is not None:
            body["prompt_eval_count"] = end.usage.input_tokens
        if end.usage is not None and end.usage.output_tokens is not None:
            body["eval_count"] = end.usage.output_tokens
        return base.to_json(body) + b"\n"

    def error(self, error: events.ErrorInfo) -> bytes:
        """The line of a failure."""
        return base.to_json({"error": error.message}) + b"\n"


OLLAMA = base.Dialect(name="ollama", encoder=OllamaEncoder, media_type="application/x-ndjson", heartbeat=b"")
