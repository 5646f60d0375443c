"""OpenAI Responses: requests in, typed events out.

The wire has some sixty event types in families (added, delta, done) around *items*: a message, reasoning, a
function call, a call of a built-in tool. `Decoder` keeps one small record an item and one table of handlers;
types that say nothing a run can show are known and passed over, others are counted in `skipped`.

Items are found by their kind and their `output_index`, which stays when ids are rewritten on the way, or
their `item_id` where a server sends no index (llama.cpp). What comes only as `done`, without deltas, is
shown then; an answer that comes only in `response.completed` likewise, which is also how an answer without
streaming is read. Each summary part of reasoning is a block of its own, and the last one of an item carries
its encrypted form. Calls of built-in tools are `custom` events named `openai.<item type>`.

What ends an answer: `response.completed`, `.incomplete`, `.failed` or `error`; nothing else does.
One file, though a long one: each family's request item, events and closing are read side by side.
Facts: openai-python's `response_stream_event.py`; recordings. Next: `anthropic`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.outputs import portable
from headrace.protocol import assembler, sse
from headrace.providers import base, common, loose_json, openai_errors

_ENCRYPTED = "reasoning.encrypted_content"
# Models that do not reason refuse to be asked for encrypted reasoning.
_PLAIN_MODELS = ("gpt-3", "gpt-4", "chatgpt-", "ft:gpt-3", "ft:gpt-4")
_INCOMPLETE = {"max_output_tokens": "length", "max_tokens": "length", "content_filter": "content-filter"}


class _Struct(msgspec.Struct, gc=False):
    """What is kept of an event: JSON values, which have no cycles."""


class _InputDetails(_Struct):
    cached_tokens: int | None = None


class _OutputDetails(_Struct):
    reasoning_tokens: int | None = None


class _Usage(_Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(_Struct):
    reason: str | None = None


class _Response(_Struct):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: _Usage | None = None
    output: list[Any] | None = None


class _Event(_Struct):
    type: str = ""
    delta: str | None = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None
    text: str | None = None
    refusal: str | None = None
    item: dict[str, Any] | None = None
    part: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    response: _Response | None = None
    error: Any = None
    code: Any = None
    message: str | None = None


_typed = msgspec.json.Decoder(_Event)
_typed_whole = msgspec.json.Decoder(_Response)
_GOES_ON = frozenset(("delta",))


class OpenAIResponsesWire:
    """The Responses wire; implements `base.Wire`.

    Args:
        reasoning_summary: ask for summaries of the reasoning (`auto`, `concise`, `detailed`); None not to.
        encrypted: ask for encrypted reasoning, to send it back in later calls; None asks the models that
            reason, by their name.
        path: added to the base URL.
        extra: keys put into every body; `ModelRequest.options` comes on top (objects key by key).
    """

    name = "openai-responses"

    def __init__(
        self,
        *,
        reasoning_summary: str | None = None,
        encrypted: bool | None = None,
        path: str = "/responses",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._summary = reasoning_summary
        self._encrypted = encrypted
        self._path = path
        self._extra = extra or {}

    def request(self, request: base.ModelRequest) -> base.HttpRequest:
        """The body of `POST /responses`. Nothing is stored with the provider unless options say `store`.

        `seed` has no place on this wire and is left out.

        Raises:
            errors.UsageError: stop sequences or a prefill, which this wire cannot express.
        """
        if request.stop or request.prefill is not None:
            what = "stop sequences" if request.stop else "a prefilled answer"
            raise errors.UsageError(f"the Responses API takes no {what}; use Chat Completions for that")
        rules, rest = _instructions(request.messages)
        body: dict[str, Any] = {"model": request.model, "input": list(_input(rest)), "store": False}
        if rules:
            body["instructions"] = rules
        if request.stream:
            body["stream"] = True
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        choice = request.tool_choice
        if choice is not None:
            plain = choice in ("auto", "none", "required")
            body["tool_choice"] = choice if plain else {"type": "function", "name": choice}
        schema = request.output_schema
        if schema is not None:
            shape = portable.untouched(schema, "openai-strict")
            form = {"type": "json_schema", "name": request.output_name, "schema": shape.schema}
            body["text"] = {"format": {**form, "strict": shape.strict}}
        wishes = {"temperature": request.temperature, "top_p": request.top_p}
        wishes["max_output_tokens"] = request.max_tokens
        body.update((key, value) for key, value in wishes.items() if value is not None)
        reasoning = {"effort": request.reasoning_effort, "summary": self._summary}
        if any(reasoning.values()):
            body["reasoning"] = {key: value for key, value in reasoning.items() if value is not None}
        body = common.merge(common.merge(body, self._extra), request.options)
        if not body.get("store") and "include" not in body and self._wants_encrypted(request.model):
            body["include"] = [_ENCRYPTED]
        return base.HttpRequest(self._path, body)

    def decoder(self, new_block: Callable[[], str]) -> Decoder:
        """A fresh decoder for one answer."""
        return Decoder(new_block)

    def error(self, status: int, body: bytes) -> errors.ProviderError | None:
        """The typed error of an answer that is not 2xx."""
        return openai_errors.from_body(status, body)

    def _wants_encrypted(self, model: str) -> bool:
        if self._encrypted is not None:
            return self._encrypted
        return not model.startswith(_PLAIN_MODELS)


class _Item:
    """One item of the answer: what it is, and what of it is open."""

    __slots__ = ("arguments", "block", "call", "custom", "finished", "kind", "part", "shown", "texts")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.texts: dict[int, str] = {}  # message: open text blocks by content index
        self.shown: set[Any] = set()  # parts of which something was shown
        self.block = ""  # reasoning, call: the open block
        self.part: tuple[str, int] | None = None  # reasoning: the part the open block shows
        self.call = ""
        self.custom = False
        self.arguments: list[str] = []
        self.finished = False  # its `done` came: what follows under the same index is another item


class Decoder:
    """Bytes of one answer to events; implements `base.WireDecoder`.

    Args:
        new_block: gives block ids.

    Attributes:
        usage: as reported at the end.
        skipped: events of types not known here.
    """

    def __init__(self, new_block: Callable[[], str]) -> None:
        self.usage: messages.Usage | None = None
        self.skipped = 0
        self._new_block = new_block
        self._sse = sse.Decoder()
        self._joined = loose_json.Joiner()
        self._failure: errors.ProviderError | None = None
        self._done = False
        self._items: dict[tuple[int | str, str], _Item] = {}
        self._calls: set[str] = set()
        self._cited: set[Any] = set()
        self._refused = False
        self._id: str | None = None
        self._model: str | None = None

    def feed(self, data: bytes) -> list[events.Event]:
        """Take the next bytes; see `base.WireDecoder.feed`."""
        if self._failure is not None:
            raise self._failure
        out: list[events.Event] = []
        try:
            for frame in self._sse.feed(data):
                if self._done:
                    break
                try:
                    event = _typed.decode(frame.data)
                except loose_json.NOT_JSON:
                    odd = self._odd(frame.data)
                    if odd is None:
                        continue
                    event = odd
                if event.type == "response.output_text.delta" and event.delta:
                    # The usual event: more of an open text block.
                    item = self._items.get((self._key(event), "message"))
                    block = item.texts.get(event.content_index or 0) if item is not None else None
                    if block is not None:
                        out.append(events.TextDelta(block=block, delta=event.delta))
                        continue
                handler = _HANDLERS.get(event.type)
                if handler is not None:
                    handler(self, event, out)
                elif event.error is not None:
                    raise openai_errors.from_object(event.error)
                elif not _QUIET.fullmatch(event.type):
                    self.skipped += 1
        except errors.ProviderError as error:
            self._failure = error
            if not out:
                raise
        return out

    def close(self) -> list[events.Event]:
        """The bytes have ended; see `base.WireDecoder.close`."""
        self.feed(b"")
        if not self._done:
            raise errors.ProviderError(
                "the answer ended before response.completed; it is not complete", code="stream-incomplete"
            )
        return []

    def whole(self, data: bytes) -> list[events.Event]:
        """Take a complete answer; see `base.WireDecoder.whole`."""
        try:
            response = _typed_whole.decode(data)
        except loose_json.NOT_JSON:
            response = loose_json.convert(_Response, loose_json.read_object(data))
        if response.output is None and response.error is None:
            raise errors.ProviderError("the answer has no output", code="provider-protocol")
        out: list[events.Event] = []
        if response.error is not None or response.status == "failed":
            self._failed(_Event(response=response), out)
        self._completed(_Event(response=response), out)
        return out

    def _odd(self, payload: bytes) -> _Event | None:
        """Data that the typed decoder refused; None where there is nothing in it."""
        payload = payload.strip()
        if not payload or payload == b"[DONE]":
            return None
        return loose_json.convert(_Event, loose_json.read_object(payload), self._joined, _GOES_ON)

    def _key(self, event: _Event) -> int | str:
        if event.output_index is not None:
            return event.output_index
        if event.item_id:
            return event.item_id
        own = event.item and event.item.get("id")
        return own if isinstance(own, str) else ""

    # -- items ---------------------------------------------------------------------------------------------

    def _item(self, event: _Event, kind: str) -> _Item:
        key = self._key(event), kind
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(kind)
        return item

    def _added(self, event: _Event, out: list[events.Event]) -> None:
        kind = _text(event.item, "type")
        known = self._items.get((self._key(event), kind))
        if known is not None and not known.finished:
            return
        item = self._items[self._key(event), kind] = _Item(kind)
        if known is not None:
            self._close_item(known, out)
        if kind == "reasoning":
            self._open_reasoning(item, out)
        elif kind in ("function_call", "custom_tool_call"):
            self._open_call(item, event.item or {}, out)

    def _item_done(self, event: _Event, out: list[events.Event]) -> None:
        body = event.item or {}
        self._added(event, out)
        item = self._item(event, _text(body, "type"))
        item.finished = True
        match item.kind:
            case "message":
                for index, part in enumerate(_rows(body, "content")):
                    self._part(item, index, part, out)
                self._close_item(item, out)
            case "reasoning":
                parts = [("summary", i, part) for i, part in enumerate(_rows(body, "summary"))]
                parts += [("content", i, part) for i, part in enumerate(_rows(body, "content"))]
                for family, index, part in parts if not item.shown else ():
                    self._thought(item, (family, index), _text(part, "text"), out)
                self._close_item(item, out, _text(body, "encrypted_content") or None)
            case "function_call" | "custom_tool_call":
                if not item.arguments:
                    self._argument(item, _text(body, "input" if item.custom else "arguments"), out)
                self._close_item(item, out)
            case _:
                self._built_in(body, out)

    def _close_item(self, item: _Item, out: list[events.Event], encrypted: str | None = None) -> None:
        out.extend(events.TextEnd(block=block) for block in item.texts.values())
        item.texts.clear()
        if not item.block:
            return
        if item.kind == "reasoning":
            out.append(events.ReasoningEnd(block=item.block, encrypted=encrypted))
        else:
            text = "".join(item.arguments)
            value = text if item.custom else assembler.parse_arguments(text)
            out.append(events.ToolCallEnd(call=item.call, arguments=value, block=item.block))
        item.block = ""

    def _built_in(self, body: dict[str, Any], out: list[events.Event]) -> None:
        kind = _text(body, "type")
        if not kind:
            self.skipped += 1
            return
        image = _text(body, "result") if kind == "image_generation_call" else ""
        if image:
            media_type = f"image/{_text(body, 'output_format') or 'png'}"
            out.append(events.File(url=f"data:{media_type};base64,{image}", media_type=media_type))
            body = {key: value for key, value in body.items() if key != "result"}
        out.append(events.Custom(name=f"openai.{kind}", data=body))

    # -- messages ------------------------------------------------------------------------------------------

    def _show(self, item: _Item, index: int, text: str, out: list[events.Event]) -> None:
        if not text:
            return
        block = item.texts.get(index)
        if block is None:
            block = item.texts[index] = self._new_block()
            item.shown.add(index)
            out.append(events.TextStart(block=block))
        out.append(events.TextDelta(block=block, delta=text))

    def _text_delta(self, event: _Event, out: list[events.Event]) -> None:
        self._refused = self._refused or event.type == "response.refusal.delta"
        self._show(self._item(event, "message"), event.content_index or 0, event.delta or "", out)

    def _text_done(self, event: _Event, out: list[events.Event]) -> None:
        item, index = self._item(event, "message"), event.content_index or 0
        if index not in item.shown:
            self._refused = self._refused or bool(event.refusal)
            self._show(item, index, event.text or event.refusal or "", out)

    def _part_done(self, event: _Event, out: list[events.Event]) -> None:
        if _text(event.part, "type") == "reasoning_text":
            return
        item, index = self._item(event, "message"), event.content_index or 0
        self._part(item, index, event.part or {}, out)
        block = item.texts.pop(index, None)
        if block is not None:
            out.append(events.TextEnd(block=block))

    def _part(self, item: _Item, index: int, part: dict[str, Any], out: list[events.Event]) -> None:
        """A finished part: what of it was not shown yet."""
        if index not in item.shown:
            refusal = _text(part, "refusal")
            self._refused = self._refused or bool(refusal)
            self._show(item, index, refusal or _text(part, "text"), out)
        for annotation in _rows(part, "annotations"):
            self._cite(item, index, annotation, out)

    def _annotation(self, event: _Event, out: list[events.Event]) -> None:
        self._cite(self._item(event, "message"), event.content_index or 0, event.annotation or {}, out)

    def _cite(self, item: _Item, index: int, body: dict[str, Any], out: list[events.Event]) -> None:
        url, name = _text(body, "url"), _text(body, "title") or _text(body, "filename")
        key = (id(item), index, url, _text(body, "file_id"), str(body.get("start_index", body.get("index"))))
        if key not in self._cited and (url or name):
            self._cited.add(key)
            block = item.texts.get(index, "")
            out.append(events.Source(url=url or None, title=name or None, block=block))

    # -- reasoning -----------------------------------------------------------------------------------------

    def _open_reasoning(self, item: _Item, out: list[events.Event]) -> None:
        item.block = self._new_block()
        out.append(events.ReasoningStart(block=item.block))

    def _thought(self, item: _Item, part: tuple[str, int], text: str, out: list[events.Event]) -> None:
        if not text:
            return
        if item.block and item.part is not None and item.part != part:
            self._close_item(item, out)
        if not item.block:
            self._open_reasoning(item, out)
        item.part = part
        item.shown.add(part)
        out.append(events.ReasoningDelta(block=item.block, delta=text))

    def _reasoning_delta(self, event: _Event, out: list[events.Event]) -> None:
        self._thought(self._item(event, "reasoning"), _part_of(event), event.delta or "", out)

    def _reasoning_done(self, event: _Event, out: list[events.Event]) -> None:
        item, part = self._item(event, "reasoning"), _part_of(event)
        if part not in item.shown:
            self._thought(item, part, event.text or "", out)

    # -- calls ---------------------------------------------------------------------------------------------

    def _open_call(self, item: _Item, body: dict[str, Any], out: list[events.Event]) -> None:
        item.block = self._new_block()
        item.custom = item.kind == "custom_tool_call"
        call = _text(body, "call_id")
        item.call = call if call and call not in self._calls else f"call_{item.block}"
        self._calls.add(item.call)
        out.append(events.ToolCallStart(call=item.call, name=_text(body, "name"), block=item.block))

    def _argument(self, item: _Item, text: str, out: list[events.Event]) -> None:
        if text and item.block:
            item.arguments.append(text)
            out.append(events.ToolCallDelta(call=item.call, delta=text, block=item.block))

    def _argument_delta(self, event: _Event, out: list[events.Event]) -> None:
        custom = event.type == "response.custom_tool_call_input.delta"
        item = self._items.get((self._key(event), "custom_tool_call" if custom else "function_call"))
        if item is not None:  # else the call's name is not known yet: all of it is shown when it is done
            self._argument(item, event.delta or "", out)

    # -- the answer ----------------------------------------------------------------------------------------

    def _progress(self, event: _Event, out: list[events.Event]) -> None:
        response = event.response
        if response is not None:
            self._id = self._id or response.id
            self._model = response.model or self._model
            self.usage = _usage(response.usage) or self.usage

    def _completed(self, event: _Event, out: list[events.Event]) -> None:
        self._progress(event, out)
        response = event.response or _Response()
        if not self._items:
            for index, body in enumerate(response.output or ()):
                if isinstance(body, dict):
                    self._item_done(_Event(item=body, output_index=index), out)
        for item in self._items.values():
            self._close_item(item, out)
        if response.status == "incomplete" or event.type == "response.incomplete":
            reason = response.incomplete_details.reason if response.incomplete_details else None
            finish = _INCOMPLETE.get(reason or "", "other")
        elif self._calls:
            finish = "tool-calls"
        else:
            finish = "content-filter" if self._refused else "stop"
        self._done = True
        out.append(base.ModelEnd(finish_reason=finish, response=self._id, model=self._model))

    def _failed(self, event: _Event, out: list[events.Event]) -> None:
        self._progress(event, out)
        found = event.response.error if event.response is not None else None
        raise openai_errors.from_object(found or "the provider said that the answer failed, and not why")

    def _error(self, event: _Event, out: list[events.Event]) -> None:
        found = event.error
        if found is None:
            found = {"code": event.code, "message": event.message}
        raise openai_errors.from_object(found)


_Handler = Callable[[Decoder, _Event, list[events.Event]], None]
_HANDLERS: Mapping[str, _Handler] = {
    "response.created": Decoder._progress,
    "response.queued": Decoder._progress,
    "response.in_progress": Decoder._progress,
    "response.output_item.added": Decoder._added,
    "response.output_item.done": Decoder._item_done,
    "response.output_text.delta": Decoder._text_delta,
    "response.output_text.done": Decoder._text_done,
    "response.refusal.delta": Decoder._text_delta,
    "response.refusal.done": Decoder._text_done,
    "response.content_part.done": Decoder._part_done,
    "response.output_text.annotation.added": Decoder._annotation,
    "response.reasoning_summary_text.delta": Decoder._reasoning_delta,
    "response.reasoning_summary_text.done": Decoder._reasoning_done,
    "response.reasoning_text.delta": Decoder._reasoning_delta,
    "response.reasoning_text.done": Decoder._reasoning_done,
    "response.function_call_arguments.delta": Decoder._argument_delta,
    "response.custom_tool_call_input.delta": Decoder._argument_delta,
    "response.completed": Decoder._completed,
    "response.incomplete": Decoder._completed,
    "response.failed": Decoder._failed,
    "error": Decoder._error,
}
# Known, and nothing to show: the beginnings and ends of what the handlers above show piece by piece, and the
# progress of built-in tools, whose finished items become `custom` events.
_QUIET = re.compile(
    r"keepalive|response\.("
    r"content_part\.added|reasoning_summary_part\.\w+|(function_call_arguments|custom_tool_call_input)\.done"
    r"|(mcp_call|mcp_call_arguments|mcp_list_tools|web_search_call|file_search_call|code_interpreter_call"
    r"|code_interpreter_call_code|image_generation_call|shell_call_command|shell_call_output_content"
    r"|compaction)\.\w+)"
)


def _instructions(given: tuple[messages.Message, ...]) -> tuple[str, tuple[messages.Message, ...]]:
    """The system messages at the beginning, joined, and everything after them."""
    count = next((i for i, message in enumerate(given) if message.role != "system"), len(given))
    return "\n\n".join(message.text for message in given[:count]), given[count:]


def _input(given: Iterable[messages.Message]) -> Iterator[dict[str, Any]]:
    for message in given:
        if message.role == "assistant":
            yield from _assistant(message)
        elif message.role == "tool":
            for part in message.parts:
                if isinstance(part, messages.ToolResult):
                    output = part.content or part.error or ""
                    yield {"type": "function_call_output", "call_id": part.call, "output": output}
        elif any(isinstance(part, messages.Image) for part in message.parts):
            yield {"role": message.role, "content": [part for p in message.parts for part in _content(p)]}
        else:
            yield {"role": message.role, "content": message.text}


def _content(part: messages.Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, messages.Text):
        yield {"type": "input_text", "text": part.text}
    elif isinstance(part, messages.Image):
        yield {"type": "input_image", "image_url": part.url, "detail": "auto"}


def _assistant(message: messages.Message) -> Iterator[dict[str, Any]]:
    """An assistant's message as items. Reasoning goes back only with its encrypted form, which closes it."""
    summary: list[dict[str, str]] = []
    for part in message.parts:
        match part:
            case messages.Reasoning(text=text, encrypted=encrypted):
                if text:
                    summary.append({"type": "summary_text", "text": text})
                if encrypted:
                    yield {"type": "reasoning", "summary": summary, "encrypted_content": encrypted}
                    summary = []
            case messages.Text(text=text) if text:
                yield {"role": "assistant", "content": text}
            case messages.ToolCall(id=call, name=name):
                arguments = messages.arguments_text(part)
                yield {"type": "function_call", "call_id": call, "name": name, "arguments": arguments}
            case _:
                pass


def _tool(tool: messages.ToolSpec) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    body: dict[str, Any] = {"type": "function", "name": tool.name, "parameters": parameters}
    if tool.description:
        body["description"] = tool.description
    body["strict"] = bool(tool.strict)  # this wire takes an absent key for true
    return body


def _usage(raw: _Usage | None) -> messages.Usage | None:
    if raw is None or (raw.input_tokens is None and raw.output_tokens is None):
        return None
    cached, thought = raw.input_tokens_details, raw.output_tokens_details
    return messages.Usage(
        input_tokens=raw.input_tokens,
        output_tokens=raw.output_tokens,
        reasoning_tokens=thought.reasoning_tokens if thought else None,
        cached_tokens=cached.cached_tokens if cached else None,
        basis="reported",
    )


def _part_of(event: _Event) -> tuple[str, int]:
    if event.summary_index is not None:
        return "summary", event.summary_index
    family = "summary" if "summary" in event.type else "content"
    return family, event.content_index or 0


def _text(body: dict[str, Any] | None, key: str) -> str:
    value = body.get(key) if body is not None else None
    return value if isinstance(value, str) else ""


def _rows(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = body.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
