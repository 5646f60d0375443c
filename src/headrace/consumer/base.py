"""The port of the consumers: events back from a broker, handed to handlers one by one, and acknowledged after that.

    read a batch ──► decode ──► handlers, in order ──► acknowledge the batch
                       │            │ raised: again, `max_retries` times
                       └ bad ───────┴──► `on_bad_event`, dead letters

What was handled and could not be acknowledged (the broker went away in between) is remembered and not handled
again when it comes back, so in the life of one consumer a handler sees an event once. When a consumer dies, what it
had not acknowledged goes to another: a handler should bear an event that it may have seen (`run` and `seq` say
which). What comes back from a dead consumer is handed out alone, so that the broker's count of it is a count of
consumers that *this* event has ended; after `max_retries` + 1 it is a bad event. A broker that is away is waited for.
An adapter has `_open`, `_read`, `_acknowledge`, `_bury`, `_release` and `_close`; the loop is here. Next: `redis`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import structlog

from headrace import errors
from headrace.core import events as core

log = structlog.get_logger("headrace.consumer")

Handler: TypeAlias = Callable[[Any], Any]
OnBad: TypeAlias = Literal["raise", "skip", "dead-letter"]
H = TypeVar("H", bound=Handler)
ON_BAD = ("raise", "skip", "dead-letter")
GROUP = "headrace"
AWAY = (ConnectionError, TimeoutError)
_KINDS = 1000  # of events whose handlers are remembered: a program may make up any number
_PAUSE_S, _LONGEST_S = 0.05, 2.0  # between two tries to reach a broker, and to handle an event


class Message(NamedTuple):
    """What a broker handed out: its own name for it, the bytes, and how often it came back from a consumer that
    was at it and died."""

    id: Any
    body: bytes
    returned: int = 0


class Consumer:
    """Reads events and calls handlers.

    Args:
        url: of the broker.
        group: consumers of one group share its events, each goes to one of them; what the group has is kept while
            nobody reads. None: this consumer sees every event, and nobody keeps its place.
        consumer_name: its name in the group; default: one that nobody else has. A consumer that comes back under
            its old name goes on with what it had.
        start: where to begin: `beginning`, `end`, or a position of the broker's. For a group: only when it is new.
        on_bad_event: what to do with what cannot be read as an event, or whose handler keeps raising: `raise`
            it from `run`, `skip` it, or put it with the `dead-letter`s.
        claim_idle: seconds after which another consumer's unacknowledged events are taken over.
        max_retries: how often a handler that raised is called again with the same event; also how many more
            consumers may die of an event.
        batch_size: events read, and acknowledged, at once.

    Attributes:
        handled: events handled.
        retried: calls of handlers that were repeated.
        bad: events that were skipped or buried.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str | None = GROUP,
        consumer_name: str | None = None,
        start: Any = "beginning",
        on_bad_event: OnBad = "dead-letter",
        claim_idle: float = 60.0,
        max_retries: int = 3,
        batch_size: int = 500,
    ) -> None:
        if on_bad_event not in ON_BAD:
            raise errors.UsageError(f"on_bad_event must be one of {', '.join(ON_BAD)}, not {on_bad_event!r}")
        if claim_idle <= 0 or max_retries < 0 or batch_size < 1:
            raise errors.UsageError("claim_idle must be above 0, max_retries 0 or more, batch_size 1 or more")
        self.url = url
        self.group = group
        self.consumer_name = consumer_name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.start = start
        self.on_bad_event = on_bad_event
        self.claim_idle = claim_idle
        self.max_retries = max_retries
        self.batch_size = batch_size
        self.handled = self.retried = self.bad = 0
        self._all: list[Handler] = []
        self._found: dict[tuple[str, str, type], list[Handler]] = {}
        self._by: dict[Any, list[Handler]] = {}
        self._done: dict[Any, None] = {}  # handled, not yet acknowledged
        self._stopping = False
        self._stop = asyncio.Event()  # the same, for those that wait
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = False
        self._opened = False

    # -- handlers --------------------------------------------------------------------------------------------

    def subscribe(self, handler: H) -> H:
        """Call `handler` with every event; it may be async. Also a decorator. Returns it."""
        self._all.append(handler)
        self._found.clear()
        return handler

    def on(self, what: str | type[core.HeadraceEvent]) -> Callable[[H], H]:
        """A decorator for a handler of one kind of event.

            @consumer.on("token")
            async def show(event): ...

        Args:
            what: an `event_type`, a native type such as `tool-call-start`, a class of `headrace.core.events`, or
                `"*"` for all.
        """

        def decorate(handler: H) -> H:
            if what == "*" or what is core.HeadraceEvent:
                return self.subscribe(handler)
            self._by.setdefault(what, []).append(handler)
            self._found.clear()
            return handler

        return decorate

    # -- reading ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and handle until `stop`.

        Raises:
            errors.HeadraceError: `on_bad_event` is `raise`, and one came.
            Exception: what a handler raised to the last, where `on_bad_event` is `raise`.
        """
        if not self._all and not self._by:
            raise errors.UsageError("the consumer has no handler; subscribe(…) one before run()")
        async with contextlib.aclosing(self._flow()) as flow:
            async for message, event in flow:
                await self._dispatch(message, event)

    def run_sync(self) -> None:
        """`run` for programs without an event loop; Ctrl-C ends it."""
        asyncio.run(self.run())

    async def __aiter__(self) -> AsyncIterator[core.HeadraceEvent]:
        """The events. One is acknowledged when the next is asked for, so end with `stop()` rather than `break`."""
        async with contextlib.aclosing(self._flow()) as flow:
            async for _, event in flow:
                yield event
                self.handled += 1

    def stop(self) -> None:
        """End `run` after the event it is at. What was read and not handled is given back. From any thread.

        Of a consumer that is not being read it changes nothing.
        """
        if self._running and self._loop is not None:
            self._stopping = True
            with contextlib.suppress(RuntimeError):  # the loop has just closed: `run` is over
                self._loop.call_soon_threadsafe(self._stop.set)

    async def _flow(self) -> AsyncGenerator[tuple[Message, core.HeadraceEvent], None]:
        """Messages with their events, to be handled before the next is asked for; for ever, until `stop`."""
        if self._running:
            raise errors.UsageError(
                "this consumer is already being read; make another one for another reader"
            )
        self._running = True
        self._loop = asyncio.get_running_loop()
        tries = 0
        try:
            while not self._stopping:
                try:
                    if not self._opened:
                        await self._open()
                        self._opened = True
                    batch = await self._read()
                    tries = 0
                except AWAY as error:
                    if tries == 0:
                        log.warning("the broker is away; waiting for it", error=str(error))
                    tries += 1
                    await self._shut()
                    await self._pause(tries)
                    continue
                try:
                    for message in batch:
                        if self._told():
                            break
                        if message.id not in self._done:
                            event = await self._decoded(message) if await self._bearable(message) else None
                            if event is not None:
                                yield message, event
                        self._done[message.id] = None
                finally:
                    await self._settle(batch)
        finally:
            self._running = self._stopping = False
            self._stop.clear()
            await self._shut()

    def _told(self) -> bool:
        """Whether `stop` was called: from a handler, or from another thread."""
        return self._stopping

    async def _settle(self, batch: Sequence[Message]) -> None:
        done = [message for message in batch if message.id in self._done]
        left = [message for message in batch if message.id not in self._done]
        try:
            if done:
                await self._acknowledge(done)
                for message in done:
                    del self._done[message.id]
            if left:
                await self._release(left)
        except AWAY as error:
            log.warning("the broker went away before it was told what is handled", error=str(error))
            await self._shut()

    async def _bearable(self, message: Message) -> bool:
        """Whether to try a message (again): not one that ended too many consumers."""
        if message.returned <= self.max_retries + 1:
            return True
        error = errors.RunError(
            f"an event came back {message.returned} times from consumers that ended while they had it",
            code="interrupted",
            details={"id": str(message.id)},
        )
        if self.on_bad_event == "raise":
            raise error
        await self._bad(message, "returned", error)
        return False

    async def _decoded(self, message: Message) -> core.HeadraceEvent | None:
        try:
            return core.decode(message.body)
        except errors.ProviderError as error:
            if self.on_bad_event == "raise":
                raise
            await self._bad(message, "malformed", error)
            return None

    async def _dispatch(self, message: Message, event: core.HeadraceEvent) -> None:
        for handler in self._handlers(event):
            try:
                found = handler(event)
                if inspect.isawaitable(found):
                    await found
            except Exception as error:  # a fault of the handler's: retried, then told
                last = await self._again(handler, event, error)
                if last is not None:
                    if self.on_bad_event == "raise":
                        raise last from None
                    await self._bad(message, "handler", last)
                    return
        self.handled += 1

    def _handlers(self, event: core.HeadraceEvent) -> list[Handler]:
        """Who is called with it; found once for each kind of event."""
        kind = (event.event_type, event.type, type(event))
        found = self._found.get(kind)
        if found is None:
            by = self._by
            found = [*self._all, *by.get(event.event_type, ())]
            if event.type != event.event_type:
                found += by.get(event.type, ())
            found += by.get(type(event), ())
            if len(self._found) < _KINDS:
                self._found[kind] = found
        return found

    async def _again(self, handler: Handler, event: core.HeadraceEvent, error: Exception) -> Exception | None:
        """Call a handler that raised again; the last error where it never went well."""
        for number in range(1, self.max_retries + 1):
            await self._pause(number)
            self.retried += 1
            try:
                found = handler(event)
                if inspect.isawaitable(found):
                    await found
            except Exception as raised:  # see `_dispatch`
                error = raised
            else:
                return None
        return error

    async def _bad(self, message: Message, reason: str, error: Exception) -> None:
        self.bad += 1
        log.warning(
            "a bad event", what=self.on_bad_event, reason=reason, id=str(message.id), error=repr(error)
        )
        if self.on_bad_event == "dead-letter":
            while True:
                try:
                    await self._bury(message, reason, repr(error))
                    return
                except AWAY:
                    await self._shut()
                    await self._pause(3)
                    with contextlib.suppress(*AWAY):
                        await self._open()
                        self._opened = True
                    if self._stopping:
                        raise

    async def _pause(self, number: int) -> None:
        """Wait a little, longer each time; not once it is told to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_PAUSE_S * 2 ** (number - 1), _LONGEST_S)):
                await self._stop.wait()

    async def _shut(self) -> None:
        self._opened = False
        try:
            await self._close()
        except Exception as error:  # it is gone either way
            log.debug("a broker did not close well", error=repr(error))

    # -- for adapters; all may raise ConnectionError and TimeoutError ------------------------------------------

    async def _open(self) -> None:
        """Reach the broker and take a place there."""
        raise NotImplementedError

    async def _read(self) -> list[Message]:
        """The next messages; nothing after a moment without any, so that a stop is heard."""
        raise NotImplementedError

    async def _acknowledge(self, messages: Sequence[Message]) -> None:
        """These are handled."""
        raise NotImplementedError

    async def _release(self, messages: Sequence[Message]) -> None:
        """These are not handled: somebody else may have them at once."""

    async def _bury(self, message: Message, reason: str, error: str) -> None:
        """Put it with the dead letters."""
        raise NotImplementedError

    async def _close(self) -> None:
        """Let go of the broker, also of a broken one."""
        raise NotImplementedError
