"""Line markers in replies: how a model says, in so many words, what should become a fact.

    COMMIT: water the plants on Friday        a commitment is opened
    CLOSE: c12                                one is closed, by its id or its exact words
    CLAIM: weather={"city": "Oslo"}           a typed statement, the right side JSON
    REFLECT: I answer too quickly             a reflection
    TRAIT: openness +0.02                     a trait moves by a small step

A marker is a whole line that begins with its word, a colon and a space, outside code fences, at most `LONGEST`
characters. A line that does not parse is prose; nothing is guessed. `Filter` takes marker lines out of a stream
however it is cut, and gives what `strip` gives of the whole. Pure. Next: `mirror`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

COMMITMENT = "commitment"
CLOSED = "commitment-closed"
CLAIM = "claim"
REFLECTION = "reflection"
TRAIT = "trait"

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
STEP = 0.05
"""The largest step of a trait; a larger one is cut to it."""
LONGEST = 2000
"""Characters in a marker line; a longer line is prose, so that a filter never holds back more."""

_WORDS = ("COMMIT: ", "CLOSE: ", "CLAIM: ", "REFLECT: ", "TRAIT: ")
_CLAIM = re.compile(r"([A-Za-z][\w-]{0,39})=(.+)")
_TRAIT = re.compile(r"([a-z]+) ([+-]\d{0,3}(?:\.\d{1,6})?)")
_FENCES = ("```", "~~~")
_INDENT = 3  # a fence may be indented by this many blanks


class Marker(msgspec.Struct, frozen=True):
    """One marker.

    Attributes:
        kind: the kind of the fact it becomes.
        content: the fact's content.
        meta: what belongs to the fact beside it.
    """

    kind: str
    content: str
    meta: dict[str, Any] = {}


def parse_line(line: str) -> Marker | None:
    """The marker a line is, without its newline; None for prose."""
    line = line.removesuffix("\r")
    word, colon, rest = line.partition(": ")
    rest = rest.strip()
    if not colon or not rest or len(line) > LONGEST:
        return None
    if word == "COMMIT":
        return Marker(COMMITMENT, rest)
    if word == "CLOSE":
        return Marker(CLOSED, rest)
    if word == "REFLECT":
        return Marker(REFLECTION, rest)
    if word == "CLAIM" and (found := _CLAIM.fullmatch(rest)):
        try:
            value = json.loads(found[2], parse_constant=_no_constant)
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be kept
        except (ValueError, RecursionError):
            return None
        return Marker(CLAIM, rest, {"type": found[1], "value": value})
    if word == "TRAIT" and (found := _TRAIT.fullmatch(rest)) and found[1] in TRAITS:
        try:
            step = float(found[2])
        except ValueError:
            return None
        return Marker(TRAIT, rest, {"trait": found[1], "step": round(max(-STEP, min(STEP, step)), 6)})
    return None


def parse(text: str) -> list[Marker]:
    """The markers of a whole reply, in order."""
    if not _any(text):
        return []
    reader = Filter()
    reader.feed(text)
    reader.end()
    return reader.markers


def strip(text: str) -> str:
    """The reply as a person reads it: without its marker lines."""
    if not _any(text):
        return text
    reader = Filter()
    return reader.feed(text) + reader.end()


def _any(text: str) -> bool:
    """Whether there may be a marker in it: most replies have none, and need not be read line by line."""
    return any(word in text for word in _WORDS)


class Filter:
    """Takes marker lines out of a stream.

    What cannot begin a marker passes at once; of the rest at most one line is held back.

    Attributes:
        markers: those found so far.
    """

    def __init__(self) -> None:
        self.markers: list[Marker] = []
        self._held = ""
        self._head = ""  # the beginning of the line, for fences
        self._passing = False
        self._fence = ""

    def feed(self, piece: str) -> str:
        """Take a piece; returns what can be shown now."""
        out: list[str] = []
        for part in _lines(piece):
            if len(self._head) < _INDENT + 3:
                self._head += part[: _INDENT + 3 - len(self._head)]
            whole = part.endswith("\n")
            if self._passing:
                out.append(part)
            else:
                self._held += part
                if whole:
                    out.append(self._line(self._held[:-1]))
                elif not self._may_be_marker(self._held):
                    self._passing = True
                    out.append(self._held)
                    self._held = ""
            if whole:
                self._next_line()
        return "".join(out)

    def pause(self) -> str:
        """The text stops here and may go on; returns what was held back, unless it is a marker as it stands."""
        if not self._held or self._passing or (not self._fence and parse_line(self._held) is not None):
            return ""
        held, self._held, self._passing = self._held, "", True
        return held

    def end(self) -> str:
        """The stream has ended; returns what was held back and is no marker."""
        return self._line(self._held) if self._held and not self._passing else ""

    def _line(self, line: str) -> str:
        marker = None if self._fence else parse_line(line)
        held, self._held = self._held, ""
        if marker is None:
            return held
        self.markers.append(marker)
        return ""

    def _may_be_marker(self, held: str) -> bool:
        if self._fence or len(held) > LONGEST + 1:
            return False
        return any(held.startswith(word) or word.startswith(held) for word in _WORDS)

    def _next_line(self) -> None:
        head = self._head.lstrip(" ")[:3]
        if head in _FENCES:
            if not self._fence:
                self._fence = head
            elif self._fence == head:
                self._fence = ""
        self._head, self._passing = "", False


def _lines(text: str) -> list[str]:
    """Cut after each newline, and at nothing else."""
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
