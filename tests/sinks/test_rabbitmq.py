"""Events into a real RabbitMQ: all, in order, each known by its id; whatever happens to the server."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace import errors
from headrace.consumer.rabbitmq import RabbitMQConsumer
from headrace.core.events import HeadraceEvent, TokenEvent
from headrace.sinks.rabbitmq import RabbitMQSink
from headrace.testing.rabbitmq import RabbitMQ


def token(value: int) -> TokenEvent:
    return TokenEvent(token=f"t{value}", token_index=value, field="answer", run="run_x", seq=value + 1)


async def stored(server: RabbitMQ, exchange: str, count: int) -> list[int]:
    """The seqs of what is in the group's queue, of which there are so many."""
    consumer = RabbitMQConsumer(server.url, exchange=exchange)
    seen: list[int] = []
    async for event in consumer:
        seen.append(event.seq)
        if len(seen) >= count:
            consumer.stop()
    return seen


@pytest.mark.time_limit(150)  # a start of the broker, on a busy machine
async def test_100_000_events_all_there_in_order_once(rabbitmq: RabbitMQ) -> None:
    async with RabbitMQSink(rabbitmq.url, exchange="many", buffer_size=100_000) as sink:
        for value in range(100_000):
            sink.emit(token(value))
        assert await sink.aflush(60)
        assert (sink.sent, sink.dropped, sink.failed) == (100_000, 0, 0)
    assert await stored(rabbitmq, "many", 100_000) == list(range(1, 100_001))


@pytest.mark.time_limit(150)  # a start of the broker, on a busy machine
async def test_killed_in_mid_run_and_started_again(rabbitmq: RabbitMQ) -> None:
    async with RabbitMQSink(
        rabbitmq.url,
        exchange="killed",
        buffer_size=100_000,
        batch_size=100,
        failure_threshold=1,
        recovery_timeout=0.1,
    ) as sink:
        for value in range(20_000):
            sink.emit(token(value))
        while sink.sent < 1000:
            await asyncio.sleep(0.001)
        rabbitmq.kill()
        for value in range(20_000, 30_000):  # the program goes on, and its sink keeps it all
            sink.emit(token(value))
        while sink.circuit_state != "open":
            await asyncio.sleep(0.001)
        assert sink.sent < 30_000
        await asyncio.to_thread(rabbitmq.start)
        assert await sink.aflush(60)
        assert (sink.sent, sink.dropped, sink.circuit_state) == (30_000, 0, "closed")
    assert await stored(rabbitmq, "killed", 30_000) == list(range(1, 30_001))


async def test_a_batch_whose_confirms_were_lost_is_handled_once(rabbitmq: RabbitMQ) -> None:
    class Deaf(RabbitMQSink):
        lost = 0

        async def handle_batch(self, batch) -> None:  # type: ignore[no-untyped-def]
            await super().handle_batch(batch)
            if self.sent and not self.lost:
                self.lost = 1
                raise ConnectionResetError("the confirms never came")

    async with Deaf(
        rabbitmq.url, exchange="deaf", batch_size=10, failure_threshold=1, recovery_timeout=0.01
    ) as sink:
        for value in range(100):
            sink.emit(token(value))
        assert await sink.aflush(20)
        assert sink.lost
    assert await stored(rabbitmq, "deaf", 100) == list(range(1, 101))


@pytest.mark.time_limit(150)  # a start of the broker, on a busy machine
async def test_dead_at_the_start_the_newest_are_kept(rabbitmq: RabbitMQ) -> None:
    rabbitmq.kill()
    async with RabbitMQSink(
        rabbitmq.url, exchange="dead", buffer_size=500, failure_threshold=1, recovery_timeout=0.1
    ) as sink:
        for value in range(2000):
            sink.emit(token(value))
        while sink.circuit_state != "open":
            await asyncio.sleep(0.001)
        assert sink.dropped == 1500
        await asyncio.to_thread(rabbitmq.start)
        assert await sink.aflush(60)
    assert await stored(rabbitmq, "dead", 500) == list(range(1501, 2001))


async def test_routing_keys_are_templates(rabbitmq: RabbitMQ) -> None:
    consumer = RabbitMQConsumer(rabbitmq.url, exchange="keys", group="picky", routing_key="token.answer.*")
    await consumer._open()  # so that its queue is bound
    await consumer._close()
    async with RabbitMQSink(
        rabbitmq.url, exchange="keys", group=None, routing_key="{event_type}.{field}.{run}"
    ) as sink:
        sink.emit(HeadraceEvent(event_type="own"))
        sink.emit(TokenEvent(token="no", field="reasoning", run="r"))
        sink.emit(token(4))
        sink.emit(HeadraceEvent(event_type="very long " * 100))
        assert await sink.aflush()
        assert (sink.sent, sink.failed) == (4, 0)
    async for event in consumer:
        assert event.seq == 5
        consumer.stop()


def test_a_broker_that_refuses_is_an_outage_that_the_circuit_shows(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.url.replace("guest:guest", "guest:wrong")
    sink = RabbitMQSink(url, failure_threshold=1, recovery_timeout=3600)
    sink.emit(token(1))
    while sink.circuit_state != "open":
        time.sleep(0.001)
    assert sink.buffered == 1
    sink.stop(0.1)
    assert sink.dropped == 1


@pytest.mark.parametrize("wrong", [{"url": "redis://x"}, {"routing_key": "{nothing}"}, {"prefetch_count": 0}])
def test_parameters_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(errors.UsageError):
        RabbitMQSink(**wrong)  # type: ignore[arg-type]
