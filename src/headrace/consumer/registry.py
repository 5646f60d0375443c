"""From a URL to its consumer. A driver is imported when it is needed."""

from __future__ import annotations

from typing import Any

from headrace import errors
from headrace.consumer.base import Consumer
from headrace.core import urls

_COMMON: dict[str, type] = {
    "group": str,
    "consumer_name": str,
    "start": str,
    "on_bad_event": str,
    "claim_idle": float,
    "max_retries": int,
    "batch_size": int,
}
_REDIS = {"stream_key": str}
_RABBITMQ = {"exchange": str, "routing_key": str, "stream": bool, "quorum": bool, "prefetch_count": int}


def EventConsumer(url: str, **options: Any) -> Consumer:
    """The consumer of a URL: `redis://…` a `RedisStreamConsumer`, `amqp://…` a `RabbitMQConsumer`.

    Args:
        options: of that class; those in the query of the URL (`?group=web&stream_key=tokens`) give way to them.

    Raises:
        errors.UsageError: there is none for it, or an option is wrong.
        errors.MissingExtra: its driver is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme in ("redis", "rediss", "unix"):
        from headrace.consumer.redis import RedisStreamConsumer

        place, found = urls.split(url, _COMMON | _REDIS)
        return RedisStreamConsumer(place, **(found | options))
    if scheme in ("amqp", "amqps"):
        from headrace.consumer.rabbitmq import RabbitMQConsumer

        place, found = urls.split(url, _COMMON | _RABBITMQ)
        return RabbitMQConsumer(place, **(found | options))
    raise errors.UsageError(
        f"there is no consumer for {scheme + ':…' if ':' in url else url!r}; there are redis://… and amqp://…"
    )
