"""The first pass: text into pieces (text, slots, expressions, tags), each with its place; includes put in.

A slot, an expression or a tag ends at its closing marks outside quotes. Comments vanish here. A backslash before
an opening mark makes it text. A tag, statement or comment alone on its line takes the line with it, as one would
expect of a line that says nothing. All faults are collected; the scan goes on after each. Next: `parser`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from headrace.templates.faults import Fault, Place

Kind = Literal["text", "slot", "expression", "statement", "open", "close", "checkpoint", "comment"]
TAGS = ("system", "header", "user", "assistant", "checkpoint", "obliviate", "together", "include")
MAX_FILES = 200
MAX_CHARACTERS = 2_000_000
MAX_MARK = 20_000
"""Characters of a slot, an expression or a tag."""
MAX_FAULTS = 100
"""Faults after which the scan ends."""

_MARK = re.compile(
    r"(?P<escape>\\(?=\[\[|\{\{|\{%|\{\#|</?(?:" + "|".join(TAGS) + r")\b))"
    r"|(?P<comment><!--|\{\#)"
    r"|(?P<raw>\{%-?\s*raw\s*-?%\})"
    r"|(?P<statement>\{%)|(?P<expression>\{\{)|(?P<slot>\[\[)"
    r"|(?P<tag><(?P<slash>/?)(?P<name>" + "|".join(TAGS) + r")(?P<rest>(?:\s[^<>]*|/)?)>)"
)
_RAW_END = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_ENDS = {"slot": "]]", "expression": "}}", "statement": "%}"}
_ATTRIBUTE = re.compile(r"""\s*([\w-]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'/]+))?""")

Read = Callable[[str, str], "tuple[str, str]"]
"""From the file that includes and the name it includes to the path found and its text; raises OSError."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text.

    Attributes:
        kind: what it is.
        text: what is inside it (of a tag its name, of a checkpoint the name it gives).
        inner: where `text` begins.
        attributes: of a tag; a word alone has the value "".
        closed: a tag that ends in `/>`.
    """

    kind: Kind
    text: str
    place: Place
    end: Place
    inner: Place
    attributes: tuple[tuple[str, str], ...] = ()
    closed: bool = False
    trim_before: bool = False
    trim_after: bool = False


class Source:
    """A file's text, and the place of each offset in it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text.replace("\r\n", "\n")
        self._starts = [0, *(m.end() for m in re.finditer("\n", self.text))]
        self._lines = self.text.split("\n")

    def place(self, offset: int) -> Place:
        """The place of an offset."""
        line = bisect_right(self._starts, offset) - 1
        return Place(self.file, line + 1, offset - self._starts[line] + 1, self._lines[line])


class Scanner:
    """Scans a template and what it includes.

    Attributes:
        faults: what was wrong.
        flat: the text with the includes put in, in parts.
        files: all files that were read.
    """

    def __init__(self, read: Read) -> None:
        self.faults: list[Fault] = []
        self.flat: list[str] = []
        self.files: list[str] = []
        self._read = read
        self._characters = 0

    def scan(self, source: Source) -> list[Piece]:
        """The pieces of a template, as they are walked: without comments, and without lines that say nothing."""
        return [piece for piece in _trimmed(self.pieces(source)) if piece.kind != "comment"]

    def pieces(self, source: Source) -> list[Piece]:
        """The pieces of a template as they stand there."""
        return list(self._scan(source, ()))

    def _scan(self, source: Source, chain: tuple[str, ...]) -> Iterator[Piece]:
        chain = (*chain, source.file)
        self.files.append(source.file)
        text, at = source.text, 0
        while (mark := _MARK.search(text, at)) is not None:
            start = mark.start()
            if start > at:
                yield self._text(source, at, start)
            kind = mark.lastgroup if mark.lastgroup in ("escape", "comment", "raw") else None
            if mark["escape"]:
                at = self._escaped(text, mark.end())
                yield self._text(source, mark.end(), at)
                continue
            if mark["tag"]:
                kind = "tag"
            kind = kind or next(name for name in _ENDS if mark[name])
            if kind == "comment":
                close = "-->" if mark[0] == "<!--" else "#}"
                end = text.find(close, mark.end())
                if end < 0:
                    self._fault(source, start, f"the comment is not closed; end it with {close}")
                    return
                at = end + len(close)
                yield _piece("comment", "", source, start, at, start)
            elif kind == "raw":
                over = _RAW_END.search(text, mark.end())
                if over is None:
                    self._fault(source, start, "{% raw %} is not closed; end it with {% endraw %}")
                    return
                yield self._text(source, mark.end(), over.start())
                at = over.end()
            elif kind == "tag":
                at = mark.end()
                yield from self._tag(source, mark, chain)
                checkpoint = mark["name"] in ("checkpoint", "obliviate") and not mark["slash"]
                if checkpoint and not mark["rest"].rstrip().endswith("/"):
                    named = re.compile(rf"([^<\n]*)</{mark['name']}>").match(text, at)
                    at = named.end() if named else at
            else:
                found = _find_end(text, mark.end(), _ENDS[kind], mark.end() + MAX_MARK)
                if found is None:
                    what = {"slot": "slot", "expression": "expression", "statement": "tag"}[kind]
                    self._fault(source, start, f"the {what} is not closed; end it with {_ENDS[kind]}")
                    at = mark.end()
                    if len(self.faults) >= MAX_FAULTS:
                        return
                    continue
                at = found + 2
                self.flat.append(text[start:at])
                yield _marked(kind, source, start, mark.end(), found, at)
        if at < len(text):
            yield self._text(source, at, len(text))

    def _text(self, source: Source, start: int, end: int) -> Piece:
        self._characters += end - start
        self.flat.append(source.text[start:end])
        return _piece("text", source.text[start:end], source, start, end, start)

    @staticmethod
    def _escaped(text: str, at: int) -> int:
        """The end of a mark that a backslash makes text."""
        found = _MARK.match(text, at)
        return found.end() if found else at + 2

    def _tag(self, source: Source, mark: re.Match[str], chain: tuple[str, ...]) -> Iterator[Piece]:
        name, rest = mark["name"], mark["rest"].strip()
        closed = rest.endswith("/")
        attributes = self._attributes(source, mark, rest.rstrip("/"))
        start, end = mark.span()
        if name == "include":
            if not mark["slash"]:
                yield from self._include(source, start, attributes, chain)
            yield _piece("comment", "", source, start, end, start)
            return
        self.flat.append(mark[0])
        if name in ("checkpoint", "obliviate"):
            if mark["slash"]:
                self._fault(source, start, f"</{name}> closes nothing; write <checkpoint>Name</checkpoint>")
                return
            named = None if closed else re.compile(rf"([^<\n]*)</{name}>").match(source.text, end)
            if named:
                self.flat.append(named[0])
            title = named[1].strip() if named else dict(attributes).get("name", "")
            yield _piece("checkpoint", title, source, start, named.end() if named else end, end)
            return
        piece = _piece("close" if mark["slash"] else "open", name, source, start, end, start)
        yield replace(piece, attributes=attributes, closed=closed)

    def _attributes(self, source: Source, mark: re.Match[str], rest: str) -> tuple[tuple[str, str], ...]:
        found, at = [], 0
        while at < len(rest) and rest[at:].strip():
            attribute = _ATTRIBUTE.match(rest, at)
            if attribute is None:
                self._fault(
                    source, mark.start(), f"<{mark['name']}> has attributes that cannot be read: {rest}"
                )
                break
            found.append((attribute[1], (attribute[2] or "").strip("\"'")))
            at = attribute.end()
        return tuple(found)

    def _include(
        self,
        source: Source,
        start: int,
        attributes: Sequence[tuple[str, str]],
        chain: tuple[str, ...],
    ) -> Iterator[Piece]:
        name = dict(attributes).get("src")
        if not name:
            self._fault(source, start, 'an include needs its file: <include src="file"/>')
            return
        try:
            path, text = self._read(source.file, name)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            self._fault(source, start, f"{name!r} cannot be included: {why}")
            return
        if path in chain:
            around = " → ".join(Path(file).name for file in (*chain[chain.index(path) :], path))
            self._fault(source, start, f"the includes go in a circle: {around}")
        elif len(self.files) >= MAX_FILES or self._characters + len(text) > MAX_CHARACTERS:
            self._fault(
                source, start, f"too much is included: {MAX_FILES} files or {MAX_CHARACTERS:,} characters"
            )
        else:
            yield from self._scan(Source(path, text), chain)

    def _fault(self, source: Source, offset: int, message: str) -> None:
        self.faults.append(Fault(source.place(offset), message))


def _piece(kind: Kind, text: str, source: Source, start: int, end: int, inner: int) -> Piece:
    place = source.place(start)
    return Piece(kind, text, place, source.place(end), place if inner == start else source.place(inner))


def _marked(kind: str, source: Source, start: int, inner: int, end: int, at: int) -> Piece:
    inside = source.text[inner:end]
    before = kind != "slot" and inside[:1] == "-"
    after = kind != "slot" and inside[-1:] == "-"
    if before:
        inside, inner = inside[1:], inner + 1
    if after:
        inside = inside[:-1]
    piece = _piece(kind, inside, source, start, at, inner)  # type: ignore[arg-type]
    return replace(piece, trim_before=before, trim_after=after)


_PLAIN = re.compile(r"[\w ]+")


def _find_end(text: str, at: int, end: str, limit: int) -> int | None:
    """Where `end` is, before `limit`, outside quotes and outside `{{ … }}` in a slot.

    In a slot a quote opens only where a value begins, so that `don't know` is a word.
    """
    previous = ""
    limit = min(limit, len(text))
    while at < limit:
        if text.startswith(end, at):
            # `]]]` ends with its last two: an index may stand at the end of an option
            return at
        char = text[at]
        if char.isalnum() or char in "_ ":  # most of it says nothing
            plain = _PLAIN.match(text, at, limit)
            if plain is not None:
                word = plain[0].rstrip()
                at, previous = plain.end(), word[-1] if word else previous
                continue
        if end == "]]" and text.startswith("{{", at):
            inner = _find_end(text, at + 2, "}}", limit)
            if inner is None:
                return None
            at, previous = inner + 2, "}"
            continue
        if char in "\"'" and (end != "]]" or previous in (",", "=", "|")):
            close = _end_of_quote(text, at, limit)
            if close is None:
                return None
            at, previous = close, char
            continue
        if end == "]]" and text.startswith("[[", at):
            return None  # another slot begins: this one was never closed
        if not char.isspace():
            previous = char
        at += 1
    return None


def _end_of_quote(text: str, at: int, limit: int) -> int | None:
    quote, at = text[at], at + 1
    while at < limit:
        if text[at] == "\\":
            at += 2
        elif text[at] == quote:
            return at + 1
        else:
            at += 1
    return None


_LINE_START = re.compile(r"(?:\A|\n)[ \t]*\Z")
_LINE_END = re.compile(r"[ \t]*(?:\n|\Z)")


def _trimmed(pieces: list[Piece]) -> list[Piece]:
    """Take the white space that tags ask for, and the lines on which nothing else stands."""
    texts = [piece.text for piece in pieces]
    for i, piece in enumerate(pieces):
        if piece.kind in ("text", "slot"):
            continue
        before = i - 1 if i and pieces[i - 1].kind == "text" else None
        after = i + 1 if i + 1 < len(pieces) and pieces[i + 1].kind == "text" else None
        if piece.kind != "expression":
            starts = (i == 0) if before is None else _LINE_START.search(texts[before]) is not None
            ends = (i + 1 == len(pieces)) if after is None else _LINE_END.match(texts[after]) is not None
            if starts and ends:
                if before is not None:
                    texts[before] = texts[before].rstrip(" \t")
                if after is not None:
                    texts[after] = _LINE_END.sub("", texts[after], count=1)
        if piece.trim_before and before is not None:
            texts[before] = texts[before].rstrip()
        if piece.trim_after and after is not None:
            texts[after] = texts[after].lstrip()
    return [
        replace(piece, text=text) if text is not piece.text and text != piece.text else piece
        for piece, text in zip(pieces, texts, strict=True)
    ]
