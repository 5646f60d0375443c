"""`ide`: a procedure's run as the IDE's events, each with `event_type`, `timestamp` and `procedure_id`.

    execution start
      agent_turn started ► agent_stream_chunk × n ► (tool_call_started, tool_call_arguments, tool_call, tool_result)
      ► agent_turn completed ► cost ► checkpoint_created
    execution_summary ► execution complete | error

`accumulated_text` repeats the text of the turn: the format has it so, and no other dialect does. An agent that does
not stream has no chunk. Text that is taken back is an `agent_stream_reset` with the text that stands. To a reader
that asks for `fields`, an agent with an `output` sends no chunks of JSON but an `agent_stream_field` at each step of
a field: `started`, its text as it grows (`streaming`), its value (`completed`; `cut` where the answer broke off
inside it); a reset takes back all fields of the turn. Each native event's last frame has the cursor as its `id:`, so
that a reconnect goes on in the same run. Next: `registry`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from headrace import events, messages
from headrace.dialects import base
from headrace.protocol import sse


class _Turn:
    """An agent's turn that is open."""

    def __init__(self, start: events.SpanStart) -> None:
        self.name = start.name
        self.streams = start.attributes.get("streaming", True)
        self.structured = start.attributes.get("structured", False)
        self.model = start.attributes.get("model")
        self.provider: str | None = None
        self.began = start.time
        self.first: datetime | None = None
        self.pieces: dict[str, list[str]] = {}
        self.usage: messages.Usage | None = None

    @property
    def text(self) -> str:
        return "".join(piece for pieces in self.pieces.values() for piece in pieces)


