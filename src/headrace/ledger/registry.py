"""Opens a ledger by its URL. The one place that knows all stores; a driver is imported when it is asked for.

`memory`, `sqlite:///path` and `postgresql://user@host:port/database` are there. A path is read as
SQLAlchemy reads it: three slashes and a relative path, four for an absolute one (`sqlite:///data/chat.sqlite`, `sqlite:////var/lib/chat.sqlite`).
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from headrace import errors
from headrace.ledger import base

MEMORY = "memory"
_SQLITE = "sqlite:///"


def open_ledger(url: str, *, key: bytes | None = None) -> base.Ledger:
    """Open the ledger at `url`, making it when it is not there. Close it with `await ledger.close()`.

    Args:
        url: `memory`, `sqlite:///path`, or `postgresql://user@host:port/database`.
        key: signs the heads, so that who lacks the key cannot rewrite the ledger unnoticed. Default: none.

    Raises `errors.UsageError` for a URL or a key that does not fit, `errors.StoreError` when the store cannot
    be opened (`missing-extra` where its driver is not installed). Call `recover()` on it once, before new runs begin.
    """
    if _is_postgres(url):
        from headrace.ledger import postgres

        return postgres.PostgresLedger(url, key=key)
    path = _path(url)
    if path is None:
        from headrace.ledger import memory

        return memory.MemoryLedger(key=key)
    from headrace.ledger import sqlite

    return sqlite.SqliteLedger(path, key=key)


async def verify_ledger(url: str, *, key: bytes | None = None) -> base.Report:
    """Verify the store at `url` without opening it as a ledger: works on files too damaged to be opened.

    Changes nothing. Raises as `open_ledger`, and `errors.StoreError` when there is no store.
    """
    if _is_postgres(url):
        from headrace.ledger import postgres_audit, postgres_link

        return await postgres_audit.verify(postgres_link.parse(url), key)
    path = _path(url)
    if path is None:
        raise errors.UsageError(
            "a ledger in memory is gone with its process; verify it there, or name a file"
        )
    from headrace.ledger import audit

    return await asyncio.to_thread(audit.verify, path, key)


def _path(url: str) -> str | None:
    """The path in a SQLite URL; None for memory."""
    if url == MEMORY:
        return None
    known = (
        "use 'memory', 'sqlite:///path' (four slashes for an absolute path) or "
        f"'postgresql://user@host/database', not {url!r}"
    )
    path = unquote(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or not path or path == ":memory:":
        raise errors.UsageError(f"no ledger can be opened there; {known}")
    return path


def _is_postgres(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))
