"""Anthropic's Messages wire: https://platform.claude.com/docs/en/api/messages and …/streaming.

Each SSE event has its type in `data`; `message_start`, then blocks (start, deltas, stop), `message_delta`
with the stop reason and cumulative usage, and `message_stop`, the end marker. `ping` and unknown events may
come anywhere, `error` after a 200. Text blocks that follow each other (citations cut an answer into many)
are one block of ours; blocks that are neither text, thinking nor a call for our tools (server tools, MCP,
compaction) become `custom` events named `anthropic.<type>` when they are complete.

Three things differ between models and are read from the model's name: how thinking is asked for, whether
the answer may be begun for it (`prefill`), and whether a JSON Schema binds it. A name without a Claude
version is taken for a compatible server: it thinks within a budget, goes on from a prefill, and does not
bind its answers to a schema. `seed` does not exist here and is not sent; system messages are moved to the
top, where alone they are allowed.
One file, though a long one: what is sent and what is read back of a block stand side by side. Next: `gemini`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from headrace import errors, events, messages
from headrace.outputs import portable
from headrace.protocol import assembler, sse
from headrace.providers import base, common

VERSION = "2023-06-01"
MAX_TOKENS = 8192
_WHERE = "Anthropic"

_STOP: dict[str, messages.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
    "pause_turn": "other",
}
_ERRORS: dict[str, str] = {
    "invalid_request_error": "bad-request",
    "authentication_error": "auth-failed",
    "permission_error": "auth-failed",
    "billing_error": "auth-failed",
    "not_found_error": "model-not-found",
    "request_too_large": "context-too-long",
    "rate_limit_error": "rate-limited",
    "timeout_error": "provider-timeout",
    "api_error": "provider-error",
    "overloaded_error": "provider-overloaded",
}
# Tokens of thinking for the models that take a budget; the least the API allows is 1,024.
_BUDGET = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_ADAPTIVE = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


class Wire:
    """`base.Wire` of the Messages API; the base URL is the host, such as `https://api.anthropic.com`."""

    name = "anthropic"

    def capabilities(self, model: str) -> base.Capabilities:
        """What a model can do, by the version in its name."""
        version = _version(model)
        return base.Capabilities(
            prefill=version < (4, 6), json_schema=version >= (4, 1), schema_flavour="anthropic"
        )

    def request(self, request: base.ModelRequest) -> base.HttpRequest:
        """The HTTP request.

        Raises:
            errors.UsageError: `bad-request`: `max_tokens` leaves no room to think, an unknown effort, or a
                prefill for a model that refuses one.
        """
        max_tokens = request.max_tokens or MAX_TOKENS
        body: dict[str, Any] = {"model": request.model, "max_tokens": max_tokens}
        if system := common.system_text(request.messages):
            body["system"] = system
        body["messages"] = _messages(request)
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
            if request.tool_choice:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if request.reasoning_effort:
            body = common.merge(body, _thinking(request, max_tokens))
        if request.output_schema is not None:
            shape = portable.portable(request.output_schema, "anthropic")
            if shape.flavour == "anthropic":  # else the words of the request have to do
                form = {"type": "json_schema", "schema": shape.schema}
                body = common.merge(body, {"output_config": {"format": form}})
        if request.stream:
            body["stream"] = True
        body = common.merge(body, request.options)
        return base.HttpRequest("/v1/messages", body, {"anthropic-version": VERSION})

    def decoder(self, new_block: Callable[[], str]) -> Decoder:
        """A fresh decoder for one answer."""
        return Decoder(new_block)

    def error(self, status: int, body: bytes) -> errors.ProviderError | None:
        """The typed error of an answer that is not 2xx; None where the body is not Anthropic's."""
        try:
            answer = msgspec.json.decode(body, type=_Failed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return None if answer.error is None else _error(answer.error, answer.request_id, status)


def _version(model: str) -> tuple[int, int]:
    """The version in a Claude model's name; the newest for a Claude without one; (0, 0) for all others."""
    found = _CLAUDE.search(model)
    if found is None:
        return (99, 0) if "claude" in model else (0, 0)
    return int(found[1]), int(found[2] or 0)


def _thinking(request: base.ModelRequest, max_tokens: int) -> dict[str, Any]:
    effort = request.reasoning_effort or ""
    version = _version(request.model)
    if effort in ("none", "off"):
        # The newest models refuse to be told not to think; the least effort is what is left.
        return (
            {"output_config": {"effort": "low"}} if version > (4, 6) else {"thinking": {"type": "disabled"}}
        )
    if effort not in _BUDGET:
        raise errors.UsageError(
            f"reasoning_effort is {effort!r}; use none, {', '.join(_BUDGET)}", code="bad-request"
        )
    if version >= (4, 6):
        level = "low" if effort == "minimal" else effort
        if version == (4, 6) and level == "xhigh":
            level = "max"
        thinking = {"type": "adaptive", "display": "summarized"}
        return {"thinking": thinking, "output_config": {"effort": level}}
    budget = _BUDGET[effort]
    if request.max_tokens is None:
        max_tokens += budget
    elif max_tokens <= 1024:
        raise errors.UsageError(
            f"max_tokens is {max_tokens}, which leaves no room for the 1,024 tokens that thinking needs at "
            "least; raise max_tokens or leave reasoning_effort out",
            code="bad-request",
        )
    budget = max(1024, min(budget, max_tokens - 1024))
    return {"max_tokens": max_tokens, "thinking": {"type": "enabled", "budget_tokens": budget}}


def _messages(request: base.ModelRequest) -> list[dict[str, Any]]:
    """User and assistant messages in turn; results of tools are the user's; neighbours of a role are one."""
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        _add(turns, role, [block for part in message.parts if (block := _block(part)) is not None])
    if request.prefill is not None and _version(request.model) >= (4, 6):
        raise errors.UsageError(
            f"{request.model} cannot go on from a prefilled answer; leave `prefill` out", code="bad-request"
        )
    if request.prefill and (text := request.prefill.rstrip()):
        # The API refuses a last assistant message that ends in white space.
        _add(turns, "assistant", [{"type": "text", "text": text}])
    return turns


def _add(turns: list[dict[str, Any]], role: str, content: list[dict[str, Any]]) -> None:
    if not content:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"].extend(content)
    else:
        turns.append({"role": role, "content": content})


def _block(part: messages.Part) -> dict[str, Any] | None:
    match part:
        case messages.Text(text=text):
            return {"type": "text", "text": text} if text else None
        case messages.Reasoning(text=text, signature=signature, encrypted=encrypted):
            if encrypted:
                return {"type": "redacted_thinking", "data": encrypted}
            # Thinking without a proof that it is Claude's own is refused.
            return {"type": "thinking", "thinking": text, "signature": signature} if signature else None
        case messages.Image(url=url, media_type=media_type):
            inline = common.inline_data(url)
            if inline is None:
                return {"type": "image", "source": {"type": "url", "url": url}}
            source = {"type": "base64", "media_type": media_type or inline[0], "data": inline[1]}
            return {"type": "image", "source": source}
        case messages.ToolCall(id=id, name=name):
            return {"type": "tool_use", "id": _id(id), "name": name, "input": common.arguments_object(part)}
        case messages.ToolResult(call=call, content=content, error=error):
            block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(call), "content": content}
            if error is not None:
                block |= {"content": content or error, "is_error": True}
            return block


