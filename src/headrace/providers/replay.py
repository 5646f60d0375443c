"""`replay:PATH`: a recorded run, or a recorded provider stream, played back as if it came from a model.

A run is what `headrace ask --json` prints: native events, one a line. A provider stream is the body as it came
(`.sse`, `.ndjson`), its wire given (`?wire=openai-chat`) or guessed from the file's name and first bytes; it goes
through that wire's own decoder. Pace: by default a run keeps its own time, and a stream comes at once; `?pace=50`
is 50 pieces a second, `?pace=0` at once.

Of a run only what its model said is played, and what a reset took back is left out. A run with tool calls has
several answers: a request gets the one after as many rounds of tools as its messages already hold. A run that
failed fails again, with the same code; one that was stopped or lost ends as `stream-incomplete`.
Next: `callable`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from headrace import errors, events, messages
from headrace.protocol import ndjson
from headrace.providers import base, presets
from headrace.settings import WireName

__all__ = ["Replay"]

BATCH = 64
MAX_BYTES = 64 * 1024 * 1024

Recorded: TypeAlias = WireName | Literal["native"]
_WIRES: tuple[WireName, ...] = ("openai-responses", "openai-chat", "anthropic", "gemini", "ollama")
# What only one wire's first bytes hold; looked for in this order.
_SIGNS: tuple[tuple[bytes, Recorded], ...] = (
    (b'"seq":', "native"),
    (b"message_start", "anthropic"),
    (b'"type":"response.', "openai-responses"),
    (b'"type": "response.', "openai-responses"),
    (b"event: response.", "openai-responses"),
    (b'"candidates"', "gemini"),
    (b'"choices"', "openai-chat"),
    (b'"message"', "ollama"),
    (b'"response"', "ollama"),
)
_PLAYED = (
    events.TextStart,
    events.TextDelta,
    events.TextEnd,
    events.ReasoningStart,
    events.ReasoningDelta,
    events.ReasoningEnd,
    events.ToolCallStart,
    events.ToolCallDelta,
    events.ToolCallEnd,
    events.Source,
    events.File,
)


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pace: float | None = None
    wire: Recorded | None = None


class _Answer(msgspec.Struct):
    """One answer of a model: events, when each came (seconds from the first), and how it ended."""

    events: list[events.Event] = []
    times: list[float] = []
    usage: messages.Usage | None = None
    failure: errors.HeadraceError | None = None


class Replay:
    """The provider `replay`; its models are paths.

    Args:
        sleep: how to wait, in seconds.
        clock: seconds, going up.
    """

    name = "replay"

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sleep = sleep
        self._clock = clock

    def capabilities(self, model: str) -> base.Capabilities:
        """Whatever was recorded."""
        return base.Capabilities()

    async def models(self) -> list[str]:
        """None: any path is one."""
        return []

    async def close(self) -> None:
        """Nothing is held."""

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[events.Event], None]:
        """Play the recording.

        Raises:
            errors.ProviderError: `model-not-found` for a path that cannot be read, `provider-protocol` for a file
                that is no recording; and what the recording itself ended with.
        """
        name, options = _parse(request.model)
        data = await asyncio.to_thread(_read, name)
        wire = options.wire or guess(name, data)
        if wire == "native":
            answer = _of_run(data, _rounds(request.messages), exchange.new_block)
        else:
            answer = _of_stream(data, wire, exchange.new_block)
        if not request.stream or options.pace == 0 or (options.pace is None and wire != "native"):
            due = [0.0] * len(answer.events)
        elif options.pace is not None:
            due = list(_paced(answer.events, options.pace))
        else:
            due = answer.times
        start = self._clock()
        ready: list[events.Event] = []
        for event, at in zip(answer.events, due, strict=True):
            wait = start + at - self._clock() if at else 0.0
            if request.stream and ready and (wait > 0 or len(ready) >= BATCH):
                yield ready
                ready = []
                await asyncio.sleep(0)
            if wait > 0:
                await self._sleep(wait)
            if isinstance(event, base.ModelEnd):
                exchange.usage = answer.usage
            ready.append(event)
        if ready and (answer.failure is None or request.stream):
            yield ready
        exchange.usage = answer.usage
        if answer.failure is not None:
            raise answer.failure


def guess(name: str, data: bytes) -> Recorded:
    """The wire of a recording (`native` for a run), from its name or its first bytes.

    Raises:
        errors.ProviderError: `provider-protocol`.
    """
    stem = Path(name).name
    for wire in _WIRES:
        if stem.startswith(wire):
            return wire
    head = data[:4096]
    for sign, wire_name in _SIGNS:
        if sign in head:
            return wire_name
    raise errors.ProviderError(
        f"replay:{name} is no recording that is known here; name its wire with ?wire= one of"
        f" native, {', '.join(sorted(_WIRES))}",
        code="provider-protocol",
        retryable=False,
    )


def _parse(model: str) -> tuple[str, _Options]:
    name, _, query = model.partition("?")
    try:
        options = msgspec.convert(dict(parse_qsl(query, keep_blank_values=True)), _Options, strict=False)
    except msgspec.ValidationError as error:
        raise errors.UsageError(
            f"replay:{model}: {error}; there are pace, and wire (native, {', '.join(_WIRES)})"
        ) from error
    if options.pace is not None and not 0 <= options.pace < float("inf"):
        raise errors.UsageError(f"replay:{model}: pace is pieces a second, 0 is at once")
    return name, options


def _read(name: str) -> bytes:
    try:
        with Path(name).expanduser().open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise errors.ProviderError(
            f"replay:{name} cannot be read: {error.strerror}", code="model-not-found"
        ) from error
    if len(data) > MAX_BYTES:
        raise errors.UsageError(f"replay:{name} is larger than {MAX_BYTES:,} bytes", code="too-large")
    return data


def _rounds(thread: tuple[messages.Message, ...]) -> int:
    """How many rounds of tool calls the conversation has had since the person last spoke."""
    rounds = 0
    for message in reversed(thread):
        if message.role == "user":
            break
        if any(isinstance(part, messages.ToolCall) for part in message.parts):
            rounds += 1
    return rounds


def _paced(played: list[events.Event], pace: float) -> Iterator[float]:
    pieces = 0
    for event in played:
        pieces += isinstance(event, events.DELTAS)
        yield pieces / pace


def _of_stream(data: bytes, wire: WireName, new_block: Callable[[], str]) -> _Answer:
    """Decode a provider's stream."""
    decoder = presets.wire_of(wire).decoder(new_block)
    answer = _Answer()
    try:
        answer.events += decoder.feed(data)
        answer.events += decoder.feed(b"")  # an error may stand behind the events
        answer.events += decoder.close()
    except errors.HeadraceError as error:
        answer.failure = error
    answer.usage = decoder.usage
    return answer


