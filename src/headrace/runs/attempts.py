"""One answer from a model, however many calls it takes: attempts, retries, failover, continuation.

    for model in (model, *fallbacks):
        call it; before the first token a retryable failure is tried again after a pause (`protocol.retry`)
        after the first token a failure goes on to the next model:
            restart    what was shown is taken back (`output-reset`), the next model begins again
            continue   what was shown stands; the next model gets it as a prefill, or is asked to go on

Each call is one attempt, with its own `attempt-start`, `attempt-end` and `usage`. Usage that the provider did
not report is estimated and says so; a call that never reached the provider has none. Cancelling closes the
provider's stream at once, records the attempt, and goes on up. Next: `context`, whose `call` this is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from headrace import errors, events, messages
from headrace.protocol.assembler import Assembler
from headrace.protocol.lifecycle import LifecycleError
from headrace.protocol.retry import RetryPolicy
from headrace.providers import base
from headrace.runs.spec import Failover
from headrace.runs.writer import Writer

CONTINUE = (
    "Your last message was cut off. Go on from exactly where it ends, with the very next character. "
    "Do not repeat any of it, do not comment on it, do not start again."
)


class Models(Protocol):
    """What attempts need of the registry: names to providers, and prices."""

    def resolve(self, name: str) -> tuple[base.Provider, str]:
        """The provider and its own name of the model."""
        ...

    async def close(self) -> None:
        """Close the providers."""
        ...


Price = Callable[[str, str, messages.Usage], messages.Usage]
Tap = Callable[[list[events.Event]], None]
Fit = Callable[[base.ModelRequest, base.Provider, str], base.ModelRequest]
Spent = Callable[[messages.Usage | None], None]
_DELTAS = frozenset(events.DELTAS)


class Answer(msgspec.Struct, kw_only=True):
    """What a model answered, over all attempts.

    Attributes:
        name: the name, of those that were tried, whose model answered.
        attempts: how many calls it took.
        blocks: the blocks of the run that show it; none for one that was not shown.
    """

    parts: tuple[messages.Part, ...]
    finish_reason: str | None
    usage: messages.Usage | None
    provider: str
    model: str
    name: str = ""
    attempts: int
    blocks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The joined text parts."""
        return "".join(part.text for part in self.parts if isinstance(part, messages.Text))


