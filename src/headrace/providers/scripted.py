"""A provider that plays a script: exact pieces, exact pauses, exact faults; no model, no network.

For tests, for demonstrations and for measuring. A script is a list of steps; `Say`, `Think` and `Call` make
blocks, `Pause` and `every` wait through the injected `sleep` (a virtual clock fits), `Fail`, `Drop` and
`Hang` are faults. Steps without a wait between them are handed over in batches, as bytes read at once would
be. Waits longer than the exchange's time-outs end as a real provider's would, with `provider-timeout`. Every
call is kept in `calls`, with what was asked for and whether the reader left early.

    provider = Scripted([Think("Hm."), Say("Hello world"), Fail(ProviderError("gone"))])

Next: `demo`, the built-in guide that is made of it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from headrace import errors, events
from headrace.messages import Usage
from headrace.protocol import assembler
from headrace.providers import base

__all__ = [
    "Call",
    "Drop",
    "Fail",
    "Finish",
    "Hang",
    "Pause",
    "Played",
    "Say",
    "Script",
    "Scripted",
    "Step",
    "Think",
    "Usage",
    "by_seed",
    "by_size",
    "by_word",
    "whole",
]

BATCH = 64
Sleep: TypeAlias = Callable[[float], Awaitable[object]]
Splitter: TypeAlias = Callable[[str], Sequence[str]]

_WORDS = re.compile(r"\s*\S+|\s+")


def by_word(text: str) -> Sequence[str]:
    """Words, each with the white space before it."""
    return _WORDS.findall(text)


def by_size(size: int) -> Splitter:
    """Pieces of `size` characters."""
    return lambda text: [text[i : i + size] for i in range(0, len(text), size)]


_by_eight = by_size(8)


def by_seed(seed: int, longest: int = 12) -> Splitter:
    """Pieces of 1 to `longest` characters; the same seed and text give the same pieces."""

    def split(text: str) -> Sequence[str]:
        lengths = random.Random(seed)
        pieces, start = [], 0
        while start < len(text):
            end = start + lengths.randint(1, longest)
            pieces.append(text[start:end])
            start = end
        return pieces

    return split


def whole(text: str) -> Sequence[str]:
    """One piece."""
    return [text] if text else []


@dataclass(frozen=True, slots=True)
class Say:
    """Text of the answer. Neighbouring `Say` steps are one block.

    Args:
        pieces: how to split it, or the pieces themselves (then they, joined, are the text).
        every: seconds before each piece.
    """

    text: str = ""
    pieces: Splitter | Sequence[str] = by_word
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Think:
    """Reasoning, split and paced as in `Say`; `signature` and `encrypted` come with its end."""

    text: str = ""
    pieces: Splitter | Sequence[str] = by_word
    every: float = 0.0
    signature: str | None = None
    encrypted: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call.

    Args:
        arguments: a JSON value, or JSON text as it is (so that broken JSON can be played too).
        id: the call's id; default `call_1`, `call_2`, … in the answer.
    """

    name: str
    arguments: Any = field(default_factory=dict)
    pieces: Splitter | Sequence[str] = _by_eight
    every: float = 0.0
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Raise `error` here."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing ever again, until the reader leaves or a time-out fires."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The stream ends here without its end marker: `stream-incomplete`."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is complete. A script without it ends with `stop`, or `tool-calls` after a `Call`."""

    reason: str | None = "stop"


Step: TypeAlias = Say | Think | Call | Pause | Fail | Hang | Drop | Finish | Usage | events.Event
Script: TypeAlias = str | Step | Iterable[str | Step]
ScriptFor: TypeAlias = Callable[[base.ModelRequest], Script]


@dataclass(slots=True)
class Played:
    """The record of one call.

    Attributes:
        request: what was asked for.
        sent: how many events were handed over.
        ending: `playing`, `completed`, `failed` (the script's own error), or `closed` (the reader left).
    """

    request: base.ModelRequest
    sent: int = 0
    ending: str = "playing"

    @property
    def closed_early(self) -> bool:
        """Whether the reader left before the end."""
        return self.ending == "closed"


