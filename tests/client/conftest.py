"""A real server on a free port, with scripted providers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from headrace.ledger.memory import MemoryLedger
from headrace.providers import scripted
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.server import app, runner
from headrace.settings import Settings


class Site:
    """A running server. `heartbeat` and the like are the server's own."""

    def __init__(self, url: str, engine: Engine, registry: Registry, provider: scripted.Scripted) -> None:
        self.url = url
        self.engine = engine
        self.registry = registry
        self.provider = provider


@contextlib.asynccontextmanager
async def _serving(script: Any, *, retention: float = 3600.0, **options: Any) -> AsyncIterator[Site]:
    provider = scripted.Scripted(script)
    settings = Settings(**{"model": "scripted", "drain_seconds": 0.0, **options})
    registry = Registry(settings)
    registry.register("scripted", provider)
    engine = Engine(registry, MemoryRunLog(retention=retention), MemoryLedger())
    async with runner.listening(app.create_app(engine, settings, registry)) as server:
        try:
            yield Site(server.url, engine, registry, provider)
        finally:
            await engine.drain(0)
    await engine.close()
    await registry.close()


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractAsyncContextManager[Site]]:
    """`async with serving(script, **settings) as site:`"""
    return _serving
