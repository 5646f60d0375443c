"""Connections to PostgreSQL: the URL, what a connection is set up with, migrations, and errors in our words.

A ledger lives in a schema of its own, `headrace` unless the URL says `?schema=NAME`, so that it shares a database
with other programs and with other ledgers. Everything else of the URL is the driver's (`sslmode`, `host`, …).

A connection has keep-alives short enough that a machine which lost its power is noticed in half a minute: the
server then drops its session, and with it the worker's lock. Commits wait for the disk (`synchronous_commit`)
whatever the server's default; a stricter default stays. Next: `postgres_batch`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from headrace import errors
from headrace.ledger import hashing, statements

try:
    import asyncpg
except ModuleNotFoundError as error:
    raise errors.UsageError(
        "a ledger on PostgreSQL needs the driver: pip install 'headrace[postgres]'", code="missing-extra"
    ) from error

CONNECT_SECONDS = 10.0
"""How long connecting may take."""
BUSY_SECONDS = 30.0
"""How long a statement may take, and a transaction may wait for those of others."""

_FOLDER = statements.FOLDER / "postgres"
SQL = statements.load(_FOLDER / "queries.sql")
"""Statements by name."""

_SETTINGS = {
    "application_name": "headrace",
    "lock_timeout": f"{BUSY_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

LOST: tuple[type[BaseException], ...] = (
    OSError,  # and TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what rolling back says on a connection that broke in the middle of a statement
)
"""Errors after which the same statement may work on another connection."""
BUSY: tuple[type[BaseException], ...] = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
"""Errors that the next writer would meet too."""
FAILURES: tuple[type[BaseException], ...] = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""All that can go wrong with a server."""


class Place(msgspec.Struct, frozen=True):
    """Where a ledger is.

    Attributes:
        url: for the driver.
        schema: the ledger's own.
        shown: for people: without a password.
    """

    url: str
    schema: str
    shown: str


def parse(url: str) -> Place:
    """Read a URL.

    Raises:
        errors.UsageError: a schema that is none.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(pairs).get("schema", "headrace")
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise errors.UsageError(
            f"schema={schema!r} must be small letters, digits and _, at most 63, no digit first"
        )
    query = urlencode([pair for pair in pairs if pair[0] != "schema"])
    host = f"{parts.username}@" if parts.username else ""
    host += parts.netloc.rpartition("@")[2]
    shown = f"postgresql://{host}{parts.path}" + (f"?schema={schema}" if schema != "headrace" else "")
    return Place(urlunsplit(parts._replace(scheme="postgresql", query=query)), schema, shown)


async def connect(place: Place) -> Any:
    """A connection whose unqualified names are those of the ledger's schema."""
    connection = await asyncpg.connect(
        place.url,
        timeout=CONNECT_SECONDS,
        command_timeout=BUSY_SECONDS,
        server_settings={**_SETTINGS, "search_path": place.schema},
    )
    try:
        await connection.execute(SQL["durable"])
    except BaseException:
        connection.terminate()
        raise
    return connection


async def existing(place: Place) -> Any:
    """A connection to a ledger that is there.

    Raises:
        errors.StoreError: there is none, or the server cannot be reached.
    """
    try:
        connection = await connect(place)
        if await connection.fetchval(SQL["there_is_a_version"]):
            return connection
    except FAILURES as e:
        raise store_error(e, place, "open") from e
    connection.terminate()
    raise errors.StoreError(
        f"there is no ledger at {place.shown}; a server makes it when it first runs",
        retryable=False,
        details={"store": place.shown, "missing": True},
    )


def migrations() -> list[tuple[int, str]]:
    """All migrations, as (version, SQL), in order."""
    return statements.migrations(_FOLDER / "migrations")


