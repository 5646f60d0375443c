"""One predictor at work: the raw text of its LM becomes tokens of the fields that are wanted. No DSPy here.

`Predicting` lives as long as the predictor's span. For each call of the LM it gives a `Tap`, which is fed the raw
text. In the end it compares what was shown with what the prediction has: a field that was not shown is told in one
piece, one that was shown otherwise (the adapter mended it, or asked again) is taken back by an `output-reset` and
told as it is. So the joined tokens are always the field. Next: `internals`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import structlog

from headrace import events
from headrace.integrations.dspy import fields
from headrace.integrations.dspy.call import Call, Span, jsonable
from headrace.integrations.dspy.parts import Parts
from headrace.integrations.dspy.stopping import Stopped
from headrace.messages import Usage

log = structlog.get_logger("headrace.dspy")

_PIECES = re.compile(r"\s*\S+|\s+")
_REASONS = {"tool_calls": "tool-calls", "tool_call": "tool-calls", "content_filter": "content-filter"}


class _Shown:
    """What a field has shown so far."""

    __slots__ = ("done", "index", "parts", "text")

    def __init__(self, parts: Parts | None) -> None:
        self.parts = parts  # of a field that is not a text
        self.index = 0
        self.text: list[str] = []
        self.done = False


class Predicting:
    """The wanted fields of one predictor's call.

    Args:
        kinds: its output fields, and how each is read.
        wanted: those that are streamed.
        strings: those of them whose whole text can be compared with the prediction.
    """

    def __init__(self, call: Call, span: Span, kinds: Mapping[str, fields.Kind], wanted: set[str]) -> None:
        self.call = call
        self.span = span
        self.kinds = kinds
        self.wanted = wanted
        self.format: fields.Format | None = None
        self.entities = False
        self.parsed: set[str] = set(kinds)  # the fields that the LM's text has; the others come by other ways
        self._shown: dict[str, _Shown] = {}

    def tap(self, span: Span) -> Tap:
        """A tap for a call of the LM that begins."""
        return Tap(self.call, span, self)

    def splitter(self) -> fields.Splitter | None:
        """How the LM's text is split; None where the adapter is unknown or nothing is wanted."""
        if self.format is None or not self.wanted:
            return None
        kinds = {name: kind for name, kind in self.kinds.items() if name in self.parsed}
        return fields.splitter(self.format, kinds, entities=self.entities)

    def restart(self) -> None:
        """The LM is asked again: what was shown does not count."""
        if self._shown:
            self._reset("retry", list(self._shown))

    def pieces(self, found: list[fields.Piece], cached: bool, reason: str | None = None) -> None:
        """Tell of what the splitter found."""
        batch: list[events.Event] = []
        for name, text, end in found:
            if name in self.wanted:
                if text:
                    self._token(name, text, cached, batch)
                if end:
                    self._end(name, reason, cached, batch)
        if batch:
            self.call.write(*batch)

    def end(self, prediction: Mapping[str, Any] | None) -> None:
        """The predictor is done; None: it failed, or gave something else."""
        batch: list[events.Event] = []
        for name in self.kinds:
            if name not in self.wanted:
                continue
            shown = self._shown.get(name)
            if prediction is None or name not in prediction:
                if shown is not None and not shown.done:
                    shown.done = True
                    if shown.parts is not None:
                        batch += shown.parts.drop()
                    batch.append(events.FieldEnd(path=_path(name), span=self.span.id))
                continue
            whole = as_text(prediction[name], self.kinds[name])
            if shown is not None:
                if self.kinds[name] == "json" or "".join(shown.text) == whole:
                    if not shown.done:
                        self._end(name, None, False, batch)
                    continue
                self.call.write(*batch)
                batch.clear()
                self._reset("validation", [name])
            if whole:
                self._token(name, whole, False, batch)
            else:
                self._open(name, batch)
            self._end(name, None, False, batch, jsonable(prediction[name]))
        if batch:
            self.call.write(*batch)

    def _open(self, name: str, batch: list[events.Event]) -> _Shown:
        shown = self._shown.get(name)
        if shown is None:
            inside = Parts(_path(name), self.span.id) if self.kinds[name] == "json" else None
            shown = self._shown[name] = _Shown(inside)
            batch.append(events.FieldStart(path=_path(name), span=self.span.id))
        return shown

    def _token(self, name: str, text: str, cached: bool, batch: list[events.Event]) -> None:
        shown = self._open(name, batch)
        shown.text.append(text)
        batch.append(
            events.FieldDelta(
                path=_path(name),
                delta=text,
                index=shown.index,
                span=self.span.id,
                extra={"cached": True} if cached else None,
            )
        )
        shown.index += 1
        if shown.parts is not None:
            batch += shown.parts.feed(text)

    def _end(
        self, name: str, reason: str | None, cached: bool, batch: list[events.Event], value: Any = None
    ) -> None:
        """The last token has no text: only then it is known that it is the last one, and why."""
        shown = self._open(name, batch)
        if shown.done:
            return
        shown.done = True
        if shown.parts is not None:
            batch += shown.parts.close()
        extra: dict[str, Any] = {"finish_reason": reason or "stop"}
        if cached:
            extra["cached"] = True
        batch.append(
            events.FieldDelta(path=_path(name), delta="", index=shown.index, span=self.span.id, extra=extra)
        )
        shown.index += 1
        text = "".join(shown.text)
        if value is None:
            value = text if self.kinds[name] == "text" else _read(text)
        batch.append(events.FieldEnd(path=_path(name), span=self.span.id, value=value))

    def _reset(self, reason: str, names: list[str]) -> None:
        batch: list[events.Event] = []
        for name in names:
            shown = self._shown.pop(name)
            if shown.parts is not None:
                batch += shown.parts.drop()
            if not shown.done:
                batch.append(events.FieldEnd(path=_path(name), span=self.span.id))
        extra = {"fields": [_path(name) for name in names]}
        batch.append(events.OutputReset(span=self.span.id, blocks=[], reason=reason, extra=extra))
        self.call.write(*batch)


