"""Answers kept in Redis, for processes on several machines; least recently used out first. Needs the extra `redis`.

    {P}:e:KEY  the entry      {P}:used  keys by when they were used      {P}:size  keys to bytes, and their sum

A put and what it pushes out are one script, so the limit holds however many write. An entry is one value, written
whole or not at all. Next: `caching`, which opens it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from headrace import errors
from headrace.templates.caching import MAX_BYTES

_PUT = """
local old = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
redis.call('SET', KEYS[1] .. ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], #ARGV[2])
local total = redis.call('HINCRBY', KEYS[3], '', #ARGV[2] - old)
while total > tonumber(ARGV[4]) do
  local oldest = redis.call('ZPOPMIN', KEYS[2])
  if #oldest == 0 then break end
  redis.call('DEL', KEYS[1] .. oldest[1])
  total = redis.call('HINCRBY', KEYS[3], '', -tonumber(redis.call('HGET', KEYS[3], oldest[1]) or '0'))
  redis.call('HDEL', KEYS[3], oldest[1])
end
"""


class RedisStore:
    """Entries in Redis. See `caching.Store`.

    Args:
        url: `redis://HOST:PORT/DB`, `rediss://…` or `unix://…`.
        max_bytes: of all entries together.
        prefix: of its keys; another one is another cache.

    Raises:
        errors.UsageError: `missing-extra`; `bad-request` for a URL that is none.
        errors.StoreError: the server cannot be asked.
    """

    def __init__(self, url: str, max_bytes: int = MAX_BYTES, *, prefix: str = "headrace:answers") -> None:
        try:
            import redis
        except ImportError as error:
            raise errors.UsageError(
                "answers in Redis need the extra `redis`: pip install 'headrace[redis]'", code="missing-extra"
            ) from error
        self._error: type[Exception] = redis.RedisError
        try:
            self._redis = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)
        except ValueError as error:
            raise errors.UsageError(
                f"{url!r} is no URL of a Redis server: {error}", code="bad-request"
            ) from error
        self._names = (f"{prefix}:e:", f"{prefix}:used", f"{prefix}:size")
        self._max = max_bytes
        self._put = self._redis.register_script(_PUT)

    def _do(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except self._error as error:
            raise errors.StoreError(f"the cache in Redis: {error}", code="store-unavailable") from error

    def get(self, key: str) -> bytes | None:
        """See `Store.get`."""

        def work() -> bytes | None:
            found = self._redis.get(self._names[0] + key)
            if found is not None:
                self._redis.zadd(self._names[1], {key: time.time()}, xx=True)
            return found

        found: bytes | None = self._do(work)
        return found

    def put(self, key: str, value: bytes) -> None:
        """See `Store.put`."""
        self._do(lambda: self._put(keys=self._names, args=[key, value, time.time(), self._max]))

    def clear(self) -> int:
        """See `Store.clear`."""

        def work() -> int:
            keys: Any = self._redis.zrange(self._names[1], 0, -1)
            for start in range(0, len(keys), 1000):
                self._redis.delete(*(self._names[0].encode() + key for key in keys[start : start + 1000]))
            self._redis.delete(*self._names[1:])
            return len(keys)

        return int(self._do(work))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
