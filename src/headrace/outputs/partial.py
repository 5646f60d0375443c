"""Growing values of the user's type, from field events: O(1) a delta, whatever has come before.

`Partial.value` is live: one object from beginning to end. It is never rebuilt; what a token changes is set where it
belongs. `molds` says what may be shown when. Two ways to feed it: `take`, with what the JSON machine gives with
`structure=True`; `apply`, with field events alone, as they stand in a run log (where an object is there from its
first field on, and ends when something outside of it comes). Values that do not fit are not shown: `watch` and
`Shape.check` are there to say so. Next: `reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace import events
from headrace.outputs import molds, structure
from headrace.protocol import json_tokens

_UNDECIDED, _UNFINISHED = object(), object()  # what a value may wait for, beside its fields


def _hidden(step: Any) -> None:
    return None


class _Frame:
    """An object or array that is open.

    Attributes:
        above: the frame it is in.
        name: its name there.
        mold: how it grows; None when neither it nor anything in it is shown.
        value: what is shown of it; `holder` is where its parts are put.
        waits: what must be there before it is shown.
        union: with `candidates`, while it is not decided which member of a union it is.
    """

    __slots__ = (
        "above", "candidates", "count", "given", "holder", "inner", "is_list", "is_object", "mold", "name", "shown",
        "union", "value", "waits",
    )  # fmt: skip

    def __init__(self, above: _Frame | None, name: Any, is_object: bool) -> None:
        self.above = above
        self.name = name
        self.is_object = is_object
        self.mold: molds.Mold | None = None
        self.inner: Callable[[Any], tuple[Any, molds.Mold] | None] = _hidden  # what is at a key or an index
        self.is_list = False
        self.value: Any = None
        self.holder: Any = None
        self.given: set[str] | None = None  # pydantic's set of fields
        self.waits: set[Any] = set()
        self.shown = False
        self.count = 0
        self.union: molds.Union | None = None
        self.candidates: list[molds.Mold] = []

    def begin(self, mold: molds.Mold) -> None:
        """Grow as this mold says, from nothing."""
        self.mold = mold
        self.inner = mold.fields.get if isinstance(mold, molds.Record) else mold.inner
        self.is_list = isinstance(mold, molds.Listed)
        self.value, self.holder = mold.new()
        self.given = getattr(self.value, "__pydantic_fields_set__", None)
        self.waits |= mold.waits()


class Partial:
    """A value that grows.

    Args:
        annotation: its type; `Any` gives plain dicts and lists.
        root: the JSON Pointer of the value in the paths of the events that `apply` is given.
    """

    def __init__(self, annotation: Any = Any, *, root: str = "") -> None:
        self._mold = annotation if isinstance(annotation, molds.Mold) else molds.mold(annotation)
        self._root = root
        top = _Frame(None, None, False)
        top.begin(molds.Listed(self._mold))
        top.shown = True
        self._top = self._frame = top
        self._key = ""
        self._leaf: tuple[Any, molds.Mold] | None = None  # the string that is open: its name and mold
        self._text: Any = None  # where it is put, when it is shown already, and under which name
        self._text_name: Any = None
        self._steps: list[str] = []  # with `apply`: by which step each frame below the top is reached
        self._path: str | None = None  # and the path of the field that is open
        self._begun = False

    @property
    def value(self) -> Any:
        """The value so far, None when there is nothing to show. Live: it grows in place."""
        top = self._top.holder
        return top[0] if top else None

    # --- from the machine -------------------------------------------------------------------------------

    def take(self, batch: Sequence[Any]) -> None:
        """Take what the JSON machine gave."""
        for number, item in enumerate(batch):
            match item:
                case events.FieldDelta():
                    self.grow(item.delta)
                case json_tokens.Key():
                    self.key(item.key)
                case events.FieldStart():
                    after = batch[number + 1] if number + 1 < len(batch) else None
                    if type(after) is not events.FieldEnd:
                        self.begin()
                case events.FieldEnd():
                    if not isinstance(item.value, dict | list):
                        self.end(item.value)
                case json_tokens.Opened():
                    self.open(isinstance(item.value, dict))
                case json_tokens.Closed():
                    self.close()

    def grow(self, delta: str) -> None:
        """The string that is open has grown."""
        holder = self._text
        if holder is not None:
            name = self._text_name
            # No other reference to the text while it is appended to: CPython then grows it in place.
            text = holder[name]
            holder[name] = None
            text += delta
            holder[name] = text

    # --- from field events alone ------------------------------------------------------------------------

    def apply(self, event: events.Event) -> None:
        """Take one event of a run; those that are no field events change nothing."""
        if isinstance(event, events.FieldDelta):  # most are
            if event.path == self._path:
                if not self._begun:  # not at its start, where a number may begin as well
                    self._begun = True
                    self.begin()
                self.grow(event.delta)
            return
        match event:
            case events.FieldStart():
                self._go(event.path)
                self._path, self._begun = event.path, False
            case events.FieldEnd():
                if event.path == self._path:
                    self._path = None
                    if isinstance(event.value, dict | list):
                        self.open(isinstance(event.value, dict))
                        self.close()
                    else:
                        self.end(event.value)

    def finish(self) -> Any:
        """No more comes: close what is open; return the value."""
        self._path = self._text = self._leaf = None
        while self._frame is not self._top:
            self.close()
        self._steps.clear()
        return self.value

    def complete(self, path: str) -> bool:
        """Whether the value at this JSON Pointer has been seen and cannot change any more.

        For events applied: a container is complete when something outside of it came, or after `finish`.
        """
        opened = [
            self._root + "".join(map(json_tokens.pointer, self._steps[1:n]))
            for n in range(1, len(self._steps) + 1)
        ]
        if path == self._path or path in opened:
            return False
        found: Any = self.value
        for step in json_tokens.steps(path[len(self._root) :]):
            if isinstance(found, list):
                found = found[int(step)] if step.isdecimal() and int(step) < len(found) else None
            elif isinstance(found, dict):
                found = found.get(step)
            else:
                mold = molds.mold(type(found))
                inner = mold.inner(step) if isinstance(mold, molds.Record) else None
                found = None if inner is None else getattr(found, inner[0])
        return found is not None

    def _go(self, path: str) -> None:
        """Close and open until the innermost frame is the one that holds `path`."""
        steps = json_tokens.steps(path[len(self._root) :])
        if not steps:
            return
        reached = ["", *steps[:-1]]
        same = 0
        while same < min(len(self._steps), len(reached)) and self._steps[same] == reached[same]:
            same += 1
        while len(self._steps) > same:
            self._steps.pop()
            self.close()
        for number in range(same, len(reached)):
            self.key(reached[number])
            self.open(self._is_object(steps[number]))
            self._steps.append(reached[number])
        self.key(steps[-1])

    def _is_object(self, child: str) -> bool:
        """Whether the container that opens is an object: as its type says, else by its first key."""
        frame = self._frame
        found = frame.inner(self._key if frame.is_object else frame.count)
        if found is not None:
            if found[1].opened(False) is None:
                return True
            if found[1].opened(True) is None:
                return False
        return child != "0"

    # --- places -----------------------------------------------------------------------------------------

    def key(self, key: str) -> None:
        """A key is read."""
        frame = self._frame
        if frame.is_object:
            self._key = key
            if frame.candidates:
                self._decide(frame, key)

    def _next(self) -> tuple[Any, molds.Mold] | None:
        """The name and mold of what comes next; None when it is not shown."""
        frame = self._frame
        if frame.is_object:
            return frame.inner(self._key)
        frame.count += 1
        return frame.inner(frame.count - 1)

    def begin(self) -> None:
        """A string begins."""
        self._leaf = found = self._next()
        self._text = None
        if found is not None and found[1].text and not found[1].done:
            frame = self._frame
            self._text_name = self._put(frame, found[0], "")
            self._text = frame.holder
        if found is None:
            self._leaf = _HIDDEN

    def end(self, value: Any) -> None:
        """A string, or another scalar, is complete."""
        frame = self._frame
        found, self._leaf = self._leaf or self._next(), None
        if found is None or found is _HIDDEN:
            return
        name, mold = found
        made = mold.whole(value)
        if self._text is not None:
            self._text[self._text_name] = made
            self._text = None
        elif made is not None or value is None or not frame.is_list:
            self._put(frame, name, made)
        if frame.candidates:
            self._decide(frame, name, value)

    def _put(self, frame: _Frame, name: Any, value: Any) -> Any:
        """Put a part where it belongs, and show what waited for it; return its name there."""
        if frame.is_list:
            name = len(frame.holder)
            frame.holder.append(value)
        else:
            frame.holder[name] = value
        if frame.given is not None:
            frame.given.add(name)
        if not frame.shown and value is not None:
            frame.waits.discard(name)
            self._show(frame)
        return name

    def open(self, is_object: bool) -> None:
        """An object or array begins."""
        found = self._next()
        frame = self._frame = _Frame(self._frame, found and found[0], is_object)
        opened = None if found is None else found[1].opened(is_object)
        if found is None or opened is None:
            return
        if found[1].done:
            frame.waits.add(_UNFINISHED)
        if isinstance(opened, molds.Union):
            frame.union, frame.candidates = opened, opened.candidates(is_object)
            frame.waits.add(_UNDECIDED)
            frame.begin(molds.PLAIN_MAP if is_object else molds.PLAIN_LIST)
        else:
            frame.begin(opened)
        self._show(frame)

    def _show(self, frame: _Frame) -> None:
        """Put a frame's value into the one above, once nothing is waited for."""
        if not frame.waits and not frame.shown and frame.above is not None:
            frame.shown = True
            self._put(frame.above, frame.name, frame.value)

    def close(self) -> None:
        """The innermost object or array ends."""
        frame = self._frame
        if frame.above is not None:
            self._frame = frame.above
        if frame.mold is None:
            return
        if frame.union is not None and frame.candidates:
            made = frame.union.whole(frame.value)
            if made is not None:
                frame.value = made
                frame.waits.discard(_UNDECIDED)
        frame.waits.discard(_UNFINISHED)
        self._show(frame)

    # --- unions -----------------------------------------------------------------------------------------

    def _decide(self, frame: _Frame, key: str, value: Any = None) -> None:
        """Drop the members of a union that a key, or a literal's value, rules out; go on as the one that is left."""
        left = [one for one in frame.candidates if _may(one, key, value)]
        if len(left) != 1:
            frame.candidates = left or frame.candidates
            return
        plain, mold = frame.value, left[0]
        frame.candidates = []
        frame.waits.discard(_UNDECIDED)
        waits, frame.waits = frame.waits, {_UNDECIDED}
        frame.begin(mold)
        for name, inner in plain.items():
            found = mold.inner(name)
            if found is not None:
                self._put(frame, found[0], whole(found[1], inner))
        frame.waits |= waits
        frame.waits.discard(_UNDECIDED)
        self._show(frame)


_HIDDEN = ("", molds.ANY)  # a string that is not shown


def whole(mold: molds.Mold, value: Any) -> Any:
    """A complete JSON value as its mold shows it."""
    if not isinstance(value, dict | list):
        return mold.whole(value)
    partial = Partial(mold)
    partial.take(list(structure.of_value(value)))
    return partial.value


def _may(mold: molds.Mold, key: str, value: Any) -> bool:
    """Whether a member of a union may have this key, and this value there."""
    if not isinstance(mold, molds.Record):
        return True
    if mold.tag is not None and mold.tag[0] == key:
        return value is None or bool(mold.tag[1] == value)
    found = mold.fields.get(key)
    if found is None:
        return False
    return value is None or not isinstance(found[1], molds.Whole) or found[1].whole(value) is not None
