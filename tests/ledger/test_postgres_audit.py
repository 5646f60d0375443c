"""Damage done to a real PostgreSQL store, by SQL and to the bytes of its files; `verify` must name the row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ledger import conformance

from headrace import errors, ledger
from headrace.ledger import postgres as postgres_ledger
from headrace.ledger import postgres_audit, postgres_link
from headrace.testing.postgres import Postgres

C2 = "WHERE conversation = 'c2'"
AT_1, AT_7, AT_20 = (f"{C2} AND seq = {seq}" for seq in (1, 7, 20))
ZEROS = "repeat('0', 64)"
FIRST = "(SELECT min(run) FROM runs)"


async def filled(url: str) -> postgres_link.Place:
    """A ledger of three conversations with 20 facts each."""
    async with conformance.closing(postgres_ledger.PostgresLedger(url)) as store:
        for i in range(10):
            for name in ("c1", "c2", "c3"):
                await conformance.turn(store, f"question {i}", "answer " * 30, conversation=name)
    return postgres_link.parse(url)


async def change(place: postgres_link.Place, *sql: str) -> None:
    connection = await postgres_link.connect(place)
    for statement in sql:
        await connection.execute(statement)
    await connection.close()


def named(report: ledger.Report) -> list[tuple[str, int]]:
    return [(p.conversation, p.seq) for p in report.problems]


CASES: list[tuple[str, list[Any], str]] = [
    (f"DELETE FROM ledger {AT_20}", [("c2", 20)], "missing"),
    (f"DELETE FROM ledger {AT_7}", [("c2", 7)], "missing"),
    (f"DELETE FROM ledger {AT_1}", [("c2", 1)], "missing"),
    (f"DELETE FROM ledger {C2} AND seq>15", [("c2", 16)], "missing up to 20"),
    (f"DELETE FROM ledger {C2}", [("c2", 1)], "missing up to 20"),
    (f"UPDATE ledger SET content='no' {AT_20}", [("c2", 20)], "its hash"),
    (f"UPDATE ledger SET nuls='{{3}}' {AT_7}", [("c2", 7)], "its hash"),
    (f"UPDATE ledger SET meta='{{ }}' {AT_7}", [("c2", 7)], "its hash"),
    (f"UPDATE ledger SET prev_hash={ZEROS} {AT_7}", [("c2", 7)], "prev_hash"),
    (f"DELETE FROM heads {C2}", [("", 0), ("", 0), ("", 0), ("c2", 0), ("c2", 0)], "signed off"),
    (f"UPDATE heads SET count=19 {C2}", [("", 0), ("c2", 0), ("c2", 20)], "signed off"),
    (f"UPDATE heads SET seal='zz' {C2}", [("c2", 0), ("", 0), ("c2", 0)], "no number"),
    (f"UPDATE runs SET outcome='failed' WHERE run={FIRST}", [("c1", 0)], "was changed"),
    ("UPDATE total SET facts=59", [("", 0), ("", 0)], "seal"),
    ("DELETE FROM total", [("", 0), ("", 0)], "cannot be read"),
    ("DROP TABLE runs", [("", 0)] * 3, "runs cannot be read"),
]


async def test_changes_by_hand(postgres: Postgres) -> None:
    """Each change alone, taken back after it: the facts it touched are named, and no others."""
    place = await filled(postgres.store())
    report = await postgres_audit.verify(place)
    assert (report.ok, report.facts, report.conversations, report.problems) == (True, 60, 3, [])
    connection = await postgres_link.connect(place)
    for sql, where, what in CASES:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(sql)
        audit = postgres_audit._Audit(connection, None)
        await audit.run()
        found = audit.report()
        await transaction.rollback()
        if sql.startswith("DELETE FROM total"):
            assert "the signed-off total of the store is missing" in [p.what for p in found.problems]
            continue
        assert named(found) == where, sql
        assert what in found.problems[0].what, sql
    assert (await postgres_audit.verify(place)).ok
    await connection.close()


async def test_a_conversation_taken_out_with_its_head(postgres: Postgres) -> None:
    place = await filled(postgres.store())
    await change(place, f"DELETE FROM ledger {C2}", f"DELETE FROM heads {C2}")
    report = await postgres_audit.verify(place)
    assert ("c2", 0) in named(report)
    assert any("3 conversations were signed off, 2" in p.what for p in report.problems)


async def test_another_key(postgres: Postgres) -> None:
    url = postgres.store()
    async with conformance.closing(postgres_ledger.PostgresLedger(url, key=b"k")) as store:
        await conformance.turn(store)
    place = postgres_link.parse(url)
    assert (await postgres_audit.verify(place, b"k")).ok
    assert "another key" in (await postgres_audit.verify(place)).problems[0].what
    for key in (None, b"other"):
        with pytest.raises(errors.UsageError, match="key"):
            postgres_ledger.PostgresLedger(url, key=key)


@pytest.fixture
def own(postgres: Postgres) -> Iterator[Postgres]:
    """A server whose files a test may damage."""
    with Postgres() as made:
        yield made


async def test_flipped_bytes_in_the_servers_own_files(own: Postgres) -> None:
    """In the text of a fact, and to what is no UTF-8 any more: exactly those facts are named."""
    place = await filled(own.store())
    connection = await postgres_link.connect(place)
    path = Path(own.data) / await connection.fetchval("SELECT pg_relation_filepath('ledger')")
    await connection.close()
    await asyncio.to_thread(own.stop)
    data = bytearray(path.read_bytes())
    wanted = set()
    for i, byte in ((3, ord("x")), (6, 0xFF)):
        at = -1
        while (at := data.find(f"question {i}".encode(), at + 1)) != -1:
            data[at] = byte
        wanted |= {(f"c{c}", 2 * i + 1) for c in (1, 2, 3)}
    path.write_bytes(data)
    await asyncio.to_thread(own.start)
    report = await postgres_audit.verify(place)
    assert set(named(report)) == wanted
    assert report.facts == 57
    store = postgres_ledger.PostgresLedger(place.url + f"?schema={place.schema}")
    with pytest.raises(errors.StoreError, match="verify"):
        await store.facts("c1")
    await store.close()
