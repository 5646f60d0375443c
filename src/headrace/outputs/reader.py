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
from headrace.protocol import find, json_tokens
from headrace.protocol import json as machine

_MAX_PROSE = 4096  # characters of prose kept, for an answer that is a bare word or number
# Names of this module's own, for they are asked for at every token.
_Delta, _Start, _End = events.FieldDelta, events.FieldStart, events.FieldEnd
_Key, _Begun, _Opened = json_tokens.Key, json_tokens.Begun, json_tokens.Opened
_WRAP = portable.WRAP
_PREFIX = f"/{_WRAP}"


class Reader:
    """One answer, read while it is written.

    Args:
        wanted: what it must look like.
        strict: whether the text is JSON and nothing else, as a provider guarantees; else the JSON is looked for in
            prose, fences and after reasoning, and read leniently.
        form: how the schema was changed for the provider, which is undone here; None: it was not.
        typed: False does without the growing value of the user's type; `value` is then plain JSON.

    Attributes:
        problem: why the text can no longer become a valid answer; None while it can.
    """

    __slots__ = (
        "_bare", "_broken", "_closed", "_feed", "_finder", "_form", "_held", "_own", "_partial", "_plain",
        "_prose", "_shape", "_source", "_watch", "_word", "problem",
    )  # fmt: skip

    def __init__(
        self,
        wanted: shape.Shape,
        *,
        strict: bool = False,
        form: portable.Portable | None = None,
        typed: bool = True,
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
        self._own = wanted.has_own_checks
        self._partial = (
            partial.Partial(wanted.annotation) if typed and wanted.annotation is not None else None
        )
        # Whether the answer stands by itself: not so in {"value": …}; None while that is open.
        self._bare: bool | None = None if form is not None and form.wrapped else True
        self._held: list[Any] = []
        self._prose = ""
        self._plain: tuple[Any] | None = None  # an answer that is a bare word or number, checked,
        self._closed = False
        self._word: tuple[Any] | None = None  # and as JSON
        self._broken: errors.RunError | None = None  # the text is not JSON

    @property
    def value(self) -> Any:
        """The value so far, of the user's type; None when there is nothing to show. Live: it grows in place.

        Do not keep the string of the field that is open from one token to the next: then it must be copied to grow.
        """
        return self._raw() if self._partial is None else self._partial.value

    @property
    def plain(self) -> Any:
        """The JSON value so far, as the schema that was given has it. Live, like `value`."""
        return self._restored() if self._word is None else self._word[0]

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
        if len(batch) == 1 and self._bare and type(batch[0]) is _Delta:
            # Most of an answer passes here.
            item = batch[0]
            if self._partial is not None:
                self._partial.grow(item.delta)
            if self._watch.busy and self.problem is None:
                self._watch.grow(item.path, item.delta)
                self.problem = self._watch.problem
            return batch
        return self._take(batch) if batch else batch

    def close(self) -> list[events.Event]:
        """The text ends here: the events that only its end causes (a number that is all of the answer).

        To be called before `finish`, by those who want them; a second call gives none.
        """
        if self._broken is not None or self._closed:
            return []
        self._closed = True
        try:
            return self._take(self._source.close())
        except errors.RunError as error:
            self._plain = None if self.found else self._bare_word()
            if self._plain is None:
                self._breaks(error)
            return []

    def finish(self) -> Any:
        """The text ends here: the value of the user's type, checked by the full schema.

        Raises:
            ShapeError: there is no JSON, it is cut off (`truncated`), or it does not fit; `partial` has the value
                as far as it came.
        """
        self.close()
        if self._plain is not None:
            return self._plain[0]
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
        if not self._bare:
            batch = self._unwrapped(batch)
        out: list[events.Event] = []
        partial, watch = self._partial, self._watch
        judging = self.problem is None and not self._parser.truncated
        for number, item in enumerate(batch):
            kind = type(item)
            if kind is _Delta:
                out.append(item)
                if partial is not None:
                    partial.grow(item.delta)
                if judging and watch.busy:
                    watch.grow(item.path, item.delta)
            elif kind is _Key:
                if partial is not None:
                    partial.key(item.key)
                if judging:
                    watch.key(item.path, item.key)
            elif kind is _Start:
                out.append(item)
                after = batch[number + 1] if number + 1 < len(batch) else None
                whole = type(after) is _End
                if partial is not None and not whole:
                    partial.begin()
                if judging and (not whole or isinstance(after.value, str)):  # type: ignore[union-attr]
                    watch.string(item.path)
            elif kind is _End:
                out.append(item)
                value = item.value
                if not isinstance(value, dict | list):
                    if partial is not None:
                        partial.end(value)
                    if judging:
                        watch.scalar(item.path, value)
                        if self._own and watch.problem is None:
                            self.problem = self._shape.check_own(item.path, value)
            elif kind is _Begun:
                if judging:
                    watch.begun(item.path, item.first)
            elif kind is _Opened:
                if partial is not None:
                    partial.open(isinstance(item.value, dict))
                if judging:
                    watch.open(item.path, item.value)
            elif kind is str:
                self._said(item)
            else:
                if partial is not None:
                    partial.close()
                if judging:
                    watch.close(item.path, item.value)
            if judging and (watch.problem is not None or self.problem is not None):
                self.problem, judging = watch.problem or self.problem, False
        return out

    def _unwrapped(self, batch: list[Any]) -> list[Any]:
        """The marks and events of what stands under `value`, with paths of their own."""
        for item in batch:
            if isinstance(item, str):
                self._said(item)
        batch = [item for item in batch if not isinstance(item, str)]
        if self._bare is None:
            self._held += batch
            if len(self._held) < 2 and not (
                self._held
                and isinstance(self._held[0], json_tokens.Opened)
                and isinstance(self._held[0].value, list)
            ):
                return []
            batch, self._held = self._held, []
            second = batch[1] if len(batch) > 1 else None
            self._bare = not (isinstance(second, json_tokens.Key) and second.key == _WRAP)
        if self._bare:
            return batch
        out = []
        for item in batch:
            if item.path.startswith(_PREFIX) and item.path[len(_PREFIX) : len(_PREFIX) + 1] in ("", "/"):
                if isinstance(item, json_tokens.Key) and item.path == _PREFIX:
                    continue
                item.path = item.path[len(_PREFIX) :]
                out.append(item)
        return out

    def _said(self, prose: str) -> None:
        if len(self._prose) <= _MAX_PROSE:
            self._prose += prose

    def _bare_word(self) -> tuple[Any] | None:
        """An answer that is a bare word or number, where the shape takes one."""
        text = self._prose.strip()
        if self._form is None or not self._form.wrapped or not text or len(self._prose) > _MAX_PROSE:
            return None
        for read in (json.loads, str):
            try:
                word = read(text)
                checked = self._shape.check(word)
            except (ValueError, ShapeError, RecursionError):
                continue
            self._word = (word,)
            return (checked,)
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
