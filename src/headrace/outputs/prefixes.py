"""Can this text still come to match? Regular expressions read one character at a time.

`re` tells only of whole texts. For expressions that begin with `^` and are made of characters, classes, groups,
alternatives and repetitions, an automaton is built here and walked as the text comes, in O(1) a character: when no
state is left, nothing that follows can mend it. Any other expression (look-around, back references, flags, no `^`,
counts that make it too large) is not decided before its end. What one character matches is asked of `re` itself, so
`\\d`, `\\w` and classes mean the same here and there. Next: `nodes`.
"""

from __future__ import annotations

import functools
import re
from typing import Any

MAX_STATES = 2000  # of one expression
_MAX_MEMO = 4000  # steps that are kept ready, a pattern

_ATOM = re.compile(
    r"\\(?:[dDwWsSnrtfv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[^\w\s])|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[\](){}|?*+^$]",
    re.DOTALL,
)
_COUNT = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")


class _Undecidable(Exception):
    """The expression has something that is not read here."""


class _Automaton:
    """States are numbers; `free` are steps without a character, `steps` those with one."""

    def __init__(self) -> None:
        self.free: list[list[int]] = []
        self.steps: list[list[tuple[re.Pattern[str], int]]] = []

    def state(self) -> int:
        if len(self.free) >= MAX_STATES:
            raise _Undecidable
        self.free.append([])
        self.steps.append([])
        return len(self.free) - 1


class _Builder:
    """Reads an expression into an automaton: from a state, each method gives the state after what it read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.automaton = _Automaton()
        self.ends: set[int] = set()  # states from which only the end, or a line end and the end, may follow
        self.accepts: set[int] = set()
        start = self.automaton.state()
        self.begin = start
        whole = self._choice(start, top=True)
        if self.at != len(text):
            raise _Undecidable
        self.accepts.add(whole)

    def _choice(self, start: int, *, top: bool = False) -> int:
        after = self.automaton.state()
        while True:
            inner = self.automaton.state()
            self.automaton.free[start].append(inner)
            self.automaton.free[self._row(inner, top)].append(after)
            if not self.text.startswith("|", self.at):
                return after
            self.at += 1

    def _row(self, state: int, top: bool) -> int:
        if top:
            if not self.text.startswith("^", self.at):
                raise _Undecidable
            self.at += 1
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            if self.text[self.at] == "$":
                if not (top and self.text[self.at + 1 : self.at + 2] in ("", "|")):
                    raise _Undecidable
                self.at += 1
                self.ends.add(state)
                return self.automaton.state()  # which nothing leads to
            state = self._repeated(state)
        return state

    def _repeated(self, state: int) -> int:
        free = self.automaton.free
        entry = self.automaton.state()
        free[state].append(entry)
        began = self.at
        copies = [entry, self._one(entry)]  # where each copy begins, and the last one ends
        least, most = self._count()
        ended = self.at
        if (least, most) == (1, 1):
            return copies[1]
        while len(copies) <= max(least, most or 1):
            self.at = began
            copies.append(self._one(copies[-1]))
        self.at = ended
        last = self.automaton.state()
        if most is None:
            free[copies[-1]].append(copies[-2])
        for copy in copies[least : None if most is None else most + 1]:
            free[copy].append(last)
        return last

    def _count(self) -> tuple[int, int | None]:
        sign = self.text[self.at : self.at + 1]
        bounds: tuple[int, int | None] = (1, 1)
        if sign and sign in "?*+":
            bounds = {"?": (0, 1), "*": (0, None), "+": (1, None)}[sign]
            self.at += 1
        elif sign == "{":
            found = _COUNT.match(self.text, self.at)
            if found is None or not (found[1] or found[3]):
                raise _Undecidable
            least = int(found[1] or 0)
            bounds = (least, int(found[3]) if found[3] else None) if found[2] else (least, least)
            self.at = found.end()
        else:
            return bounds
        if self.text[self.at : self.at + 1] == "?":
            self.at += 1  # lazy: it matches the same texts
        elif self.text[self.at : self.at + 1] == "+":
            raise _Undecidable
        return bounds

    def _one(self, state: int) -> int:
        if self.text.startswith("(", self.at):
            self.at += 1
            if self.text.startswith("?:", self.at):
                self.at += 2
            elif self.text.startswith("?", self.at):
                raise _Undecidable
            after = self._choice(state)
            if not self.text.startswith(")", self.at):
                raise _Undecidable
            self.at += 1
            return after
        found = _ATOM.match(self.text, self.at)
        if found is None:
            raise _Undecidable
        self.at = found.end()
        after = self.automaton.state()
        self.automaton.steps[state].append((_one_character(found[0]), after))
        return after


@functools.lru_cache(2048)
def _one_character(source: str) -> re.Pattern[str]:
    try:
        return re.compile(source)
    except re.error as error:
        raise _Undecidable from error


class Place:
    """Where a text stands in a pattern: the states it may be in, and the steps from here that were taken before."""

    __slots__ = ("matched", "next", "states")

    def __init__(self, states: frozenset[int], matched: bool) -> None:
        self.states = states
        self.matched = matched  # whatever follows, it matches
        self.next: dict[str, Place] = {}


class Pattern:
    """A regular expression of a schema, searched for as JSON Schema says.

    Attributes:
        source: the expression.
        start: where to begin; None when prefixes are not decided.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._re: Any = None
        self._memo = 0
        self.start: Place | None = None
        try:
            built = _Builder(source)
        except (_Undecidable, RecursionError):
            return
        self._built = built
        self.start = self._place({built.begin})

    def matches(self, text: str) -> bool:
        """Whether the whole text is right."""
        if self._re is None:
            self._re = re.compile(self.source)
        return self._re.search(text) is not None

    def ends(self, text: str) -> bool:
        """Whether an expression `^…$` that is decided matches all of the text, in time that grows only with the text.

        `re` may take for ever (`(a+)+`), and cannot be stopped: for expressions of people one does not know.
        """
        assert self.start is not None
        place = self.step(self.start, text)
        return place is not None and not place.states.isdisjoint(self._built.ends)

    def step(self, place: Place, text: str) -> Place | None:
        """Where the text stands after more of it; None when it cannot match any more."""
        for character in text:
            if place.matched:
                return place
            found = place.next.get(character)
            if found is None:
                found = self._step(place, character)
                if self._memo < _MAX_MEMO:
                    self._memo += 1
                    place.next[character] = found
            place = found
            if not place.states and not place.matched:
                return None
        return place

    def _step(self, place: Place, character: str) -> Place:
        built = self._built
        steps = built.automaton.steps
        reached = {
            to for state in place.states if state >= 0 for one, to in steps[state] if one.match(character)
        }
        made = self._place(reached)
        if character == "\n" and any(state in built.ends for state in place.states):
            made = Place(
                made.states | {-1}, made.matched
            )  # `$` also matches before a line end that is the last
        return made

    def _place(self, states: set[int]) -> Place:
        free = self._built.automaton.free
        todo, seen = list(states), set(states)
        while todo:
            for state in free[todo.pop()]:
                if state not in seen:
                    seen.add(state)
                    todo.append(state)
        built = self._built
        useful = frozenset(state for state in seen if built.automaton.steps[state] or state in built.ends)
        return Place(useful, bool(seen & built.accepts))
