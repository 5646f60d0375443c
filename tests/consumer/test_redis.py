"""Events back from a real Redis: groups, takeover, replay, dead letters, restarts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as driver

from headrace import errors
from headrace.consumer.redis import RedisStreamConsumer
from headrace.core.events import TokenEvent, encode
from headrace.sinks.redis import RedisSink
from headrace.testing.redis import Redis

STREAM = "headrace:events"

ENV = {
    **os.environ,
    "PYTHONPATH": str(Path(errors.__file__).parents[1]),
}  # for programs that use this package


def put(server: Redis, first: int, count: int) -> None:
    """Events with the seqs `first` … into the stream."""
    with RedisSink(server.url, buffer_size=count * 2) as sink:
        for seq in range(first, first + count):
            sink.emit(TokenEvent(token=f"t{seq}", token_index=seq, field="answer", run="run_x", seq=seq))


def collector(server: Redis, **options: Any) -> tuple[RedisStreamConsumer, list[int], Callable[[int], Any]]:
    """A consumer, the seqs it has handled, and a coroutine that runs it until it has so many."""
    consumer = RedisStreamConsumer(server.url, **options)
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


def pending(server: Redis) -> int:
    with driver.Redis.from_url(server.url) as client:
        found: Any = client.xpending(STREAM, "headrace")
    return int(found["pending"])


async def test_all_of_them_in_order_and_acknowledged(redis: Redis) -> None:
    put(redis, 1, 3000)
    _, seen, until = collector(redis)
    await until(3000)
    assert seen == list(range(1, 3001))
    assert pending(redis) == 0


async def test_a_group_shares_and_another_has_all(redis: Redis) -> None:
    put(redis, 1, 400)
    one, first, _ = collector(redis, batch_size=10)
    two, second, _ = collector(redis, batch_size=10)
    _, whole, until = collector(redis, group="other")
    sharing = [asyncio.create_task(c.run()) for c in (one, two)]
    await until(400)
    while len(first) + len(second) < 400:
        await asyncio.sleep(0.001)
    one.stop(), two.stop()
    await asyncio.gather(*sharing)
    assert sorted(first + second) == whole == list(range(1, 401))
    assert pending(redis) == 0


async def test_what_a_dead_consumer_left_is_taken_over(redis: Redis) -> None:
    put(redis, 1, 20)
    with driver.Redis.from_url(redis.url) as client:  # one that reads and dies
        client.xgroup_create(STREAM, "headrace", id="0")
        client.xreadgroup("headrace", "dead", {STREAM: ">"}, count=20)
    assert pending(redis) == 20
    _, seen, until = collector(redis, claim_idle=0.05)
    await until(20)
    assert seen == list(range(1, 21))
    assert pending(redis) == 0


async def test_one_that_comes_back_under_its_name_goes_on_with_what_it_had(redis: Redis) -> None:
    put(redis, 1, 20)
    with driver.Redis.from_url(redis.url) as client:
        client.xgroup_create(STREAM, "headrace", id="0")
        client.xreadgroup("headrace", "me", {STREAM: ">"}, count=5)
    _, seen, until = collector(redis, consumer_name="me", claim_idle=3600)
    await until(20)
    assert seen == list(range(1, 21))


async def test_stop_and_start_without_loss(redis: Redis) -> None:
    put(redis, 1, 100)
    _, seen, until = collector(redis)
    await until(30)  # in mid-batch: the other 70 were read, and are given back
    assert pending(redis) == 70
    put(redis, 101, 50)
    _, rest, until = collector(redis, claim_idle=3600)
    await until(120)
    assert seen + rest == list(range(1, 151))
    assert pending(redis) == 0


async def test_replay_from_a_position(redis: Redis) -> None:
    put(redis, 1, 100)
    _, seen, until = collector(redis, group=None)
    await until(100)
    assert seen == list(range(1, 101))
    with driver.Redis.from_url(redis.url) as client:
        entries: Any = client.xrange(STREAM)
    _, seen, until = collector(redis, group=None, start=entries[49][0].decode())
    await until(50)
    assert seen == list(range(51, 101))


async def test_without_a_group_a_stop_keeps_its_place(redis: Redis) -> None:
    put(redis, 1, 100)
    _, seen, until = collector(redis, group=None)
    await until(30)
    await until(100)
    assert seen == list(range(1, 101))


async def test_from_the_end_only_what_comes(redis: Redis) -> None:
    put(redis, 1, 10)
    consumer, seen, until = collector(redis, group=None, start="end")
    task = asyncio.create_task(until(5))
    while not consumer._opened:
        await asyncio.sleep(0.001)
    await asyncio.to_thread(put, redis, 11, 5)
    await task
    assert seen == list(range(11, 16))


async def test_malformed_entries_and_bad_handlers_are_buried_with_their_reason(redis: Redis) -> None:
    with driver.Redis.from_url(redis.url) as client:
        client.xadd(STREAM, {"event": b"{not json"})
        client.xadd(STREAM, {"other": b"field"})
    put(redis, 1, 2)
    consumer = RedisStreamConsumer(redis.url, max_retries=1)

    @consumer.on("token")
    def handler(event: TokenEvent) -> None:
        if event.seq == 1:
            raise ValueError("not this one")
        consumer.stop()

    await consumer.run()
    with driver.Redis.from_url(redis.url) as client:
        letters: Any = client.xrange(f"{STREAM}:dead")
    assert [fields[b"reason"] for _, fields in letters] == [b"malformed", b"malformed", b"handler"]
    assert letters[0][1][b"event"] == b"{not json"
    assert b"not this one" in letters[2][1][b"error"]
    assert (
        encode(TokenEvent(token="t1", token_index=1, field="answer", run="run_x", seq=1))[:40]
        in (letters[2][1][b"event"])
    )
    assert pending(redis) == 0


async def test_the_server_is_killed_and_comes_back_and_nothing_is_handled_twice(redis: Redis) -> None:
    put(redis, 1, 5000)
    consumer = RedisStreamConsumer(redis.url, batch_size=100)
    seen: list[int] = []

    @consumer.subscribe
    async def handler(event: TokenEvent) -> None:
        seen.append(event.seq)
        if event.seq == 1050:
            redis.kill()  # in mid-batch: what is handled now cannot be acknowledged
        if event.seq == 1100:
            redis.start()
        if event.seq == 5000:
            consumer.stop()

    await consumer.run()
    assert seen == list(range(1, 5001))
    assert pending(redis) == 0


async def test_a_server_that_is_dead_at_the_start_is_waited_for(redis: Redis) -> None:
    redis.kill()
    _, seen, until = collector(redis)
    task = asyncio.create_task(until(3))
    await asyncio.sleep(0)
    redis.start()
    await asyncio.to_thread(put, redis, 1, 3)
    await task
    assert seen == [1, 2, 3]


def test_a_url_that_is_none() -> None:
    with pytest.raises(errors.UsageError, match="not the URL of a Redis"):
        RedisStreamConsumer("http://localhost")


_DIES = """
import asyncio, os, sys
from headrace.consumer import RedisStreamConsumer

consumer = RedisStreamConsumer(sys.argv[1], max_retries=1, claim_idle=0.01)

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


async def test_an_event_that_ends_each_consumer_is_buried_at_last(redis: Redis) -> None:
    put(redis, 1, 20)
    ends, seen = [], []
    while not ends or ends[-1] == 9:
        command = [sys.executable, "-c", _DIES, redis.url]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, env=ENV
        )
        ends.append(done.returncode)
        seen += [int(line) for line in done.stdout.split() if line.isdigit()]
    assert ends == [9, 9, 9, 0]
    assert seen.count(5) == 3
    assert set(seen) == set(range(1, 21))
    assert pending(redis) == 0
    with driver.Redis.from_url(redis.url) as client:
        ((_, letter),) = client.xrange(f"{STREAM}:dead")  # type: ignore[misc]
    assert letter[b"reason"] == b"returned"