def _of_run(data: bytes, round_: int, new_block: Callable[[], str]) -> _Answer:
    """The answer that the model gave in one round of a recorded run, with blocks of this run."""
    recorded = list(_events(data))
    taken_back = {
        block for event in recorded if isinstance(event, events.OutputReset) for block in event.blocks
    }
    answers: list[_Answer] = [_Answer()]
    reasons: list[str | None] = [None]
    end: events.RunEnd | None = None
    began: Any = None
    complete = False  # a failed attempt that the next one went on from is one answer with it
    for event in recorded:
        answer = answers[-1]
        began = began or event.time
        match event:
            case events.AttemptStart():
                if complete and answer.events:
                    began, complete = event.time, False
                    answers.append(_Answer())
                    reasons.append(None)
            case events.AttemptEnd(reason=reason, outcome=outcome):
                reasons[-1], complete = reason, outcome == "completed"
            case events.UsageReport():
                answer.usage = messages.Usage(
                    **{name: getattr(event, name) for name in messages.Usage.__struct_fields__}
                )
            case events.RunEnd():
                end = event
            case _ if isinstance(event, _PLAYED) and getattr(event, "block", "") not in taken_back:
                gap = (event.time - began).total_seconds() if event.time and began else 0.0
                answer.events.append(event)
                answer.times.append(max(gap, answer.times[-1] if answer.times else 0.0))
    answers, reasons = _stood(answers, reasons)
    index = min(round_, len(answers) - 1)
    chosen = answers[index]
    if index == len(answers) - 1 and (end is None or end.outcome != "completed"):
        chosen.failure = _failure(end)
    else:
        reason = reasons[index] or (end.finish_reason if end else None)
        chosen.events.append(base.ModelEnd(finish_reason=reason))
        chosen.times.append(chosen.times[-1] if chosen.times else 0.0)
    names: dict[str, str] = {}
    chosen.events = [_fresh(event, names, new_block) for event in chosen.events]
    return chosen


def _stood(answers: list[_Answer], reasons: list[str | None]) -> tuple[list[_Answer], list[str | None]]:
    """Without attempts of which nothing stood."""
    kept = [i for i, answer in enumerate(answers) if answer.events or i == len(answers) - 1]
    return [answers[i] for i in kept], [reasons[i] for i in kept]


def _fresh(event: events.Event, names: dict[str, str], new_block: Callable[[], str]) -> events.Event:
    """The event as a provider gives it: no run, seq, time and span, and a block of this run."""
    changes: dict[str, Any] = {"run": "", "seq": 0, "time": None, "span": ""}
    block = getattr(event, "block", "")
    if block:
        if block not in names:
            names[block] = new_block()
        changes["block"] = names[block]
    if isinstance(event, events.DELTAS):
        changes["from_seq"] = None
    return msgspec.structs.replace(event, **changes)


def _failure(end: events.RunEnd | None) -> errors.HeadraceError:
    if end is not None and end.error is not None:
        return errors.error_for(end.error.code, end.error.message, retryable=end.error.retryable)
    how = f"was {end.outcome}" if end is not None else "has no ending"
    return errors.ProviderError(f"the recorded run {how}", code="stream-incomplete")


def _events(data: bytes) -> Iterator[events.Event]:
    lines = ndjson.Decoder()
    for line in [*lines.feed(data), *lines.close()]:
        yield events.decode(line)
