"""Events into a Redis Stream (the extra `redis`): one entry an event, its JSON in the field `event`.

A batch is one call of a script that adds all of it, so it is there whole or not at all. The script also keeps the
number of the last event it has added, under a key of the sink's own: a batch whose answer got lost comes again,
and what is there already is passed over. (MULTI and XADD would do the same in many more bytes; see decision 7.)
Next: `rabbitmq`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace import errors, ids
from headrace.core import events as core
from headrace.sinks.base import BaseSink, Item

STREAM_KEY = "headrace:events"
_SCRIPT = """
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
for i = 3, #ARGV, 2 do
  local number = tonumber(ARGV[i])
  if number > last then
    if ARGV[1] == '' then
      redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 1])
    else
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[i + 1])
    end
    last = number
  end
end
redis.call('SET', KEYS[2], last, 'EX', ARGV[2])
return last
"""
_REMEMBERED_S = (
    86_400  # how long the number outlives the last batch: longer than any outage a buffer can bridge
)
_TIMEOUT_S = 10.0


class RedisSink(BaseSink):
    """Sends events to a Redis Stream.

    Args:
        url: `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` or `unix://…`.
        stream_key: the stream.
        max_stream_length: entries it keeps, about; None keeps all.
        options: of `BaseSink`.

    Raises:
        errors.MissingExtra: the extra `redis` is not installed.
        errors.UsageError: the URL or a parameter is wrong.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        stream_key: str = STREAM_KEY,
        max_stream_length: int | None = 1_000_000,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._redis = _driver()
        self._url = url
        self._stream = stream_key
        self._length = "" if max_stream_length is None else str(max_stream_length)
        tag = (
            stream_key if "{" in stream_key else f"{{{stream_key}}}"
        )  # in a cluster, in the stream's own slot
        self._mark = f"{tag}:sent:{ids.ulid()}"
        self._client: Any = None
        self._script: Any = None
        try:
            self._redis.asyncio.ConnectionPool.from_url(url)
        except ValueError as error:
            raise errors.UsageError(f"{url!r} is not the URL of a Redis server: {error}") from error

    async def connect(self) -> None:
        """See `BaseSink.connect`."""
        if self._client is None:
            self._client = self._redis.asyncio.Redis.from_url(
                self._url, socket_connect_timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S
            )
            self._script = self._client.register_script(_SCRIPT)
        await self._call(self._client.ping())

    async def disconnect(self) -> None:
        """See `BaseSink.disconnect`."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def handle_batch(self, batch: Sequence[Item]) -> None:
        """See `BaseSink.handle_batch`."""
        arguments: list[Any] = [self._length, _REMEMBERED_S]
        for number, event in batch:
            arguments.append(number)
            arguments.append(core.encode(event))
        await self._call(self._script(keys=[self._stream, self._mark], args=arguments))

    async def _call(self, call: Any) -> None:
        exceptions = self._redis.exceptions
        try:
            await call
        except exceptions.ResponseError as error:
            if str(error).startswith(_WAIT):
                raise ConnectionError(str(error)) from error
            raise
        except exceptions.TimeoutError as error:
            raise TimeoutError(str(error)) from error
        except exceptions.RedisError as error:
            raise ConnectionError(str(error)) from error


_WAIT = ("OOM", "LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF")


def _driver() -> Any:
    try:
        import redis.asyncio
    except ImportError as error:
        raise errors.MissingExtra("redis", "a Redis sink") from error
    return redis
