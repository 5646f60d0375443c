"""Any object that can answer, as a provider: chat adapters with `generate` and `generate_stream`.

A chat adapter has `generate(messages, **options) -> str`, and may have `generate_stream(messages, **options)`
that gives an iterator of pieces; either may be async. `messages` are dicts with role and content, as OpenAI's
Chat Completions has them. Blocking code runs in a thread of its own. `NotImplementedError` before the first
piece means that it cannot stream: it is asked once, blocking, and its text is one piece. After a piece has
been shown there is no falling back. `DummyChat` is an adapter for tests. Next: `local`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from headrace import errors, events, messages
from headrace.providers import base, handover, scripted

__all__ = ["CallableProvider", "DummyChat"]

MAX_PENDING = 256


class CallableProvider:
    """A chat adapter as a provider.

    Of the request's wishes (`temperature`, `top_p`, `max_tokens`, `seed`, `stop`, and every key of `options`)
    an adapter gets those that are set and that its signature takes; `model` only where it is named there.

    Args:
        adapter: has `generate`, `generate_stream`, or both.
        name: default: the adapter's `name`, or its class.
    """

    def __init__(self, adapter: Any, name: str | None = None) -> None:
        self.name: str = name or str(getattr(adapter, "name", None) or type(adapter).__name__)
        self._adapter = adapter

    def capabilities(self, model: str) -> base.Capabilities:
        """Text only, unless the adapter has an attribute `capabilities`."""
        own = getattr(self._adapter, "capabilities", None)
        if isinstance(own, base.Capabilities):
            return own
        return base.Capabilities(tools=False, json_schema=False, reasoning=False, images=False)

    async def models(self) -> list[str]:
        """The adapter's `model`, where it has one."""
        model = getattr(self._adapter, "model", None)
        return [model] if isinstance(model, str) and model else []

    async def close(self) -> None:
        """Call the adapter's own `close`, where it has one."""
        own = getattr(self._adapter, "close", None)
        if callable(own):
            result = own()
            if inspect.isawaitable(result):
                await result

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[events.Event], None]:
        """Ask the adapter.

        Leaving early closes an async iterator at once, and a blocking one when its `next` returns.

        Raises:
            errors.ProviderError: what the adapter raised, typed: time-outs and lost connections as such,
                everything else as `provider-error`, which is not retried.
            errors.UsageError: tools or a prefill, which an adapter cannot take.
        """
        if request.tools or request.prefill is not None:
            raise errors.UsageError(f"the chat adapter {self.name!r} takes no tools and no prefill")
        block = ""
        ready: list[events.Event] = []
        try:
            async with aclosing(self._pieces(request, exchange)) as source:
                async for pieces in source:
                    if not block:
                        block = exchange.new_block()
                        ready.append(events.TextStart(block=block))
                    ready += [events.TextDelta(block=block, delta=piece) for piece in pieces]
                    if request.stream:
                        yield ready
                        ready = []
        except errors.HeadraceError:
            raise
        except Exception as error:
            raise self._typed(error) from error
        if block:
            ready.append(events.TextEnd(block=block))
        ready.append(base.ModelEnd(finish_reason="stop", model=request.model))
        yield ready

    async def _pieces(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[str], None]:
        """Batches of pieces, none of them empty: of the stream, or the whole text as one."""
        limits = handover.Limits(exchange.timeouts, self.name)
        blocking = getattr(self._adapter, "generate", None)
        streaming = getattr(self._adapter, "generate_stream", None)
        if callable(streaming) and (request.stream or not callable(blocking)):
            shown = False
            try:
                async with aclosing(self._answer(_bound(streaming, request), limits)) as source:
                    async for pieces in source:
                        shown = True
                        yield pieces
                return
            except NotImplementedError:
                if shown or not callable(blocking):
                    raise
        if not callable(blocking):
            raise errors.UsageError(f"the chat adapter {self.name!r} has no generate()")
        text: list[str] = []
        async with aclosing(self._answer(_bound(blocking, request), limits)) as source:
            async for pieces in source:
                text += pieces
        if text:
            yield ["".join(text)]

    async def _answer(
        self, function: Callable[[], Any], limits: handover.Limits
    ) -> AsyncGenerator[list[str], None]:
        """What a function gives: text, an iterator of text, or the async form of either."""
        if _runs_on_the_loop(function):
            result = function()
        else:
            async with aclosing(self._from_thread(function, limits)) as source:
                async for items in source:
                    if _is_async(items[0]):
                        result = items[0]
                        break
                    yield items
                else:
                    return
        if inspect.isawaitable(result):
            result = await limits.within(result)
        if not hasattr(result, "__aiter__"):
            async with aclosing(self._from_thread(lambda: result, limits)) as source:
                async for items in source:
                    yield items
            return
        iterator = aiter(result)
        try:
            while True:
                piece = self._checked(await limits.within(anext(iterator)))
                if piece:
                    yield [piece]
        except StopAsyncIteration:
            pass
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def _from_thread(
        self, function: Callable[[], Any], limits: handover.Limits
    ) -> AsyncGenerator[list[Any], None]:
        """Call a function in a thread, and walk there through the iterator it gives.

        What is async comes out as it is: it belongs to the loop.
        """
        channel: handover.Handover[Any] = handover.Handover(MAX_PENDING)

        def work() -> None:
            try:
                _pump(function(), channel.put)
            except StopIteration as error:  # cannot be raised into a coroutine
                channel.end(RuntimeError(f"StopIteration was raised: {error}"))
            except BaseException as error:
                channel.end(error)
            else:
                channel.end()

        handover.start(work, f"headrace {self.name}")
        try:
            while items := await limits.within(channel.take()):
                if not _is_async(items[0]):
                    items = [piece for piece in map(self._checked, items) if piece]
                if items:
                    yield items
        finally:
            channel.leave()

    def _checked(self, piece: object) -> str:
        if isinstance(piece, str):
            return piece
        raise errors.ProviderError(
            f"the chat adapter {self.name!r} gave a {type(piece).__name__} where text belongs",
            code="provider-protocol",
            retryable=False,
        )

    def _typed(self, error: Exception) -> errors.ProviderError:
        said = f"{self.name}: {type(error).__name__}: {error}"
        if isinstance(error, TimeoutError):
            return errors.ProviderError(said, code="provider-timeout")
        if isinstance(error, ConnectionError):
            return errors.ProviderError(said, code="provider-unreachable")
        return errors.ProviderError(said, code="provider-error", retryable=False)


