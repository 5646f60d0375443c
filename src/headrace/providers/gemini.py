"""Google's Gemini wire: https://ai.google.dev/api/generate-content.

With `alt=sse` each event is a whole `GenerateContentResponse` that holds the next parts. There is no end
marker: an answer is complete when a `finishReason` was seen and the bytes end cleanly. `usageMetadata` is a
snapshot, the last one wins. Text, thoughts and calls for our tools become blocks; what Google runs itself
(code execution, its own tools, grounding) becomes `custom` events named `gemini.<key>`, its findings also
`source` events.

Thought signatures stand on the part after the thoughts, whatever kind of part that is. Ours are on the end
of a reasoning block, which may be empty: `gemini` puts each back on the text part that followed it, or on a
part of its own, and a call's own on the call. Gemini 3 refuses a history whose calls have none (they were
made by another provider), so the marker Google documents for that case stands in.
One file, though a long one: what is sent and what is read back of a part stand side by side. Next: `ollama`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.outputs import portable
from headrace.protocol import sse
from headrace.providers import base, common

_WHERE = "Gemini"
# https://ai.google.dev/gemini-api/docs/thought-signatures: for calls Gemini did not make.
FOREIGN_SIGNATURE = "skip_thought_signature_validator"

_FINISH: dict[str, messages.FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
         "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        "content-filter",
    ),
}  # fmt: skip
_ERRORS: dict[str, str] = {
    "INVALID_ARGUMENT": "bad-request",
    "FAILED_PRECONDITION": "bad-request",
    "OUT_OF_RANGE": "bad-request",
    "UNAUTHENTICATED": "auth-failed",
    "PERMISSION_DENIED": "auth-failed",
    "NOT_FOUND": "model-not-found",
    "RESOURCE_EXHAUSTED": "rate-limited",
    "DEADLINE_EXCEEDED": "provider-timeout",
    "UNAVAILABLE": "provider-overloaded",
    "INTERNAL": "provider-error",
    "CANCELLED": "provider-error",
    "UNKNOWN": "provider-error",
}
# Gemini 2.5 takes a number of tokens, Gemini 3 a level.
_BUDGET = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVEL = {"none": "minimal", "off": "minimal", "xhigh": "high", "max": "high"}
_NAME = re.compile(r"gemini-(\d+)")


class Wire:
    """`base.Wire` of Gemini; the base URL has the version, such as `https://…googleapis.com/v1beta`."""

    name = "gemini"

    def capabilities(self, model: str) -> base.Capabilities:
        """What a model can do; an answer cannot be begun for it. Before Gemini 3 it is a schema or tools."""
        older = model.removeprefix("models/").startswith(("gemini-1", "gemini-2"))
        return base.Capabilities(prefill=False, schema_with_tools=not older, schema_flavour="gemini")

    def request(self, request: base.ModelRequest) -> base.HttpRequest:
        """The HTTP request.

        Raises:
            errors.UsageError: `bad-request`: a prefill, or an unknown effort.
        """
        if request.prefill is not None:
            raise errors.UsageError(
                "Gemini cannot go on from a prefilled answer; leave `prefill` out", code="bad-request"
            )
        body: dict[str, Any] = {"contents": _contents(request)}
        if system := common.system_text(request.messages):
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if request.tools:
            body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools]}]
            if request.tool_choice:
                body["toolConfig"] = {"functionCallingConfig": _tool_choice(request.tool_choice)}
        if generation := _generation(request):
            body["generationConfig"] = generation
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        model = request.model.removeprefix("models/")
        place = model if model.startswith("tunedModels/") else f"models/{model}"
        return base.HttpRequest(f"/{place}:{method}", common.merge(body, request.options))

    def decoder(self, new_block: Callable[[], str]) -> Decoder:
        """A fresh decoder for one answer."""
        return Decoder(new_block)

    def error(self, status: int, body: bytes) -> errors.ProviderError | None:
        """The typed error of an answer that is not 2xx; None where the body is not Google's."""
        try:
            answer = msgspec.json.decode(body, type=_Failed | list[_Failed])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if isinstance(answer, list):
            answer = answer[0] if answer else _Failed()
        return None if answer.error is None else _error(answer.error, status)


