"""One slot asked until its answer fits: messages, cache, model, check, and once more with the reason.

A place among the calls at the same time is held only while a provider is being asked, never while anything else is
waited for, so it cannot deadlock. Next: `run`, which says what is asked when.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.messages import Message, Usage
from headrace.providers import base
from headrace.runs.attempts import Answer
from headrace.runs.context import Context, Span
from headrace.templates import actions, caching
from headrace.templates.fields import FieldStream, Refused
from headrace.templates.types import Shape

RETRIES = 1
"""How often a slot is asked again whose answer does not fit, where it does not say."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One answered slot.

    Attributes:
        value: the Python value.
        prompt: the text of the last message that was sent.
        messages: all that was sent, the first time it was asked.
        usage: tokens and cost of its calls; None where nothing was asked (a cached answer).
        started_ms, elapsed_ms: since the run began, and how long it took, milliseconds.
        first_token_ms: from its start to its first token, None where nothing streamed.
        attempts: calls to providers.
    """

    key: str
    segment: int
    span: str
    value: Any = None
    prompt: str = ""
    messages: tuple[Message, ...] = ()
    usage: Usage | None = None
    started_ms: float = 0.0
    elapsed_ms: float = 0.0
    first_token_ms: float | None = None
    cached: bool = False
    attempts: int = 0
    provider: str = ""
    model: str = ""
    finish_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in the run's result; what is not known is absent."""
        found: dict[str, Any] = {
            "prompt": self.prompt,
            "messages": [{"role": m.role, "content": m.text} for m in self.messages],
            "usage": None if self.usage is None else msgspec.to_builtins(self.usage),
            "started_ms": self.started_ms,
            "elapsed_ms": self.elapsed_ms,
            "first_token_ms": self.first_token_ms,
            "cached": self.cached,
            "attempts": self.attempts,
            "provider": self.provider,
            "model": self.model,
            "finish_reason": self.finish_reason,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(slots=True, kw_only=True)
class How:
    """How a template is run.

    Attributes:
        stop_at: the slot after which the run ends.
        stream: False asks for whole answers and shows no tokens.
        cache: where answers are kept; None asks always.
        pace: a cached answer comes at the pace it was recorded with.
        gate: the limit on calls at the same time.
        earlier: answers of an earlier run of the same, and where those of this one are noted.
        functions: the user's actions.
        built_in: those of ours that read files and the network, where they may be used.
    """

    stop_at: str | None = None
    stream: bool = True
    cache: caching.Cache | None = None
    pace: bool = False
    gate: asyncio.Semaphore
    earlier: caching.Earlier | None = None
    functions: Mapping[str, actions.Function] = field(default_factory=dict)
    built_in: Mapping[str, actions.Function] = field(default_factory=dict)


class Asking:
    """One slot being asked, until its answer fits."""

    def __init__(
        self,
        context: Context,
        how: How,
        shape: Shape,
        thread: list[Message],
        streams: bool,
        span: Span,
        asked: Asked,
        began: float,
    ) -> None:
        self.context = context
        self.how = how
        self.began = began
        self.shape = shape
        self.streams = streams
        fields = shape.fields and how.stream and shape.options.call.get("stream", True)
        self.fields = FieldStream(context, span.id, shape) if fields else None
        self.span = span
        self.asked = asked
        call = shape.options.call
        spec = self.context.spec
        model = call.get("model") or spec.model
        self.names: tuple[str, ...] = (model, *call.get("fallback", spec.fallbacks))
        self.longest: int | None = shape.options.limits.get("max_length") if shape.free else None
        self.schema = None if shape.free else shape.schema()
        self.by_wire = self._takes_schemas()
        self._kept = False
        self._paid: Usage | None = None
        self.given = thread
        self.thread = instructed(shape, thread, None if self.by_wire else self.schema)
        asked.messages = tuple(self.thread)
        asked.prompt = self.thread[-1].text
        self.parameters: dict[str, Any] = {
            "temperature": call.get(
                "temperature", shape.type.temperature if spec.temperature is None else spec.temperature
            ),
            "max_tokens": call.get("max_tokens", spec.max_tokens),
            "seed": call.get("seed", spec.seed),
            "reasoning_effort": call.get("thinking", spec.reasoning_effort),
            "output_schema": self.schema if self.by_wire else None,
        }

    def _takes_schemas(self) -> bool:
        if self.schema is None:
            return False
        provider, model = self.context.provider(self.names[0])
        return self._holds(provider, model)

    def _holds(self, provider: base.Provider, model: str) -> bool:
        return self.schema is not None and provider.capabilities(model).holds(self.schema)

    async def answer(self) -> None:
        """Ask, or look up; the value is in `asked` afterwards."""
        store = self.how.cache if self.shape.options.call.get("cache", True) else None
        earlier = self.how.earlier
        self._kept = store is not None or earlier is not None
        if not self._kept:
            await self._fresh()
            return
        key = self._key()
        entry = earlier.take(key) if earlier is not None else None
        if entry is not None and await self._known(entry):
            return

        async def ask() -> caching.Entry:
            fresh = await self._fresh()
            if earlier is not None:  # at once: what is paid for is never asked again
                earlier.put(key, fresh, self._paid)
            return fresh

        if store is None:
            await ask()
            return
        entry, known = await store.get(key, ask)
        if not known:
            return
        if not await self._known(entry):
            await ask()
        elif earlier is not None:
            earlier.put(key, entry, None)

    async def _known(self, entry: caching.Entry) -> bool:
        """Take an answer that is kept; False where it does not fit: a check of the user's type has changed since."""
        try:
            self.asked.value = self.shape.value(entry.text)
        except ValueError:
            return False
        self.asked.cached = True
        self.asked.provider, self.asked.model = entry.provider, entry.model
        self.asked.finish_reason = entry.finish_reason
        await self._replay(entry)
        return True

    def _key(self) -> str:
        endpoints = []
        for name in self.names:
            try:
                provider, model = self.context.provider(name)
            except errors.HeadraceError:
                endpoints.append([name])
                continue
            endpoints.append([provider.name, caching.endpoint(provider), model])
        spec = self.context.spec
        return caching.key(
            owner=spec.owner,
            endpoints=endpoints,
            failover=spec.failover,
            messages=[msgspec.to_builtins(message) for message in self.thread],
            parameters=self.parameters,
            more=[
                spec.top_p,
                spec.stop,
                spec.options,
                self.shape.options.limits,
                self.shape.options.required,
            ],
            schema=self.schema,
            type=[self.shape.slot.type, self.shape.slot.listed],
        )

    async def _replay(self, entry: caching.Entry) -> None:
        """Show a kept answer as it came."""
        if self.fields is not None:
            for _, texts in entry.deltas:
                for text in texts:
                    self.fields.feed(text)
        if not self.streams:
            return
        block, context, span = self.context.new_block(), self.context, self.span.id
        context.emit(events.TextStart(block=block), span=span)
        if self.how.pace:
            past = 0.0
            for at, texts in entry.deltas:
                await asyncio.sleep(max(at - past, 0.0) / 1000)
                past = at
                context.emit(*(events.TextDelta(block=block, delta=text) for text in texts), span=span)
        else:
            context.emit(
                *(events.TextDelta(block=block, delta=text) for _, texts in entry.deltas for text in texts),
                span=span,
            )
        context.emit(events.TextEnd(block=block), span=span)

    async def _fresh(self) -> caching.Entry:
        retries = self.shape.options.call.get("retries", RETRIES)
        thread = self.thread
        for left in range(retries, -1, -1):
            tape = _Tape(self._kept, self.fields, self.longest)
            early: Refused | None = None
            blocks: tuple[str, ...] = ()
            try:
                answer = await self._call(thread, tape)
                said, blocks = answer.text, answer.blocks
                self._note(answer)
                self.asked.value = self._value(said)
            except Refused as error:
                early, wrong, said, blocks = error, error.reason, tape.text, tuple(tape.shown())
            except ValueError as error:
                wrong = str(error)
            else:
                self._paid = tape.usage
                return caching.Entry(
                    tape.deltas(answer), answer.finish_reason, provider=answer.provider, model=answer.model
                )
            finally:
                self._count(tape)
            if not left:
                slot = self.shape.slot
                raise errors.RunError(
                    f"{slot.place}: the answer for {slot.key!r} does not fit: {wrong}",
                    code="output-rejected",
                    details={"answer": said[:2000], "reason": wrong},
                )
            reason = "validation" if early is None else "early-reject"
            if self.fields is not None:
                self.fields.take_back(reason)
            if blocks and self.streams:
                self.context.emit(events.OutputReset(blocks=list(blocks), reason=reason), span=self.span.id)
            thread = [*self.thread, messages.assistant(said), messages.user(again(wrong))]
        raise AssertionError("the last time returns or raises")

    async def _call(self, thread: list[Message], tape: _Tape) -> Answer:
        how = self.how
        asks = self.shape.options.call.get("stream", how.stream) and how.stream
        async with how.gate:
            tape.began = time.monotonic()
            return await self.context.call(
                messages=thread,
                names=self.names,
                span=self.span.id,
                shown=self.streams,
                tap=tape.take,
                spent=tape.spent,
                fit=self._fit,
                failover=None if self.shape.free else "restart",
                stream=asks and self.context.spec.stream,
                **self.parameters,
            )

    def _fit(self, request: base.ModelRequest, provider: base.Provider, model: str) -> base.ModelRequest:
        """The request for a fallback that takes schemas where the first model does not, or the other way round."""
        able = self._holds(provider, model)
        if able == self.by_wire:
            return request
        asked = instructed(self.shape, self.given, None if able else self.schema)
        return msgspec.structs.replace(
            request,
            messages=(*asked, *request.messages[len(self.thread) :]),
            output_schema=self.schema if able else None,
        )

    def _note(self, answer: Answer) -> None:
        asked = self.asked
        asked.provider, asked.model = answer.provider, answer.model
        asked.finish_reason = self.context.finish_reason = answer.finish_reason

    def _count(self, tape: _Tape) -> None:
        """What a call came to, however it ended: each of its attempts has its price."""
        asked = self.asked
        asked.attempts += tape.attempts
        if tape.usage is not None:
            asked.usage = tape.usage if asked.usage is None else asked.usage + tape.usage
            if self.how.earlier is not None and self._paid is not tape.usage:
                self.how.earlier.spent(tape.usage)
        if tape.first is not None and asked.first_token_ms is None and self.streams:
            asked.first_token_ms = round(ms(tape.first - self.began) - asked.started_ms, 3)

    def _value(self, text: str) -> Any:
        value = self.shape.value(text)
        if self.shape.options.limits.get("verify"):
            asked = _squeezed(" ".join(m.text for m in self.thread if m.role != "assistant"))
            for quote in value if isinstance(value, list) else [value]:
                if isinstance(quote, str) and _squeezed(quote) not in asked:
                    raise ValueError(f"{quote[:200]!r} does not stand in the text; copy it letter by letter")
        return value


class _Tape:
    """Records the deltas of an answer as they come, for the cache; stops one that cannot fit any more.

    Args:
        wanted: whether anybody wants the record; else only when the first delta came is noted.
        fields: shows them field by field.
        longest: characters of text that fit.

    Attributes:
        attempts, usage: of all attempts, also of those that failed or were stopped.
    """

    def __init__(
        self, wanted: bool = True, fields: FieldStream | None = None, longest: int | None = None
    ) -> None:
        self.began = 0.0
        self.first: float | None = None
        self.attempts = 0
        self.usage: Usage | None = None
        self._wanted = wanted
        self._fields = fields
        self._longest = longest
        self._looks = fields is not None or longest is not None
        self._size = 0
        # Of each block, batch by batch: milliseconds since the first delta, and the deltas.
        self._blocks: dict[str, list[tuple[float, list[str]]]] = {}

    def spent(self, usage: Usage | None) -> None:
        """Note an attempt's end, and what it used."""
        self.attempts += 1
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage

    def take(self, batch: list[events.Event]) -> None:
        """Note a batch of the model's events, or a reset.

        Raises:
            Refused: the answer cannot fit any more.
        """
        if self.first is None and any(type(event) is events.TextDelta for event in batch):
            self.first = time.monotonic()
        if batch and (self._wanted or self._looks):  # a model's last batch may hold nothing but its end
            self._note(batch, ms(time.monotonic() - (self.first or 0.0)))

    def _note(self, batch: list[events.Event], at: float) -> None:
        # Most batches are deltas of one block, and this is on the way of every token.
        block = getattr(batch[0], "block", "")
        pieces = [e.delta for e in batch if type(e) is events.TextDelta and e.block == block]
        if len(pieces) == len(batch):
            self._add(block, at, pieces)
            return
        for event in batch:
            if type(event) is events.TextDelta:
                self._add(event.block, at, [event.delta])
            elif type(event) is events.OutputReset:
                for gone in event.blocks:
                    self._size -= sum(len(text) for _, texts in self._blocks.pop(gone, ()) for text in texts)
                if self._fields is not None:
                    self._fields.take_back(event.reason)

    def _add(self, block: str, at: float, pieces: list[str]) -> None:
        self._blocks.setdefault(block, []).append((at, pieces))
        if not self._looks:
            return
        for piece in pieces:
            self._size += len(piece)
            if self._longest is not None and self._size > self._longest:
                raise Refused(f"must have at most {self._longest} characters; it has more")
            if self._fields is not None:
                self._fields.feed(piece)

    def shown(self) -> list[str]:
        """The blocks that stand."""
        return list(self._blocks)

    @property
    def text(self) -> str:
        """What the model has said."""
        return "".join(text for batches in self._blocks.values() for _, texts in batches for text in texts)

    def deltas(self, answer: Answer) -> tuple[tuple[float, list[str]], ...]:
        """The deltas that stand; one of the whole text where they do not add up to it."""
        wanted = answer.blocks or tuple(self._blocks)
        found = tuple(batch for block in wanted for batch in self._blocks.get(block, ()))
        said = "".join([text for _, texts in found for text in texts])
        return found if said == answer.text else ((0.0, [answer.text]),)


def instructed(shape: Shape, thread: Sequence[Message], schema: dict[str, Any] | None) -> list[Message]:
    """The messages as they are sent: the last one also says how to answer."""
    words = [] if shape.type.streams and not shape.type.instruction else [shape.type.instruction]
    if not shape.free:
        words.insert(0, f"Answer for {shape.slot.key!r}.")
        if shape.type.description:
            words.append(shape.type.description)
        if shape.type.name == "pick":
            words.append(f"The choices: {', '.join(map(str, shape.options.words))}.")
        if schema is not None:
            words.append(
                "Answer only with JSON that fits this JSON Schema: "
                + msgspec.json.encode(schema, enc_hook=str).decode()
            )
    text = " ".join(word for word in words if word)
    if not text:
        return list(thread)
    return [*thread[:-1], messages.user(f"{thread[-1].text}\n\n{text}")]


def again(wrong: str) -> str:
    """What the model is told when its answer does not fit."""
    return f"That answer does not fit: {wrong}. Answer again, with nothing but the corrected answer."


def ms(seconds: float) -> float:
    """Seconds as milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
