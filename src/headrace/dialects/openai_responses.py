"""`openai-responses`: the typed events of OpenAI's Responses.

    created, in_progress
    per block: output_item.added ► [part.added ►] deltas ► done ► [part.done ►] output_item.done
    completed | incomplete (too long, filtered) | failed

`sequence_number` is made of the run's own seq, eight numbers an event: it grows, it is the same for every
reader however deltas were merged, and it leads back to a cursor (`seq_of`). Each closing event has the whole
text of its item and the last one all items, so an encoder keeps the text of its run. Next: `anthropic`.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from headrace import events
from headrace.dialects import base
from headrace.messages import Usage
from headrace.protocol.assembler import Pieces

_PER_EVENT = 8
_INCOMPLETE = {"length": "max_output_tokens", "content-filter": "content_filter"}


class _Item:
    """An output item that is open."""

    __slots__ = ("body", "delta", "id", "index", "kind", "pieces")

    def __init__(self, kind: str, id: str, index: int, body: dict[str, Any], delta: bytes) -> None:
        self.kind = kind
        self.id = id
        self.index = index
        self.body = body
        self.delta = delta  # the beginning of its delta frames, up to the sequence number
        self.pieces = Pieces()


class ResponsesEncoder(base.OneWay):
    """See `base.Encoder`.

    Args:
        after: the last `sequence_number` that the reader has; frames up to it are left out. See `resumed`.
    """

    def __init__(self, info: base.Info, *, after: int = -1) -> None:
        super().__init__(info)
        self._after = after
        self._rest = b""
        self._open: dict[str, _Item] = {}
        self._output: list[dict[str, Any]] = []
        self._count = 0
        self._next = 0

    def start(self) -> bytes:
        """`created` and `in_progress`; numbered before the first event's frames."""
        self._at(0)
        created = self._response("response.created", "in_progress")
        started = created + self._response("response.in_progress", "in_progress")
        self._next = max(self._next, self._after + 1)  # for what belongs to no event: reading breaks off
        return started + self._rest

    def encode(self, event: events.Event) -> bytes:
        """See `Encoder.encode`."""
        if isinstance(event, events.OutputReset | events.RunEnd):
            self._at(event.seq)  # they may be a failure, whose frame is theirs
        return super().encode(event)

    def skip(self, event: events.Event) -> None:
        """See `Encoder.skip`. Of the event that `after` is in the middle of, the rest is still to be sent."""
        missing = self.encode(event)
        if self._after >= 0:
            self._rest += missing

    def part(self, event: events.Event) -> bytes:
        """The frames of one item."""
        match event:
            case events.TextDelta() | events.ReasoningDelta():
                if type(event) is events.TextDelta:
                    self.show(event.block)
                item = self._open.get(event.block)
                if item is not None:
                    return self._delta(item, event.delta, event.seq)
                self._at(event.seq)
                opened = self._begin(event.block, "text" if type(event) is events.TextDelta else "reasoning")
                return opened + self._delta(self._open[event.block], event.delta, event.seq, first=False)
            case events.ToolCallDelta():
                item = self._open.get(event.call)
                return b"" if item is None else self._delta(item, event.delta, event.seq)
        self._at(event.seq)
        match event:
            case events.TextStart() if event.block not in self._open:
                return self._begin(event.block, "text")
            case events.ReasoningStart() if event.block not in self._open:
                return self._begin(event.block, "reasoning")
            case events.ToolCallStart():
                self.show(event.block)
                return self._begin(event.call, "call", event.name)
            case events.TextEnd() | events.ReasoningEnd():
                return self._close(event.block, encrypted=getattr(event, "encrypted", None))
            case events.ToolCallEnd():
                return self._close(event.call, arguments=event.arguments)
        return b""

    def finish(self, end: events.RunEnd) -> bytes:
        """`completed`, or `incomplete` where the answer was cut short."""
        self._at(end.seq)
        reason = _INCOMPLETE.get(end.finish_reason or "")
        if reason is None:
            return self._response("response.completed", "completed", usage=usage_body(end.usage))
        return self._response(
            "response.incomplete",
            "incomplete",
            usage=usage_body(end.usage),
            incomplete_details={"reason": reason},
        )

    def error(self, error: events.ErrorInfo) -> bytes:
        """`failed`."""
        return self._response("response.failed", "failed", error=_error_body(error))

    # frames

    def _begin(self, key: str, kind: str, name: str = "") -> bytes:
        index, self._count = self._count, self._count + 1
        body: dict[str, Any]
        part: dict[str, Any]
        where: dict[str, Any]
        if kind == "call":
            id = f"fc_{self.info.run}_{index}"
            body = {
                "type": "function_call", "id": id, "call_id": key, "name": name,
                "arguments": "", "status": "in_progress",
            }  # fmt: skip
            where = {"item_id": id, "output_index": index}
            item = self._item(key, kind, id, index, body, "response.function_call_arguments.delta", where)
            return self._frame("response.output_item.added", output_index=index, item=item.body)
        if kind == "text":
            id = f"msg_{self.info.run}_{index}"
            body = {"type": "message", "id": id, "status": "in_progress", "role": "assistant", "content": []}
            where = {"item_id": id, "output_index": index, "content_index": 0}
            item = self._item(key, kind, id, index, body, "response.output_text.delta", where)
            added, part = (
                "response.content_part.added",
                {"type": "output_text", "text": "", "annotations": []},
            )
        else:
            id = f"rs_{self.info.run}_{index}"
            body = {"type": "reasoning", "id": id, "summary": []}
            where = {"item_id": id, "output_index": index, "summary_index": 0}
            item = self._item(key, kind, id, index, body, "response.reasoning_summary_text.delta", where)
            added, part = "response.reasoning_summary_part.added", {"type": "summary_text", "text": ""}
        return self._frame("response.output_item.added", output_index=index, item=item.body) + self._frame(
            added, **where, part=part
        )

    def _item(
        self, key: str, kind: str, id: str, index: int, body: dict[str, Any], name: str, where: dict[str, Any]
    ) -> _Item:
        extra: dict[str, Any] = {"logprobs": []} if kind == "text" else {}
        head = base.to_json({"type": name, **where, **extra})[:-1] + b',"delta":'
        item = self._open[key] = _Item(kind, id, index, body, b"event: %b\ndata: %b" % (name.encode(), head))
        return item

    def _delta(self, item: _Item, text: str, seq: int, *, first: bool = True) -> bytes:
        if first:
            self._at(seq)
        item.pieces.add(text)
        number, self._next = self._next, self._next + 1
        if number <= self._after:
            return b""
        return b'%b%b,"sequence_number":%d}\n\n' % (item.delta, base.to_json(text), number)

    def _close(self, key: str, *, arguments: Any = None, encrypted: str | None = None) -> bytes:
        item = self._open.pop(key, None)
        if item is None:
            return b""
        text, body = str(item.pieces), item.body
        where: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
        if item.kind == "call":
            text = text or base.arguments_text(arguments)
            body |= {"arguments": text, "status": "completed"}
            done = self._frame(
                "response.function_call_arguments.done", **where, name=body["name"], arguments=text
            )
        elif item.kind == "text":
            where["content_index"] = 0
            part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
            body |= {"content": [part], "status": "completed"}
            done = self._frame("response.output_text.done", **where, text=text, logprobs=[])
            done += self._frame("response.content_part.done", **where, part=part)
        else:
            where["summary_index"] = 0
            part = {"type": "summary_text", "text": text}
            body |= {"summary": [part]} | ({"encrypted_content": encrypted} if encrypted else {})
            done = self._frame("response.reasoning_summary_text.done", **where, text=text)
            done += self._frame("response.reasoning_summary_part.done", **where, part=part)
        self._output.append(body)
        return done + self._frame("response.output_item.done", output_index=item.index, item=body)

    def _response(self, name: str, status: str, **more: Any) -> bytes:
        return self._frame(name, response=response_body(self.info, status, self._output, **more))

    def _at(self, seq: int) -> None:
        """The frames that follow are of this event."""
        self._next = seq * _PER_EVENT

    def _frame(self, kind: str, /, **body: Any) -> bytes:
        number, self._next = self._next, self._next + 1
        if number <= self._after:
            return b""
        data = base.to_json({"type": kind, **body, "sequence_number": number})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def seq_of(sequence_number: int) -> int:
    """The seq whose frames `sequence_number` is one of: a cursor that has all frames before it."""
    return sequence_number // _PER_EVENT