def _generation(request: base.ModelRequest) -> dict[str, Any]:
    config: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "seed": request.seed,
        "stopSequences": list(request.stop) or None,
    }
    config = {key: value for key, value in config.items() if value is not None}
    if request.output_schema is not None:
        shape = portable.portable(request.output_schema, "gemini")
        config["responseMimeType"] = "application/json"
        if shape.flavour == "gemini":  # else the words of the request have to do
            config["responseJsonSchema"] = shape.schema
    if request.reasoning_effort:
        config["thinkingConfig"] = _thinking(request.model, request.reasoning_effort)
    return config


def _thinking(model: str, effort: str) -> dict[str, Any]:
    if effort not in _BUDGET and effort not in _LEVEL:
        raise errors.UsageError(
            f"reasoning_effort is {effort!r}; use none, {', '.join(_BUDGET)}", code="bad-request"
        )
    if _generation_of(model) >= 3:
        return {"thinkingLevel": _LEVEL.get(effort, effort), "includeThoughts": True}
    if effort in ("none", "off"):
        return {"thinkingBudget": 0}
    return {"thinkingBudget": _BUDGET[effort], "includeThoughts": True}


def _generation_of(model: str) -> int:
    found = _NAME.search(model)
    return int(found[1]) if found else 0


def _contents(request: base.ModelRequest) -> list[dict[str, Any]]:
    """User and model turns; results of tools are the user's; neighbours of a role are one."""
    turns: list[dict[str, Any]] = []
    names = {
        part.id: part.name
        for m in request.messages
        for part in m.parts
        if isinstance(part, messages.ToolCall)
    }
    signed = _generation_of(request.model) >= 3
    for message in request.messages:
        if message.role == "system":
            continue
        if message.role == "assistant":
            role, parts = "model", _model_parts(message.parts, signed)
        else:
            role = "user"
            parts = [found for part in message.parts if (found := _user_part(part, names)) is not None]
        if not parts:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"].extend(parts)
        else:
            turns.append({"role": role, "parts": parts})
    return turns


def _model_parts(parts: tuple[messages.Part, ...], signed: bool) -> list[dict[str, Any]]:
    """The model's own parts, each signature where Gemini had put it."""
    out: list[dict[str, Any]] = []
    waiting: str | None = None
    called = False
    for part in parts:
        if waiting is not None and not isinstance(part, messages.Text):
            out.append({"text": "", "thoughtSignature": waiting})
            waiting = None
        match part:
            case messages.Text(text=text) if text:
                out.append({"text": text})
                if waiting is not None:
                    out[-1]["thoughtSignature"], waiting = waiting, None
            case messages.Reasoning(signature=signature) if signature:
                waiting = signature  # the thoughts themselves are not asked for again
            case messages.Image():
                out.append(_picture(part))
            case messages.ToolCall(id=id, name=name, signature=signature):
                call: dict[str, Any] = {"name": name, "args": common.arguments_object(part)}
                if id:
                    call["id"] = id
                out.append({"functionCall": call})
                if signature:
                    out[-1]["thoughtSignature"] = signature
                elif signed and not called:
                    out[-1]["thoughtSignature"] = FOREIGN_SIGNATURE
                called = True
            case _:
                pass
    if waiting is not None:
        out.append({"text": "", "thoughtSignature": waiting})
    return out


def _user_part(part: messages.Part, names: dict[str, str]) -> dict[str, Any] | None:
    match part:
        case messages.Text(text=text):
            return {"text": text} if text else None
        case messages.Image():
            return _picture(part)
        case messages.ToolResult(call=call, content=content, name=name, error=error):
            answer = {"result": content} if error is None else {"error": content or error}
            body: dict[str, Any] = {"name": name or names.get(call, call), "response": answer}
            if call:
                body["id"] = call
            return {"functionResponse": body}
        case _:
            return None


