"""Headrace: the streaming layer for LLM applications.

A person sees every token at once, and nothing partial, repeated or lost ever becomes a fact.

    async with headrace.stream("openai:gpt-4o-mini", "Tell me a story") as run:
        async for token in run.text():
            print(token, end="", flush=True)

The names below are loaded when they are first used: importing this package loads almost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import batch, client, errors, events, messages, testing
    from headrace.batch import Batch
    from headrace.client import Client
    from headrace.memory.runtime import Runtime
    from headrace.procedures.api import Procedure
    from headrace.runs.api import ask, stream
    from headrace.runs.engine import Engine
    from headrace.runs.handle import Retraction, Run
    from headrace.runs.spec import Result
    from headrace.runs.sync import ask_sync, stream_sync
    from headrace.runs.tools import Tool, ToolContext, ToolError, tool
    from headrace.templates.api import Template

__all__ = [
    "Batch",
    "Client",
    "Engine",
    "Procedure",
    "Result",
    "Retraction",
    "Run",
    "Template",
    "Runtime",
    "Tool",
    "ToolContext",
    "ToolError",
    "__version__",
    "ask",
    "ask_sync",
    "batch",
    "client",
    "errors",
    "events",
    "messages",
    "stream",
    "stream_sync",
    "testing",
    "tool",
]

_HOME = {
    "Batch": "headrace.batch",
    "Client": "headrace.client",
    "Engine": "headrace.runs.engine",
    "Procedure": "headrace.procedures.api",
    "Result": "headrace.runs.spec",
    "Retraction": "headrace.runs.handle",
    "Run": "headrace.runs.handle",
    "Template": "headrace.templates.api",
    "Runtime": "headrace.memory.runtime",
    "Tool": "headrace.runs.tools",
    "ToolContext": "headrace.runs.tools",
    "ToolError": "headrace.runs.tools",
    "ask": "headrace.runs.api",
    "ask_sync": "headrace.runs.sync",
    "stream": "headrace.runs.api",
    "stream_sync": "headrace.runs.sync",
    "tool": "headrace.runs.tools",
}
_MODULES = frozenset({"batch", "client", "errors", "events", "messages", "testing"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("headrace")
        except PackageNotFoundError:
            return "0+source"
    if name in _MODULES:
        return importlib.import_module(f"headrace.{name}")
    if name in _HOME:
        value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
        return value
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
