"""Our AMQP client beside the libraries there are: the same events, the same broker, one after the other.

    python -m benchmarks.amqp [EVENTS]

Each way publishes events of one run, persistent, with a message id, 2,000 unconfirmed at once, into a durable queue
declared as the sink declares it, and reads them back with 4,000 unacknowledged and an acknowledgement for each 500.
Wall time and this process's CPU (the broker works beside it). Three rounds, interleaved; the best of each is said,
since what else the machine does only ever adds. A library that is not installed is left out: `pip install pika
amqpstorm aio-pika rstream` in an environment of its own with this package. `amqpstorm`, and `pika`'s blocking
connection, confirm each message before the next: they have a tenth of the events. `rstream` speaks RabbitMQ's own
protocol to a stream, which has no groups and no acknowledgement. Next: `crowd`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from benchmarks import sinks
from headrace.core import amqp as ours
from headrace.core import events as core

WINDOW, PREFETCH, ACK, ROUNDS = 2000, 4000, 500, 3
ARGUMENTS = {"x-queue-version": 2, "x-queue-mode": "lazy"}
Way = Callable[[Any, str, list[bytes]], Awaitable[tuple[float, float, float, float]]]


class Clock:
    """Wall and CPU time of a part, for a number of events."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def each(self, count: int) -> tuple[float, float]:
        """Events a second, and microseconds of CPU an event."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return count / wall, cpu / count * 1e6


def windows(bodies: list[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered bodies, a window at a time."""
    numbered = list(enumerate(bodies))
    for start in range(0, len(numbered), WINDOW):
        yield numbered[start : start + WINDOW]


async def headrace(server: Any, queue: str, bodies: list[bytes]) -> tuple[float, float, float, float]:
    """`headrace.core.amqp`: pamqp's frames."""
    connection = await ours.Connection.open(ours.address(server.url), "benchmark")
    await connection.declare_queue(queue, arguments=ARGUMENTS)
    clock = Clock()
    for window in windows(bodies):
        await connection.publish(
            [connection.frame("", queue, body, f"sink:{number}") for number, body in window]
        )
    put = clock.each(len(bodies))
    clock, seen = Clock(), 0
    await connection.consume(queue, prefetch=PREFETCH)
    while seen < len(bodies):
        found = await connection.deliveries(ACK, 5.0)
        if found:
            seen += len(found)
            await connection.acknowledge(found[-1].tag)
    got = clock.each(len(bodies))
    await connection.close()
    return *put, *got


async def aio_pika(server: Any, queue: str, bodies: list[bytes]) -> tuple[float, float, float, float]:
    """aio-pika, a window of publishes gathered."""
    import aio_pika as library

    connection = await library.connect(server.url)
    channel = await connection.channel(publisher_confirms=True)
    declared = await channel.declare_queue(queue, durable=True, arguments=ARGUMENTS)
    exchange = channel.default_exchange
    clock = Clock()
    for window in windows(bodies):
        await asyncio.gather(
            *(
                exchange.publish(library.Message(body, delivery_mode=2, message_id=f"sink:{number}"), queue)
                for number, body in window
            )
        )
    put = clock.each(len(bodies))
    await channel.set_qos(PREFETCH)
    seen, over = 0, asyncio.Event()

    async def handle(message: Any) -> None:
        nonlocal seen
        seen += 1
        if seen % ACK == 0 or seen == len(bodies):
            await message.ack(multiple=True)
        if seen == len(bodies):
            over.set()

    clock = Clock()
    await declared.consume(handle)
    await over.wait()
    got = clock.each(len(bodies))
    await connection.close()
    return *put, *got


async def aiormq(server: Any, queue: str, bodies: list[bytes]) -> tuple[float, float, float, float]:
    """aiormq, what aio-pika is built on, a window of publishes gathered."""
    import aiormq as library

    connection = await library.connect(server.url)
    channel = await connection.channel(publisher_confirms=True)
    await channel.queue_declare(queue, durable=True, arguments=ARGUMENTS)
    clock = Clock()
    for window in windows(bodies):
        await asyncio.gather(
            *(
                channel.basic_publish(
                    body,
                    routing_key=queue,
                    properties=library.spec.Basic.Properties(delivery_mode=2, message_id=f"sink:{number}"),
                )
                for number, body in window
            )
        )
    put = clock.each(len(bodies))
    await channel.basic_qos(prefetch_count=PREFETCH)
    seen, over = 0, asyncio.Event()

    async def handle(message: Any) -> None:
        nonlocal seen
        seen += 1
        if seen % ACK == 0 or seen == len(bodies):
            await channel.basic_ack(message.delivery.delivery_tag, multiple=True)
        if seen == len(bodies):
            over.set()

    clock = Clock()
    await channel.basic_consume(queue, handle)
    await over.wait()
    got = clock.each(len(bodies))
    await connection.close()
    return *put, *got


