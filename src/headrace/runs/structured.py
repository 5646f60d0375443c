"""Structured answers: fields while the model writes, a stop as soon as they cannot fit, and asking again.

    provider's own mode (`json_schema`) ──► the text is the document, read strictly
    else the schema in words            ──► the document is found in prose, a fence, after reasoning; read leniently
    text delta ──► reader ──► field events, written behind their delta
               ──► the value can no longer fit ──► attempt ends, socket closed, `output-reset` (early-reject) ──┐
    end        ──► the whole value is checked ──► `output`                                                      │
               └─► it does not fit ──► `output-reset` (validation) ─────────────────────────────────────────────┤
    asked again, with the bad answer and what is wrong with it, at most `output_retries` times ◄────────────────┘

The mode is chosen anew for each attempt, so a failover may change it; what a failed model wrote is always taken
back, since half a document of one model is not gone on with by another. Where a provider cannot hold a model to a
schema and let it call tools in one request, rounds with tools have the schema in words; an answer in plain words
then stands, and the value is asked for after it, without the tools. An answer cut off by `length` is not tried
again: it would be cut off again. A provider whose answer did not fit once is not trusted to hold its model to the
schema: it also gets it in words from then on, and is read leniently. `outputs` knows what fits and the words; here
is when to ask. Next: `rounds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from headrace import errors, events
from headrace.messages import Message, Text, ToolCall, ToolSpec, assistant, system, user
from headrace.outputs import instruct, portable, reader
from headrace.outputs.problems import Problem, ShapeError
from headrace.outputs.shape import Shape
from headrace.protocol.assembler import Pieces
from headrace.providers import base
from headrace.runs import plain, rounds
from headrace.runs.attempts import Answer, Tap
from headrace.runs.spec import Returned

if TYPE_CHECKING:
    from headrace.runs.context import Context

TOOLS_FIRST = "Call the tools you need first. When you have what you need: "
NOW = "Now write that answer as JSON, and nothing else."
MAX_TOLD = 20_000
"""Characters of a refused answer that the error's details and the next request have."""


class Rejection(msgspec.Struct, kw_only=True):
    """An answer that was taken back.

    Attributes:
        reason: `early-reject` (stopped on its way) or `validation` (whole, and wrong).
        output_tokens: what it cost until then; estimated where the provider has not said.
    """

    reason: str
    text: str
    problems: list[dict[str, Any]]
    output_tokens: int


class Refused(errors.RunError):
    """The text so far can no longer become a value that fits."""

    default_code = "output-rejected"