def resumed(sequence_number: int) -> base.Dialect:
    """The dialect for a reader that has the frames up to `sequence_number`.

    The run is to be read from `seq_of` that number on: what is missing of the event itself, which may have more
    frames than the reader has got, the encoder finds when it is told to skip it.
    """
    return msgspec.structs.replace(
        OPENAI_RESPONSES, encoder=functools.partial(ResponsesEncoder, after=sequence_number)
    )


def response_of(info: base.Info, end: events.RunEnd) -> dict[str, Any]:
    """The `response` object of a run that has ended, of its result alone: one item a kind, one a call."""
    result: dict[str, Any] = end.result or {}
    output: list[dict[str, Any]] = []
    if result.get("reasoning"):
        summary = [{"type": "summary_text", "text": result["reasoning"]}]
        output.append({"type": "reasoning", "id": f"rs_{info.run}_0", "summary": summary})
    calls = base.callers(result)
    if result.get("text") or (end.outcome == "completed" and not calls):
        part = {"type": "output_text", "text": result.get("text", ""), "annotations": []}
        output.append(
            {
                "type": "message", "id": f"msg_{info.run}_{len(output)}", "role": "assistant", "content": [part],
                "status": "completed" if end.outcome == "completed" else "incomplete",
            }
        )  # fmt: skip
    for call in calls:
        output.append(
            {
                "type": "function_call", "id": f"fc_{info.run}_{len(output)}", "call_id": call["id"],
                "name": call["name"], "arguments": base.arguments_text(call.get("arguments")),
                "status": "completed",
            }
        )  # fmt: skip
    usage = usage_body(end.usage)
    if end.outcome == "completed":
        reason = _INCOMPLETE.get(end.finish_reason or "")
        if reason is None:
            return response_body(info, "completed", output, usage=usage)
        details = {"reason": reason}
        return response_body(info, "incomplete", output, usage=usage, incomplete_details=details)
    if end.outcome == "cancelled":
        return response_body(info, "cancelled", output, usage=usage)
    failed = base.ending_error(end)
    assert failed is not None
    return response_body(info, "failed", output, usage=usage, error=_error_body(failed))


def _error_body(error: events.ErrorInfo) -> dict[str, Any]:
    code = "rate_limit_exceeded" if error.code == "rate-limited" else "server_error"
    return {"code": code, "message": error.message}


def response_body(
    info: base.Info,
    status: str,
    output: list[dict[str, Any]],
    *,
    usage: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    incomplete_details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The `response` object."""
    return {
        "id": f"resp_{info.run}",
        "object": "response",
        "created_at": int(info.created.timestamp()),
        "status": status,
        "error": error,
        "incomplete_details": incomplete_details,
        "instructions": None,
        "metadata": {},
        "model": info.model,
        "output": sorted(output, key=_place),
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": usage,
    }


def _place(item: dict[str, Any]) -> int:
    return int(item["id"].rpartition("_")[2])


def usage_body(usage: Usage | None) -> dict[str, Any] | None:
    """Their usage object; None where the counts are not known. Its details have to be there, as numbers."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


OPENAI_RESPONSES = base.Dialect(name="openai-responses", encoder=ResponsesEncoder, heartbeat=b"")
