"""What every provider must do, as checks that anybody can run on one of their own.

    async def test_my_provider() -> None:
        await check_provider(lambda: MyProvider(), model="small", text="Hello")

`check_provider` runs them all and raises `AssertionError` with the name of the check and what was seen. A
provider is made afresh for each check and closed after it. The answers asked for must be repeatable where
`same_text` is on (a seed is sent). `collect` reads one answer as the run engine would, and is the way to write
checks of one's own. Next: `engine`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.protocol import assembler, lifecycle
from headrace.providers import base

__all__ = ["Collected", "check_provider", "collect"]

MakeProvider = Callable[[], base.Provider]


class Collected(msgspec.Struct):
    """One answer, read to its end.

    Attributes:
        batches: the events as they were handed over, `ModelEnd` among them.
        end: the `ModelEnd`.
        usage: what the provider reported.
        error: what the stream raised; with it there is no `end`.
    """

    batches: list[list[events.Event]]
    end: base.ModelEnd | None = None
    usage: messages.Usage | None = None
    error: BaseException | None = None

    @property
    def events(self) -> list[events.Event]:
        """All events in order, without the `ModelEnd`."""
        return [event for batch in self.batches for event in batch if not isinstance(event, base.ModelEnd)]

    @property
    def parts(self) -> tuple[messages.Part, ...]:
        """The answer as finished values."""
        folded = assembler.Assembler()
        folded.add(self.events)
        return folded.parts()

    @property
    def text(self) -> str:
        """The joined text."""
        return "".join(part.text for part in self.parts if isinstance(part, messages.Text))


def request(model: str, text: str = "Hello", **fields: Any) -> base.ModelRequest:
    """A request of one user message; `fields` are those of `base.ModelRequest`."""
    return base.ModelRequest(model=model, messages=(messages.user(text),), **fields)


def exchange(timeouts: base.Timeouts | None = None) -> base.Exchange:
    """An exchange whose blocks are `b1`, `b2`, …"""
    names = iter(range(1, 1_000_000))
    return base.Exchange(lambda: f"b{next(names)}", timeouts)


async def collect(
    provider: base.Provider, asked: base.ModelRequest, timeouts: base.Timeouts | None = None
) -> Collected:
    """Read one answer to its end; an error that the provider raises is in the result."""
    record = exchange(timeouts)
    found = Collected([])
    try:
        async with aclosing(provider.stream(asked, record)) as stream:  # type: ignore[type-var]
            async for batch in stream:
                found.batches.append(list(batch))
    except Exception as error:
        found.error = error
    for event in (event for batch in found.batches for event in batch):
        if isinstance(event, base.ModelEnd):
            found.end = event
    found.usage = record.usage
    return found


async def check_provider(
    make: MakeProvider,
    *,
    model: str,
    text: str = "Hello",
    options: dict[str, Any] | None = None,
    long_options: dict[str, Any] | None = None,
    failing_model: str | None = None,
    same_text: bool = True,
    close_seconds: float = 0.5,
    skip: Sequence[str] = (),
) -> None:
    """Run every check.

    Args:
        make: a fresh provider; it is closed after each check.
        model: a model that answers `text`.
        options: fields of the request (`max_tokens`, `seed`, …), for every check.
        long_options: fields on top that make an answer long enough to be left early; default: `options` alone.
        failing_model: a model name whose answer must fail with a typed error; None: not checked.
        same_text: the same request gives the same text, streamed or not.
        close_seconds: how long leaving early may take.
        skip: names of checks that do not apply.

    Raises:
        AssertionError: naming the check.
    """
    fields = options or {}
    longer = {**fields, **(long_options or {})}
    checks: dict[str, Callable[[base.Provider], Any]] = {
        "port": _port(model),
        "lifecycle": _lifecycle(request(model, text, **fields)),
        "whole": _whole(request(model, text, **fields), same_text),
        "leave": _leave(request(model, text, **longer), close_seconds),
        "cancel": _cancel(request(model, text, **longer), close_seconds),
        "together": _together(request(model, text, **fields)),
        "close": _close,
    }
    if failing_model is not None:
        checks["failing"] = _failing(request(failing_model, text, **fields))
    for name, check in checks.items():
        if name in skip:
            continue
        provider = make()
        try:
            await check(provider)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        finally:
            await provider.close()


def _expect(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _port(model: str) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        _expect(isinstance(provider.name, str) and provider.name, "a provider has a name")
        found = provider.capabilities(model)
        _expect(isinstance(found, base.Capabilities), f"capabilities() gave {found!r}")
        names = await provider.models()
        _expect(all(isinstance(name, str) and name for name in names), f"models() gave {names!r}")

    return check


def check_answer(found: Collected) -> None:
    """A complete answer: legal steps, everything closed, one `ModelEnd`, and it the last event.

    Raises:
        AssertionError: what is wrong.
    """
    if found.error is not None:
        raise AssertionError(f"the stream raised {found.error!r}") from found.error
    _expect(all(found.batches), "an empty batch was handed over")
    flat = [event for batch in found.batches for event in batch]
    ends = [event for event in flat if isinstance(event, base.ModelEnd)]
    _expect(len(ends) == 1, f"there must be one ModelEnd, there were {len(ends)}")
    _expect(flat[-1] is ends[0], "ModelEnd is not the last event")
    finish = ends[0].finish_reason
    known = (None, "stop", "length", "tool-calls", "content-filter", "other")
    _expect(finish in known, f"the finish reason {finish!r} is none of {known}")
    state = lifecycle.Lifecycle()
    state.check(events.RunStart(kind="answer", model=""))
    started: set[str] = set()
    for event in found.events:
        _expect(
            not (event.run or event.seq or event.time), f"{event.type} came with run, seq or time filled in"
        )
        try:
            state.check(event)
        except lifecycle.LifecycleError as error:
            raise AssertionError(str(error)) from error
        if isinstance(event, events.TextStart | events.ReasoningStart | events.ToolCallStart):
            _expect(event.block and event.block not in started, f"{event.type}: the block is not a new one")
            started.add(event.block)
        if isinstance(event, events.DELTAS):
            _expect(event.delta, f"an empty {event.type}")  # type: ignore[attr-defined]
    _expect(not state.open, f"left open at the end: {sorted(state.open)}")
    usage = found.usage
    if usage is not None and usage.basis != "unknown":
        _expect(usage.output_tokens is not None or usage.input_tokens is not None, "a usage without counts")


def _lifecycle(asked: base.ModelRequest) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        found = await collect(provider, asked)
        check_answer(found)
        _expect(found.parts, "the answer is empty")

    return check


def _whole(asked: base.ModelRequest, same_text: bool) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        streamed = await collect(provider, asked)
        check_answer(streamed)
        whole = await collect(provider, msgspec.structs.replace(asked, stream=False))
        check_answer(whole)
        _expect(len(whole.batches) == 1, f"stream=False gave {len(whole.batches)} batches instead of one")
        if same_text:
            _expect(
                whole.text == streamed.text,
                f"stream=False gave another text: {whole.text[:80]!r} and not {streamed.text[:80]!r}",
            )

    return check


def _leave(asked: base.ModelRequest, seconds: float) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        stream: Any = provider.stream(asked, exchange())
        await anext(stream)
        began = time.monotonic()
        await stream.aclose()
        took = time.monotonic() - began
        _expect(took <= seconds, f"leaving after the first batch took {took:.3f} s, more than {seconds:g} s")
        check_answer(await collect(provider, asked))

    return check


def _cancel(asked: base.ModelRequest, seconds: float) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with aclosing(provider.stream(asked, exchange())) as stream:  # type: ignore[type-var]
                async for _ in stream:
                    begun.set()
                    await asyncio.sleep(0)

        reader = asyncio.create_task(read())
        waiter = asyncio.create_task(begun.wait())
        await asyncio.wait((reader, waiter), return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        began = time.monotonic()
        reader.cancel()
        await asyncio.wait((reader,))
        took = time.monotonic() - began
        _expect(took <= seconds, f"a cancelled reader took {took:.3f} s to go, more than {seconds:g} s")
        if not reader.cancelled() and reader.exception() is not None:
            raise AssertionError(f"a cancelled reader ended with {reader.exception()!r}")

    return check


def _together(asked: base.ModelRequest) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        for found in await asyncio.gather(*(collect(provider, asked) for _ in range(3))):
            check_answer(found)

    return check


async def _close(provider: base.Provider) -> None:
    await provider.close()  # and once more when the check is over


def _failing(asked: base.ModelRequest) -> Callable[[base.Provider], Any]:
    async def check(provider: base.Provider) -> None:
        found = await collect(provider, asked)
        _expect(found.error is not None, "the answer that must fail did not")
        _expect(
            isinstance(found.error, errors.HeadraceError), f"the error is not a typed one: {found.error!r}"
        )
        _expect(found.end is None, "a ModelEnd came before the error")

    return check
