"""Events back from a Redis Stream (the extra `redis`), written by `headrace.sinks.redis`.

With a group: XREADGROUP, XACK after the handlers, XPENDING and XCLAIM of what others left lying. Without: XREAD from
a position. Dead letters are entries of the stream `STREAM:dead`, with `event`, `reason`, `error` and `id`.
Next: `rabbitmq`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any

from headrace import errors
from headrace.consumer.base import Consumer, Message

STREAM_KEY = "headrace:events"
_BLOCK_MS = 250  # how long a read waits: a stop is heard within it
_TIMEOUT_S = 10.0
_DEAD = 100_000  # dead letters kept, about
_LONG_MS = 30 * 86_400_000  # idle for longer than anybody waits
_STARTS = {"beginning": "0", "first": "0", "end": "$", "last": "$", "new": "$"}


class RedisStreamConsumer(Consumer):
    """Reads a Redis Stream.

    Args:
        url: as for `RedisSink`.
        stream_key: the stream.
        options: of `Consumer`; `start` may also be an id of the stream or a `datetime`.

    Raises:
        errors.MissingExtra: the extra `redis` is not installed.
        errors.UsageError: the URL or a parameter is wrong.
    """

    def __init__(
        self, url: str = "redis://localhost:6379", *, stream_key: str = STREAM_KEY, **options: Any
    ) -> None:
        super().__init__(url, **options)
        try:
            import redis.asyncio
        except ImportError as error:
            raise errors.MissingExtra("redis", "a Redis consumer") from error
        self._redis = redis
        self.stream_key = stream_key
        self._position = _position(self.start)
        self._own = "0"  # where we are among what we were handed before and have not acknowledged
        self._claim_at = 0.0
        self._client: Any = None
        try:
            redis.asyncio.ConnectionPool.from_url(url)
        except ValueError as error:
            raise errors.UsageError(f"{url!r} is not the URL of a Redis server: {error}") from error

    async def _open(self) -> None:
        self._client = self._redis.asyncio.Redis.from_url(
            self.url, socket_connect_timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S
        )
        self._own, self._claim_at = "0", 0.0
        if self.group is None:
            if self._position == "$":  # an exact place, so that a reconnect misses nothing
                newest = await self._call(self._client.xrevrange(self.stream_key, count=1))
                self._position = newest[0][0] if newest else "0"
            return
        try:
            await self._call(
                self._client.xgroup_create(self.stream_key, self.group, id=self._position, mkstream=True)
            )
        except self._redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _read(self) -> list[Message]:
        if self.group is None:
            found = await self._call(
                self._client.xread({self.stream_key: self._position}, count=self.batch_size, block=_BLOCK_MS)
            )
            entries = _entries(found)
            if entries:
                self._position = entries[-1].id
            return entries
        if self._own:  # what we were handed before, first
            entries = _entries(await self._group_read(self._own, None, 1))
            self._own = entries[-1].id if entries else ""
            if entries:
                known = await self._pending(1, entries[0].id, consumername=self.consumer_name)
                return [
                    m._replace(returned=k["times_delivered"] - 1) for m, k in zip(entries, known, strict=True)
                ]
        if time.monotonic() >= self._claim_at:
            entries = await self._claim()
            if entries:
                return entries
            self._claim_at = time.monotonic() + self.claim_idle / 2
        return _entries(await self._group_read(">", _BLOCK_MS, self.batch_size))

    async def _group_read(self, position: Any, block: int | None, count: int) -> Any:
        return await self._call(
            self._client.xreadgroup(
                self.group,
                self.consumer_name,
                {self.stream_key: position},
                count=count,
                block=block,
            )
        )

    async def _pending(self, count: int, only: Any = None, **options: Any) -> Any:
        """What is handed out and not acknowledged, the oldest first."""
        return await self._call(
            self._client.xpending_range(
                self.stream_key, self.group, only or "-", only or "+", count, **options
            )
        )

    async def _claim(self) -> list[Message]:
        """What others were handed and have not acknowledged for too long is ours now, one at a time."""
        idle = int(self.claim_idle * 1000)
        while known := await self._pending(1, idle=idle):
            name = known[0]["message_id"]
            found = await self._call(
                self._client.xclaim(self.stream_key, self.group, self.consumer_name, idle, [name])
            )
            if found:  # else it was trimmed away, or somebody was faster
                return [_messages(found)[0]._replace(returned=known[0]["times_delivered"])]
        return []

    async def _acknowledge(self, messages: Sequence[Message]) -> None:
        if self.group is not None:
            await self._call(self._client.xack(self.stream_key, self.group, *(m.id for m in messages)))

    async def _release(self, messages: Sequence[Message]) -> None:
        if self.group is None:
            self._position = _before(messages[0].id)
            return
        for returned in {message.returned for message in messages}:
            await self._call(
                self._client.xclaim(
                    self.stream_key,
                    self.group,
                    self.consumer_name,
                    0,
                    [m.id for m in messages if m.returned == returned],
                    idle=_LONG_MS,
                    retrycount=returned,  # nobody has tried it this time
                    justid=True,
                )
            )

    async def _bury(self, message: Message, reason: str, error: str) -> None:
        letter = {"event": message.body, "reason": reason, "error": error, "id": message.id}
        await self._call(self._client.xadd(f"{self.stream_key}:dead", letter, maxlen=_DEAD))

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _call(self, call: Awaitable[Any]) -> Any:
        exceptions = self._redis.exceptions
        try:
            return await call
        except exceptions.ResponseError as error:
            if str(error).startswith(("LOADING", "MASTERDOWN", "NOGROUP", "READONLY", "CLUSTERDOWN")):
                raise ConnectionError(
                    str(error)
                ) from error  # NOGROUP: it came back without; `_open` makes it
            raise
        except exceptions.TimeoutError as error:
            raise TimeoutError(str(error)) from error
        except exceptions.RedisError as error:
            raise ConnectionError(str(error)) from error


def _entries(found: Any) -> list[Message]:
    """The entries in an answer of XREAD, which has one stream or none, in either form of the protocol."""
    if not found:
        return []
    return _messages(next(iter(found.values()))[0] if isinstance(found, dict) else found[0][1])


def _messages(entries: Any) -> list[Message]:
    # an entry that was trimmed away while it was waiting has no fields
    return [Message(entry, fields.get(b"event", b"") if fields else b"") for entry, fields in entries]


def _position(start: Any) -> Any:
    if isinstance(start, datetime):
        return f"{int(start.timestamp() * 1000)}-0"
    return _STARTS.get(start, start) if isinstance(start, str) else str(start)


def _before(entry: bytes) -> str:
    """The id before this one: reading after it begins with this one."""
    time_ms, _, number = entry.decode().partition("-")
    if int(number):
        return f"{time_ms}-{int(number) - 1}"
    return f"{int(time_ms) - 1}-{(1 << 64) - 1}"