class Structured:
    """The structured answer of one run: makes its calls, and sees that the last one fits.

    Args:
        context: the run; its spec has the shape and how often it is asked again.

    Attributes:
        rejections: the answers that were taken back, in order.
    """

    def __init__(self, context: Context) -> None:
        shape = context.spec.output
        assert shape is not None
        self.rejections: list[Rejection] = []
        self._context = context
        self._shape: Shape = shape
        self._left = context.spec.output_retries
        self._doubted: set[tuple[str, str]] = set()  # providers and models whose answers did not fit

    async def call(
        self,
        *,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        tool_choice: str | None = None,
        names: Sequence[str] | None = None,
        span: str = "",
        tap: Tap | None = None,
        **changes: Any,
    ) -> Answer:
        """Ask until the answer fits, or calls tools; see `Context.call`.

        Raises:
            errors.RunError: `output-rejected`: no answer fitted, or the last was cut off. Its details have
                `attempts` (each with `text`, `problems`, `reason`), and `partial`, the value of the last as far
                as it came.
            errors.ProviderError: no model answered.
        """
        thread = given = tuple(messages)
        spec = self._context.spec
        names = names or (spec.model, *spec.fallbacks)
        while True:
            reading = Reading(self._shape, tap, self._doubted)
            before = self._used()
            finish: str | None = None
            try:
                got = await self._context.call(
                    messages=thread,
                    tools=tuple(tools),
                    tool_choice=tool_choice,
                    names=names,
                    span=span,
                    tap=reading.tap,
                    fit=reading.fit,
                    failover="restart",
                    **changes,
                )
            except Refused:
                reason = "early-reject"
            else:
                if any(isinstance(part, ToolCall) for part in got.parts):
                    return got
                self._context.emit(*reading.rest(), span=span)
                if reading.fits():
                    self._context.emit(events.Output(value=plain.plain(reading.plain)), span=span)
                    self._tell(self._cost(before, reading))
                    return got
                if got.finish_reason == "content-filter":
                    return got
                if reading.apart and not reading.found:
                    # Said in words, beside tools: it stands, and is now asked for as a value, without them.
                    thread, tools, tool_choice = (*given, *_said(reading.text, NOW)), (), None
                    names = rounds.from_name(names, reading.name)
                    continue
                reason, finish = "validation", got.finish_reason
            self._reject(reason, reading, self._cost(before, reading))
            if finish == "length":
                raise self._cut_off(reading)
            self._take_back(reading, reason, span, tap)
            if not self._left:
                raise self._given_up(reading)
            self._left -= 1
            self._doubted.add(reading.by)
            names = rounds.from_name(names, reading.name)
            if reading.apart:
                tools, tool_choice = (), None
            thread = (*given, *_said(reading.text, instruct.again_words(reading.problems)))

    def _reject(self, reason: str, reading: Reading, used: int) -> None:
        problems = [{"path": problem.path, "message": problem.message} for problem in reading.problems]
        self.rejections.append(
            Rejection(
                reason=reason,
                text=plain.plain(reading.text[:MAX_TOLD]),
                problems=plain.plain(problems),
                output_tokens=used,
            )
        )
        self._tell(None)

    # what is left when an answer does not fit

    def _take_back(self, reading: Reading, reason: str, span: str, tap: Tap | None) -> None:
        """What the answer showed does not stand, and its tool calls are stopped."""
        standing = set(self._context.blocks())
        blocks = [block for block in reading.blocks if block in standing]
        if blocks:
            reset = events.OutputReset(blocks=blocks, reason=reason)
            if tap is not None:
                tap([reset])
            self._context.emit(reset, span=span)

    def _cut_off(self, reading: Reading) -> errors.RunError:
        return errors.RunError(
            "the answer was cut off at the limit of tokens before the value was whole; raise max_tokens, or ask for "
            "less",
            code="output-rejected",
            retryable=False,
            details={"reason": "length", **self._details(reading)},
        )

    def _given_up(self, reading: Reading) -> errors.RunError:
        tried = len(self.rejections)
        last = self.rejections[-1].problems
        what = "; ".join(f"{problem['path'] or 'the answer'}: {problem['message']}" for problem in last[:3])
        return errors.RunError(
            f"no answer fits {self._shape.name} in {tried} {'try' if tried == 1 else 'tries'}; the last: {what}",
            code="output-rejected",
            details={"reason": self.rejections[-1].reason, **self._details(reading)},
        )

    def _details(self, reading: Reading) -> dict[str, Any]:
        return {
            "attempts": [msgspec.to_builtins(rejection) for rejection in self.rejections],
            "partial": plain.plain(reading.plain),
        }

    # what it cost, and what stopping early has saved

    def _used(self) -> int | None:
        usage = self._context.usage
        return usage.output_tokens if usage is not None else 0

    def _cost(self, before: int | None, reading: Reading) -> int:
        """Output tokens of one answer, whatever the attempts it took."""
        now = self._used()
        told = 0 if now is None or before is None else now - before
        return told or reading.tokens

    def _tell(self, whole: int | None) -> None:
        """Keep in the run's result what was taken back, and how many tokens the early stops have saved.

        Saved is what a whole answer costs less what the stopped one had cost. A whole answer costs what the accepted
        one did (`whole`), else the longest that came to its end, else `max_tokens`; where none is known, nothing is
        said.
        """
        if not self.rejections:
            return
        told: dict[str, Any] = {
            "rejections": [msgspec.to_builtins(rejection) for rejection in self.rejections]
        }
        ended = [rejection.output_tokens for rejection in self.rejections if rejection.reason == "validation"]
        expected = whole if whole is not None else max(ended, default=self._context.spec.max_tokens)
        stopped = [
            rejection.output_tokens for rejection in self.rejections if rejection.reason == "early-reject"
        ]
        if expected is not None and stopped:
            told["tokens_saved"] = sum(max(0, expected - used) for used in stopped)
        self._context.value = Returned(told, beside=True)


