"""Reads one structured answer: text deltas in, field events out; the growing value, and what is wrong, at any moment.

`Reader` puts the parts together: it finds the JSON (`protocol.find`) or takes the whole text as JSON
(`protocol.json`), grows the value of the user's type (`partial`), and judges what has come (`watch`). It reads on
after a problem: whoever feeds it decides whether to stop. `finish` has the last word, by the full schema.
No events are written and nothing is retried here. Next: `portable`.
"""

from __future__ import annotations

import json
from typing import Any

from headrace import errors, events
from headrace.outputs import partial, portable, shape
from headrace.outputs.problems import Problem, ShapeError
from headrace.protocol import find
from headrace.protocol import json as machine

_MAX_PROSE = 4096  # characters of prose kept, for an answer that is a bare word or number
_WRAP = portable.WRAP
_PREFIX = f"/{_WRAP}"


class Reader:
    """One answer, read while it is written.

    Args:
        wanted: what it must look like.
        strict: whether the text is JSON and nothing else, as a provider guarantees; else the JSON is looked for in
            prose, fences and after reasoning, and read leniently.
        form: how the schema was changed for the provider, which is undone here; None: it was not.

    Attributes:
        problem: why the text can no longer become a valid answer; None while it can.
    """

    __slots__ = (
        "_bare", "_broken", "_feed", "_finder", "_form", "_held", "_partial", "_prose", "_shape", "_source", "_watch",
        "problem",
    )  # fmt: skip

    def __init__(
        self, wanted: shape.Shape, *, strict: bool = False, form: portable.Portable | None = None
    ) -> None:
        self.problem: Problem | None = None
        self._shape = wanted
        self._form = form
        self._finder: find.Finder | None = None
        if not strict:
            only_object = form is None and portable.is_object(wanted.schema)
            self._finder = find.Finder(structure=True, expect="object" if only_object else "any")
        self._source: Any = self._finder or machine.Parser(structure=True)
        self._feed = self._source.feed
        self._watch = wanted.judge.watch(nulls=form is not None and form.nulls)
        self._partial = None if wanted.annotation is None else partial.Partial(wanted.annotation)
        # Whether the answer stands by itself: not so in {"value": …}; None while that is open.
        self._bare: bool | None = None if form is not None and form.wrapped else True
        self._held: list[Any] = []
        self._prose = ""
        self._broken: errors.RunError | None = None  # the text is not JSON

    @property
    def value(self) -> Any:
        """The value so far, of the user's type; None when there is nothing to show. Live: it grows in place.

        Do not keep the string of the field that is open from one token to the next: then it must be copied to grow.
        """
        return self._raw() if self._partial is None else self._partial.value

    @property
    def found(self) -> bool:
        """Whether the answer has begun."""
        return bool(self._parser.started)

    @property
    def ended(self) -> bool:
        """Whether the answer is whole; what comes after it is prose."""
        return self._parser.complete

    def complete(self, path: str) -> bool:
        """Whether the value at this JSON Pointer is there and cannot change any more."""
        return self._parser.is_complete(path if self._bare else _PREFIX + path)

    def feed(self, text: str) -> list[events.Event]:
        """Take the next piece of the text; return the field events it causes, in order. See `problem` after it.

        Text that is no JSON is a problem too; what comes after it is not read.
        """
        if self._broken is not None:
            return []
        try:
            batch: list[Any] = self._feed(text)
        except errors.RunError as error:
            self._breaks(error)
            return []
        if len(batch) == 1 and type(batch[0]) is events.FieldDelta and self._bare:
            # Most of an answer passes here.
            item = batch[0]
            if self._partial is not None:
                self._partial.grow(item.delta)
            if self._watch.busy and self.problem is None:
                self._watch.grow(item.path, item.delta)
                self.problem = self._watch.problem
            return batch
        return self._take(batch) if batch else batch

    def finish(self) -> Any:
        """The text ends here: the value of the user's type, checked by the full schema.

        Raises:
            ShapeError: there is no JSON, it is cut off (`truncated`), or it does not fit; `partial` has the value
                as far as it came.
        """
        if self._broken is None:
            try:
                self._take(self._source.close())
            except errors.RunError as error:
                if not self.found and (plain := self._plain()) is not None:
                    return plain[0]
                self._breaks(error)
        if self._broken is not None or self._parser.truncated:
            raise self._unread()
        try:
            return self._shape.check(self._restored())
        except ShapeError as error:
            error.partial = self.value
            self.problem = self.problem or error.problems[0]
            raise

    # --- parts ------------------------------------------------------------------------------------------

    @property
    def _parser(self) -> machine.Parser:
        return self._source if self._finder is None else self._finder.parser

    def _raw(self) -> Any:
        value = self._parser.value
        if self._bare or not isinstance(value, dict):
            return value if self._bare else None
        return value.get(_WRAP)

    def _restored(self) -> Any:
        raw = self._raw()
        return raw if self._form is None else self._form.without_nulls(raw, self._shape.schema)

    def _take(self, batch: list[Any]) -> list[events.Event]:
        if self._finder is not None and any(isinstance(item, str) for item in batch):
            prose = "".join(item for item in batch if isinstance(item, str))
            self._prose = (self._prose + prose)[: _MAX_PROSE + 1]
            batch = [item for item in batch if not isinstance(item, str)]
        if not self._bare:
            batch = self._unwrapped(batch)
        if self.problem is None:
            self.problem = self._watch.take(batch)
        if self._partial is not None:
            self._partial.take(batch)
        return [item for item in batch if isinstance(item, events.Event)]

    def _unwrapped(self, batch: list[Any]) -> list[Any]:
        """The marks and events of what stands under `value`, with paths of their own."""
        if self._bare is None:
            self._held += batch
            if len(self._held) < 2 and not (
                self._held
                and isinstance(self._held[0], machine.Opened)
                and isinstance(self._held[0].value, list)
            ):
                return []
            batch, self._held = self._held, []
            second = batch[1] if len(batch) > 1 else None
            self._bare = not (isinstance(second, machine.Key) and second.key == _WRAP)
        if self._bare:
            return batch
        out = []
        for item in batch:
            if item.path.startswith(_PREFIX) and item.path[len(_PREFIX) : len(_PREFIX) + 1] in ("", "/"):
                if isinstance(item, machine.Key) and item.path == _PREFIX:
                    continue
                item.path = item.path[len(_PREFIX) :]
                out.append(item)
        return out

    def _plain(self) -> tuple[Any] | None:
        """An answer that is a bare word or number, where the shape takes one."""
        text = self._prose.strip()
        if self._form is None or not self._form.wrapped or not text or len(self._prose) > _MAX_PROSE:
            return None
        for read in (json.loads, str):
            try:
                return (self._shape.check(read(text)),)
            except (ValueError, ShapeError, RecursionError):
                continue
        return None

    def _breaks(self, error: errors.RunError) -> None:
        self._broken = error
        self.problem = self.problem or self._told(error)

    def _told(self, error: errors.RunError) -> Problem:
        path = str(error.details.get("path", ""))
        if self._bare is False:
            path = path.removeprefix(_PREFIX)
        return Problem(path, error.message)

    def _unread(self) -> ShapeError:
        """The error of a text that is no JSON, or is cut off."""
        error = self._broken
        truncated = error is None or bool(error.details.get("truncated"))
        if error is not None and not truncated:
            found = [self._told(error)]
        else:
            path = "" if error is None else self._told(error).path
            found = [Problem(path, "the answer is cut off: the text ends before the JSON does")]
        if (
            self.problem is not None
            and self.problem not in found
            and not self.problem.message.startswith("not JSON")
        ):
            found.insert(0, self.problem)
        self.problem = self.problem or found[0]
        return ShapeError(found, partial=self.value, truncated=truncated, where=self._shape.name)
