"""Sinks and consumers: what an event costs the program, what a broker takes, and what a bad sink does to the program.

The brokers are real servers on this machine, started here; where a server's program is missing its rows are left
out. "The program" is a loop of tokens: a little work, a pause as between two tokens of a model, and `emit`.
Next: `startup`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks import measure

EVENTS = 100_000
TOKENS, PAUSE_S = 400, 0.0015


def events(count: int) -> list[Any]:
    """Token events of one run."""
    from headrace.core.events import TokenEvent

    return [
        TokenEvent(
            token=f" word{n}", token_index=n, field="answer", run="run_01JD000000000000000000", seq=n + 1
        )
        for n in range(count)
    ]


def program(sink: Any, tokens: list[Any], half: Callable[[], None] | None = None) -> float:
    """Seconds that the program takes."""
    began = time.perf_counter()
    for number, token in enumerate(tokens):
        sum(range(1000))
        time.sleep(PAUSE_S)
        if sink is not None:
            sink.emit(token)
        if half is not None and number == len(tokens) // 2:
            half()
    return time.perf_counter() - began


def emitted(rounds: int) -> float:
    """Microseconds of one `emit`, while the sink's thread works."""
    from headrace.sinks import BaseSink

    class Nothing(BaseSink):
        async def handle_batch(self, batch: Any) -> None: ...

    found = []
    for _ in range(rounds):
        with Nothing(buffer_size=EVENTS) as sink:
            made = events(EVENTS)
            began = time.perf_counter()
            for event in made:
                sink.emit(event)
            found.append((time.perf_counter() - began) / EVENTS * 1e6)
    return statistics.median(found)


def troubled(rounds: int) -> dict[str, float]:
    """Seconds of the program without a sink, and with bad ones.

    The fastest of the rounds: what else the machine does only ever adds.
    """
    from headrace.sinks import BaseSink

    class Sleeps(BaseSink):
        def handle_event(self, event: Any) -> None:
            time.sleep(1)

    class Raises(BaseSink):
        def handle_event(self, event: Any) -> None:
            raise ValueError("always")

    class Full(BaseSink):
        def handle_event(self, event: Any) -> None:
            time.sleep(1)

    def with_sink(make: Callable[[], Any] | None) -> Callable[[], float]:
        def measured() -> float:
            sink = make() if make is not None else None
            try:
                return program(sink, events(TOKENS))
            finally:
                if sink is not None:
                    sink.stop(0)

        return measured

    asks = {
        "none": with_sink(None),
        "sleeps 1 s an event": with_sink(lambda: Sleeps(flush_interval=0)),
        "raises each time": with_sink(lambda: Raises(flush_interval=0)),
        "a buffer of 5 that is full": with_sink(lambda: Full(flush_interval=0, buffer_size=5)),
    }
    return {name: min(found) for name, found in measure.interleaved(rounds, asks).items()}


def outage(make: Callable[[], Any], server: Any, rounds: int) -> tuple[float, float]:
    """Seconds of the program with its broker there, and with one that is killed half way; the fastest of each."""
    there, killed = [], []
    for _ in range(rounds):
        server.start()
        with make() as sink:
            there.append(program(sink, events(TOKENS)))
        with make() as sink:
            killed.append(program(sink, events(TOKENS), server.kill))
            sink.stop(0)
    return min(there), min(killed)


def rate(sink: Any) -> float:
    """Events a second, from the first `emit` to the broker having all."""
    made = events(EVENTS)
    with sink:
        time.sleep(1.0)  # connected
        began = time.perf_counter()
        for event in made:
            sink.emit(event)
        assert sink.flush(120)
        assert sink.sent == EVENTS, (sink.sent, sink.dropped, sink.failed)
        return EVENTS / (time.perf_counter() - began)


def consumed(consumer: Any) -> float:
    """Events a second through a handler, acknowledged."""
    seen: list[int] = []

    @consumer.on("token")
    async def handler(event: Any) -> None:
        seen.append(event.seq)
        if len(seen) == EVENTS:
            consumer.stop()

    began = time.perf_counter()
    asyncio.run(consumer.run())
    took = time.perf_counter() - began
    assert seen == list(range(1, EVENTS + 1)), "lost, twice, or out of order"
    return EVENTS / took


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields rows."""
    import logging

    import structlog

    from headrace import errors
    from headrace.consumer import RabbitMQConsumer, RedisStreamConsumer
    from headrace.sinks import RabbitMQSink, RedisSink
    from headrace.testing.rabbitmq import RabbitMQ
    from headrace.testing.redis import Redis

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield measure.Row("an event into a sink's buffer", "µs", emitted(2 if quick else 5), 5.0)
    times = troubled(2 if quick else 5)
    for name in list(times)[1:]:
        what = f"the program with a sink that {name}" if not name.startswith("a ") else f"… {name}"
        yield measure.Row(what, "s", times[name], 1.05, times["none"], "without")
    brokers: list[tuple[str, Any, Any, Any, float]] = [
        ("Redis", Redis, RedisSink, RedisStreamConsumer, 50_000),
        ("RabbitMQ", RabbitMQ, RabbitMQSink, RabbitMQConsumer, 20_000),
    ]
    for name, server_class, sink_class, consumer_class, target in brokers:
        with ExitStack() as stack:
            try:
                server = stack.enter_context(server_class())
            except errors.UsageError as error:
                print(f"  left out: {error}", flush=True)
                continue
            speed = rate(sink_class(server.url, buffer_size=EVENTS))
            yield measure.Row(f"{name} sink, {EVENTS:,} events", "events/s", speed, target, at_least=True)
            # One consumer that is to take all: what RabbitMQ hands out ahead is what it need not wait for.
            ahead: dict[str, Any] = {"prefetch_count": 20_000} if name == "RabbitMQ" else {}
            speed = consumed(consumer_class(server.url, **ahead))
            yield measure.Row(
                f"{name} consumer, handled once, in order", "events/s", speed, 30_000, at_least=True
            )
            there, killed = outage(lambda: sink_class(server.url), server, 2 if quick else 4)  # noqa: B023
            yield measure.Row(f"the program while {name} is killed", "s", killed, 1.05, there, "not killed")