async def pika(server: Any, queue: str, bodies: list[bytes]) -> tuple[float, float, float, float]:
    """pika on its asyncio adapter: confirms counted in a callback."""
    from pika import BasicProperties, URLParameters
    from pika.adapters.asyncio_connection import AsyncioConnection

    loop = asyncio.get_running_loop()

    def asked(ask: Callable[..., Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = loop.create_future()
        ask(lambda *found: future.done() or future.set_result(found[0]))
        return future

    connection = await asked(lambda done: AsyncioConnection(URLParameters(server.url), done))
    channel = await asked(lambda done: connection.channel(on_open_callback=done))
    await asked(lambda done: channel.queue_declare(queue, durable=True, arguments=ARGUMENTS, callback=done))
    confirmed, moved = 0, asyncio.Event()

    def confirm(found: Any) -> None:
        nonlocal confirmed
        confirmed = found.method.delivery_tag if found.method.multiple else confirmed + 1
        moved.set()

    await asked(lambda done: channel.confirm_delivery(confirm, callback=done))
    clock, sent = Clock(), 0
    for window in windows(bodies):
        for number, body in window:
            channel.basic_publish(
                "", queue, body, BasicProperties(delivery_mode=2, message_id=f"sink:{number}")
            )
            if number % 100 == 0:
                await asyncio.sleep(0)  # so that the broker works meanwhile
        sent += len(window)
        while confirmed < sent:
            moved.clear()
            await moved.wait()
    put = clock.each(len(bodies))
    await asked(lambda done: channel.basic_qos(prefetch_count=PREFETCH, callback=done))
    seen, over = 0, asyncio.Event()

    def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal seen
        seen += 1
        if seen % ACK == 0 or seen == len(bodies):
            channel.basic_ack(method.delivery_tag, multiple=True)
        if seen == len(bodies):
            over.set()

    clock = Clock()
    channel.basic_consume(queue, handle)
    await over.wait()
    got = clock.each(len(bodies))
    connection.close()
    return *put, *got


async def amqpstorm(server: Any, queue: str, bodies: list[bytes]) -> tuple[float, float, float, float]:
    """AMQPStorm, which confirms one by one."""
    bodies = bodies[: len(bodies) // 10]

    def work() -> tuple[float, float, float, float]:
        import amqpstorm as library

        with library.Connection("127.0.0.1", "guest", "guest", port=server.port) as connection:
            channel = connection.channel()
            channel.confirm_deliveries()
            channel.queue.declare(queue, durable=True, arguments=ARGUMENTS)
            clock = Clock()
            for number, body in enumerate(bodies):
                channel.basic.publish(
                    body, queue, properties={"delivery_mode": 2, "message_id": f"sink:{number}"}
                )
            put = clock.each(len(bodies))
            channel.basic.qos(PREFETCH)
            clock = Clock()
            channel.basic.consume(queue=queue)
            for seen, message in enumerate(channel.build_inbound_messages(break_on_empty=False), 1):
                if seen % ACK == 0 or seen == len(bodies):
                    channel.basic.ack(message.delivery_tag, multiple=True)
                if seen == len(bodies):
                    break
            return *put, *clock.each(len(bodies))

    return await asyncio.to_thread(work)


async def rstream(server: Any, queue: str, bodies: list[bytes]) -> tuple[float, float, float, float]:
    """rstream: a stream by RabbitMQ's own protocol, in batches."""
    import rstream as library

    where = {"host": "127.0.0.1", "port": server.stream_port, "username": "guest", "password": "guest"}
    confirmed, moved = 0, asyncio.Event()

    def confirm(status: Any) -> None:
        nonlocal confirmed
        confirmed += 1
        moved.set()

    async with library.Producer(**where) as producer:
        await producer.create_stream(queue)
        clock, sent = Clock(), 0
        for window in windows(bodies):
            messages = [library.AMQPMessage(body=body) for _, body in window]
            await producer.send_batch(queue, messages, on_publish_confirm=confirm)  # type: ignore[arg-type]
            sent += len(window)
            while confirmed < sent:
                moved.clear()
                await moved.wait()
        put = clock.each(len(bodies))
    seen, over = 0, asyncio.Event()
    consumer = library.Consumer(**where)
    await consumer.start()

    async def handle(message: Any, context: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == len(bodies):
            over.set()

    clock = Clock()
    await consumer.subscribe(
        queue,
        handle,
        decoder=library.amqp_decoder,
        offset_specification=library.ConsumerOffsetSpecification(library.OffsetType.FIRST),
    )
    await over.wait()
    got = clock.each(len(bodies))
    await consumer.close()
    return *put, *got


WAYS: tuple[Way, ...] = (headrace, pika, aiormq, aio_pika, rstream, amqpstorm)


def main(count: int) -> None:
    """Print a line for each way."""
    from headrace.testing.rabbitmq import RabbitMQ

    bodies = [core.encode(event) for event in sinks.events(count)]
    best: dict[str, list[float]] = {}
    with RabbitMQ() as server:
        for number in range(ROUNDS):
            for way in WAYS:
                name = way.__name__
                try:
                    found = asyncio.run(
                        asyncio.wait_for(way(server, f"{name}.{number}", bodies), timeout=120)
                    )
                except ImportError as error:
                    if not number:
                        print(f"  left out: {error}", flush=True)
                    continue
                print(f"  {name}: {found}", file=sys.stderr, flush=True)
                before = best.get(name, [0.0, 1e9, 0.0, 1e9])
                best[name] = [
                    pick(a, b) for pick, a, b in zip((max, min, max, min), before, found, strict=True)
                ]
    print(f"{count:,} events; confirmed/s, CPU µs each; consumed/s, CPU µs each")
    for name, (put, put_cpu, got, got_cpu) in best.items():
        print(f"  {name:10} {put:>8,.0f} {put_cpu:>6.1f}   {got:>8,.0f} {got_cpu:>6.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