class IdeEncoder(base.Base):
    """See `base.Encoder`."""

    def __init__(self, info: base.Info) -> None:
        super().__init__(info)
        self._turns: dict[str, _Turn] = {}
        self._calls: dict[str, str] = {}
        self._tools: list[str] = []
        self._done_turns = 0

    def start(self) -> bytes:
        """The reconnection time."""
        return sse.retry(base.RECONNECT_MS)

    def encode(self, event: events.Event) -> bytes:
        """The frames of an event; the last of them has its id."""
        bodies = self._bodies(event)
        if not bodies:
            return b""
        frames = [self._frame(event.time, kind, body) for kind, body in bodies]
        frames[-1] = b"id: %b.%d\n%b" % (self.info.run.encode(), event.seq, frames[-1])
        return b"".join(frames)

    def _frame(self, time: datetime | None, kind: str, body: dict[str, Any]) -> bytes:
        return base.data(
            {"event_type": kind, "timestamp": time, "procedure_id": self.info.run, **body},
        )

    def _bodies(self, event: events.Event) -> list[tuple[str, dict[str, Any]]]:
        turn = self._turns.get(event.span)
        match event:
            case events.RunStart(metadata=metadata):
                return [("execution", {"lifecycle_stage": "start", "details": metadata})]
            case events.RunEnd():
                return self._ending(event)
            case events.SpanStart(kind="agent"):
                self._turns[event.span] = _Turn(event)
                return [("agent_turn", {"agent_name": event.name, "stage": "started"})]
            case events.SpanEnd() if turn is not None:
                return self._turn_ended(event, self._turns.pop(event.span))
            case events.Checkpoint(index=index, name=name):
                return [
                    (
                        "checkpoint_created",
                        {"checkpoint_position": index, "checkpoint_type": "agent_turn", "agent_name": name},
                    )
                ]
            case events.Custom(name="log", data=dict(data)):
                return [("log", {key: data.get(key) for key in ("level", "message", "data", "line")})]
            case events.HumanRequest():
                asked = {
                    "request_id": event.request,
                    "request_type": event.kind,
                    "message": event.message,
                    "options": event.options,
                    "default_value": event.default,
                    "deadline": event.deadline,
                }
                return [("hitl_request", asked)]
            case events.HumanResponse(request=request, value=value):
                return [("hitl_response", {"request_id": request, "value": value})]
            case events.Status(message=message):
                return [("status", {"message": message})]
        return [] if turn is None else self._in_turn(event, turn)

    def _in_turn(self, event: events.Event, turn: _Turn) -> list[tuple[str, dict[str, Any]]]:
        name = {"agent_name": turn.name}
        match event:
            case events.AttemptStart(provider=provider):
                turn.provider = provider
                if turn.model is None:
                    turn.model = event.model
            case events.TextDelta(block=block, delta=delta):
                turn.first = turn.first or event.time
                turn.pieces.setdefault(block, []).append(delta)
                if turn.streams and not (turn.structured and self.info.fields):
                    chunk = {"chunk_text": delta, "accumulated_text": turn.text}
                    return [("agent_stream_chunk", name | chunk)]
            case events.FieldStart() | events.FieldDelta() | events.FieldEnd():
                if turn.streams and self.info.fields:
                    return [("agent_stream_field", name | _field(event))]
            case events.OutputReset(blocks=blocks, reason=reason):
                for block in blocks:
                    turn.pieces.pop(block, None)
                reset = {"reason": reason, "accumulated_text": turn.text}
                return [("agent_stream_reset", name | reset)] if turn.streams else []
            case events.ToolCallStart(call=call, name=tool):
                self._calls[call] = tool
                self._tools.append(tool)
                return [("tool_call_started", {**name, "call_id": call, "tool_name": tool})]
            case events.ToolCallDelta(call=call, delta=delta):
                turn.first = turn.first or event.time
                about = {**name, "call_id": call, "tool_name": self._calls.get(call)}
                return [("tool_call_arguments", {**about, "arguments_delta": delta})]
            case events.ToolCallEnd(call=call, arguments=arguments):
                about = {**name, "call_id": call, "tool_name": self._calls.get(call)}
                return [("tool_call", {**about, "tool_args": arguments})]
            case events.ToolResult(call=call):
                about = {**name, "call_id": call, "tool_name": self._calls.get(call)}
                result = {"tool_result": event.value, "error": event.error, "duration_ms": event.elapsed_ms}
                return [("tool_result", about | result)]
            case events.UsageReport():
                usage = messages.Usage(
                    **{field: getattr(event, field) for field in messages.Usage.__struct_fields__}
                )
                turn.usage = usage if turn.usage is None else turn.usage + usage
        return []

    def _turn_ended(self, end: events.SpanEnd, turn: _Turn) -> list[tuple[str, dict[str, Any]]]:
        self._done_turns += 1
        stage = "completed" if end.outcome == "completed" else "failed"
        turned = {
            "agent_name": turn.name,
            "stage": stage,
            "duration_ms": end.elapsed_ms,
            "cached": end.cached,
        }
        usage = turn.usage or messages.Usage(basis="unknown")
        latency = None
        if turn.first is not None and turn.began is not None and not end.cached:
            latency = round((turn.first - turn.began).total_seconds() * 1000, 3)
        cost = {
            "agent_name": turn.name,
            "model": turn.model,
            "provider": turn.provider,
            **_tokens(usage),
            "prompt_cost": None,  # the price table knows the sum; what is not known is not 0
            "completion_cost": None,
            "total_cost": usage.cost,
            "currency": usage.currency,
            "duration_ms": end.elapsed_ms,
            "latency_ms": latency,
            "response_data": end.value,
        }
        return [("agent_turn", turned), ("cost", cost)]

    def _ending(self, end: events.RunEnd) -> list[tuple[str, dict[str, Any]]]:
        failed = base.ending_error(end)
        code = 0 if failed is None else 1
        message = None if failed is None else failed.message
        usage = end.usage or messages.Usage(basis="unknown")
        summary = {
            "result": end.result if failed is None else None,
            "total_cost": end.cost,
            "total_tokens": _tokens(usage)["total_tokens"],
            "iterations": self._done_turns,
            "tools_used": sorted(set(self._tools)),
            "duration_ms": end.elapsed_ms,
            "exit_code": code,
            "error_message": message,
        }
        last: dict[str, Any] = {
            "lifecycle_stage": "complete" if failed is None else "error",
            "exit_code": code,
        }
        if failed is not None:
            last |= {"error": message, "details": {**(failed.details or {}), "code": failed.code}}
        return [("execution_summary", summary), ("execution", last)]

    def fail(self, error: events.ErrorInfo) -> bytes:
        """The run cannot be read to its end: say so, without a summary that would be wrong."""
        body = {"lifecycle_stage": "error", "exit_code": 1, "error": error.message}
        return self._frame(None, "execution", {**body, "details": {"code": error.code}})


def _field(event: events.FieldStart | events.FieldDelta | events.FieldEnd) -> dict[str, Any]:
    match event:
        case events.FieldDelta(path=path, delta=delta):
            return {"path": path, "stage": "streaming", "delta_text": delta}
        case events.FieldEnd(path=path, value=value, cut=cut):
            return {"path": path, "stage": "completed", **({"cut": True} if cut else {"value": value})}
    return {"path": event.path, "stage": "started"}


def _tokens(usage: messages.Usage) -> dict[str, int | None]:
    into, out = usage.input_tokens, usage.output_tokens
    total = None if into is None or out is None else into + out
    return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": total}


IDE = base.Dialect(name="ide", encoder=IdeEncoder, resumable=True)
