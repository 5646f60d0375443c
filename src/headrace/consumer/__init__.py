"""Consumers: events back from a broker, to handlers. `base` has the loop, the others read one broker each.

The names below are loaded when they are first used, so a driver is only needed for its own consumer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.consumer.base import Consumer
    from headrace.consumer.rabbitmq import RabbitMQConsumer
    from headrace.consumer.redis import RedisStreamConsumer
    from headrace.consumer.registry import EventConsumer

__all__ = ["Consumer", "EventConsumer", "RabbitMQConsumer", "RedisStreamConsumer"]

_HOME = {
    "Consumer": "base",
    "EventConsumer": "registry",
    "RabbitMQConsumer": "rabbitmq",
    "RedisStreamConsumer": "redis",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(importlib.import_module(f"headrace.consumer.{_HOME[name]}"), name)
        return value
    raise AttributeError(f"module 'headrace.consumer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
