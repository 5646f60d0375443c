"""Events into a real Redis: all, in order, once; whatever happens to the server."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis as driver

from headrace import errors
from headrace.core.events import HeadraceEvent, TokenEvent, decode
from headrace.sinks.redis import RedisSink
from headrace.testing.redis import Redis


def token(value: int) -> TokenEvent:
    return TokenEvent(token=f"t{value}", token_index=value, field="answer", run="run_x", seq=value + 1)


def stored(server: Redis, stream: str = "headrace:events") -> list[int]:
    """The seqs of what is in the stream."""
    with driver.Redis.from_url(server.url) as client:
        entries: Any = client.xrange(stream)
    return [decode(fields[b"event"]).seq for _, fields in entries]


def test_100_000_events_all_there_in_order_once(redis: Redis) -> None:
    with RedisSink(redis.url, buffer_size=100_000) as sink:
        for value in range(100_000):
            sink.emit(token(value))
        assert sink.flush(60)
        assert (sink.sent, sink.dropped, sink.failed) == (100_000, 0, 0)
    assert stored(redis) == list(range(1, 100_001))


def test_killed_in_mid_run_and_started_again(redis: Redis) -> None:
    with RedisSink(
        redis.url, buffer_size=100_000, batch_size=100, failure_threshold=1, recovery_timeout=0.05
    ) as sink:
        for value in range(20_000):
            sink.emit(token(value))
        while sink.sent < 1000:
            time.sleep(0.001)
        redis.kill()
        for value in range(20_000, 40_000):  # the program goes on, and its sink keeps it all
            sink.emit(token(value))
        while sink.circuit_state != "open":
            time.sleep(0.001)
        assert sink.sent < 40_000
        redis.start()
        assert sink.flush(60)
        assert (sink.sent, sink.dropped, sink.circuit_state) == (40_000, 0, "closed")
    assert stored(redis) == list(range(1, 40_001))


def test_a_batch_whose_answer_was_lost_is_not_there_twice(redis: Redis) -> None:
    class Deaf(RedisSink):
        lost = 0

        async def _call(self, call: Any) -> None:
            await super()._call(call)
            if self.sent and not self.lost:
                self.lost = 1
                raise ConnectionResetError("the answer never came")

    with Deaf(redis.url, batch_size=10, failure_threshold=1, recovery_timeout=0.01) as sink:
        for value in range(100):
            sink.emit(token(value))
        assert sink.flush(20)
    assert sink.lost
    assert stored(redis) == list(range(1, 101))


def test_dead_at_the_start_drops_beyond_the_buffer_are_counted(redis: Redis) -> None:
    redis.kill()
    with RedisSink(redis.url, buffer_size=500, failure_threshold=1, recovery_timeout=0.05) as sink:
        for value in range(2000):
            sink.emit(token(value))
        while sink.circuit_state != "open":
            time.sleep(0.001)
        redis.start()
        assert sink.flush(20)
        assert sink.sent + sink.dropped == 2000
        assert sink.dropped >= 1500
    found = stored(redis)
    assert found[-1] == 2000
    assert found == sorted(set(found))
    assert len(found) == sink.sent


def test_a_server_that_hangs_holds_up_nothing(redis: Redis) -> None:
    with RedisSink(redis.url, flush_interval=0, buffer_size=100_000) as sink:
        sink.emit(token(0))
        assert sink.flush(20)
        redis.pause()
        for value in range(1, 5000):
            sink.emit(token(value))  # returns, though nobody takes it
        assert sink.sent == 1
        redis.resume()
        assert sink.flush(20)
    assert stored(redis) == list(range(1, 5001))


def test_the_stream_is_kept_to_its_length(redis: Redis) -> None:
    with RedisSink(redis.url, stream_key="short", max_stream_length=200) as sink:
        for value in range(3000):
            sink.emit(token(value))
    assert 200 <= len(stored(redis, "short")) < 600  # Redis trims whole nodes


def test_all_kinds_of_events_and_one_pool_for_each_sink(redis: Redis) -> None:
    with RedisSink(redis.url, stream_key="{a}b", max_stream_length=None) as sink:
        sink.emit(HeadraceEvent(event_type="own", data={"x": "\ud800 \x00 日本語"}))
        assert sink.flush()
        with driver.Redis.from_url(redis.url) as client:
            (entry,) = client.xrange("{a}b")  # type: ignore[misc]
            assert decode(entry[1][b"event"]).data["x"] == "\ufffd \x00 日本語"
            assert len(client.client_list()) == 2


def test_a_key_of_another_kind_is_no_outage(redis: Redis) -> None:
    with driver.Redis.from_url(redis.url) as client:
        client.set("headrace:events", "text")
    with RedisSink(redis.url) as sink:
        sink.emit(token(1))
        assert sink.flush()
        assert (sink.sent, sink.failed) == (0, 1)


def test_a_url_that_is_none() -> None:
    with pytest.raises(errors.UsageError, match="not the URL of a Redis"):
        RedisSink("http://localhost")
