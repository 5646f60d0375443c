"""The value of a structured answer while it grows, as one follower of a run sees it. Pure.

Each follower makes the value from the run's field events, for itself: so it is in step with the events that this
follower has had, a slow or late one, or one of a log with merged deltas, sees nothing from the future, and no two
share an object that changes under them. It begins again with each attempt, and when the answer is taken back.
Next: `handle`, which makes these.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace import events
from headrace.outputs.partial import Partial
from headrace.outputs.shape import Shape


class Field(msgspec.Struct, kw_only=True):
    """What has come for one field of a structured answer.

    Attributes:
        path: its JSON Pointer.
        delta: more of its text; empty for other values, and when it is complete.
        done: whether it is complete.
        value: its whole value, as JSON, when it is complete.
        retracted: why the fields so far do not stand any more (`retry`, `failover`, `validation`, `early-reject`);
            then the rest says nothing.
    """

    path: str = ""
    delta: str = ""
    done: bool = False
    value: Any = None
    retracted: str | None = None


class Growing:
    """The value so far.

    Args:
        shape: what the answer must look like.

    Attributes:
        final: whether the answer is whole and was checked; then `value` does not change any more.
    """

    def __init__(self, shape: Shape) -> None:
        self.final = False
        self._shape = shape
        self._annotation = Any if shape.annotation is None else shape.annotation
        self._checked: Any = None
        self._begin()

    def _begin(self) -> None:
        self.final = False
        self._partial = Partial(self._annotation)
        self._done: set[str] = set()  # paths of the leaves that are complete
        self._at: str | None = None  # that of the last leaf there was

    def add(self, batch: Sequence[events.Event]) -> bool:
        """Take the next events; True when there is more of the value than before."""
        more = False
        for event in batch:
            kind = type(event)
            if kind is events.FieldDelta and not event.span:  # most are
                self._at = event.path  # type: ignore[attr-defined]
                self._partial.apply(event)
                more = True
                continue
            if kind not in _READ or event.span:  # a span is of a tool, or of another part of the run
                continue
            if kind is events.AttemptStart or kind is events.OutputReset:
                self._begin()
                more = False
            elif kind is events.Output:
                self._checked = self._shape.check(event.value)  # type: ignore[attr-defined]
                self.final = more = True
            elif kind is not events.FieldEnd:
                self._at = event.path  # type: ignore[attr-defined]
                self._partial.apply(event)
                more = True
            elif not event.cut:  # type: ignore[attr-defined]
                self._done.add(event.path)  # type: ignore[attr-defined]
                self._partial.apply(event)
                more = True
        return more

    @property
    def value(self) -> Any:
        """The value so far, None before its beginning. Live: it grows in place; copy it to keep a moment of it."""
        return self._checked if self.final else self._partial.value

    def is_complete(self, path: str) -> bool:
        """Whether what is at this JSON Pointer is there, and cannot change any more.

        Of an object or an array that is known when something after it has come.
        """
        if path in self._done:
            return True
        inside = path + "/"
        if not self.final and (
            self._at is None or path == "" or self._at == path or self._at.startswith(inside)
        ):
            return False
        return any(done.startswith(inside) for done in self._done)


_READ = frozenset(
    {
        events.FieldStart, events.FieldDelta, events.FieldEnd,
        events.AttemptStart, events.OutputReset, events.Output,
    }
)  # fmt: skip


def fields(batch: Sequence[events.Event]) -> list[Field]:
    """The field events of a batch, and resets, as `Field`s."""
    out: list[Field] = []
    for event in batch:
        kind = type(event)
        if kind is events.FieldDelta:
            out.append(Field(path=event.path, delta=event.delta))  # type: ignore[attr-defined]
        elif kind is events.FieldEnd:
            if not event.cut:  # type: ignore[attr-defined]
                out.append(Field(path=event.path, done=True, value=event.value))  # type: ignore[attr-defined]
        elif kind is events.OutputReset:
            out.append(Field(retracted=event.reason))  # type: ignore[attr-defined]
    return out


def matcher(path: str) -> re.Pattern[str]:
    """Which paths a path with `*` for any one step stands for."""
    return re.compile("/".join("[^/]*" if step == "*" else re.escape(step) for step in path.split("/")))
