"""From events to finished values: text, reasoning, tool calls, sources, as a pure fold.

Feed it the events of a run (or of one attempt) in order; ask for the parts at any moment. Text grows in a
list that is joined now and then, so a long answer costs linear time and about its own size in memory.
`output-reset` takes back what its blocks showed, and their ends say nothing any more. Next: `retry`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.protocol import json

_JOIN_AT = 64


class Pieces:
    """Text that grows at its end: linear in time, about the text itself in memory."""

    __slots__ = ("_chunks", "_recent")

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._recent: list[str] = []

    def add(self, piece: str) -> None:
        """Append a piece."""
        self._recent.append(piece)
        if len(self._recent) >= _JOIN_AT:
            self._chunks.append("".join(self._recent))
            self._recent.clear()

    def __str__(self) -> str:
        text = "".join(self._chunks) + "".join(self._recent)
        self._chunks[:] = [text] if text else []
        self._recent.clear()
        return text


class _Block:
    __slots__ = ("call", "end", "kind", "live", "name", "pieces")

    def __init__(self, kind: str, call: str = "", name: str = "") -> None:
        self.kind = kind
        self.pieces = Pieces()
        self.call = call
        self.name = name
        self.end: events.Event | None = None
        self.live: _Live | None = None


class _Live:
    """Arguments that are read while they are written; made when somebody asks for them."""

    __slots__ = ("broken", "parser")

    def __init__(self) -> None:
        self.parser = json.Parser(mode="lenient")
        self.broken = False

    def feed(self, piece: str) -> None:
        try:
            if not self.broken:
                self.parser.feed(piece)
        except errors.RunError:
            self.broken = True  # what came before stands; the end of the call has the text


class Assembler:
    """Folds events into the parts of a message.

    Attributes:
        output: the validated structured answer, when there was one.
        results: the last answer of each tool that was run, by call.
        sources, files: what the model cited and produced.
        resets: how many `output-reset` events came.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, _Block] = {}
        self._calls: dict[str, str] = {}
        self.output: Any = None
        self.results: dict[str, events.ToolResult] = {}
        self.sources: list[events.Source] = []
        self.files: list[events.File] = []
        self.resets = 0

    def add(self, batch: Iterable[events.Event]) -> None:
        """Take the next events."""
        blocks = self._blocks
        for event in batch:
            kind = type(event)
            if kind is events.TextDelta or kind is events.ReasoningDelta:
                blocks[event.block].pieces.add(event.delta)  # type: ignore[attr-defined]
            elif kind is events.ToolCallDelta:
                block = blocks[self._calls[event.call]]  # type: ignore[attr-defined]
                block.pieces.add(event.delta)  # type: ignore[attr-defined]
                if block.live is not None:
                    block.live.feed(event.delta)  # type: ignore[attr-defined]
            elif kind is not events.FieldDelta:  # the text it comes from is here already
                self._other(event)

    def _other(self, event: events.Event) -> None:
        match event:
            case events.TextStart(block=block):
                self._blocks[block] = _Block("text")
            case events.ReasoningStart(block=block):
                self._blocks[block] = _Block("reasoning")
            case events.ToolCallStart(call=call, name=name, block=block):
                key = block or f"call:{call}"
                self._calls[call] = key
                self._blocks[key] = _Block("tool-call", call, name)
            case events.ReasoningEnd(block=block) if block in self._blocks:
                self._blocks[block].end = event
            case events.ToolCallEnd(call=call) if self._calls.get(call) in self._blocks:
                self._blocks[self._calls[call]].end = event
            case events.OutputReset(blocks=dropped):
                self.resets += 1
                self.output = None
                for block in dropped:
                    self._blocks.pop(block, None)
            case events.ToolResult(call=call, preliminary=False):
                self.results[call] = event
            case events.Output(value=value):
                self.output = value
            case events.Source():
                self.sources.append(event)
            case events.File():
                self.files.append(event)
            case _:
                pass

    @property
    def text(self) -> str:
        """The joined text blocks."""
        return "".join(str(block.pieces) for block in self._blocks.values() if block.kind == "text")

    @property
    def reasoning(self) -> str:
        """The joined reasoning blocks."""
        return "".join(str(block.pieces) for block in self._blocks.values() if block.kind == "reasoning")

    @property
    def tool_calls(self) -> list[messages.ToolCall]:
        """The calls the model asked for, in the order they began."""
        return [part for part in self.parts() if isinstance(part, messages.ToolCall)]

    def arguments(self, call: str) -> Any:
        """The arguments of a call as far as they have come; None before their beginning, or for no such call.

        Live: one value that grows in place while the model writes it, read once however often it is asked for.
        """
        block = self._blocks.get(self._calls.get(call, ""))
        if block is None:
            return None
        if isinstance(block.end, events.ToolCallEnd) and block.end.arguments is not None:
            return block.end.arguments
        if block.live is None:
            block.live = _Live()
            block.live.feed(str(block.pieces))
        return block.live.parser.value

    def blocks(self) -> list[str]:
        """The ids of the blocks that stand."""
        return list(self._blocks)

    def parts(self, blocks: Iterable[str] | None = None) -> tuple[messages.Part, ...]:
        """All parts, or those of some blocks, in the order they began."""
        chosen = self._blocks.values() if blocks is None else (self._blocks[block] for block in blocks)
        return tuple(_part(block) for block in chosen)


def parse_arguments(text: str) -> Any:
    """The arguments of a tool call: parsed JSON, `{}` for nothing, the text where it is not JSON."""
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _part(block: _Block) -> messages.Part:
    text = str(block.pieces)
    if block.kind == "text":
        return messages.Text(text)
    if block.kind == "reasoning":
        end = block.end
        if isinstance(end, events.ReasoningEnd):
            return messages.Reasoning(text, end.signature, end.encrypted)
        return messages.Reasoning(text)
    end = block.end
    if isinstance(end, events.ToolCallEnd):
        return messages.ToolCall(block.call, block.name, end.arguments, text, end.signature)
    return messages.ToolCall(block.call, block.name, None, text)