async def migrate(connection: Any, place: Place, key: bytes | None) -> None:
    """Bring the schema up to date, and check that the key is the store's.

    Raises:
        errors.StoreError: a newer version made it.
        errors.UsageError: another key.
    """
    steps = migrations()
    newest = steps[-1][0]
    if await _version(connection) != newest:
        async with connection.transaction():
            await connection.execute(SQL["lock_migration"], lock_key("migration", place.schema))
            if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", place.schema):
                await connection.execute(f"CREATE SCHEMA {place.schema}")
            await connection.execute(SQL["start_versions"])
            version = await _version(connection) or 0
            if version > newest:
                raise errors.StoreError(
                    f"{place.shown} has schema {version}, this version knows up to {newest}; "
                    "it was made by a newer headrace: upgrade, or open another store",
                    retryable=False,
                )
            for number, sql in steps:
                if number > version:
                    await connection.execute(sql)
                    await connection.execute(SQL["add_version"], number)
            seal = hashing.total_seal(key, 0, 0, hashing.GENESIS)
            await connection.execute(SQL["insert_total"], hashing.GENESIS, seal, hashing.key_check(key))
    if await connection.fetchval(SQL["key_check"]) != hashing.key_check(key):
        raise errors.UsageError(
            f"the ledger {place.shown} was made with {'another key, or with none' if key else 'a key'}; "
            "open it as it was made"
        )


async def _version(connection: Any) -> int | None:
    if not await connection.fetchval(SQL["there_is_a_version"]):
        return None
    found: int | None = await connection.fetchval(SQL["version"])
    return found


def lock_key(what: str, name: str) -> int:
    """The key of an advisory lock: 64 bits that depend on its name."""
    return int.from_bytes(hashlib.sha256(f"headrace {what} {name}".encode()).digest()[:8], signed=True)


def check_nul(**texts: str | None) -> None:
    """Refuse names that PostgreSQL cannot hold.

    Raises:
        errors.UsageError: one has a NUL in it.
    """
    for name, text in texts.items():
        if text is not None and "\x00" in text:
            raise errors.UsageError(f"{name} holds a NUL, which PostgreSQL cannot keep in a name: {text!r}")


_WHAT_TO_DO: list[tuple[type[BaseException], str]] = [
    (asyncpg.InvalidAuthorizationSpecificationError, "the user or the password is wrong; mend the URL"),
    (asyncpg.InvalidCatalogNameError, "create the database: createdb NAME"),
    (
        asyncpg.InsufficientPrivilegeError,
        "grant the user what it lacks: CREATE on the database, or its schema",
    ),
    (asyncpg.TooManyConnectionsError, "the server has no connection left; raise max_connections"),
    (asyncpg.CannotConnectNowError, "the server is starting or stopping; try again"),
    (asyncpg.AdminShutdownError, "the server is being stopped; try again when it is back"),
    (asyncpg.ReadOnlySQLTransactionError, "this server is a standby; name the primary"),
    (asyncpg.DiskFullError, "the server's disk is full; make room, earlier facts can still be read"),
    (asyncpg.LockNotAvailableError, f"another writer held the store for {BUSY_SECONDS:.0f} s; try again"),
    (asyncpg.DataCorruptedError, "the store is damaged; `headrace ledger verify` says where"),
    (asyncpg.IndexCorruptedError, "the store is damaged; `headrace ledger verify` says where"),
    (TimeoutError, "the server did not answer in time; try again"),
    (OSError, "is the server running, and does it listen there?"),
    (asyncpg.InterfaceError, "the connection broke; try again"),
]
_FINAL = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.DataCorruptedError,
    asyncpg.IndexCorruptedError,
)


def store_error(error: BaseException, place: Place, doing: str) -> errors.StoreError:
    """The error of our tree for one of the driver's."""
    advice = next((text for kind, text in _WHAT_TO_DO if isinstance(error, kind)), "see the cause")
    return errors.StoreError(
        f"cannot {doing} the ledger {place.shown}: {str(error) or 'no answer'} ({type(error).__name__}); {advice}",
        retryable=not isinstance(error, _FINAL),
        details={"store": place.shown, "postgresql": type(error).__name__},
    )
