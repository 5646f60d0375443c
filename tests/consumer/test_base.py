"""The loop of the consumers, on a broker in memory: handlers, retries, bad events, stops, outages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from headrace import errors, events
from headrace.consumer.base import Consumer, Message
from headrace.core import events as core


class Memory(Consumer):
    """A broker that is a list."""

    def __init__(self, *bodies: bytes, **options: object) -> None:
        super().__init__("memory:", **options)  # type: ignore[arg-type]
        self.left = [Message(number, body) for number, body in enumerate(bodies)]
        self.acknowledged: list[int] = []
        self.buried: list[tuple[int, str]] = []
        self.opened: list[str] = []
        self.lose_acks = 0
        self.away = 0

    async def _open(self) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("away")
        self.opened.append("open")

    async def _read(self) -> list[Message]:
        batch = self.left[: self.batch_size]
        if not batch:
            await self._pause(1)
        return batch

    async def _acknowledge(self, messages: Sequence[Message]) -> None:
        if self.lose_acks:
            self.lose_acks -= 1
            raise ConnectionResetError("gone")
        self.acknowledged += [m.id for m in messages]
        self.left = [m for m in self.left if m.id not in self.acknowledged]

    async def _bury(self, message: Message, reason: str, error: str) -> None:
        self.buried.append((message.id, reason))

    async def _close(self) -> None:
        self.opened.append("close")


def bodies(count: int) -> list[bytes]:
    return [
        core.encode(core.TokenEvent(token=f"t{n}", token_index=n, field="answer", type="text-delta"))
        for n in range(count)
    ]


async def test_handlers_by_type_by_class_and_for_all() -> None:
    consumer = Memory(*bodies(1), core.encode(core.EndEvent(type="run-end")), batch_size=1)
    seen: list[str] = []
    consumer.subscribe(lambda event: seen.append(f"all {event.event_type}"))

    @consumer.on("token")
    async def by_type(event: core.TokenEvent) -> None:
        seen.append(f"type {event.token}")

    @consumer.on(core.TokenEvent)
    def by_class(event: core.TokenEvent) -> None:
        seen.append("class")

    @consumer.on("run-end")
    def native(event: core.EndEvent) -> None:
        seen.append("native")
        consumer.stop()

    @consumer.on("*")
    def every(event: core.HeadraceEvent) -> None:
        seen.append("every")

    await consumer.run()
    assert seen == ["all token", "every", "type t0", "class", "all end", "every", "native"]
    assert consumer.handled == 2
    assert consumer.acknowledged == [0, 1]


async def test_the_guides_handler_as_printed() -> None:
    consumer = Memory(*bodies(3))
    shown: list[tuple[object, object, object]] = []

    def update_ui_field(field: object, token: object, index: object) -> None:
        shown.append((field, token, index))
        if len(shown) == 3:
            consumer.stop()

    async def handle_token(event):  # type: ignore[no-untyped-def]
        if event.event_type == "token":
            field = event.data.get("field")
            token = event.token
            index = event.token_index
            update_ui_field(field, token, index)

    consumer.subscribe(handle_token)
    await consumer.run()
    assert shown == [("answer", f"t{n}", n) for n in range(3)]


async def test_a_handler_that_raises_is_called_again_then_the_event_is_buried_and_the_loop_lives_on() -> None:
    consumer = Memory(*bodies(3), max_retries=2)
    calls: list[int] = []
    others: list[int] = []
    consumer.subscribe(lambda event: others.append(event.token_index))

    @consumer.subscribe
    async def handler(event: core.TokenEvent) -> None:
        calls.append(event.token_index)
        if event.token_index == 1:
            raise ValueError("not this one")
        if event.token_index == 2:
            consumer.stop()

    await consumer.run()
    assert calls == [0, 1, 1, 1, 2]
    assert others == [0, 1, 2]  # those that went well are not called again
    assert consumer.buried == [(1, "handler")]
    assert consumer.acknowledged == [0, 1, 2]
    assert (consumer.handled, consumer.retried, consumer.bad) == (2, 2, 1)


async def test_a_handler_that_raises_once_is_retried() -> None:
    consumer = Memory(*bodies(1))
    calls: list[int] = []

    @consumer.subscribe
    def handler(event: core.TokenEvent) -> None:
        calls.append(event.token_index)
        if len(calls) == 1:
            raise ValueError("once")
        consumer.stop()

    await consumer.run()
    assert calls == [0, 0]
    assert (consumer.handled, consumer.bad) == (1, 0)


@pytest.mark.parametrize("choice", ["skip", "dead-letter"])
async def test_what_is_no_event_is_passed_over(choice: str) -> None:
    consumer = Memory(b"{", b"\xff", *bodies(1), on_bad_event=choice)
    seen: list[int] = []

    @consumer.subscribe
    def handler(event: core.TokenEvent) -> None:
        seen.append(event.token_index)
        consumer.stop()

    await consumer.run()
    assert seen == [0]
    assert consumer.acknowledged == [0, 1, 2]
    assert consumer.buried == ([(0, "malformed"), (1, "malformed")] if choice == "dead-letter" else [])


async def test_what_is_no_event_can_be_raised_and_stays_with_the_broker() -> None:
    consumer = Memory(*bodies(1), b"{", on_bad_event="raise")
    consumer.subscribe(lambda event: None)
    with pytest.raises(errors.ProviderError):
        await consumer.run()
    assert consumer.acknowledged == [0]
    assert [m.id for m in consumer.left] == [1]


async def test_a_handlers_error_can_be_raised() -> None:
    consumer = Memory(*bodies(1), on_bad_event="raise", max_retries=0)

    @consumer.subscribe
    def handler(event: object) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await consumer.run()
    assert consumer.acknowledged == []


async def test_a_stop_ends_after_the_event_at_hand_and_a_second_run_goes_on_there() -> None:
    consumer = Memory(*bodies(10))
    seen: list[int] = []

    @consumer.subscribe
    def handler(event: core.TokenEvent) -> None:
        seen.append(event.token_index)
        if len(seen) in (4, 10):
            consumer.stop()

    await consumer.run()
    assert consumer.acknowledged == [0, 1, 2, 3]
    await consumer.run()
    assert seen == list(range(10))


async def test_what_was_handled_and_not_acknowledged_is_not_handled_again() -> None:
    consumer = Memory(*bodies(3))
    consumer.lose_acks = 1
    seen: list[int] = []

    @consumer.subscribe
    def handler(event: core.TokenEvent) -> None:
        seen.append(event.token_index)

    task = asyncio.create_task(consumer.run())
    while consumer.left:
        await asyncio.sleep(0)
    consumer.stop()
    await task
    assert seen == [0, 1, 2]
    assert consumer.opened == ["open", "close", "open", "close"]


async def test_a_broker_that_is_away_is_waited_for() -> None:
    consumer = Memory(*bodies(1))
    consumer.away = 2
    consumer.subscribe(lambda event: consumer.stop())
    await consumer.run()
    assert consumer.handled == 1


async def test_events_one_by_one() -> None:
    consumer = Memory(*bodies(5))
    seen = []
    async for event in consumer:
        seen.append(event.token_index)  # type: ignore[attr-defined]
        if len(seen) == 3:
            consumer.stop()
    assert seen == [0, 1, 2]
    assert consumer.acknowledged == [0, 1, 2]


def test_a_blocking_twin_and_a_stop_from_another_thread() -> None:
    consumer = Memory(*bodies(1))
    handled = threading.Event()
    consumer.subscribe(lambda event: handled.set())
    thread = threading.Thread(target=consumer.run_sync)
    thread.start()
    assert handled.wait(20)
    consumer.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert consumer.acknowledged == [0]


async def test_wrong_use_is_told() -> None:
    with pytest.raises(errors.UsageError, match="no handler"):
        await Memory().run()
    for wrong in ({"on_bad_event": "explode"}, {"claim_idle": 0}, {"max_retries": -1}, {"batch_size": 0}):
        with pytest.raises(errors.UsageError):
            Memory(**wrong)
    consumer = Memory()
    consumer.subscribe(print)
    task = asyncio.create_task(consumer.run())
    await asyncio.sleep(0)
    with pytest.raises(errors.UsageError, match="already being read"):
        await consumer.run()
    consumer.stop()
    await task


async def test_a_consumed_run_is_the_native_run() -> None:
    native = events.TextDelta(block="b1", delta="hi", run="run_1", seq=4)
    consumer = Memory(core.encode(core.FromRun()(native)))
    async for event in consumer:
        assert core.to_native(event) == native
        consumer.stop()
