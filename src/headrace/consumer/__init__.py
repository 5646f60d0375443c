"""Consumers: events back from a broker, to handlers. `base` has the loop, the others read one broker each."""

from __future__ import annotations

from headrace.consumer.base import Consumer
from headrace.consumer.redis import RedisStreamConsumer

__all__ = ["Consumer", "EventConsumer", "RedisStreamConsumer"]
