"""Events to browsers: server-sent events and WebSockets, slow readers, readers that leave."""

from __future__ import annotations

import asyncio

import pytest

from headrace import errors
from headrace.core.events import TokenEvent, decode
from headrace.sinks.push import SSESink, WebSocketSink


def token(index: int) -> TokenEvent:
    return TokenEvent(token=f"t{index}", token_index=index, field="answer")


class Socket:
    """A websocket of Starlette's kind that leaves after some texts."""

    def __init__(self, leave_after: int = 1 << 30) -> None:
        self.texts: list[str] = []
        self.left = leave_after
        self.got = asyncio.Event()

    async def send_text(self, text: str) -> None:
        if len(self.texts) >= self.left:
            raise RuntimeError("already closed")
        self.texts.append(text)
        self.got.set()


async def until(condition) -> None:  # type: ignore[no-untyped-def]
    while not condition():
        await asyncio.sleep(0.001)


async def test_server_sent_events_to_two_readers() -> None:
    async with SSESink() as sink:

        async def read() -> bytes:
            found = b""
            async for piece in sink.stream():
                found += piece
                if found.count(b"data:") == 3:
                    return found
            return found

        readers = [asyncio.create_task(read()) for _ in range(2)]
        await until(lambda: sink.readers == 2)
        for index in range(3):
            sink.emit(token(index))
        for found in await asyncio.gather(*readers):
            assert found.startswith(b"retry: 1000\n\n")
            lines = [line for line in found.split(b"\n\n") if line.startswith(b"data: ")]
            assert [decode(line[6:]).data["token"] for line in lines] == ["t0", "t1", "t2"]


async def test_websockets_until_one_leaves_or_the_sink_stops() -> None:
    sink = WebSocketSink()
    stays, leaves = Socket(), Socket(1)
    tasks = [asyncio.create_task(sink.serve(socket)) for socket in (stays, leaves)]
    await until(lambda: sink.readers == 2)
    for index in range(3):
        sink.emit(token(index))
    await tasks[1]
    await until(lambda: len(stays.texts) == 3)
    assert [decode(text).data["token"] for text in stays.texts] == ["t0", "t1", "t2"]
    assert sink.readers == 1
    await sink.astop()
    await tasks[0]
    assert sink.readers == 0


async def test_a_reader_that_falls_behind_is_let_go_and_the_others_are_not() -> None:
    class Slow(Socket):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Event()

        async def send_text(self, text: str) -> None:
            await self.gate.wait()
            await super().send_text(text)

    async with WebSocketSink(reader_buffer=50, flush_interval=0, batch_size=10) as sink:
        slow, quick = Slow(), Socket()
        task = asyncio.create_task(sink.serve(slow))
        other = asyncio.create_task(sink.serve(quick))
        await until(lambda: sink.readers == 2)
        for index in range(200):
            sink.emit(token(index))
            await until(lambda count=index + 1: len(quick.texts) == count)
        slow.gate.set()
        await task  # it got what was waiting for it, and was let go
        assert 0 < len(slow.texts) < 200
    await other


async def test_what_is_no_websocket() -> None:
    with pytest.raises(errors.UsageError, match="send_text"):
        await WebSocketSink().serve(object())