def _picture(part: messages.Image) -> dict[str, Any]:
    inline = common.inline_data(part.url)
    if inline is not None:
        return {"inlineData": {"mimeType": part.media_type or inline[0], "data": inline[1]}}
    body = {"fileUri": part.url}
    if part.media_type:
        body["mimeType"] = part.media_type
    return {"fileData": body}


def _tool(tool: messages.ToolSpec) -> dict[str, Any]:
    body: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        body["parametersJsonSchema"] = tool.parameters
    return body


def _tool_choice(choice: str) -> dict[str, Any]:
    if choice in ("auto", "none"):
        return {"mode": choice.upper()}
    return {"mode": "ANY"} if choice == "required" else {"mode": "ANY", "allowedFunctionNames": [choice]}


# --- what comes back ------------------------------------------------------------------------------------


class _PartialArg(msgspec.Struct, gc=False, rename="camel"):
    json_path: str | None = None
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None
    null_value: Any = msgspec.UNSET


class _FunctionCall(msgspec.Struct, gc=False, rename="camel"):
    id: str | None = None
    name: str | None = None
    args: Any = None
    partial_args: list[_PartialArg] | None = None
    will_continue: bool | None = None


class _Blob(msgspec.Struct, gc=False, rename="camel"):
    mime_type: str | None = None
    data: str | None = None
    file_uri: str | None = None
    display_name: str | None = None


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: _Blob | None = None
    file_data: _Blob | None = None
    executable_code: dict[str, Any] | None = None
    code_execution_result: dict[str, Any] | None = None
    tool_call: dict[str, Any] | None = None
    tool_response: dict[str, Any] | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    grounding_metadata: dict[str, Any] | None = None
    citation_metadata: dict[str, Any] | None = None
    url_context_metadata: dict[str, Any] | None = None


