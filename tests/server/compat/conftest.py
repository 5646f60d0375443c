"""A server with the compatible routes, scripted providers, and the official client pointed at it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest

Opened = contextlib.AbstractAsyncContextManager[tuple[Any, openai.AsyncOpenAI]]


@pytest.fixture
def official(serving: Callable[..., Any]) -> Callable[..., Opened]:
    """`async with official(script) as (site, client):`; the client does not try again by itself."""

    @contextlib.asynccontextmanager
    async def opened(script: Any, **options: Any) -> AsyncIterator[tuple[Any, openai.AsyncOpenAI]]:
        async with serving(script, **options) as site:
            async with openai.AsyncOpenAI(
                base_url=f"{site.url}/v1", api_key="key-a", max_retries=0, timeout=20
            ) as client:
                yield site, client

    return opened
