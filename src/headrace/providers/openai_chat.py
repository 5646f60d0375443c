"""OpenAI Chat Completions, and the many servers that speak it with an accent.

`OpenAIChatWire` turns a `base.ModelRequest` into the request body and makes `Decoder`s, which turn the
answer's bytes into events. The usual chunk costs one typed decode that keeps a dozen fields and one event;
a chunk the typed decoder refuses is read again leniently, field by field, before it is an error.

What decides that an answer is complete: `[DONE]`, or a `finish_reason` and then the clean end of the bytes.
Everything else is `stream-incomplete`. Accents known and covered here: usage in a last chunk, in every chunk
(cumulative: the last one wins), in the finish chunk or under `x_groq`; tool calls without index, with the
same index, without id, in one piece, with the name in pieces; reasoning as `reasoning_content`, `reasoning`
or `reasoning_details`; errors as `data: {"error": …}`, as `event: error`, as finish reason.

Facts: openai-python's `chat_completion_chunk.py`; wire recordings of the vendors. Next: `openai_responses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.outputs import portable
from headrace.protocol import assembler, sse
from headrace.providers import base, common, loose_json, openai_errors

_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool-calls",
    "tool_use": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
    "safety": "content-filter",
}


class _Struct(msgspec.Struct, gc=False):
    """What is kept of a chunk: JSON values, which have no cycles."""


class _Function(_Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(_Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(_Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    annotations: list[Any] | None = None
    images: list[Any] | None = None
    executed_tools: list[Any] | None = None


class _Choice(_Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class _InputDetails(_Struct):
    cached_tokens: int | None = None


class _OutputDetails(_Struct):
    reasoning_tokens: int | None = None


class _Usage(_Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: Any = None


class _Groq(_Struct):
    usage: _Usage | None = None
    error: Any = None


class _Chunk(_Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    id: str | None = None
    model: str | None = None
    citations: list[Any] | None = None
    x_groq: _Groq | None = None


# Text that goes on in the next chunk: half a character (a lone surrogate) may wait for its other half.
_GOES_ON = frozenset(("content", "reasoning", "reasoning_content", "arguments"))
_typed = msgspec.json.Decoder(_Chunk)
_plain = msgspec.json.Decoder()


class OpenAIChatWire:
    """The Chat Completions wire; implements `base.Wire`.

    Args:
        max_tokens_key: what the limit is called: `max_tokens` everywhere but on api.openai.com, whose newer
            models want `max_completion_tokens`.
        include_usage: ask for usage with `stream_options` (a few servers refuse the key).
        prefill: the server goes on from a trailing assistant message (`Capabilities.prefill`).
        reasoning_key: the key under which an assistant's reasoning is sent back; None to leave it out.
        system_role: the role of system messages (`developer` on some models).
        path: added to the base URL.
        schemas: how the server takes schemas.
        extra: keys put into every body; `ModelRequest.options` comes on top (objects key by key).
    """

    name = "openai-chat"

    def __init__(
        self,
        *,
        max_tokens_key: str = "max_tokens",
        include_usage: bool = True,
        prefill: bool = False,
        reasoning_key: str | None = None,
        system_role: str = "system",
        path: str = "/chat/completions",
        schemas: portable.Flavour = "openai-strict",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._max_tokens_key = max_tokens_key
        self._include_usage = include_usage
        self._prefill = prefill
        self._reasoning_key = reasoning_key
        self._system_role = system_role
        self._path = path
        self._schemas = schemas
        self._extra = extra or {}

    def request(self, request: base.ModelRequest) -> base.HttpRequest:
        """The body of `POST /chat/completions`.

        Raises:
            errors.UsageError: a prefill, where the server cannot go on from one.
        """
        body: dict[str, Any] = {"model": request.model, "messages": list(self._messages(request))}
        if request.stream:
            body["stream"] = True
            if self._include_usage:
                body["stream_options"] = {"include_usage": True}
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.output_schema is not None:
            shape = portable.untouched(request.output_schema, self._schemas)
            form = {"name": request.output_name, "schema": shape.schema, "strict": shape.strict}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        wishes = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            self._max_tokens_key: request.max_tokens,
            "seed": request.seed,
            "stop": list(request.stop) or None,
            "reasoning_effort": request.reasoning_effort,
        }
        body.update((key, value) for key, value in wishes.items() if value is not None)
        return base.HttpRequest(self._path, common.merge(common.merge(body, self._extra), request.options))

    def decoder(self, new_block: Callable[[], str]) -> Decoder:
        """A fresh decoder for one answer."""
        return Decoder(new_block)

    def error(self, status: int, body: bytes) -> errors.ProviderError | None:
        """The typed error of an answer that is not 2xx."""
        return openai_errors.from_body(status, body)

    def _messages(self, request: base.ModelRequest) -> Iterator[dict[str, Any]]:
        for message in _one_result_each(request.messages):
            body = messages.to_openai(message)
            if message.role == "system":
                body["role"] = self._system_role
            if self._reasoning_key and message.role == "assistant":
                thoughts = [part.text for part in message.parts if isinstance(part, messages.Reasoning)]
                if thoughts:
                    body[self._reasoning_key] = "".join(thoughts)
            yield body
        if request.prefill is not None:
            if not self._prefill:
                raise errors.UsageError(
                    "this provider cannot go on from a prefilled answer; leave `prefill` out"
                )
            yield {"role": "assistant", "content": request.prefill}


class _Slot:
    """A tool call that is being written."""

    __slots__ = ("arguments", "block", "call", "id", "name", "started")

    def __init__(self, block: str) -> None:
        self.block = block
        self.id = ""
        self.name = ""
        self.call = ""
        self.arguments: list[str] = []
        self.started = False


class Decoder:
    """Bytes of one answer to events; implements `base.WireDecoder`.

    Args:
        new_block: gives block ids.

    Attributes:
        usage: as last reported.
        skipped: chunks of a kind not known here.
    """

    def __init__(self, new_block: Callable[[], str]) -> None:
        self.usage: messages.Usage | None = None
        self.skipped = 0
        self._new_block = new_block
        self._sse = sse.Decoder()
        self._failure: errors.ProviderError | None = None
        self._done = False
        self._text = ""  # the open text block, "" for none; likewise the open reasoning block
        self._reasoning = ""
        self._signature: str | None = None
        self._encrypted: str | None = None
        self._calls: dict[int | str, _Slot] = {}
        self._slots: list[_Slot] = []
        self._ids: set[str] = set()
        self._cited: set[str] = set()
        self._refused = False
        self._finish: str | None = None
        self._joined = loose_json.Joiner()
        self._id: str | None = None
        self._model: str | None = None

    def feed(self, data: bytes) -> list[events.Event]:
        """Take the next bytes; see `base.WireDecoder.feed`."""
        if self._failure is not None:
            raise self._failure
        out: list[events.Event] = []
        try:
            for event in self._sse.feed(data):
                if self._done:
                    break
                payload = event.data
                try:
                    chunk = _typed.decode(payload)
                except loose_json.NOT_JSON:
                    self._odd(event, out)
                    continue
                choices = chunk.choices
                if choices and chunk.usage is None and not event.event:
                    choice = choices[0]
                    delta = choice.delta
                    # The usual chunk: more of the open text block and nothing else.
                    if (
                        self._text
                        and delta is not None
                        and type(delta.content) is str
                        and delta.content
                        and choice.finish_reason is None
                        and choice.index == 0
                        and not (delta.reasoning or delta.tool_calls or delta.annotations)
                        and not (delta.reasoning_content or delta.reasoning_details or delta.images)
                        and chunk.error is None
                        and chunk.citations is None
                    ):
                        out.append(events.TextDelta(block=self._text, delta=delta.content))
                        continue
                if event.event == "error":
                    raise openai_errors.from_object(_error_in(_plain.decode(payload)))
                self._chunk(chunk, payload, out)
        except errors.ProviderError as error:
            self._failure = error
            if not out:
                raise
        return out

    def close(self) -> list[events.Event]:
        """The bytes have ended; see `base.WireDecoder.close`."""
        self.feed(b"")
        if self._done:
            return []
        if self._finish is None:
            raise errors.ProviderError(
                "the answer ended without [DONE] and without a finish reason; it is not complete",
                code="stream-incomplete",
            )
        return self._end([])

    def whole(self, data: bytes) -> list[events.Event]:
        """Take a complete answer; see `base.WireDecoder.whole`."""
        out: list[events.Event] = []
        try:
            chunk = _typed.decode(data)
        except loose_json.NOT_JSON:
            chunk = loose_json.convert(_Chunk, loose_json.read_object(data))
        for choice in chunk.choices or ():
            choice.delta = choice.message or choice.delta
            for index, call in enumerate((choice.delta and choice.delta.tool_calls) or ()):
                call.index = index
        self._chunk(chunk, data, out)
        if not chunk.choices:
            raise errors.ProviderError("the answer has no choices", code="provider-protocol")
        return self._end(out)

    def _odd(self, event: sse.SSE, out: list[events.Event]) -> None:
        """Data that the typed decoder refused."""
        payload = event.data.strip()
        if payload == b"[DONE]":
            self._end(out)
        elif not payload:
            self.skipped += 1
        elif event.event == "error":
            try:
                found = _error_in(_plain.decode(payload))
            except loose_json.NOT_JSON:
                found = payload[:500].decode("utf-8", "replace")
            raise openai_errors.from_object(found)
        else:
            body = loose_json.read_object(payload)
            self._chunk(loose_json.convert(_Chunk, body, self._joined, _GOES_ON), payload, out)

    def _chunk(self, chunk: _Chunk, payload: bytes, out: list[events.Event]) -> None:
        """Any chunk, with everything it can hold."""
        if self._id is None and chunk.id:
            self._id = chunk.id
        if self._model is None and chunk.model:
            self._model = chunk.model
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if usage is not None:
            self.usage = _usage(usage) or self.usage
        if chunk.choices is None and usage is None and chunk.error is None:
            self._unknown(payload)
        for url in chunk.citations or ():
            self._cite({"url": url} if isinstance(url, str) else url, out)
        for choice in chunk.choices or ():
            if choice.index == 0:
                if choice.delta is not None:
                    self._delta(choice.delta, out)
                if choice.error is not None and chunk.error is None:
                    chunk.error = choice.error
                self._finish = choice.finish_reason or self._finish
        error = chunk.error or (chunk.x_groq.error if chunk.x_groq is not None else None)
        if error is not None:
            raise openai_errors.from_object(error)
        if self._finish == "error":
            raise errors.ProviderError("the provider gave up in the middle of the answer and did not say why")

    def _unknown(self, payload: bytes) -> None:
        """Neither choices nor usage nor error: some servers send their error object bare."""
        body = loose_json.read_object(payload)
        if body.get("object") == "error" or body.get("type") == "error" or "detail" in body:
            raise openai_errors.from_object(_error_in(body))
        self.skipped += 1

    def _delta(self, delta: _Delta, out: list[events.Event]) -> None:
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._think(delta, out)
        content = delta.content
        if content:
            for kind, text in [("text", content)] if isinstance(content, str) else _typed_parts(content):
                if text:
                    self._show(text, out) if kind == "text" else self._thought(text, out)
        if delta.refusal:
            self._refused = True
            self._show(delta.refusal, out)
        for item in delta.annotations or ():
            self._cite(item, out)
        for item in delta.images or ():
            self._image(item, out)
        out.extend(
            events.Custom(name="openai.executed_tool", data=item) for item in delta.executed_tools or ()
        )
        for call in delta.tool_calls or ():
            self._call(call, out)
        if delta.function_call is not None:
            self._call(_Call(index=-1, function=delta.function_call), out)

    def _show(self, text: str, out: list[events.Event]) -> None:
        if not self._text:
            self._close_reasoning(out)
            self._text = self._new_block()
            out.append(events.TextStart(block=self._text))
        out.append(events.TextDelta(block=self._text, delta=text))

    def _think(self, delta: _Delta, out: list[events.Event]) -> None:
        text = delta.reasoning_content or delta.reasoning
        if text:
            self._thought(text, out)
        for detail in delta.reasoning_details or ():
            if not isinstance(detail, dict):
                continue
            more = detail.get("text") or detail.get("summary")
            if not text and isinstance(more, str) and more:  # `reasoning` repeats the same text
                self._thought(more, out)
            signature, encrypted = detail.get("signature"), detail.get("data")
            if isinstance(signature, str) and signature:
                self._open_reasoning(out)
                self._signature = signature
            if isinstance(encrypted, str) and encrypted:
                if self._encrypted is not None:
                    self._close_reasoning(out)
                self._open_reasoning(out)
                self._encrypted = encrypted

    def _thought(self, text: str, out: list[events.Event]) -> None:
        if self._signature is not None:
            self._close_reasoning(out)  # what a signature covers is closed
        self._open_reasoning(out)
        out.append(events.ReasoningDelta(block=self._reasoning, delta=text))

    def _open_reasoning(self, out: list[events.Event]) -> None:
        if not self._reasoning:
            self._close_text(out)
            self._reasoning = self._new_block()
            out.append(events.ReasoningStart(block=self._reasoning))

    def _close_reasoning(self, out: list[events.Event]) -> None:
        if self._reasoning:
            out.append(
                events.ReasoningEnd(
                    block=self._reasoning, signature=self._signature, encrypted=self._encrypted
                )
            )
            self._reasoning, self._signature, self._encrypted = "", None, None

    def _close_text(self, out: list[events.Event]) -> None:
        if self._text:
            out.append(events.TextEnd(block=self._text))
            self._text = ""

    def _call(self, call: _Call, out: list[events.Event]) -> None:
        function = call.function or _Function()
        slot = self._slot(call, function, out)
        if call.id and not slot.id:
            slot.id = call.id
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        if function.name and not slot.started and function.name != slot.name:
            slot.name += function.name
        if arguments:
            self._start(slot, out)
            slot.arguments.append(arguments)
            out.append(events.ToolCallDelta(call=slot.call, delta=arguments, block=slot.block))

    def _slot(self, call: _Call, function: _Function, out: list[events.Event]) -> _Slot:
        """The call a delta belongs to: by index, by id where there is none, else the last one."""
        key: int | str
        if call.index is not None:
            key = call.index
        elif call.id:
            key = call.id
        elif self._slots and not (function.name and self._slots[-1].started):
            return self._slots[-1]
        else:
            key = f"#{len(self._slots)}"
        slot = self._calls.get(key)
        # Some servers give every call of an answer the same index: a new id with a name is a new call.
        if slot is None or (call.id and slot.id and call.id != slot.id and function.name):
            self._close_text(out)
            self._close_reasoning(out)
            slot = self._calls[key] = _Slot(self._new_block())
            self._slots.append(slot)
        return slot

    def _start(self, slot: _Slot, out: list[events.Event]) -> None:
        """Begin a call, once its name is whole: with its first argument text, or at the end."""
        if slot.started:
            return
        slot.started = True
        slot.call = slot.id if slot.id and slot.id not in self._ids else f"call_{slot.block}"
        self._ids.add(slot.call)
        out.append(events.ToolCallStart(call=slot.call, name=slot.name, block=slot.block))

    def _cite(self, item: Any, out: list[events.Event]) -> None:
        if not isinstance(item, dict):
            return
        found = item.get("url_citation", item)
        url = found.get("url") if isinstance(found, dict) else None
        if not isinstance(url, str) or url in self._cited:
            return
        self._cited.add(url)
        title, text = found.get("title"), found.get("content")
        out.append(
            events.Source(
                url=url,
                title=title if isinstance(title, str) else None,
                text=text if isinstance(text, str) else None,
                block=self._text,
            )
        )

    def _image(self, item: Any, out: list[events.Event]) -> None:
        found = item.get("image_url", item) if isinstance(item, dict) else None
        url = found.get("url") if isinstance(found, dict) else found
        if isinstance(url, str) and url:
            kind = url[5:].partition(",")[0].partition(";")[0] if url.startswith("data:") else ""
            out.append(events.File(url=url, media_type=kind or None))

    def _end(self, out: list[events.Event]) -> list[events.Event]:
        self._done = True
        self._close_reasoning(out)
        self._close_text(out)
        for slot in self._slots:
            self._start(slot, out)
            arguments = assembler.parse_arguments("".join(slot.arguments))
            out.append(events.ToolCallEnd(call=slot.call, arguments=arguments, block=slot.block))
        finish = self._finish and _FINISH.get(self._finish.lower(), "other")
        if finish == "stop" and self._slots:
            finish = "tool-calls"  # a forced tool choice finishes with `stop`
        elif finish == "stop" and self._refused:
            finish = "content-filter"
        out.append(base.ModelEnd(finish_reason=finish, response=self._id, model=self._model))
        return out


def _one_result_each(given: Iterable[messages.Message]) -> Iterator[messages.Message]:
    """This wire has one message for each tool's answer; an error is the content where there is no other."""
    for message in given:
        if message.role != "tool":
            yield message
            continue
        for part in message.parts:
            if isinstance(part, messages.ToolResult):
                answer = msgspec.structs.replace(part, content=part.content or part.error or "")
                yield messages.Message("tool", (answer,))