class Reading:
    """One answer on its way through the reader; begins again with each attempt. Also for programs that ask by
    themselves: `fit` and `tap` are what `Context.call` takes.

    Args:
        shape: what the answer must look like.
        tap: see `Context.call`.
        doubted: providers and models whose answers did not fit, which also get the schema in words.
        asked: the schema that the model is asked for, where that is narrower than the shape's own.

    Attributes:
        by: the provider and the model that write it.
        name: the name of it that was asked for.
        apart: the provider can hold the model to the schema, but not beside the tools it was given.
        blocks: those that show the answer.
        problems: what is wrong with it.
    """

    def __init__(
        self,
        shape: Shape,
        tap: Tap | None,
        doubted: set[tuple[str, str]],
        asked: dict[str, Any] | None = None,
    ) -> None:
        self.by = ("", "")
        self.name = ""
        self.apart = False
        self.blocks: list[str] = []
        self.problems: list[Problem] = []
        self._shape = shape
        self._asked = shape.schema if asked is None else asked
        self._tap = tap
        self._doubted = doubted
        self._reader: reader.Reader  # from the beginning of an attempt on
        self._pieces: Pieces
        self._deltas: int

    def _begin(self, *, strict: bool, form: portable.Portable) -> None:
        self.blocks = []
        self._pieces = Pieces()
        self._deltas = 0
        # Who wants to see the value grow makes it of the events: `growing`.
        self._reader = reader.Reader(self._shape, strict=strict, form=form, typed=False)

    def fit(self, request: base.ModelRequest, provider: base.Provider, model: str) -> base.ModelRequest:
        """An attempt begins: the request in the mode that this provider has."""
        able = provider.capabilities(model)
        self.by = (provider.name, model)
        self.name = request.model
        offered = bool(request.tools) and request.tool_choice != "none"
        form = portable.portable(self._asked, cast(portable.Flavour, able.schema_flavour))
        holds = able.json_schema and form.flavour != "prompt"
        self.apart = holds and offered and not able.schema_with_tools
        if holds and not self.apart:
            request = msgspec.structs.replace(
                request, output_schema=form.schema, output_name=self._shape.name
            )
            if self.by not in self._doubted:
                # Beside tools a model may say something before it calls one, whatever the schema.
                self._begin(strict=not offered, form=form)
                return request
        else:
            form = portable.portable(self._asked, "prompt")
        self._begin(strict=False, form=form)
        words = instruct.schema_words(form.schema)
        return msgspec.structs.replace(request, messages=asked(request.messages, words, tools=offered))

    def tap(self, batch: list[events.Event]) -> None:
        """Put the field events behind the deltas that bring them.

        Raises:
            Refused: the value can no longer fit; the batch ends with the delta that shows it.
        """
        if self._tap is not None:
            self._tap(batch)
        out: list[events.Event] = []
        read = self._reader
        for event in batch:
            out.append(event)
            kind = type(event)
            if kind is events.TextDelta:
                delta: str = event.delta  # type: ignore[attr-defined]
                self._pieces.add(delta)
                self._deltas += 1
                out += read.feed(delta)
                if read.problem is not None:
                    self.problems = [read.problem]
                    batch[:] = out
                    raise Refused(str(read.problem))
            elif kind is events.TextStart or kind is events.ReasoningStart:
                self.blocks.append(event.block)  # type: ignore[attr-defined]
            elif kind is events.ToolCallStart:
                self.blocks.append(event.block or f"call:{event.call}")  # type: ignore[attr-defined]
        batch[:] = out

    def rest(self) -> list[events.Event]:
        """The text ends here: the events that only its end causes (a number that is the whole answer).

        A field that was cut off has had its `field-end`.
        """
        last = self._reader.close()
        begun = {event.path for event in last if isinstance(event, events.FieldStart)}
        return [event for event in last if getattr(event, "path", None) in begun]

    def fits(self) -> bool:
        """The answer is whole: whether it is what was asked for; else `problems` says why not."""
        try:
            self._reader.finish()
        except ShapeError as error:
            self.problems = list(error.problems)
            return False
        return True

    @property
    def text(self) -> str:
        """What the model has written."""
        return str(self._pieces)

    @property
    def tokens(self) -> int:
        """About what it cost: a delta is at least a token, and a token about four bytes."""
        return max(self._deltas, -(-len(self.text.encode("utf-8", "replace")) // 4))

    @property
    def found(self) -> bool:
        """Whether there is any JSON in it."""
        return self._reader.found

    @property
    def ended(self) -> bool:
        """Whether the JSON in it is whole."""
        return self._reader.ended

    @property
    def plain(self) -> Any:
        """The value so far, as JSON."""
        return self._reader.plain


def _said(text: str, then: str) -> tuple[Message, ...]:
    """The answer there was, and what is said to it."""
    said = (assistant(text[:MAX_TOLD]),) if text.strip() else ()
    return (*said, user(then))


def asked(thread: tuple[Message, ...], words: str, *, tools: bool) -> tuple[Message, ...]:
    """The messages with the schema in words: at their end, which small models heed most, or before them all where
    there are tools, whose results will be the end.
    """
    if tools:
        return (system(TOOLS_FIRST + words), *thread)
    *before, last = thread
    if last.role != "user":
        return (*thread, user(words))
    return (*before, Message("user", (*last.parts, Text(f"\n\n{words}"))))