class Caller:
    """Makes the attempts of one run.

    Args:
        writer: where events go.
        models: resolves names.
        price: adds the cost to a usage, where a price is known.
        on_skipped: told how many provider events of unknown types were passed over.
    """

    def __init__(
        self,
        writer: Writer,
        models: Models,
        price: Price,
        *,
        on_skipped: Callable[[int], None] | None = None,
    ) -> None:
        self.usage: messages.Usage | None = None
        self.attempts = 0
        self._writer = writer
        self._models = models
        self._price = price
        self._on_skipped = on_skipped
        self._makers: dict[
            str, str
        ] = {}  # signatures and encrypted reasoning, to the provider that made them

    def resolve(self, name: str) -> tuple[base.Provider, str]:
        """The provider of a model, and its own name for it."""
        return self._models.resolve(name)

    async def call(
        self,
        request: base.ModelRequest,
        *,
        names: Sequence[str],
        failover: Failover = "restart",
        retry: RetryPolicy | None = None,
        timeouts: base.Timeouts | None = None,
        span: str = "",
        shown: bool = True,
        tap: Tap | None = None,
        fit: Fit | None = None,
        spent: Spent | None = None,
    ) -> Answer:
        """Get one answer. Several may be asked for at the same time, each under a span of its own.

        Args:
            request: its `model` is replaced by that of each name.
            names: model names in the order they are tried, at least one.
            shown: False keeps what the model says out of the run; attempts and usage are still reported.
            tap: given each batch of the model's events, and each reset, before it is written. It may change the
                batch; what it leaves there is written, also where it raises, which ends the attempt.
            fit: makes the request, whose model is still the name, fit a provider and its model; called once an
                attempt.
            spent: told at the end of each attempt, also of one that failed, what it used; None where it used
                nothing that is known of.

        Raises:
            errors.ProviderError: the last failure, when no model is left.
            errors.HeadraceError: what `tap` raised, the provider's stream closed.
        """
        retry = retry or RetryPolicy()
        state = _State(self._writer.answer if shown else Assembler(), shown, tap, span, spent)
        failure: errors.HeadraceError | None = None
        for name in names:
            if failure is not None:
                self._hand_over(state, failover, failure)
            try:
                provider, model = self._models.resolve(name)
            except errors.HeadraceError as error:
                failure = error
                continue
            failed = 0
            while True:
                fitted = msgspec.structs.replace(
                    request, model=name, messages=self._own(request.messages, provider)
                )
                if fit is not None:
                    fitted = fit(fitted, provider, model)
                asked = self._continued(fitted, provider, model, state.kept)
                try:
                    end = await self._attempt(provider, asked, timeouts, span, state)
                except (errors.ProviderError, LifecycleError) as error:
                    failed += 1
                    failure = _typed(error)
                    shown = self._shown(state)
                    delay = None if shown else retry.delay(failed, failure, random.random)
                    if delay is None:
                        break
                    self._drop_silent(state)
                    await self._pause(delay, failure)
                    continue
                return self._answer(state, end, provider.name, model, name)
        assert failure is not None
        raise failure

    async def _attempt(
        self,
        provider: base.Provider,
        request: base.ModelRequest,
        timeouts: base.Timeouts | None,
        span: str,
        state: _State,
    ) -> base.ModelEnd:
        self.attempts += 1
        state.attempts += 1
        number = self.attempts
        writer = self._writer
        exchange = base.Exchange(writer.new_block, timeouts)
        before = state.deltas
        outcome: events.Outcome = "failed"
        reason: str | None = None
        end: base.ModelEnd | None = None
        writer.write(
            events.AttemptStart(attempt=number, provider=provider.name, model=request.model), span=span
        )
        try:
            async with aclosing(provider.stream(request, exchange)) as stream:  # type: ignore[type-var]
                async for batch in stream:
                    if type(batch[-1]) is base.ModelEnd:
                        end = batch.pop()  # type: ignore[assignment]
                    try:
                        state.take(batch)
                    finally:
                        if state.shown:
                            writer.write_all(batch, span)
            if end is None:
                raise errors.ProviderError(
                    f"{provider.name}: the stream ended without its end", code="stream-incomplete"
                )
            outcome, reason = "completed", end.finish_reason
            return end
        except asyncio.CancelledError:
            outcome, reason = "cancelled", "cancelled"
            raise
        except errors.HeadraceError as error:
            reason = error.code
            raise
        finally:
            self._close_attempt(number, outcome, reason, span)
            if self._on_skipped is not None and exchange.skipped:
                self._on_skipped(exchange.skipped)
            self._report(provider.name, request, exchange, outcome, state.deltas - before, state, span)

    def _close_attempt(self, number: int, outcome: events.Outcome, reason: str | None, span: str) -> None:
        """Close the blocks the attempt left open, then the attempt."""
        closing = [
            event
            for event in self._writer.lifecycle.closing()
            if event.span == span and not isinstance(event, events.AttemptEnd | events.SpanEnd)
        ]
        self._writer.write_all(
            [*closing, events.AttemptEnd(attempt=number, outcome=outcome, reason=reason, span=span)]
        )

    def _report(
        self,
        provider: str,
        request: base.ModelRequest,
        exchange: base.Exchange,
        outcome: events.Outcome,
        deltas: int,
        state: _State,
        span: str,
    ) -> None:
        usage = exchange.usage
        if outcome == "completed":
            usage = usage or messages.Usage(basis="unknown")
        elif deltas or usage is not None:
            usage = self._estimate(request, usage, deltas, state)
        usage = None if usage is None else self._price(provider, request.model, usage)
        if state.spent is not None:
            state.spent(usage)
        if usage is None:
            return
        state.usage = usage if state.usage is None else state.usage + usage
        self.usage = usage if self.usage is None else self.usage + usage
        self._writer.write(events.UsageReport(span=span, **msgspec.structs.asdict(usage)))

    def _estimate(
        self, request: base.ModelRequest, reported: messages.Usage | None, deltas: int, state: _State
    ) -> messages.Usage:
        """Tokens of a call that broke off: what was reported, else a quarter of the bytes.

        A delta is at least one token, on every wire there is.
        """
        asked = sum(len(message.text.encode("utf-8", "replace")) for message in request.messages)
        got = sum(len(_words(part).encode("utf-8", "replace")) for part in self._parts(state))
        got -= len(state.kept.encode("utf-8", "replace"))
        known = reported or messages.Usage(basis="unknown")
        return messages.Usage(
            input_tokens=known.input_tokens if known.input_tokens is not None else -(-asked // 4),
            output_tokens=max(known.output_tokens or 0, -(-got // 4), deltas),
            cached_tokens=known.cached_tokens,
            basis="estimated",
        )

    def _parts(self, state: _State) -> tuple[messages.Part, ...]:
        """The parts of this answer."""
        return state.answer.parts(self._mine(state))

    def _mine(self, state: _State) -> list[str]:
        """The blocks of this answer that stand."""
        return [block for block in state.answer.blocks() if block in state.blocks]

    def _shown(self, state: _State) -> bool:
        """Whether a reader has seen anything of this answer that no earlier model left standing."""
        others = (part for part in self._parts(state) if not isinstance(part, messages.Text))
        return self._text(state) != state.kept or any(_words(part) for part in others)

    def _text(self, state: _State) -> str:
        return "".join(part.text for part in self._parts(state) if isinstance(part, messages.Text))

    def _drop_silent(self, state: _State) -> None:
        """Before a retry: blocks that opened and showed nothing are taken back."""
        empty = [
            block
            for block in self._mine(state)
            if not any(_words(part) for part in state.answer.parts([block]))
        ]
        if empty:
            self._reset(state, empty, "retry")

    def _reset(self, state: _State, blocks: list[str], reason: str) -> None:
        reset = events.OutputReset(blocks=blocks, reason=reason)
        if state.tap is not None:
            state.tap([reset])
        if state.shown:
            self._writer.write(reset, span=state.span)
        else:
            state.answer.add([reset])

    def _hand_over(self, state: _State, failover: Failover, failure: errors.HeadraceError) -> None:
        """A model has failed for good: what happens to what it showed."""
        blocks = self._mine(state)
        if failover == "continue":
            # Text stands; what was cut in half and cannot be gone on from is taken back.
            parts = state.answer.parts
            blocks = [block for block in blocks if not isinstance(parts([block])[0], messages.Text)]
            state.kept = self._text(state)
        else:
            state.kept = ""
        if blocks:
            self._reset(state, blocks, "failover")

    @staticmethod
    def _continued(
        request: base.ModelRequest, provider: base.Provider, model: str, kept: str
    ) -> base.ModelRequest:
        if not kept:
            return msgspec.structs.replace(request, model=model)
        if provider.capabilities(model).prefill:
            return msgspec.structs.replace(request, model=model, prefill=(request.prefill or "") + kept)
        thread = (*request.messages, messages.assistant(kept), messages.user(CONTINUE))
        return msgspec.structs.replace(request, model=model, messages=thread)

    async def _pause(self, delay: float, failure: errors.HeadraceError) -> None:
        if delay >= 1.0:
            self._writer.write(events.Status(message=f"{failure.message}; trying again in {delay:.0f} s"))
        await asyncio.sleep(delay)

    def _own(
        self, thread: tuple[messages.Message, ...], provider: base.Provider
    ) -> tuple[messages.Message, ...]:
        """The thread without proofs of reasoning that another provider has made: they mean nothing here, and are
        refused.
        """
        makers = self._makers
        if all(maker == provider.name for maker in makers.values()):
            return thread

        def own(part: messages.Part) -> messages.Part:
            if not isinstance(part, messages.Reasoning | messages.ToolCall):
                return part
            foreign = {
                key: None for key, proof in _proofs(part) if makers.get(proof, provider.name) != provider.name
            }
            return msgspec.structs.replace(part, **foreign) if foreign else part

        return tuple(
            msgspec.structs.replace(message, parts=tuple(own(part) for part in message.parts))
            if message.role == "assistant"
            else message
            for message in thread
        )

    def _answer(self, state: _State, end: base.ModelEnd, provider: str, model: str, name: str) -> Answer:
        parts = self._parts(state)
        for part in parts:
            if isinstance(part, messages.Reasoning | messages.ToolCall):
                self._makers.update((proof, provider) for _, proof in _proofs(part))
        return Answer(
            parts=parts,
            finish_reason=end.finish_reason,
            usage=state.usage,
            provider=provider,
            model=model,
            name=name,
            attempts=state.attempts,
            blocks=tuple(self._mine(state)) if state.shown else (),
        )


class _State:
    """What one answer has come to over its attempts; other answers of the run may be going on beside it."""

    __slots__ = ("answer", "attempts", "blocks", "deltas", "kept", "shown", "span", "spent", "tap", "usage")

    def __init__(
        self, answer: Assembler, shown: bool, tap: Tap | None, span: str, spent: Spent | None = None
    ) -> None:
        self.answer = answer  # where its blocks are: the run's, or one of its own when it is not shown
        self.shown = shown
        self.span = span
        self.tap = tap
        self.spent = spent
        self.attempts = 0
        self.blocks: set[str] = set()
        self.deltas = 0
        self.kept = ""  # text that stands from models that failed
        self.usage: messages.Usage | None = None

    def take(self, batch: list[events.Event]) -> None:
        """Note which blocks are this answer's, and let the tap have it."""
        for event in batch:
            if type(event) in _DELTAS:
                self.deltas += 1
            elif isinstance(event, events.TextStart | events.ReasoningStart):
                self.blocks.add(event.block)
            elif isinstance(event, events.ToolCallStart):
                self.blocks.add(event.block or f"call:{event.call}")
        try:
            if self.tap is not None:
                self.tap(batch)
        finally:
            if not self.shown:
                self.answer.add(batch)


def _words(part: messages.Part) -> str:
    if isinstance(part, messages.Text | messages.Reasoning | messages.ToolCall):
        return part.text
    return ""


def _proofs(part: messages.Reasoning | messages.ToolCall) -> list[tuple[str, str]]:
    """What in a part only its maker can read, by the attribute it is in."""
    found = [(key, getattr(part, key, None)) for key in ("signature", "encrypted")]
    return [(key, proof) for key, proof in found if proof]


def _typed(error: errors.HeadraceError) -> errors.HeadraceError:
    """A provider whose events come in an illegal order has broken its protocol."""
    if isinstance(error, LifecycleError):
        typed = errors.ProviderError(
            f"the provider's events came in an illegal order: {error}", code="provider-protocol"
        )
        typed.__cause__ = error
        return typed
    return error
