"""What the commands that talk to a server share: which server, which key, and run ids for the shell's completion.

Next: `tail`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace import errors

if TYPE_CHECKING:
    from headrace.client import Client

_COMPLETION_S = 1.0  # a shell that waits for Tab is a person who waits


def client(url: str | None = None, key: str | None = None) -> Client:
    """A client of the server that the options, or the settings, name.

    Raises:
        errors.UsageError: a setting is wrong, or the URL is none.
    """
    from headrace import settings
    from headrace.client import Client

    chosen = settings.load(**({"url": url} if url else {}))
    if key is None and chosen.api_keys:
        key = chosen.api_keys[0].get_secret_value()
    return Client(chosen.url, key)


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Ids of runs that begin so, newest first, each with its model and state; none where no server answers."""
    try:
        return asyncio.run(asyncio.wait_for(_runs(incomplete), _COMPLETION_S))
    except (errors.HeadraceError, TimeoutError):
        return []


async def _runs(incomplete: str) -> list[tuple[str, str]]:
    async with client() as server:
        runs = await server.runs(limit=50)
    return [
        (run.run, f"{run.model}, {run.outcome or run.status}")
        for run in runs
        if run.run.startswith(incomplete)
    ]