class Scripted:
    """Plays a script for each request.

    Args:
        script: one script, played for every request; or a list of scripts (lists or tuples of steps), one for
            each request in turn; or a function from the request to a script. A string is one `Say`. A step
            may also be a `Usage` (reported when it is reached) or any event (sent as it is).
        name: the provider's name.
        sleep: how to wait, in seconds; default `asyncio.sleep`.
        capabilities: default: everything, prefill too.
        models: what `models()` answers.

    Attributes:
        calls: one `Played` a call, in order.
    """

    def __init__(
        self,
        script: Script | Sequence[Sequence[str | Step]] | ScriptFor = "",
        name: str = "scripted",
        *,
        sleep: Sleep = asyncio.sleep,
        capabilities: base.Capabilities | None = None,
        models: Sequence[str] = ("scripted",),
    ) -> None:
        self.name = name
        self.calls: list[Played] = []
        self.closed = False
        self._script_for = _chooser(script)
        self._sleep = sleep
        self._capabilities = capabilities or base.Capabilities(prefill=True)
        self._models = list(models)

    @property
    def requests(self) -> list[base.ModelRequest]:
        """The requests received, in order."""
        return [call.request for call in self.calls]

    def capabilities(self, model: str) -> base.Capabilities:
        """The same for every model."""
        return self._capabilities

    async def models(self) -> list[str]:
        """The names given to the constructor."""
        return list(self._models)

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[events.Event], None]:
        """Play the script for this request.

        Raises:
            errors.ProviderError: what `Fail` holds, `stream-incomplete` at a `Drop`, `provider-timeout` where
                a wait is longer than the exchange's time-outs.
            errors.UsageError: a list of scripts has no more.
        """
        played = Played(request)
        self.calls.append(played)
        waits = _Waits(exchange.timeouts, self._sleep)
        try:
            steps = _steps(self._script_for(request, len(self.calls) - 1))
            ready: list[events.Event] = []
            for item in _Player(request, exchange).play(steps):
                if isinstance(item, events.Event):
                    ready.append(item)
                    if len(ready) < BATCH or not request.stream:
                        continue
                if ready and request.stream:
                    played.sent += len(ready)
                    waits.begun = True
                    yield ready
                    ready = []
                if isinstance(item, _Wait):
                    await waits.wait(item.seconds)
                elif isinstance(item, Exception):
                    raise item
                else:
                    await asyncio.sleep(0)
            played.sent += len(ready)
            played.ending = "completed"
            yield ready
        except Exception:
            played.ending = "failed"
            raise
        finally:
            if played.ending == "playing":
                played.ending = "closed"


@dataclass(slots=True)
class _Wait:
    seconds: float | None


class _Waits:
    """Waiting, within the time-outs of one exchange."""

    def __init__(self, timeouts: base.Timeouts, sleep: Sleep) -> None:
        self._timeouts = timeouts
        self._sleep = sleep
        self._elapsed = 0.0
        self.begun = False

    async def wait(self, seconds: float | None) -> None:
        """Wait; None is for ever.

        Raises:
            errors.ProviderError: `provider-timeout` when a limit has passed first.
        """
        limits = self._timeouts
        phase, limit = ("stall", limits.stall) if self.begun else ("first-chunk", limits.first_chunk)
        left = None if limits.total is None else limits.total - self._elapsed
        if left is not None and (limit is None or left < limit):
            phase, limit = "total", left
        if limit is not None and (seconds is None or seconds > limit):
            await self._sleep(max(limit, 0.0))
            raise errors.ProviderError(
                f"the scripted provider sent nothing for {limit:g} s ({phase})",
                code="provider-timeout",
                details={"phase": phase, "seconds": limit},
            )
        if seconds is None:
            await asyncio.get_running_loop().create_future()
        else:
            self._elapsed += seconds
            await self._sleep(seconds)


