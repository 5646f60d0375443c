"""From a URL to its sink: the one place that knows all that have a far side. A driver is imported when it is needed.

    terminal:                       tokens as lines; terminal:?inline=true
    PATH.jsonl, jsonl:PATH          a file
    redis://…, rediss://…           a Redis Stream
    amqp://…, amqps://…             RabbitMQ

The parameters of the sink go into the query: `redis://localhost:6379?stream_key=tokens&batch_size=100`.
"""

from __future__ import annotations

from headrace import errors
from headrace.core import urls
from headrace.sinks.base import BaseSink

_COMMON: dict[str, type] = {
    "buffer_size": int,
    "batch_size": int,
    "flush_interval": float,
    "overflow": str,
    "failure_threshold": int,
    "recovery_timeout": float,
}
_TERMINAL = {"inline": bool, "colour": bool, "verbose": bool}
_JSONL = {"max_bytes": int, "keep": int}
_REDIS = {"stream_key": str, "max_stream_length": int}
_RABBITMQ = {
    "exchange": str, "routing_key": str, "group": str, "stream": bool, "quorum": bool, "prefetch_count": int,
}  # fmt: skip


def of(url: str) -> BaseSink:
    """The sink of a URL, with the parameters in its query.

    Raises:
        errors.UsageError: there is no sink for it, or a parameter is wrong.
        errors.MissingExtra: its driver is not installed.
    """
    scheme = url.partition(":")[0] if ":" in url else ""
    if scheme in ("redis", "rediss", "unix"):
        from headrace.sinks.redis import RedisSink

        place, options = urls.split(url, _COMMON | _REDIS)
        return RedisSink(place, **options)
    if scheme in ("amqp", "amqps"):
        from headrace.sinks.rabbitmq import RabbitMQSink

        place, options = urls.split(url, _COMMON | _RABBITMQ)
        return RabbitMQSink(place, **options)
    if scheme == "terminal" or url == "terminal":
        from headrace.sinks.terminal import TerminalSink

        _, options = urls.split(url, _COMMON | _TERMINAL)
        return TerminalSink(**options)
    if scheme == "jsonl" or url.partition("?")[0].endswith(".jsonl"):
        from headrace.sinks.jsonl import JsonlSink

        place, options = urls.split(url.removeprefix("jsonl:"), _COMMON | _JSONL)
        return JsonlSink(place, **options)
    raise errors.UsageError(
        f"there is no sink for {scheme + ':…' if scheme else url!r}; there are redis://…, amqp://…, PATH.jsonl,"
        " jsonl:PATH and terminal:"
    )