def _tool(tool: messages.ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _usage(raw: _Usage) -> messages.Usage | None:
    if raw.prompt_tokens is None and raw.completion_tokens is None:
        return None
    cached = raw.prompt_tokens_details.cached_tokens if raw.prompt_tokens_details else None
    details = raw.completion_tokens_details
    paid = isinstance(raw.cost, int | float) and not isinstance(raw.cost, bool)
    return messages.Usage(
        input_tokens=raw.prompt_tokens,
        output_tokens=raw.completion_tokens,
        reasoning_tokens=details.reasoning_tokens if details else None,
        cached_tokens=raw.prompt_cache_hit_tokens if cached is None else cached,
        basis="reported",
        cost=float(raw.cost) if paid else None,
        currency="USD" if paid else None,
    )


def _typed_parts(content: list[Any]) -> Iterator[tuple[str, str]]:
    """Content as a list of parts (Mistral): text, and thinking with a list of its own."""
    for part in content:
        if not isinstance(part, dict):
            continue
        kind = "reasoning" if part.get("type") == "thinking" else "text"
        value = part.get("thinking" if kind == "reasoning" else "text")
        if isinstance(value, list):
            value = "".join(text for _, text in _typed_parts(value))
        if isinstance(value, str):
            yield kind, value


def _error_in(body: Any) -> Any:
    return body.get("error") or body if isinstance(body, dict) else body