class _UsageMetadata(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _ErrorBody(msgspec.Struct, gc=False):
    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[dict[str, Any]] | None = None


class _Failed(msgspec.Struct, gc=False):
    error: _ErrorBody | None = None


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: _UsageMetadata | None = None
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: _ErrorBody | None = None


_chunks: common.Typed[_Chunk] = common.Typed(_Chunk, _WHERE)
_CUSTOM = {
    "executable_code": "executableCode",
    "code_execution_result": "codeExecutionResult",
    "tool_call": "toolCall",
    "tool_response": "toolResponse",
}


class Decoder(common.Decoder):
    """Events of one Gemini answer; see `base.WireDecoder`."""

    def __init__(self, new_block: Callable[[], str]) -> None:
        self._sse = sse.Decoder()
        super().__init__(new_block, self._events)
        self._finish: str | None = None
        self._response: str | None = None
        self._model: str | None = None
        self._call: _Streamed | None = None
        self._cited: set[tuple[str | None, ...]] = set()
        self._told: dict[str, Any] = {}

    def _events(self, data: bytes) -> list[bytes]:
        return [event.data for event in self._sse.feed(data)]

    def _frame(self, frame: bytes, out: list[events.Event]) -> None:
        chunk = _chunks.decode(frame)
        if chunk.usage_metadata is not None:
            self.usage = _usage(chunk.usage_metadata)
        if chunk.model_version:
            self._model = chunk.model_version
        if chunk.response_id:
            self._response = chunk.response_id
        if chunk.candidates:
            for candidate in chunk.candidates:
                if not candidate.index:  # one answer is read; further candidates are not asked for
                    self._candidate(candidate, out)
        elif chunk.error is not None:
            raise _error(chunk.error, None)
        elif chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            raise _blocked(chunk.prompt_feedback)
        elif chunk.usage_metadata is None:
            self.skipped += 1

    def _end(self, out: list[events.Event]) -> None:
        if self._finish is None:
            raise common.incomplete(_WHERE, "a finishReason")
        self._close(out)

    def whole(self, data: bytes) -> list[events.Event]:
        """A complete answer that was asked for without streaming; see `base.WireDecoder`."""
        out: list[events.Event] = []
        self._frame(data, out)
        if self._finish is None:
            raise common.malformed(_WHERE, "an answer without a finishReason", data)
        self._close(out)
        return out

    def _close(self, out: list[events.Event]) -> None:
        self._end_call(out)
        self._blocks.close(out)
        reason = _FINISH.get(self._finish or "", "other")
        if reason == "stop" and self._blocks.called:
            reason = "tool-calls"
        out.append(base.ModelEnd(finish_reason=reason, response=self._response, model=self._model))
        self._ended = True

    def _candidate(self, candidate: _Candidate, out: list[events.Event]) -> None:
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                if part.text and not part.thought and part.thought_signature is None:
                    self._blocks.text(out, part.text)
                else:
                    self._part(part, out)
        if candidate.grounding_metadata:
            self._tell("groundingMetadata", candidate.grounding_metadata, out)
            for chunk in _list(candidate.grounding_metadata, "groundingChunks"):
                found = next((v for v in chunk.values() if isinstance(v, dict)), {})
                self._cite(found.get("uri"), found.get("title"), found.get("text"), out)
        if candidate.citation_metadata:
            listed = candidate.citation_metadata
            for citation in [*_list(listed, "citationSources"), *_list(listed, "citations")]:
                self._cite(citation.get("uri"), citation.get("title"), None, out)
        if candidate.url_context_metadata:
            self._tell("urlContextMetadata", candidate.url_context_metadata, out)
        if candidate.finish_reason:
            self._finish = candidate.finish_reason

    def _part(self, part: _Part, out: list[events.Event]) -> None:
        """Any part but plain text."""
        signature = part.thought_signature
        if part.function_call is not None:
            self._function_call(part.function_call, signature, out)
        elif part.thought:
            self._blocks.reasoning(out, part.text or "")
            if signature:
                self._blocks.close(out, signature=signature)
        elif part.inline_data is not None or part.file_data is not None:
            self._file(part.inline_data or part.file_data or _Blob(), out)
        elif (key := next((key for key in _CUSTOM if getattr(part, key) is not None), None)) is not None:
            self._blocks.close(out)
            data = dict(getattr(part, key))
            if signature:
                data["thoughtSignature"] = signature
            out.append(events.Custom(name=f"gemini.{_CUSTOM[key]}", data=data))
        elif signature:
            self._blocks.close(out, signature=signature)
            self._blocks.text(out, part.text or "")
        elif part.text is None:
            self.skipped += 1

    def _file(self, blob: _Blob, out: list[events.Event]) -> None:
        self._blocks.close(out)
        url = blob.file_uri or f"data:{blob.mime_type or ''};base64,{blob.data or ''}"
        out.append(events.File(url=url, media_type=blob.mime_type, name=blob.display_name))

    def _function_call(self, call: _FunctionCall, signature: str | None, out: list[events.Event]) -> None:
        """A whole call, or a piece of one whose arguments are streamed by JSON path.

        Pieces do not come in the order of a JSON text, so a streamed call's arguments are one delta at its
        end; its name is known at once.
        """
        open_call = self._call
        if open_call is None or call.name:
            self._end_call(out)
            start = self._blocks.call(out, call.id, call.name or "")
            open_call = self._call = _Streamed(start)
        open_call.signature = signature or open_call.signature
        if call.args is not None:
            open_call.args = call.args
        for piece in call.partial_args or ():
            open_call.put(piece)
        if not call.will_continue:
            self._end_call(out)

    def _end_call(self, out: list[events.Event]) -> None:
        open_call, self._call = self._call, None
        if open_call is not None:
            call, block = open_call.start.call, open_call.start.block
            if open_call.args is not None:
                text = msgspec.json.encode(open_call.args).decode()
                out.append(events.ToolCallDelta(call=call, block=block, delta=text))
            arguments = {} if open_call.args is None else open_call.args
            out.append(
                events.ToolCallEnd(call=call, block=block, arguments=arguments, signature=open_call.signature)
            )

    def _tell(self, key: str, data: dict[str, Any], out: list[events.Event]) -> None:
        """What came with the answer, once: Google repeats it in later chunks."""
        if self._told.get(key) != data:
            self._told[key] = data
            out.append(events.Custom(name=f"gemini.{key}", data=data))

    def _cite(self, url: Any, title: Any, text: Any, out: list[events.Event]) -> None:
        found = tuple(value if isinstance(value, str) and value else None for value in (url, title, text))
        if any(found) and found not in self._cited:
            self._cited.add(found)
            out.append(events.Source(url=found[0], title=found[1], text=found[2], block=self._blocks.block))


class _Streamed:
    """A function call whose arguments are still coming."""

    __slots__ = ("args", "signature", "start")

    def __init__(self, start: events.ToolCallStart) -> None:
        self.start = start
        self.args: Any = None
        self.signature: str | None = None

    def put(self, piece: _PartialArg) -> None:
        """Set the value at a JSON path (RFC 9535, one node); more text of the same string is appended."""
        steps = _steps(piece.json_path or "")
        if piece.string_value is not None:
            value: Any = piece.string_value
        elif piece.number_value is not None:
            value = piece.number_value
        elif piece.bool_value is not None:
            value = piece.bool_value
        else:
            value = None
        root: list[Any] = [self.args]
        holder: Any = root
        key: str | int = 0
        for step in steps:
            inside = holder[key]
            if isinstance(step, int):
                if not isinstance(inside, list):
                    inside = holder[key] = []
                if step > len(inside):
                    raise errors.ProviderError(
                        f"{_WHERE} sent an argument out of order: {piece.json_path!r}",
                        code="provider-protocol",
                    )
                if step == len(inside):
                    inside.append(None)
            else:
                if not isinstance(inside, dict):
                    inside = holder[key] = {}
                inside.setdefault(step, None)
            holder, key = inside, step
        if isinstance(value, str) and isinstance(holder[key], str):
            value = holder[key] + value
        holder[key] = value
        self.args = root[0]


_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")


def _steps(path: str) -> list[str | int]:
    """The names and indexes of a JSON path such as `$.items[0]['a b']`."""
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise errors.ProviderError(f"{_WHERE} sent a bad JSON path: {path!r}", code="provider-protocol")
        name, index, single, double = found.groups()
        quoted = single if single is not None else double
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    return steps


def _list(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = data.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _usage(raw: _UsageMetadata) -> messages.Usage:
    """Our usage: what tools put into the prompt is input, thoughts are output."""
    prompt = _sum(raw.prompt_token_count, raw.tool_use_prompt_token_count)
    output = _sum(raw.candidates_token_count, raw.thoughts_token_count)
    return messages.Usage(
        input_tokens=prompt,
        output_tokens=output,
        reasoning_tokens=raw.thoughts_token_count,
        cached_tokens=raw.cached_content_token_count,
        basis="unknown" if prompt is None and output is None else "reported",
    )


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _blocked(feedback: _Feedback) -> errors.ProviderError:
    said = f": {feedback.block_reason_message}" if feedback.block_reason_message else ""
    return errors.ProviderError(
        f"{_WHERE} refused the prompt ({feedback.block_reason}){said}",
        code="content-blocked",
        details={"block_reason": feedback.block_reason},
    )


def _error(body: _ErrorBody, status: int | None) -> errors.ProviderError:
    said = body.message or "it failed and did not say why"
    reasons = {str(detail.get("reason")) for detail in body.details or () if detail.get("reason")}
    code = _ERRORS.get(body.status or "") or base.STATUS_CODES.get(status or body.code or 0, "provider-error")
    if code == "bad-request":
        if "API_KEY_INVALID" in reasons or "API key" in said:
            code = "auth-failed"
        elif common.too_long(said):
            code = "context-too-long"
    details = {"status": body.status, "reasons": sorted(reasons)}
    error = errors.ProviderError(
        said,
        code=code,
        provider_status=status or body.code,
        details={key: value for key, value in details.items() if value},
    )
    for detail in body.details or ():
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", delay):
            error.retry_after = float(delay[:-1])
    return error
