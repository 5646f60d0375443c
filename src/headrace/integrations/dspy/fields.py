"""The raw text of an answer, as it comes, split into the output fields of a signature. Pure.

One splitter an adapter's format: `[[ ## name ## ]]` headers, one JSON object, XML tags. Any cut of the text gives the
same fields. A field of text gives its text as DSPy will have it: stripped, JSON escapes and XML entities undone. A
field of another type gives its JSON, as it is written (in a JSON object: in its shortest form, without what JSON does
not allow), so the joined pieces are a JSON document. What cannot be told while it streams (a value in nested XML) is
not shown; whoever uses this compares with the parsed answer at the end. Next: `predicting`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from headrace import events
from headrace.protocol import find, json_tokens, markers

Kind: TypeAlias = Literal["text", "json"]
Format: TypeAlias = Literal["chat", "json", "xml"]


class Piece(NamedTuple):
    """More of a field; `end` with its last one, which has no text."""

    field: str
    text: str
    end: bool = False


class Splitter(Protocol):
    """Text in, pieces of fields out."""

    def feed(self, text: str) -> list[Piece]:
        """Take the next piece of the answer."""
        ...

    def close(self) -> list[Piece]:
        """The answer ends here."""
        ...


def splitter(format: Format, fields: Mapping[str, Kind], *, entities: bool = False) -> Splitter:
    """A splitter for an answer in one of the formats.

    Args:
        fields: all output fields of the answer, and how each is read.
        entities: whether XML entities are undone (DSPy's XML adapter does since it has a real parser).
    """
    if format == "json":
        return _Json(fields)
    if format == "xml":
        return _Xml(fields, entities)
    return _Marked(markers.DSPy(fields))


class _Marked:
    def __init__(self, machine: markers.Splitter) -> None:
        self._machine = machine

    def feed(self, text: str) -> list[Piece]:
        return self._pieces(self._machine.feed(text))

    def close(self) -> list[Piece]:
        return self._pieces(self._machine.close())

    def _pieces(self, found: list[markers.Found]) -> list[Piece]:
        out = []
        for event in found:
            if type(event) is events.FieldDelta:
                out.append(Piece(_name(event.path), event.delta))
            elif type(event) is events.FieldEnd:
                out.append(Piece(_name(event.path), "", True))
        return out


_CUT_ENTITY = re.compile(r"&#?\w{0,16}\Z")


class _Xml(_Marked):
    def __init__(self, fields: Mapping[str, Kind], entities: bool) -> None:
        super().__init__(markers.XML(fields))
        self._fields = fields
        self._entities = entities
        self._held = ""
        self._hidden: set[str] = set()
        self._begun: set[str] = set()

    def _pieces(self, found: list[markers.Found]) -> list[Piece]:
        return [piece for raw in super()._pieces(found) for piece in self._piece(raw)]

    def _piece(self, piece: Piece) -> list[Piece]:
        field, text, end = piece
        if field not in self._begun:
            self._begun.add(field)
            if self._fields[field] == "json" and text.startswith("<"):
                self._hidden.add(field)
        if field in self._hidden:
            return []
        if not self._entities or self._fields[field] == "json":
            return [piece]
        text, self._held = self._held + text, ""
        cut = None if end else _CUT_ENTITY.search(text)
        if cut is not None:
            text, self._held = text[: cut.start()], text[cut.start() :]
        out = [Piece(field, html.unescape(text))] if text else []
        return [*out, piece] if end else out


class _Json:
    def __init__(self, fields: Mapping[str, Kind]) -> None:
        self._fields = fields
        self._finder = find.Finder(expect="object", containers=True)
        self._writers: dict[str, _Writer] = {}
        self._texts: set[str] = set()  # fields of text that are a string, as they should be

    def feed(self, text: str) -> list[Piece]:
        return self._pieces(self._finder.feed(text))

    def close(self) -> list[Piece]:
        return self._pieces(self._finder.close())

    def _pieces(self, found: list[find.Found]) -> list[Piece]:
        out: list[Piece] = []
        for event in found:
            path = getattr(event, "path", "")
            if not path:
                continue
            field = _name(path)
            kind = self._fields.get(field)
            if kind == "text":
                self._text(field, path, event, out)
            elif kind == "json":
                writer = self._writers.get(field)
                if writer is None:
                    writer = self._writers[field] = _Writer(self._finder)
                if text := writer.write(event):
                    if out and out[-1].field == field and not out[-1].end:
                        out[-1] = Piece(field, out[-1].text + text)
                    else:
                        out.append(Piece(field, text))
                if type(event) is events.FieldEnd and path.count("/") == 1:
                    out.append(Piece(field, "", True))
        return out

    def _text(self, field: str, path: str, event: find.Found, out: list[Piece]) -> None:
        if path.count("/") > 1:
            return
        if type(event) is events.FieldStart and isinstance(self._finder.parser.at(path), str):
            self._texts.add(field)
        elif field in self._texts:
            if type(event) is events.FieldDelta:
                out.append(Piece(field, event.delta))
            elif type(event) is events.FieldEnd:
                out.append(Piece(field, "", True))


class _Writer:
    """Field events back into JSON text."""

    def __init__(self, finder: find.Finder) -> None:
        self._finder = finder
        self._open: list[tuple[bool, list[int]]] = []  # an object? and how many members so far

    def write(self, event: Any) -> str:
        kind = type(event)
        if kind is events.FieldDelta:
            return json.dumps(event.delta, ensure_ascii=False)[1:-1]
        value = self._finder.parser.at(event.path)
        if kind is events.FieldStart:
            lead = self._lead(event.path)
            if isinstance(value, dict | list):
                self._open.append((isinstance(value, dict), [0]))
                return lead + ("{" if isinstance(value, dict) else "[")
            return lead + ('"' if isinstance(value, str) else json.dumps(value))
        if kind is events.FieldEnd:
            if isinstance(event.value, dict | list):
                self._open.pop()
                return "}" if isinstance(event.value, dict) else "]"
            return '"' if isinstance(event.value, str) else ""
        return ""

    def _lead(self, path: str) -> str:
        if not self._open:
            return ""
        in_object, count = self._open[-1]
        count[0] += 1
        comma = "," if count[0] > 1 else ""
        if not in_object:
            return comma
        *_, key = json_tokens.steps(path)
        return f"{comma}{json.dumps(key, ensure_ascii=False)}:"


def _name(path: str) -> str:
    """The first step of a JSON Pointer."""
    return next(iter(json_tokens.steps(path)))
