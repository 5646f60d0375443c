"""Merging deltas: many small events of one block become one event that covers the same seqs. Pure.

Only neighbours are merged: deltas whose seqs follow each other without anything in between and that belong
to the same block (or call, or field) of the same span. So the seqs that a reader has covered are always a
prefix of the run, and any of them is a cursor. `Sealed` keeps old deltas as one text with the end of each
delta in it: as fine as they were written, about twice the size of the text, cut at any cursor.
Next: `memory`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate

from headrace import events
from headrace.runlog.base import Entry

SEALED_BYTES = 16 * 1024
_OwnerKey = tuple[type[events.Event], str, str]


def owner(event: events.Event) -> _OwnerKey:
    """What a delta belongs to: its type, its span, and its block, call or path."""
    kind = type(event)
    if kind is events.TextDelta or kind is events.ReasoningDelta:
        return kind, event.span, event.block  # type: ignore[attr-defined]
    if kind is events.ToolCallDelta:
        return kind, event.span, event.call  # type: ignore[attr-defined]
    return kind, event.span, event.path  # type: ignore[attr-defined]


def merge(entries: Sequence[Entry]) -> list[Entry]:
    """The same events with neighbouring deltas of one block made one. Entries are never changed."""
    out: list[Entry] = []
    run: list[Entry] = []
    key: _OwnerKey | None = None
    for entry in entries:
        event = entry.event
        if type(event) in _DELTAS and event.extra is None:
            this = owner(event)
            if this == key:
                run.append(entry)
                continue
            _flush(run, out)
            run, key = [entry], this
        else:
            _flush(run, out)
            run, key = [], None
            out.append(entry)
    _flush(run, out)
    return out


def _flush(run: list[Entry], out: list[Entry]) -> None:
    if len(run) < 2:
        out.extend(run)
        return
    text = "".join(entry.event.delta for entry in run)  # type: ignore[attr-defined]
    out.append(_entry(run[0].event, text, run[0].first, run[-1].last, run[-1].event.time))


def _entry(like: events.Event, text: str, first: int, last: int, time: datetime | None) -> Entry:
    start = first if last > first else None
    event: events.Event
    match like:
        case events.TextDelta(block=block):
            event = events.TextDelta(block=block, delta=text, from_seq=start)
        case events.ReasoningDelta(block=block):
            event = events.ReasoningDelta(block=block, delta=text, from_seq=start)
        case events.ToolCallDelta(call=call, block=block):
            event = events.ToolCallDelta(call=call, block=block, delta=text, from_seq=start)
        case events.FieldDelta(path=path, index=index):
            event = events.FieldDelta(path=path, delta=text, index=index, from_seq=start)
        case _:
            raise TypeError(f"not a delta: {like!r}")
    event.run, event.span, event.seq, event.time = like.run, like.span, last, time
    return Entry(event, first, last)


class Sealed:
    """Old deltas of a run, one after the other, as text and offsets.

    Attributes:
        first, last: the seqs it covers, one a delta.
        size: bytes it takes, roughly.
    """

    __slots__ = ("_ends", "_owners", "_text", "_time", "_which", "first", "last")

    def __init__(self, deltas: Sequence[events.Event], first: int) -> None:
        self.first = first
        self.last = first + len(deltas) - 1
        self._time = deltas[-1].time
        pieces = [event.delta.encode() for event in deltas]  # type: ignore[attr-defined]
        self._text = b"".join(pieces)
        kind = "H" if len(self._text) < 65536 else "I"
        self._ends = array(kind, accumulate(map(len, pieces)))
        keys: dict[_OwnerKey, int] = {}
        self._owners: list[events.Event] = []
        which = array("H")
        index, key = 0, None
        for event in deltas:
            this = owner(event)
            if this != key:
                key = this
                found = keys.get(key)
                if found is None:
                    found = keys[key] = len(self._owners)
                    self._owners.append(_stem(event))
                index = found
            which.append(index)
        self._which = which if len(self._owners) > 1 else None

    @property
    def size(self) -> int:
        """Bytes it takes, roughly."""
        return len(self._text) + len(self._ends) * self._ends.itemsize + 2 * len(self._which or ()) + 400

    def entries(self, after: int) -> list[Entry]:
        """The deltas after seq `after`, merged as far as they are neighbours."""
        start = max(0, after + 1 - self.first)
        count = len(self._ends)
        if self._which is None:
            return [self._piece(start, count)]
        out = []
        i = start
        while i < count:
            j = i + 1
            while j < count and self._which[j] == self._which[i]:
                j += 1
            out.append(self._piece(i, j))
            i = j
        return out

    def _piece(self, i: int, j: int) -> Entry:
        begin = self._ends[i - 1] if i else 0
        text = self._text[begin : self._ends[j - 1]].decode()
        like = self._owners[self._which[i] if self._which is not None else 0]
        entry = _entry(like, text, self.first + i, self.first + j - 1, self._time)
        if isinstance(entry.event, events.FieldDelta):
            entry.event.index += self._before(i)
        return entry

    def _before(self, i: int) -> int:
        """How many deltas of the same owner stand before position `i`."""
        return i if self._which is None else self._which[:i].count(self._which[i])

    def joined(self, deltas: Sequence[events.Event]) -> Sealed | None:
        """This with more deltas behind it, or None where that would be too large to copy each time."""
        if len(self._text) >= SEALED_BYTES:
            return None
        more = Sealed(deltas, self.last + 1)
        both = Sealed.__new__(Sealed)
        both.first, both.last, both._time = self.first, more.last, more._time
        both._text = self._text + more._text
        shift = len(self._text)
        both._ends = array("H" if len(both._text) < 65536 else "I", self._ends)
        both._ends.extend(end + shift for end in more._ends)
        both._owners = list(self._owners)
        keys = {owner(event): i for i, event in enumerate(both._owners)}
        places = []
        for event in more._owners:
            place = keys.get(owner(event))
            if place is None:
                place = len(both._owners)
                both._owners.append(event)
            places.append(place)
        if len(both._owners) == 1:
            both._which = None
        else:
            mine = self._which if self._which is not None else array("H", bytes(2 * len(self._ends)))
            theirs = more._which if more._which is not None else array("H", bytes(2 * len(more._ends)))
            both._which = mine + array("H", (places[i] for i in theirs))
        return both


def _stem(event: events.Event) -> events.Event:
    """The delta without its text: what a merged event takes its block and span from."""
    return _entry(event, "", event.seq, event.seq, event.time).event


def find(parts: Sequence[Entry | Sealed], after: int) -> int:
    """The index of the first part that has something after seq `after`."""
    return bisect_right(parts, after, key=_last)


def _last(part: Entry | Sealed) -> int:
    return part.last


def is_delta(event: events.Event) -> bool:
    """Whether the event is a delta that may be merged."""
    return type(event) in _DELTAS and event.extra is None


def flatten(parts: Iterable[Entry | Sealed], after: int) -> list[Entry]:
    """Parts as entries, from the cursor on."""
    out: list[Entry] = []
    for part in parts:
        if isinstance(part, Sealed):
            out.extend(part.entries(after))
        else:
            out.append(part)
    return out


_DELTAS = frozenset(events.DELTAS)