def _pump(result: Any, put: Callable[[Any], bool]) -> None:
    if isinstance(result, str) or _is_async(result):
        put(result)
        return
    if not hasattr(result, "__iter__"):
        put(result)  # refused, with its type, on the other side
        return
    iterator = iter(result)
    try:
        for piece in iterator:
            if not put(piece):
                break
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def _is_async(value: object) -> bool:
    return hasattr(value, "__aiter__") or inspect.isawaitable(value)


def _runs_on_the_loop(function: Callable[[], Any]) -> bool:
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    plain = inspect.unwrap(plain)
    return inspect.isasyncgenfunction(plain) or inspect.iscoroutinefunction(plain)


def _bound(method: Callable[..., Any], request: base.ModelRequest) -> Callable[[], Any]:
    """The method with its messages and those wishes that its signature takes."""
    wishes: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        **request.options,
    }
    wishes = {key: value for key, value in wishes.items() if value is not None}
    parameters = inspect.signature(method).parameters
    if "model" in parameters:
        wishes["model"] = request.model
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        wishes = {key: value for key, value in wishes.items() if key in parameters}
    return functools.partial(method, [messages.to_openai(message) for message in request.messages], **wishes)


class DummyChat:
    """A chat adapter without a model: the same messages give the same pieces, and joined they are `generate`.

    Args:
        reply: what it says; default: lines made of the last message.
        delay: seconds before each piece.
        seed: changes where the pieces are cut, and nothing else.
    """

    name = "dummy"

    def __init__(self, reply: str | None = None, *, delay: float = 0.0, seed: int = 0) -> None:
        self._reply = reply
        self._delay = delay
        self._seed = seed

    def generate(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The whole reply."""
        return "".join(self.generate_stream(messages, **options))

    def generate_stream(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Iterator[str]:
        """The reply in pieces."""
        digest = hashlib.sha256(json.dumps([self._seed, list(messages)], sort_keys=True).encode()).digest()
        for piece in scripted.by_seed(int.from_bytes(digest[:8]))(self._text(messages)):
            if self._delay:
                time.sleep(self._delay)
            yield piece

    def _text(self, messages: Sequence[Mapping[str, Any]]) -> str:
        if self._reply is not None:
            return self._reply
        last = str(messages[-1].get("content", "")) if messages else ""
        return f"You said:\n\n{last}\n\nThat was message {len(messages)}.\n"
