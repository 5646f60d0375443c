"""The SQL of the SQLite ledger: reads `sql/*.sql`, sets a connection up, migrates forward.

Every statement lives in `sql/queries.sql` under a name and with its reason; `sql/schema.sql` is the schema as
it is now; `sql/migrations/` leads there, one numbered file a step, and only ever forward. Not here: what the
statements are for (`sqlite`, `audit`). Next: `writer`.
"""

from __future__ import annotations

from typing import Literal

import apsw

from headrace import errors
from headrace.ledger import statements

Synchronous = Literal["full", "normal"]

BUSY_SECONDS = 30.0
"""How long a transaction waits for those of other processes before it fails."""

SQL = statements.load(statements.FOLDER / "queries.sql")
"""Statements by name."""


def migrations() -> list[tuple[int, str]]:
    """All migrations, as (version, SQL), in order."""
    return statements.migrations(statements.FOLDER / "migrations")


def schema() -> str:
    """The schema as it is now."""
    return (statements.FOLDER / "schema.sql").read_text("utf-8")


def connect(path: str, *, read_only: bool, synchronous: Synchronous = "full") -> apsw.Connection:
    """A connection for one thread. A read-only one sees what is committed and can change nothing."""
    flags = apsw.SQLITE_OPEN_READWRITE | (0 if read_only else apsw.SQLITE_OPEN_CREATE)
    connection = apsw.Connection(path, flags=flags, statementcachesize=100)
    connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


def migrate(connection: apsw.Connection) -> None:
    """Bring the schema up to date; StoreError when a newer version made it."""
    steps = migrations()
    newest = steps[-1][0]
    if connection.pragma("user_version") == newest:
        return  # the usual case waits for no writer
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.pragma("user_version")
        if version > newest:
            raise errors.StoreError(
                f"{connection.filename!r} has schema {version}, this version knows up to {newest}; "
                "it was made by a newer headrace: upgrade, or open another store",
                retryable=False,
            )
        for number, sql in steps:
            if number > version:
                connection.execute(sql)
                connection.pragma("user_version", number)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_WHAT_TO_DO: list[tuple[type[apsw.Error], str]] = [
    (apsw.FullError, "the disk is full; make room, earlier facts can still be read"),
    (apsw.IOError, "the disk or its file system failed; look at the system's log, then try again"),
    (apsw.CorruptError, "the file is damaged; `headrace ledger verify` says where, then restore a copy"),
    (apsw.NotADBError, "the file is not a SQLite database, or its first page is damaged"),
    (apsw.ReadOnlyError, "the file or its folder cannot be written; mend the permissions"),
    (apsw.CantOpenError, "the file cannot be opened; does its folder exist, and may it be written?"),
    (apsw.PermissionsError, "the file may not be opened; mend the permissions"),
    (apsw.AuthError, "the file may not be opened; mend the permissions"),
    (apsw.BusyError, f"another process held the file for {BUSY_SECONDS:.0f} s; try again"),
    (apsw.LockedError, "another connection holds the table; try again"),
]


def store_error(error: apsw.Error, path: str, doing: str) -> errors.StoreError:
    """The error of our tree for an error of SQLite."""
    advice = next((text for kind, text in _WHAT_TO_DO if isinstance(error, kind)), "see the cause")
    return errors.StoreError(
        f"cannot {doing} the ledger {path!r}: {error} ({type(error).__name__}); {advice}",
        details={"path": path, "sqlite": type(error).__name__},
    )
