"""Sinks: events out of a program, to a terminal, a file, a broker or a browser. `base` is the port.

The names below are loaded when they are first used, so a driver is only needed for its own sink.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.sinks import following
    from headrace.sinks.base import BaseSink, SinkFull
    from headrace.sinks.callback import CallbackSink
    from headrace.sinks.following import attach
    from headrace.sinks.jsonl import JsonlSink
    from headrace.sinks.push import SSESink, WebSocketSink
    from headrace.sinks.rabbitmq import RabbitMQSink
    from headrace.sinks.redis import RedisSink
    from headrace.sinks.registry import of
    from headrace.sinks.terminal import TerminalSink

__all__ = [
    "BaseSink",
    "CallbackSink",
    "JsonlSink",
    "RabbitMQSink",
    "RedisSink",
    "SSESink",
    "SinkFull",
    "TerminalSink",
    "WebSocketSink",
    "attach",
    "following",
    "of",
]

_HOME = {
    "BaseSink": "base",
    "CallbackSink": "callback",
    "JsonlSink": "jsonl",
    "RabbitMQSink": "rabbitmq",
    "RedisSink": "redis",
    "SSESink": "push",
    "SinkFull": "base",
    "TerminalSink": "terminal",
    "WebSocketSink": "push",
    "attach": "following",
    "of": "registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = globals()[name] = getattr(importlib.import_module(f"headrace.sinks.{_HOME[name]}"), name)
        return value
    if name == "following":
        return importlib.import_module("headrace.sinks.following")
    raise AttributeError(f"module 'headrace.sinks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