class _Player:
    """Turns steps into events, waits and the error to raise; pure but for `exchange.usage`."""

    def __init__(self, request: base.ModelRequest, exchange: base.Exchange) -> None:
        self._request = request
        self._exchange = exchange
        self._text_block: str | None = None
        self._calls = 0
        self._skip = 0

    def play(self, steps: list[Step]) -> Iterator[events.Event | _Wait | Exception]:
        """The items in order; the last is `ModelEnd` or an exception."""
        self._skip = _already_said(steps, self._request.prefill)
        reason: str | None = None
        for step in steps:
            if isinstance(step, Finish):
                reason = step.reason
                break
            if not isinstance(step, Say | Pause | Usage):
                yield from self._end_text(step)
            match step:
                case Say():
                    yield from self._say(step)
                case Think():
                    yield from self._think(step)
                case Call():
                    yield from self._call(step)
                case Pause(seconds=seconds):
                    yield _Wait(seconds)
                case Hang():
                    yield _Wait(None)
                case Usage():
                    self._exchange.usage = _reported(step)
                case Fail(error=error):
                    yield error
                case Drop():
                    yield errors.ProviderError(
                        "the scripted answer broke off before its end", code="stream-incomplete"
                    )
                case _:
                    yield msgspec.structs.replace(step)  # the engine writes into what it is given
        else:
            reason = "tool-calls" if self._calls else "stop"
        yield from self._end_text(None)
        yield base.ModelEnd(finish_reason=reason, model=self._request.model)

    def _say(self, step: Say) -> Iterator[events.Event | _Wait]:
        block = self._text_block
        if block is None:
            block = self._text_block = self._exchange.new_block()
            yield events.TextStart(block=block)
        for piece in self._pieces(step):
            if step.every:
                yield _Wait(step.every)
            yield events.TextDelta(block=block, delta=piece)

    def _think(self, step: Think) -> Iterator[events.Event | _Wait]:
        block = self._exchange.new_block()
        yield events.ReasoningStart(block=block)
        for piece in self._pieces(step):
            if step.every:
                yield _Wait(step.every)
            yield events.ReasoningDelta(block=block, delta=piece)
        yield events.ReasoningEnd(block=block, signature=step.signature, encrypted=step.encrypted)

    def _call(self, step: Call) -> Iterator[events.Event | _Wait]:
        self._calls += 1
        call, block = step.id or f"call_{self._calls}", self._exchange.new_block()
        yield events.ToolCallStart(call=call, name=step.name, block=block)
        for piece in self._pieces(step):
            if step.every:
                yield _Wait(step.every)
            yield events.ToolCallDelta(call=call, block=block, delta=piece)
        arguments = assembler.parse_arguments(_text(step))
        yield events.ToolCallEnd(call=call, block=block, arguments=arguments)

    def _end_text(self, step: Step | None) -> Iterator[events.Event]:
        """Close the text block, unless the stream breaks here: then the engine closes what is open."""
        if self._text_block is not None and not isinstance(step, Fail | Drop | Hang):
            yield events.TextEnd(block=self._text_block)
            self._text_block = None

    def _pieces(self, step: Say | Think | Call) -> Iterable[str]:
        text = _text(step)
        if isinstance(step, Say) and self._skip:
            skipped = min(self._skip, len(text))
            self._skip -= skipped
            text = text[skipped:]
            if not callable(step.pieces):
                return whole(text)
        if not self._request.stream:
            return whole(text)
        return step.pieces(text) if callable(step.pieces) else step.pieces


def _reported(usage: Usage) -> Usage:
    counted = usage.input_tokens is not None or usage.output_tokens is not None
    if usage.basis == "unknown" and counted:
        return msgspec.structs.replace(usage, basis="reported")
    return usage


def _text(step: Say | Think | Call) -> str:
    if not callable(step.pieces):
        return "".join(step.pieces)
    if isinstance(step, Call):
        return step.arguments if isinstance(step.arguments, str) else json.dumps(step.arguments)
    return step.text


def _already_said(steps: list[Step], prefill: str | None) -> int:
    """How many characters of the script's text the prefill has: all of it, or none where it differs."""
    if not prefill:
        return 0
    text = "".join(_text(step) for step in steps if isinstance(step, Say))
    return len(prefill) if text.startswith(prefill) else 0


def _steps(script: Script) -> list[Step]:
    if isinstance(script, str):
        return [Say(script)]
    if isinstance(script, Iterable):
        return [Say(step) if isinstance(step, str) else step for step in script]
    return [script]


def _chooser(
    script: Script | Sequence[Sequence[str | Step]] | ScriptFor,
) -> Callable[[base.ModelRequest, int], Script]:
    if callable(script):
        return lambda request, index: script(request)
    if isinstance(script, str) or not isinstance(script, Iterable):
        return lambda request, index: script
    steps: list[Any] = list(script)
    if not steps or not all(isinstance(item, list | tuple) for item in steps):
        return lambda request, index: steps

    def one_each(request: base.ModelRequest, index: int) -> Script:
        if index >= len(steps):
            raise errors.UsageError(f"the script has {len(steps)} answers; this is request {index + 1}")
        answer: Script = steps[index]
        return answer

    return one_each
