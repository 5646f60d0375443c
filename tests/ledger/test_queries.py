from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from headrace import errors
from headrace.ledger import queries

TURN = [
    "fact_by_id",
    "facts",
    "facts_of_kinds",
    "tail",
    "tail_of_kinds",
    "head",
    "conversations",
    "conversations_of_owner",
    "conversation_number",
    "total",
    "run",
    "run_by_key",
    "runs",
    "runs_of_owner",
    "open_runs_of_worker",
    "update_head",
    "end_run",
]


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    c = queries.connect(str(tmp_path / "a.sqlite"), read_only=False)
    queries.migrate(c)
    return c


def shape(connection: apsw.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows}


def explain(connection: apsw.Connection, how: str, sql: str) -> list[tuple[object, ...]]:
    numbers = re.findall(r"\?(\d*)", sql)
    count = max([int(n) for n in numbers if n], default=len(numbers))
    return connection.execute(f"{how} {sql}", (None,) * count).fetchall()


def test_the_migrations_arrive_at_the_schema(connection: apsw.Connection) -> None:
    described = apsw.Connection(":memory:")
    described.execute(queries.schema())
    assert shape(connection) == shape(described)
    numbers = [number for number, _ in queries.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert connection.pragma("user_version") == numbers[-1]


def test_migrating_again_does_nothing(connection: apsw.Connection) -> None:
    before = shape(connection)
    queries.migrate(connection)
    assert shape(connection) == before


def test_a_newer_schema_is_refused(connection: apsw.Connection) -> None:
    connection.pragma("user_version", 999)
    with pytest.raises(errors.StoreError, match="newer headrace"):
        queries.migrate(connection)
    assert not connection.in_transaction


def test_every_statement_is_sound_and_used(connection: apsw.Connection) -> None:
    source = "".join(p.read_text("utf-8") for p in Path(queries.__file__).parent.glob("*.py"))
    for name, sql in queries.SQL.items():
        assert explain(connection, "EXPLAIN", sql), name
        assert f'"{name}"' in source, name


@pytest.mark.parametrize("name", TURN)
def test_a_turn_never_scans_a_table(connection: apsw.Connection, name: str) -> None:
    """What grows is only reached by an index; `total` has one row."""
    plan = [str(row[-1]) for row in explain(connection, "EXPLAIN QUERY PLAN", queries.SQL[name])]
    assert plan
    for step in plan:
        assert "TEMP B-TREE" not in step
        assert not step.startswith("SCAN") or "json_each" in step or step == "SCAN total"


def test_a_reader_cannot_write(connection: apsw.Connection, tmp_path: Path) -> None:
    reader = queries.connect(str(tmp_path / "a.sqlite"), read_only=True)
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM ledger")


def test_commits_wait_for_the_disk(connection: apsw.Connection) -> None:
    assert (connection.pragma("journal_mode"), connection.pragma("synchronous")) == ("wal", 2)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (apsw.FullError, "make room"),
        (apsw.IOError, "disk"),
        (apsw.CorruptError, "verify"),
        (apsw.BusyError, "try again"),
        (apsw.SQLError, "see the cause"),
    ],
)
def test_errors_say_what_to_do(error: type[apsw.Error], told: str) -> None:
    e = queries.store_error(error("why"), "/some/file", "write to")
    assert (e.code, e.details["sqlite"]) == ("store-unavailable", error.__name__)
    for part in ("/some/file", "why", told):
        assert part in str(e)