def _id(id: str) -> str:
    """An id in the letters that the API allows; other providers are freer."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", id)


def _tool(tool: messages.ToolSpec) -> dict[str, Any]:
    schema = tool.parameters or {"type": "object", "properties": {}}
    body: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description:
        body["description"] = tool.description
    if tool.strict:
        shape = portable.portable(schema, "anthropic")
        if shape.flavour == "anthropic":
            body |= {"strict": True, "input_schema": shape.schema}
    return body


def _tool_choice(choice: str) -> dict[str, Any]:
    if choice in ("auto", "none"):
        return {"type": choice}
    return {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}


# --- what comes back ------------------------------------------------------------------------------------


class _Iteration(msgspec.Struct, gc=False):
    type: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None
    iterations: list[_Iteration] | None = None


class _Message(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


class _ErrorBody(msgspec.Struct, gc=False):
    type: str | None = None
    message: str | None = None


class _Failed(msgspec.Struct, gc=False):
    error: _ErrorBody | None = None
    request_id: str | None = None


class _TextDelta(msgspec.Struct, tag="text_delta", gc=False):
    text: str | None = None


class _InputDelta(msgspec.Struct, tag="input_json_delta", gc=False):
    partial_json: str | None = None


class _ThinkingDelta(msgspec.Struct, tag="thinking_delta", gc=False):
    thinking: str | None = None


class _SignatureDelta(msgspec.Struct, tag="signature_delta", gc=False):
    signature: str | None = None


class _CitationsDelta(msgspec.Struct, tag="citations_delta", gc=False):
    citation: dict[str, Any] | None = None


class _CompactionDelta(msgspec.Struct, tag="compaction_delta", gc=False):
    content: str | None = None


_Delta: TypeAlias = (
    _TextDelta | _InputDelta | _ThinkingDelta | _SignatureDelta | _CitationsDelta | _CompactionDelta
)


class _BlockDelta(msgspec.Struct, tag="content_block_delta", gc=False):
    delta: _Delta
    index: int = 0


class _BlockStart(msgspec.Struct, tag="content_block_start", gc=False):
    content_block: dict[str, Any]
    index: int = 0


class _BlockStop(msgspec.Struct, tag="content_block_stop", gc=False):
    index: int = 0


class _MessageStart(msgspec.Struct, tag="message_start", gc=False):
    message: _Message | None = None


class _Stop(msgspec.Struct, gc=False):
    stop_reason: str | None = None


class _MessageDelta(msgspec.Struct, tag="message_delta", gc=False):
    delta: _Stop | None = None
    usage: _Usage | None = None


class _MessageStop(msgspec.Struct, tag="message_stop", gc=False):
    pass


class _Ping(msgspec.Struct, tag="ping", gc=False):
    pass


class _Error(msgspec.Struct, tag="error", gc=False):
    error: _ErrorBody | None = None
    request_id: str | None = None


_Frame: TypeAlias = (
    _BlockDelta | _BlockStart | _BlockStop | _MessageStart | _MessageDelta | _MessageStop | _Ping | _Error
)


class _Whole(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: _ErrorBody | None = None
    request_id: str | None = None


_frames: common.Typed[_Frame] = common.Typed(_Frame, _WHERE)
_wholes: common.Typed[_Whole] = common.Typed(_Whole, _WHERE)
_KNOWN_FRAMES = {"content_block_delta", "content_block_start", "content_block_stop", "message_start",
                 "message_delta", "message_stop", "ping", "error"}  # fmt: skip
_KNOWN_DELTAS = {"text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta",
                 "compaction_delta"}  # fmt: skip


_WITHOUT_INPUT = ("text", "thinking", "redacted_thinking")


class _Open:
    """A content block of the wire between its start and its stop."""

    __slots__ = ("call", "data", "pieces", "signature", "type")

    def __init__(self, type: str, data: dict[str, Any]) -> None:
        self.type = type
        self.data = data
        self.pieces: list[str] = []
        self.signature = ""
        self.call: events.ToolCallStart | None = None


class Decoder(common.Decoder):
    """Events of one Messages answer; see `base.WireDecoder`."""

    def __init__(self, new_block: Callable[[], str]) -> None:
        self._sse = sse.Decoder()
        super().__init__(new_block, self._events)
        self._open: dict[int, _Open] = {}
        self._response: str | None = None
        self._model: str | None = None
        self._stop_reason: str | None = None
        self._spent = _Usage()

    def _events(self, data: bytes) -> list[bytes]:
        return [event.data for event in self._sse.feed(data)]

    def _frame(self, frame: bytes, out: list[events.Event]) -> None:
        try:
            event = _frames.decode(frame)
        except errors.ProviderError as error:
            if not _unknown(frame, error):
                raise
            self.skipped += 1
            return
        if isinstance(event, _BlockDelta):
            delta = event.delta
            if isinstance(delta, _TextDelta):
                self._blocks.text(out, delta.text or "")
            else:
                self._delta(event.index, delta, out)
        else:
            self._other(event, out)

    def _other(self, event: _Frame, out: list[events.Event]) -> None:
        match event:
            case _BlockStart(content_block=block, index=index):
                self._start(index, block, out)
            case _BlockStop(index=index):
                self._stop(index, out)
            case _MessageStart(message=message):
                if message is not None:
                    self._begin(message.id, message.model, message.usage)
            case _MessageDelta(delta=stop, usage=usage):
                if stop is not None and stop.stop_reason:
                    self._stop_reason = stop.stop_reason
                self._count(usage, final=True)
            case _MessageStop():
                self._finish(out)
            case _Error(error=body, request_id=request_id):
                raise _error(body or _ErrorBody(), request_id, None)
            case _:
                pass

    def _end(self, out: list[events.Event]) -> None:
        raise common.incomplete(_WHERE, "message_stop")

    def whole(self, data: bytes) -> list[events.Event]:
        """A complete answer that was asked for without streaming; see `base.WireDecoder`."""
        answer = _wholes.decode(data)
        if answer.error is not None:
            raise _error(answer.error, answer.request_id, None)
        if answer.content is None:
            raise common.malformed(_WHERE, "an answer without content", data)
        out: list[events.Event] = []
        self._begin(answer.id, answer.model, None)
        for index, block in enumerate(answer.content):
            self._start(index, block, out)
            self._stop(index, out)
        self._count(answer.usage, final=True)
        self._stop_reason = answer.stop_reason
        self._finish(out)
        return out

    def _begin(self, response: str | None, model: str | None, usage: _Usage | None) -> None:
        self._response = response
        self._model = model
        self._count(usage, final=False)

    def _start(self, index: int, block: dict[str, Any], out: list[events.Event]) -> None:
        if index in self._open:
            self._stop(index, out)
        opened = _Open(str(block.get("type") or ""), block)
        if opened.type == "text":
            citations = block.get("citations")
            for citation in citations if isinstance(citations, list) else ():
                self._cite(citation, out)
            self._blocks.text(out, _text(block, "text"))
        elif opened.type == "thinking":
            self._blocks.close(out)
            self._blocks.open_reasoning(out)
            self._blocks.reasoning(out, _text(block, "thinking"))
            opened.signature = _text(block, "signature")
        elif opened.type == "redacted_thinking":
            self._blocks.close(out)
            self._blocks.close(out, encrypted=_text(block, "data"))
        elif opened.type == "tool_use":
            opened.call = self._blocks.call(out, _text(block, "id"), _text(block, "name"))
            if block.get("input"):
                self._arguments(opened, msgspec.json.encode(block["input"]).decode(), out)
        else:
            self._blocks.close(out)
        self._open[index] = opened

    def _delta(self, index: int, delta: _Delta, out: list[events.Event]) -> None:
        opened = self._open.get(index)
        if opened is None:
            if type(delta) is not _ThinkingDelta:
                raise errors.ProviderError(
                    f"{_WHERE} sent a delta of block {index}, which is not open", code="provider-protocol"
                )
            self._start(index, {"type": "thinking"}, out)
            opened = self._open[index]
        match delta:
            case _ThinkingDelta(thinking=text):
                self._blocks.reasoning(out, text or "")
            case _InputDelta() if opened.type in _WITHOUT_INPUT:
                raise errors.ProviderError(
                    f"{_WHERE} sent input for block {index}, which is {opened.type}", code="provider-protocol"
                )
            case _InputDelta(partial_json=text):
                self._arguments(opened, text or "", out)
            case _SignatureDelta(signature=signature):
                opened.signature += signature or ""
            case _CitationsDelta(citation=citation):
                self._cite(citation, out)
            case _CompactionDelta(content=text):
                opened.data["content"] = _text(opened.data, "content") + (text or "")
            case _:
                pass

    def _arguments(self, opened: _Open, text: str, out: list[events.Event]) -> None:
        if text:
            opened.pieces.append(text)
            if opened.call is not None:
                out.append(events.ToolCallDelta(call=opened.call.call, block=opened.call.block, delta=text))

    def _cite(self, citation: Any, out: list[events.Event]) -> None:
        """A citation stands before or after the text it belongs to: the text block is opened for it."""
        if not isinstance(citation, dict):
            return
        self._blocks.open_text(out)
        title = citation.get("title") or citation.get("document_title")
        url = citation.get("url") or citation.get("source")
        out.append(
            events.Source(
                url=str(url) if url else None,
                title=str(title) if title else None,
                text=_text(citation, "cited_text") or None,
                block=self._blocks.block,
            )
        )

    def _stop(self, index: int, out: list[events.Event]) -> None:
        opened = self._open.pop(index, None)
        if opened is None or opened.type in ("text", "redacted_thinking"):
            return
        joined = "".join(opened.pieces)
        if opened.type == "thinking":
            self._blocks.close(out, signature=opened.signature or None)
        elif opened.call is not None:
            call, block = opened.call.call, opened.call.block
            arguments = assembler.parse_arguments(joined)
            out.append(events.ToolCallEnd(call=call, block=block, arguments=arguments))
        else:
            data = opened.data
            if joined:
                data = {**data, "input": assembler.parse_arguments(joined)}
            out.append(events.Custom(name=f"anthropic.{opened.type}", data=data))

    def _finish(self, out: list[events.Event]) -> None:
        for index in list(self._open):
            self._stop(index, out)
        self._blocks.close(out)
        reason = None if self._stop_reason is None else _STOP.get(self._stop_reason, "other")
        out.append(base.ModelEnd(finish_reason=reason, response=self._response, model=self._model))
        self._ended = True

    def _count(self, usage: _Usage | None, *, final: bool) -> None:
        """Take the newest counts; a count the provider leaves out is still the one it gave before.

        The output count of `message_start` is a placeholder of a few tokens, so the output is unknown
        until the first `message_delta`.
        """
        if usage is None:
            return
        for name in usage.__struct_fields__:
            value = getattr(usage, name)
            if value is not None and (final or name != "output_tokens"):
                setattr(self._spent, name, value)
        self.usage = _usage(self._spent)


def _usage(spent: _Usage) -> messages.Usage:
    """Our usage: cached tokens are part of the input, and a compaction is paid for as well.

    The counts at the top leave out the compaction iterations (they are billed at this model's price). An
    advisor's iterations are another model's, and not counted here.
    """
    cached = spent.cache_read_input_tokens
    parts = (spent.input_tokens, cached, spent.cache_creation_input_tokens)
    known = [count for count in parts if count is not None]
    total = sum(known) if known else None
    output = spent.output_tokens
    for step in spent.iterations or ():
        if step.type == "compaction":
            read = step.cache_read_input_tokens or 0
            total = (total or 0) + (step.input_tokens or 0) + read + (step.cache_creation_input_tokens or 0)
            output = (output or 0) + (step.output_tokens or 0)
            cached = (cached or 0) + read
    details = spent.output_tokens_details
    return messages.Usage(
        input_tokens=total,
        output_tokens=output,
        reasoning_tokens=details.thinking_tokens if details else None,
        cached_tokens=cached,
        basis="unknown" if total is None and output is None else "reported",
    )


class _Head(msgspec.Struct, gc=False):
    type: Any = None
    delta: Any = None


def _unknown(frame: bytes, error: errors.ProviderError) -> bool:
    """Whether a frame that could not be read is of a type, or has a delta of a type, that is new to us."""
    if not isinstance(error.__cause__, msgspec.ValidationError):
        return False
    try:
        head = msgspec.json.decode(frame, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(head.type, str):
        return False
    if head.type not in _KNOWN_FRAMES:
        return True
    delta = head.delta.get("type") if isinstance(head.delta, dict) else None
    return head.type == "content_block_delta" and isinstance(delta, str) and delta not in _KNOWN_DELTAS


def _text(block: dict[str, Any], key: str) -> str:
    value = block.get(key)
    return value if isinstance(value, str) else ""


def _error(body: _ErrorBody, request_id: str | None, status: int | None) -> errors.ProviderError:
    said = body.message or "it failed and did not say why"
    code = _ERRORS.get(body.type or "") or base.STATUS_CODES.get(status or 0, "provider-error")
    if code == "bad-request" and common.too_long(said):
        code = "context-too-long"
    elif code == "bad-request" and "credit balance" in said:
        code = "auth-failed"
    details = {"type": body.type, "request_id": request_id}
    return errors.ProviderError(
        said,
        code=code,
        provider_status=status,
        details={key: value for key, value in details.items() if value},
    )