class Tap:
    """What one call of an LM says, on its way.

    Attributes:
        asked: whether a provider was asked at all; if not, the answer is from DSPy's cache.
        live: whether the LM should be asked to stream.
    """

    __slots__ = ("_call", "_predicting", "_reason", "_span", "_splitter", "asked", "fed", "live")

    def __init__(self, call: Call, span: Span, predicting: Predicting | None) -> None:
        self._call = call
        self._span = span
        self._predicting = predicting
        self._splitter: fields.Splitter | None = None
        self._reason: str | None = None
        self.asked = False
        self.fed = False
        self.live = predicting is not None and predicting.splitter() is not None

    def asking(self) -> AbstractContextManager[None]:
        """Around all that a thread asks a provider: there a run that is stopped ends it."""
        return self._call.threads.asking()

    def begin(self) -> None:
        """A provider is asked; for the second time where DSPy tries again."""
        self._check()
        self.asked = True
        self.fed = False
        self._reason = None
        if self._predicting is not None:
            self._predicting.restart()
            self._splitter = self._predicting.splitter()

    def text(self, text: str) -> None:
        """The next piece of the raw text."""
        self._check()
        if text:
            self.fed = True
            self._split(text, cached=False)

    def reason(self, reason: str | None) -> None:
        """Why the answer ended, in OpenAI's words."""
        if reason:
            self._call.finish_reason = self._reason = _REASONS.get(
                reason, reason if reason in ("stop", "length") else "other"
            )

    def usage(self, usage: Usage | None) -> None:
        """What it has used, where that is known."""
        if usage is not None:
            self._call.used(self._span, usage)

    def end(self, whole: str | None) -> None:
        """The LM is done.

        Args:
            whole: its text, None where it failed.
        """
        if whole is not None and not self.fed and self._predicting is not None:
            cached = not self.asked
            if cached:
                self._predicting.restart()
            self._splitter = self._predicting.splitter()
            for piece in _PIECES.findall(whole) if cached else [whole]:
                self._split(piece, cached=cached)
            self._close(cached)
        elif whole is not None:
            self._close(False)

    def _check(self) -> None:
        if self._call.stopped:
            raise Stopped

    def _split(self, text: str, *, cached: bool) -> None:
        if self._splitter is not None and self._predicting is not None:
            try:
                found = self._splitter.feed(text)
            except Exception as error:  # not in the format: the adapter says what that means, not we
                self._give_up(error)
            else:
                self._predicting.pieces(found, cached)

    def _close(self, cached: bool) -> None:
        if self._splitter is not None and self._predicting is not None:
            try:
                found = self._splitter.close()
            except Exception as error:  # as in `_split`
                self._give_up(error)
            else:
                self._predicting.pieces(found, cached, self._reason)
            self._splitter = None

    def _give_up(self, error: Exception) -> None:
        log.debug("an answer is not in its adapter's format", error=str(error))
        self._splitter = None


def as_text(value: Any, kind: fields.Kind) -> str:
    """The text of a field, as its tokens have it."""
    if isinstance(value, str):
        return value if kind == "text" else _written(value)
    if kind == "text":
        content = getattr(value, "content", None)  # dspy.Reasoning
        inner = getattr(value, "value", None)  # an enum's member
        for found in (content, inner):
            if isinstance(found, str):
                return found
        return "" if value is None else str(value)
    return _written(jsonable(value))


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _path(name: str) -> str:
    return f"/{name}"
