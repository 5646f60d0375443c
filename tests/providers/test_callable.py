"""Chat adapters of every shape, and what happens when they fail, hang or are left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from headrace import errors, events, messages
from headrace.providers import base
from headrace.providers.callable import CallableProvider, DummyChat
from headrace.testing.providers import check_answer, check_provider, collect, exchange, request

PIECES = ["Hel", "lo\n", "", "wor", "ld"]


class Blocking:
    def generate(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return "".join(PIECES)


class Streaming(Blocking):
    def generate_stream(self, messages: list[dict[str, Any]], **options: Any) -> Iterator[str]:
        yield from PIECES


class AsyncBlocking:
    async def generate(self, messages: list[dict[str, Any]]) -> str:
        return "".join(PIECES)


class AsyncStreaming(AsyncBlocking):
    async def generate_stream(self, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
        for piece in PIECES:
            yield piece


class AwaitedStreaming(AsyncBlocking):
    async def generate_stream(self, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
        async def pieces() -> AsyncIterator[str]:
            for piece in PIECES:
                yield piece

        return pieces()


class AwaitedList(AsyncBlocking):
    async def generate_stream(self, messages: list[dict[str, Any]]) -> list[str]:
        return PIECES


class HiddenAsync(Blocking):
    """A plain function that gives an async iterator: nothing shows it beforehand."""

    def generate_stream(self, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
        return AsyncStreaming().generate_stream(messages)


class OnlyStreaming:
    def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
        return iter(PIECES)


class TextForStream(Blocking):
    def generate_stream(self, messages: list[dict[str, Any]]) -> str:
        return "".join(PIECES)


class CannotStream(Blocking):
    def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
        raise NotImplementedError


class CannotStreamWhenAsked(Blocking):
    def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
        raise NotImplementedError
        yield ""


class AsyncCannotStream(AsyncBlocking):
    async def generate_stream(self, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
        raise NotImplementedError
        yield ""


SHAPES = [
    Blocking,
    Streaming,
    AsyncBlocking,
    AsyncStreaming,
    AwaitedStreaming,
    AwaitedList,
    HiddenAsync,
    OnlyStreaming,
    TextForStream,
    CannotStream,
    CannotStreamWhenAsked,
    AsyncCannotStream,
]


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_passes_the_checks(shape: type) -> None:
    await check_provider(lambda: CallableProvider(shape()), model="m")


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_says_the_same(shape: type) -> None:
    found = await collect(CallableProvider(shape()), request("m"))
    check_answer(found)
    assert found.text == "Hello\nworld"
    assert found.usage is None
    deltas = [event.delta for event in found.events if isinstance(event, events.TextDelta)]
    one_piece = shape in (
        Blocking,
        AsyncBlocking,
        TextForStream,
        CannotStream,
        CannotStreamWhenAsked,
        AsyncCannotStream,
    )
    assert deltas == (["Hello\nworld"] if one_piece else ["Hel", "lo\n", "wor", "ld"])


async def test_there_is_no_fallback_after_a_piece() -> None:
    asked: list[str] = []

    class Late:
        def generate(self, messages: list[dict[str, Any]]) -> str:
            asked.append("generate")
            return "again"

        def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
            yield "shown"
            raise NotImplementedError("late")

    found = await collect(CallableProvider(Late()), request("m"))
    assert isinstance(found.error, errors.ProviderError)
    assert found.text == "shown"
    assert asked == []


async def test_not_streaming_asks_generate() -> None:
    class Both(Streaming):
        def generate(self, messages: list[dict[str, Any]], **options: Any) -> str:
            return "from generate"

    found = await collect(CallableProvider(Both()), request("m", stream=False))
    assert found.text == "from generate"
    assert len(found.batches) == 1


async def test_messages_and_wishes() -> None:
    seen: list[Any] = []

    class Curious:
        def generate(
            self, messages: list[dict[str, Any]], temperature: float, model: str, top_k: int = 0
        ) -> str:
            seen.append((messages, temperature, model, top_k))
            return "ok"

    asked = base.ModelRequest(
        model="m",
        messages=(messages.system("Be kind."), messages.user("Hi")),
        temperature=0.5,
        max_tokens=9,
        options={"top_k": 3},
    )
    await collect(CallableProvider(Curious()), asked)
    thread = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert seen == [(thread, 0.5, "m", 3)]


async def test_wishes_go_to_keyword_arguments_too() -> None:
    seen: list[dict[str, Any]] = []

    class Keywords:
        def generate(self, messages: list[dict[str, Any]], **options: Any) -> str:
            seen.append(options)
            return "ok"

    await collect(CallableProvider(Keywords()), request("m", seed=1, stop=("x",)))
    assert seen == [{"seed": 1, "stop": ["x"]}]


@pytest.mark.parametrize(
    ("raised", "code", "retryable"),
    [
        (TimeoutError("slow"), "provider-timeout", True),
        (ConnectionResetError("gone"), "provider-unreachable", True),
        (ValueError("bad"), "provider-error", False),
        (StopIteration("odd"), "provider-error", False),
        (errors.ProviderError("wait", code="rate-limited"), "rate-limited", True),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_errors_are_typed(raised: Exception, code: str, retryable: bool, is_async: bool) -> None:
    class Failing:
        def generate(self, messages: list[dict[str, Any]]) -> str:
            raise raised

    class AsyncFailing:
        async def generate(self, messages: list[dict[str, Any]]) -> str:
            raise raised

    found = await collect(CallableProvider(AsyncFailing() if is_async else Failing()), request("m"))
    assert isinstance(found.error, errors.ProviderError)
    assert (found.error.code, found.error.retryable) == (code, retryable)
    if not isinstance(raised, errors.HeadraceError):
        assert type(raised).__name__ in found.error.message


@pytest.mark.parametrize("given", [None, 3, [1], b"bytes"])
async def test_what_is_not_text_is_refused(given: object) -> None:
    class Odd:
        def generate(self, messages: list[dict[str, Any]]) -> object:
            return given

    found = await collect(CallableProvider(Odd()), request("m"))
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "provider-protocol"


async def test_tools_and_prefill_are_refused() -> None:
    provider = CallableProvider(Blocking())
    for asked in (request("m", tools=(messages.ToolSpec("t"),)), request("m", prefill="x")):
        assert isinstance((await collect(provider, asked)).error, errors.UsageError)
    assert not provider.capabilities("m").tools


async def test_leaving_closes_a_blocking_iterator() -> None:
    closed = threading.Event()

    class Endless:
        def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
            try:
                while True:
                    yield "word "
            finally:
                closed.set()

    async with aclosing(CallableProvider(Endless()).stream(request("m"), exchange())) as stream:
        async for _ in stream:
            break
    assert await asyncio.to_thread(closed.wait, 10)


async def test_leaving_closes_an_async_iterator_at_once() -> None:
    closed: list[bool] = []

    class Endless:
        async def generate_stream(self, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
            try:
                while True:
                    yield "word "
                    await asyncio.sleep(0)
            finally:
                closed.append(True)

    async with aclosing(CallableProvider(Endless()).stream(request("m"), exchange())) as stream:
        async for _ in stream:
            break
    assert closed == [True]


async def test_a_reader_can_leave_while_the_adapter_blocks() -> None:
    release, entered = threading.Event(), threading.Event()

    class Stuck:
        def generate(self, messages: list[dict[str, Any]]) -> str:
            entered.set()
            release.wait(30)
            return "late"

    reading = asyncio.create_task(collect(CallableProvider(Stuck()), request("m")))
    await asyncio.to_thread(entered.wait)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    release.set()


async def test_a_silent_adapter_meets_the_time_outs() -> None:
    class Silent:
        async def generate(self, messages: list[dict[str, Any]]) -> str:
            await asyncio.get_running_loop().create_future()
            return ""

    found = await collect(CallableProvider(Silent()), request("m"), base.Timeouts(first_chunk=0.01))
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "provider-timeout"


async def test_an_empty_answer_has_no_block() -> None:
    found = await collect(CallableProvider(DummyChat("")), request("m"))
    check_answer(found)
    assert found.events == []


async def test_names_models_and_close() -> None:
    class Full(Blocking):
        name = "full"
        model = "large"
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    adapter = Full()
    provider = CallableProvider(adapter)
    assert (provider.name, await provider.models()) == ("full", ["large"])
    await provider.close()
    assert adapter.closed == 1
    assert CallableProvider(Blocking()).name == "Blocking"


@pytest.mark.parametrize("reply", [None, "one\n\ntwo\n", "", "naïve 😀"])
def test_dummy_chat_is_the_same_each_time(reply: str | None) -> None:
    chat = DummyChat(reply)
    thread = [{"role": "user", "content": "Hello\nthere"}]
    pieces = list(chat.generate_stream(thread))
    assert pieces == list(chat.generate_stream(thread))
    assert "".join(pieces) == chat.generate(thread)
    assert reply is None or chat.generate(thread) == reply
    assert list(DummyChat("a longer text, cut", seed=1).generate_stream(thread)) != list(
        DummyChat("a longer text, cut", seed=2).generate_stream(thread)
    )
