"""Fields in text that is not JSON: DSPy's `[[ ## name ## ]]`, XML tags, `name:` sections; the same field events.

Three formats, one splitter each: `DSPy`, `XML`, `Sections`. Each is fed any cut of the text and gives, in order,
field events (path `/name`, deltas of text, the whole text on the end) and strings: the text that belongs to no
field. A marker is in neither; a text that only looks like one (`[[is]]`, `<b>`, `note:`) is text.

A field's text is what comes between its markers without the white space around it, as the formats' own parsers
have it: so white space is held back until something follows it. Line ends come out as `\\n` in `DSPy`, as DSPy has
them. Of a field that comes twice the first counts; the second is text of no field. A field whose name is in `json`
is read by the machine of `json` instead (lenient): events for its leaves, below `/name`.

What is held back besides white space is the beginning of a possible marker: less than a marker's length. No
knowledge of schemas or of DSPy's signatures here. Next: `cursor`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

from headrace import errors, events
from headrace.protocol import find
from headrace.protocol import json as machine
from headrace.protocol.assembler import Pieces
from headrace.protocol.json_tokens import pointer

Found: TypeAlias = events.Event | str

MAX_NAME = 64
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


class _Text:
    """An open field of text: strips it, and tells of it."""

    __slots__ = ("_held", "_index", "_path", "_text")

    def __init__(self, path: str, out: list[Found]) -> None:
        self._path = path
        self._index = 0
        self._text = Pieces()
        self._held: list[str] = []  # white space at the end so far
        out.append(events.FieldStart(path=path))

    def add(self, text: str, out: list[Found]) -> None:
        body = text.rstrip()
        if not body:
            if self._index:
                self._held.append(text)
            return
        space = text[len(body) :]
        if self._index:
            if self._held:
                body = "".join(self._held) + body
                self._held.clear()
        else:
            body = body.lstrip()
        self._text.add(body)
        out.append(events.FieldDelta(path=self._path, delta=body, index=self._index))
        self._index += 1
        if space:
            self._held.append(space)

    def end(self, out: list[Found]) -> Any:
        value = str(self._text)
        out.append(events.FieldEnd(path=self._path, value=value))
        return value


class _Json:
    """An open field of JSON: bare, or in a code fence."""

    __slots__ = ("_path", "_reader")

    def __init__(self, path: str, out: list[Found]) -> None:
        self._path = path
        self._reader: machine.Parser | find.Finder | None = None

    def add(self, text: str, out: list[Found]) -> None:
        if self._reader is None:
            text = text.lstrip()
            if not text:
                return
            fenced = text[0] == "`"
            self._reader = (
                find.Finder(root=self._path) if fenced else machine.Parser(mode="lenient", root=self._path)
            )
        out += (event for event in self._reader.feed(text) if not isinstance(event, str))

    def end(self, out: list[Found]) -> Any:
        reader = self._reader or machine.Parser(mode="lenient", root=self._path)
        out += (event for event in reader.close() if not isinstance(event, str))
        return reader.parser.value if isinstance(reader, find.Finder) else reader.value


class Splitter:
    """What the three formats share; use one of them.

    Args:
        fields: the names that are fields.
        json: those of them that hold JSON.

    Attributes:
        values: the finished fields, by name.
    """

    def __init__(self, fields: Collection[str], *, json: Collection[str] = ()) -> None:
        unknown = set(json) - set(fields)
        if unknown:
            raise errors.UsageError(f"{sorted(unknown)[0]!r} is not one of the fields: {', '.join(fields)}")
        self.values: dict[str, Any] = {}
        self._fields = frozenset(fields)
        self._json = frozenset(json)
        self._open: _Text | _Json | None = None
        self._name = ""
        self._held = ""
        self._blank = True  # nothing but white space on this line so far

    @property
    def open(self) -> str:
        """The name of the field that is open, else empty."""
        return self._name if self._open is not None else ""

    def feed(self, text: str) -> list[Found]:
        """Take the next piece; return the events it causes and the text of no field.

        Raises:
            errors.RunError: `output-rejected`, where a field of JSON is not JSON.
        """
        out: list[Found] = []
        self._split(self._held + text, out, final=False)
        return out

    def close(self) -> list[Found]:
        """The text ends here: the field that is open ends with it.

        Raises:
            errors.RunError: as `feed`.
        """
        out: list[Found] = []
        self._split(self._held, out, final=True)
        self._end(out)
        return out

    def _marker(self, text: str, at: int) -> tuple[re.Match[str], str] | None:
        """The next marker (its group `mark`), and the field it opens (empty: it only ends one)."""
        raise NotImplementedError

    def _cut(self, text: str, at: int) -> re.Match[str] | None:
        """What may be the beginning of a marker (group `mark`), at the end of the text."""
        raise NotImplementedError

    def _split(self, text: str, out: list[Found], *, final: bool) -> None:
        # The character before the text says whether it begins on a fresh line.
        text, at = ("\n" if self._blank else ".") + text, 1
        while (found := self._marker(text, at)) is not None:
            marker, name = found
            self._add(text[at : marker.start("mark")], out)
            self._end(out)
            if name in self._fields:
                self._begin(name, out)
            text, at = "." + text[marker.end() :], 1
        cut = None if final else self._cut(text, at)
        end = len(text) if cut is None else cut.start("mark")
        self._held = text[end:]
        self._add(text[at:end], out)
        line = text[max(text.rfind("\n", 0, end), 0) : end]
        self._blank = line[:1] == "\n" and line.isspace()

    def _add(self, text: str, out: list[Found]) -> None:
        if not text:
            return
        if self._open is None:
            out.append(text)
        else:
            self._open.add(text, out)

    def _begin(self, name: str, out: list[Found]) -> None:
        self._name = name
        if name not in self.values:
            path = pointer(name)
            self._open = _Json(path, out) if name in self._json else _Text(path, out)

    def _end(self, out: list[Found]) -> None:
        opened, name = self._open, self._name
        self._open, self._name = None, ""
        if opened is not None:
            self.values[name] = opened.end(out)


def _prefixes(*atoms: str) -> str:
    """A pattern for every beginning of a sequence of atoms, at the end of the text (the whole not included)."""
    pattern = ""
    for atom in reversed(atoms[:-1]):
        pattern = f"{atom}(?:{pattern})?" if pattern else atom
    return pattern


def _cut_of(*markers: Sequence[str]) -> str:
    """A pattern for the beginning of one of these (each a sequence of atoms), at the end of the text."""
    return rf"(?P<mark>{'|'.join(_prefixes(*marker) for marker in markers) or '(?!)'})\Z"


def _atoms(text: str) -> list[str]:
    return [re.escape(c) for c in text]


_FRESH_LINE = r"(?<![^\n])[^\S\n]*"


class DSPy(Splitter):
    """`[[ ## name ## ]]` at a line's beginning, as DSPy's chat adapter writes and reads it.

    Any such header ends the field before it; one whose name is no field (`completed`) opens none.
    """

    _HEADER = re.compile(rf"{_FRESH_LINE}(?P<mark>\[\[ ## (\w{{1,{MAX_NAME}}}) ## \]\])")
    _CUT = re.compile(_FRESH_LINE + _cut_of([*_atoms("[[ ## "), rf"\w{{1,{MAX_NAME}}}", *_atoms(" ## ]]")]))

    def __init__(self, fields: Collection[str], *, json: Collection[str] = ()) -> None:
        super().__init__(fields, json=json)
        self._after_cr = False

    def feed(self, text: str) -> list[Found]:
        """As `Splitter.feed`."""
        if self._after_cr and text[:1] == "\n":
            self._after_cr, text = False, text[1:]
        if not text:
            return []
        self._after_cr = text[-1] == "\r"
        return super().feed(_LINE_END.sub("\n", text))

    def _marker(self, text: str, at: int) -> tuple[re.Match[str], str] | None:
        found = self._HEADER.search(text, at)
        return None if found is None else (found, found[2])

    def _cut(self, text: str, at: int) -> re.Match[str] | None:
        return self._CUT.search(text, at)


class XML(Splitter):
    """`<name>` … `</name>` for the names given. Inside a field only its own closing tag is a marker."""

    def __init__(self, fields: Collection[str], *, json: Collection[str] = ()) -> None:
        super().__init__(fields, json=json)
        names = "|".join(re.escape(name) for name in fields)
        self._opening = re.compile(f"(?P<mark><({names})>)") if names else re.compile("(?P<mark>)(?!)")
        self._opening_cut = re.compile(_cut_of(*(_atoms(f"<{name}>") for name in fields)))
        self._closing = {name: re.compile(f"(?P<mark></{re.escape(name)}>)") for name in fields}
        self._closing_cut = {name: re.compile(_cut_of(_atoms(f"</{name}>"))) for name in fields}

    def _marker(self, text: str, at: int) -> tuple[re.Match[str], str] | None:
        if self._name:
            found = self._closing[self._name].search(text, at)
            return None if found is None else (found, "")
        found = self._opening.search(text, at)
        return None if found is None else (found, found[2])

    def _cut(self, text: str, at: int) -> re.Match[str] | None:
        return (self._closing_cut[self._name] if self._name else self._opening_cut).search(text, at)


class Sections(Splitter):
    """`name:` at a line's beginning for the names given, in any case; `**name:**`, `**name**:`, `## name:` too.

    A section goes on to the next one. A line that begins with another word and a colon is text.
    """

    def __init__(self, fields: Collection[str], *, json: Collection[str] = ()) -> None:
        super().__init__(fields, json=json)
        self._by_case = {name.casefold(): name for name in fields}
        names = "|".join(re.escape(name) for name in fields) or "(?!)"
        self._header = re.compile(
            rf"{_FRESH_LINE}(?P<mark>\*\*(?:({names}):\*\*|({names})\*\*:)|(?:\#{{1,6}}[ ])?({names}):)",
            re.IGNORECASE,
        )
        written = [
            atoms
            for name in fields
            for atoms in (
                _atoms(f"**{name}:**"),
                _atoms(f"**{name}**:"),
                [r"\#{1,6}", "[ ]", *_atoms(f"{name}:")],
                _atoms(f"{name}:"),
            )
        ]
        self._header_cut = re.compile(_FRESH_LINE + _cut_of(*written), re.IGNORECASE)

    def _marker(self, text: str, at: int) -> tuple[re.Match[str], str] | None:
        found = self._header.search(text, at)
        if found is None:
            return None
        written = found[2] or found[3] or found[4]
        return found, self._by_case.get(written.casefold(), "")

    def _cut(self, text: str, at: int) -> re.Match[str] | None:
        return self._header_cut.search(text, at)
