"""Answers in a real Redis."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

import headrace
from headrace import errors
from headrace.providers.scripted import Scripted
from headrace.templates import caching

redis_cache = pytest.importorskip("headrace.templates.redis_cache")


@pytest.fixture
def make(redis: Any) -> Any:
    """Stores of one cache of this test's own."""
    prefix = f"test-{uuid.uuid4().hex}"
    made: list[Any] = []

    def one(max_bytes: int = 10**6) -> Any:
        made.append(redis_cache.RedisStore(redis.url, max_bytes, prefix=prefix))
        return made[-1]

    yield one
    for store in made:
        store.clear()
        store.close()


def test_entries_come_back_in_another_process_too(make: Any) -> None:
    one, two = make(), make()
    one.put("k", b"v\x00")
    assert two.get("k") == b"v\x00"
    assert two.get("other") is None
    assert (two.clear(), one.get("k"), one.clear()) == (1, None, 0)


def test_the_least_used_go_first_and_the_limit_holds(make: Any) -> None:
    store = make(25)
    store.put("a", b"x" * 10)
    store.put("b", b"x" * 10)
    assert store.get("a") is not None
    store.put("b", b"y" * 9)
    assert store.get("a") is not None
    store.put("c", b"x" * 10)
    assert [store.get(key) is not None for key in "abc"] == [True, False, True]
    writers = [
        threading.Thread(target=lambda n=n: [make(25).put(f"{n}-{i}", b"z" * 5) for i in range(20)]) for n in range(4)
    ]  # fmt: skip
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    names = store._names
    kept = store._redis.zrange(names[1], 0, -1)
    sizes = [len(store._redis.get(names[0].encode() + key)) for key in kept]
    assert sum(sizes) == int(store._redis.hget(names[2], "")) <= 25


async def test_a_second_run_makes_no_request(make: Any) -> None:
    provider = Scripted("one two")
    template = headrace.Template("[[a]] [[b]]")
    for _ in range(2):
        result = await template.run(provider, cache=caching.Cache(make()))
    assert len(provider.calls) == 2
    assert result.slot("a").cached


def test_a_server_that_is_gone_is_a_typed_error() -> None:
    store = redis_cache.RedisStore("redis://127.0.0.1:9")
    with pytest.raises(errors.StoreError) as caught:
        store.get("k")
    assert caught.value.code == "store-unavailable"
    with pytest.raises(errors.UsageError):
        redis_cache.RedisStore("ftp://x")


def test_a_url_opens_it(redis: Any) -> None:
    assert isinstance(caching.opened(redis.url), redis_cache.RedisStore)
