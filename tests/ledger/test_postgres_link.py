from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from headrace import errors
from headrace.ledger import postgres as postgres_ledger
from headrace.ledger import postgres_link
from headrace.testing.postgres import Postgres


def test_a_url_and_what_is_shown_of_it() -> None:
    place = postgres_link.parse("postgres://ada:pw@db:5433/chat?sslmode=require&schema=mine")
    assert place.url == "postgresql://ada:pw@db:5433/chat?sslmode=require"
    assert (place.schema, place.shown) == ("mine", "postgresql://ada@db:5433/chat?schema=mine")
    assert postgres_link.parse("postgresql:///chat").schema == "headrace"
    for bad in ("a-b", "A", "1a", "", "x" * 64, "a;b"):
        with pytest.raises(errors.UsageError, match="schema"):
            postgres_link.parse(f"postgresql:///chat?schema={bad}")


async def test_the_migrations_and_every_statement(postgres: Postgres) -> None:
    url = postgres.store()
    await postgres_ledger.PostgresLedger(url).close()
    await postgres_ledger.PostgresLedger(url).close()
    place = postgres_link.parse(url)
    numbers = [number for number, _ in postgres_link.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    folder = Path(postgres_link.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.glob("postgres*.py"))
    connection = await postgres_link.connect(place)
    for name, sql in postgres_link.SQL.items():
        await connection.prepare(sql)
        assert f'"{name}"' in source, name
    assert await connection.fetchval("SELECT count(*) FROM schema_version") == len(numbers)
    await connection.execute("INSERT INTO schema_version (version) VALUES (999)")
    await connection.close()
    with pytest.raises(errors.StoreError, match="newer headrace"):
        postgres_ledger.PostgresLedger(url)


TURN = {
    "runs_by_id": [["r"]],
    "runs_by_keys": [["a"], ["k"]],
    "heads": [["c"]],
    "facts_by_ids": [["c"], ["i"]],
    "facts": ["c", 0, 1, None],
    "tail": ["c", 20, None],
    "run_by_key": ["a", "k"],
    "runs": [None, 10],
    "runs_of_owner": [None, 10, "a"],
    "conversations": [None, 10],
    "conversations_of_owner": [None, 10, "a"],
    "conversation_number": ["c"],
    "open_runs_of_worker": ["w"],
}


async def test_a_turn_never_scans_a_table(postgres: Postgres) -> None:
    """Where an index can be used, one is: the planner may not scan, and does not have to."""
    url = postgres.store()
    await postgres_ledger.PostgresLedger(url).close()
    connection = await postgres_link.connect(postgres_link.parse(url))
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
    for name, values in TURN.items():
        rows = await connection.fetch("EXPLAIN " + postgres_link.SQL[name], *values)
        plan = "\n".join(row[0] for row in rows)
        assert "Index" in plan, plan
        assert "Seq Scan" not in plan, plan
    await connection.close()


async def test_commits_wait_for_the_disk_whatever_the_server_says(postgres: Postgres) -> None:
    place = postgres_link.parse(postgres.store())
    connection = await postgres_link.connect(place)
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    assert await connection.fetchval("SHOW tcp_keepalives_idle") == "10"
    await connection.close()
    off = postgres_link.Place(place.url + "?synchronous_commit=off", place.schema, place.shown)
    connection = await postgres_link.connect(off)
    assert await connection.fetchval("SHOW synchronous_commit") == "on"
    await connection.close()


@pytest.mark.parametrize(
    ("error", "told", "retryable"),
    [
        (ConnectionRefusedError("no"), "is the server running", True),
        (TimeoutError(), "in time", True),
        (postgres_link.asyncpg.InvalidPasswordError("no"), "mend the URL", False),
        (postgres_link.asyncpg.InvalidCatalogNameError("no"), "createdb", False),
        (postgres_link.asyncpg.DiskFullError("no"), "make room", True),
        (postgres_link.asyncpg.PostgresError("no"), "see the cause", True),
    ],
)
def test_errors_say_what_to_do(error: Exception, told: str, retryable: bool) -> None:
    e = postgres_link.store_error(error, postgres_link.parse("postgresql://db/x"), "open")
    assert (e.code, e.retryable) == ("store-unavailable", retryable)
    assert told in str(e)
    assert "postgresql://db/x" in str(e)


def test_a_rollback_on_a_connection_that_broke_is_a_lost_connection() -> None:
    """asyncpg says it with an error outside its other families, in the place of the one that broke the connection."""
    broke = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    assert isinstance(broke, postgres_link.LOST)
    assert isinstance(broke, postgres_link.FAILURES)
