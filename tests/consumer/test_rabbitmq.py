"""Events back from a real RabbitMQ: groups, takeover, replay from a stream, dead letters, restarts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import errors
from headrace.consumer.rabbitmq import RabbitMQConsumer
from headrace.core import amqp
from headrace.core import events as core
from headrace.core.events import TokenEvent
from headrace.sinks.rabbitmq import RabbitMQSink
from headrace.testing.rabbitmq import RabbitMQ

ENV = {
    **os.environ,
    "PYTHONPATH": str(Path(errors.__file__).parents[1]),
}  # for programs that use this package


def put(server: RabbitMQ, exchange: str, first: int, count: int, **options: Any) -> None:
    """Events with the seqs `first` … into the exchange."""
    with RabbitMQSink(server.url, exchange=exchange, buffer_size=count * 2, **options) as sink:
        for seq in range(first, first + count):
            sink.emit(TokenEvent(token=f"t{seq}", token_index=seq, field="answer", run="run_x", seq=seq))
        assert sink.flush(30)


def collector(
    server: RabbitMQ, exchange: str, **options: Any
) -> tuple[RabbitMQConsumer, list[int], Callable[[int], Any]]:
    """A consumer, the seqs it has handled, and a coroutine that runs it until it has so many."""
    consumer = RabbitMQConsumer(server.url, exchange=exchange, **options)
    seen: list[int] = []
    wanted = 0

    @consumer.subscribe
    async def handler(event: TokenEvent) -> None:
        seen.append(event.seq)
        if len(seen) == wanted:
            consumer.stop()

    async def until(count: int) -> None:
        nonlocal wanted
        wanted = count
        await consumer.run()

    return consumer, seen, until


async def bodies(server: RabbitMQ, queue: str, count: int) -> list[Any]:
    """Messages of a queue as they are."""
    connection = await amqp.Connection.open(amqp.address(server.url), "test")
    await connection.consume(queue, prefetch=count)
    found: list[Any] = []
    while len(found) < count:
        found += await connection.deliveries(count, 5.0)
    await connection.close()
    return found


async def test_stop_and_start_without_loss(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "stops", 1, 300)
    _, seen, until = collector(rabbitmq, "stops")
    await until(30)  # in mid-batch: the rest is given back
    await until(100)
    _, rest, until = collector(rabbitmq, "stops")
    await until(200)
    assert seen + rest == list(range(1, 301))


async def test_a_group_shares_and_another_has_all(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "shared", 1, 1, group="other")  # declares the other's queue
    await asyncio.to_thread(put, rabbitmq, "shared", 2, 399)
    one, first, _ = collector(rabbitmq, "shared", prefetch_count=10)
    two, second, _ = collector(rabbitmq, "shared", prefetch_count=10)
    _, whole, until = collector(rabbitmq, "shared", group="other")
    sharing = [asyncio.create_task(c.run()) for c in (one, two)]
    await until(400)
    while len(first) + len(second) < 399:
        await asyncio.sleep(0.001)
    one.stop(), two.stop()
    await asyncio.gather(*sharing)
    assert whole == list(range(1, 401))
    assert sorted(first + second) == list(range(2, 401))


async def test_what_a_dead_consumer_left_is_taken_over(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "left", 1, 20)
    connection = await amqp.Connection.open(amqp.address(rabbitmq.url), "dies")
    await connection.consume("left.headrace", prefetch=100)
    while len(await connection.deliveries(100, 5.0)) < 1:
        pass
    connection._writer.transport.abort()  # as a killed process does
    await connection.close()
    _, seen, until = collector(rabbitmq, "left")
    await until(20)
    assert seen == list(range(1, 21))


async def test_replay_from_a_place_in_the_stream(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "kept", 1, 100, stream=True, group=None)
    for _ in range(2):  # what was read is still there
        _, seen, until = collector(rabbitmq, "kept", stream=True)
        await until(100)
        assert seen == list(range(1, 101))
    _, seen, until = collector(rabbitmq, "kept", stream=True, start=50)
    await until(10)
    await until(50)  # a second run goes on where the first has stopped
    assert seen == list(range(51, 101))


async def test_without_a_group_what_comes_from_now_on(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "now", 1, 10)
    consumer, seen, until = collector(rabbitmq, "now", group=None)
    task = asyncio.create_task(until(5))
    while not consumer._opened:
        await asyncio.sleep(0.001)
    await asyncio.to_thread(put, rabbitmq, "now", 11, 5)
    await task
    assert seen == list(range(11, 16))


async def test_malformed_messages_and_bad_handlers_are_buried_with_their_reason(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "bad", 1, 1)
    connection = await amqp.Connection.open(amqp.address(rabbitmq.url), "test")
    await connection.publish([connection.frame("bad", "x", b"{not json", "")])
    await connection.close()
    await asyncio.to_thread(put, rabbitmq, "bad", 2, 1)
    consumer = RabbitMQConsumer(rabbitmq.url, exchange="bad", max_retries=1)

    @consumer.on("token")
    def handler(event: TokenEvent) -> None:
        if event.seq == 1:
            raise ValueError("not this one")
        consumer.stop()

    await consumer.run()
    letters = await bodies(rabbitmq, "bad.headrace.dead", 2)
    assert [letter.headers["reason"] for letter in letters] == ["handler", "malformed"]
    assert "not this one" in letters[0].headers["error"]
    assert letters[1].body == b"{not json"


@pytest.mark.time_limit(150)  # a start of the broker, on a busy machine
async def test_the_server_is_killed_and_comes_back_and_nothing_is_handled_twice(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "restart", 1, 3000)
    consumer = RabbitMQConsumer(rabbitmq.url, exchange="restart", batch_size=100)
    seen: list[int] = []

    @consumer.subscribe
    async def handler(event: TokenEvent) -> None:
        seen.append(event.seq)
        if event.seq == 1050:
            rabbitmq.kill()  # in mid-batch: what is handled now cannot be acknowledged
        if event.seq == 1100:
            await asyncio.to_thread(rabbitmq.start)
        if event.seq == 3000:
            consumer.stop()

    await consumer.run()
    assert seen == list(range(1, 3001))


def test_parameters_that_make_no_sense() -> None:
    with pytest.raises(errors.UsageError):
        RabbitMQConsumer("redis://x")
    with pytest.raises(errors.UsageError):
        RabbitMQConsumer(prefetch_count=0)


_DIES = """
import asyncio, os, sys
from headrace.consumer import RabbitMQConsumer

consumer = RabbitMQConsumer(sys.argv[1], exchange="deadly", quorum=True, max_retries=1)

@consumer.subscribe
async def handler(event):
    print(event.seq, flush=True)
    if event.seq == 5:
        os._exit(9)

async def main():
    running = asyncio.create_task(consumer.run())
    while not consumer.bad:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    consumer.stop()
    await running

asyncio.run(main())
"""


async def test_an_event_that_ends_each_consumer_is_buried_at_last(rabbitmq: RabbitMQ) -> None:
    await asyncio.to_thread(put, rabbitmq, "deadly", 1, 20, quorum=True)
    ends, seen = [], []
    while not ends or ends[-1] == 9:
        command = [sys.executable, "-c", _DIES, rabbitmq.url]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, env=ENV
        )
        ends.append(done.returncode)
        seen += [int(line) for line in done.stdout.split() if line.isdigit()]
    assert ends == [9, 9, 9, 0]
    assert seen.count(5) == 3
    assert set(seen) == set(range(1, 21))
    (dead,) = await bodies(rabbitmq, "deadly.headrace.dead", 1)
    assert (dead.headers["reason"], core.decode(dead.body).seq) == ("returned", 5)
