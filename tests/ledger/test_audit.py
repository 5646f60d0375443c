"""Damage of every kind, done to real files; `verify` must name the row and never break."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.ledger import conformance

from headrace import errors, ledger
from headrace.ledger import audit, sqlite

COVERED = [
    "SELECT rowid, conversation, seq, id, kind, content, meta, prev_hash, hash FROM ledger NOT INDEXED",
    "SELECT conversation, owner, count, hash, seal FROM heads NOT INDEXED",
    "SELECT run, conversation, owner, status, metadata, outcome, summary FROM runs",
    "SELECT facts, conversations, sum, seal, key_check FROM total",
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger file with three conversations of 20 facts, some on pages of their own."""
    path = tmp_path_factory.mktemp("ledger") / "a.sqlite"

    async def fill() -> None:
        async with conformance.closing(sqlite.SqliteLedger(path)) as store:
            for i in range(10):
                for name in ("c1", "c2", "c3"):
                    await conformance.turn(
                        store, f"question {i}", "answer " * (700 if i == 4 else 30), conversation=name
                    )

    asyncio.run(fill())
    return path


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copy(sound, tmp_path / "b.sqlite"))


def change(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for sql in statements:
            db.execute(sql)
    db.close()


def named(report: ledger.Report) -> list[tuple[str, int]]:
    return [(p.conversation, p.seq) for p in report.problems]


def test_a_sound_file(damaged: Path) -> None:
    before = damaged.read_bytes()
    report = audit.verify(str(damaged))
    assert (report.ok, report.facts, report.conversations, report.problems) == (True, 60, 3, [])
    assert damaged.read_bytes() == before


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreError, match="no ledger"):
        audit.verify(str(tmp_path / "nowhere"))


C2 = "WHERE conversation = 'c2'"
AT_1, AT_7, AT_20 = (f"{C2} AND seq = {seq}" for seq in (1, 7, 20))
ZEROS = "lower(hex(zeroblob(32)))"
NO_UTF8 = "CAST(x'61ff62' AS TEXT)"
FIRST = "(SELECT min(run) FROM runs)"
MOVED = [("c2", 20), ("c9", 1), ("c9", 20), ("c9", 0)]
BEHEADED = [("", 0), ("", 0), ("", 0), ("c2", 0), ("c2", 0)]


@pytest.mark.parametrize(
    ("sql", "where", "what"),
    [
        (f"DELETE FROM ledger {AT_20}", [("c2", 20)], "missing"),
        (f"DELETE FROM ledger {AT_7}", [("c2", 7)], "missing"),
        (f"DELETE FROM ledger {AT_1}", [("c2", 1)], "missing"),
        (f"DELETE FROM ledger {C2} AND seq>15", [("c2", 16)], "missing up to 20"),
        (f"DELETE FROM ledger {C2}", [("c2", 1)], "missing up to 20"),
        (f"UPDATE ledger SET content='no' {AT_20}", [("c2", 20)], "its hash"),
        (f"UPDATE ledger SET content=content||' ' {AT_7}", [("c2", 7)], "its hash"),
        (f"UPDATE ledger SET kind='note' {AT_7}", [("c2", 7)], "its hash"),
        (f"UPDATE ledger SET meta='{{ }}' {AT_7}", [("c2", 7)], "its hash"),
        (f"UPDATE ledger SET hash={ZEROS} {AT_7}", [("c2", 7)], "hash"),
        (f"UPDATE ledger SET hash={ZEROS} {AT_20}", [("c2", 20)], "hash"),
        (f"UPDATE ledger SET prev_hash={ZEROS} {AT_7}", [("c2", 7)], "prev_hash"),
        (f"UPDATE ledger SET time='soon' {AT_7}", [("c2", 7)], "cannot be read"),
        (f"UPDATE ledger SET content=x'ff' {AT_7}", [("c2", 7)], "cannot be read"),
        (f"UPDATE ledger SET content={NO_UTF8} {AT_7}", [("c2", 7)], "cannot be read"),
        (f"UPDATE ledger SET seq=25 {AT_20}", [("c2", 20), ("c2", 25), ("c2", 21)], "missing"),
        (f"UPDATE ledger SET conversation='c9' {AT_20}", MOVED, "missing"),
        (f"DELETE FROM heads {C2}", BEHEADED, "signed off"),
        (f"UPDATE heads SET count=19 {C2}", [("", 0), ("c2", 0), ("c2", 20)], "signed off"),
        (f"UPDATE heads SET owner='eve' {C2}", [("c2", 0)], "seal"),
        (f"UPDATE heads SET count='many' {C2}", None, "damaged"),
        (f"UPDATE heads SET seal='zz' {C2}", None, "no number"),
        (f"UPDATE runs SET outcome='failed' WHERE run={FIRST}", [("c1", 0)], "was changed"),
        ("UPDATE total SET facts=59", [("", 0), ("", 0)], "seal"),
        ("UPDATE total SET sum='x'", [("", 0), ("", 0)], "seal"),
        ("DELETE FROM total", [("", 0)], "total of the store is missing"),
        ("DROP TABLE heads", None, "no such table"),
        ("DROP TABLE runs", None, "runs cannot be read"),
        ("DROP TABLE ledger", None, "no such table"),
    ],
)  # fmt: skip
def test_changes_by_hand(damaged: Path, sql: str, where: list[Any] | None, what: str) -> None:
    change(damaged, sql)
    report = audit.verify(str(damaged))
    assert not report.ok
    if where is not None:
        assert named(report) == where
    assert what in report.problems[0].what


def test_a_whole_conversation_taken_out_with_its_head(damaged: Path) -> None:
    change(damaged, "DELETE FROM ledger WHERE conversation='c2'", "DELETE FROM heads WHERE conversation='c2'")
    report = audit.verify(str(damaged))
    assert ("c2", 0) in named(report)
    assert any("3 conversations were signed off, 2" in p.what for p in report.problems)


async def test_the_last_turn_rewritten_with_its_head_but_not_the_total(damaged: Path) -> None:
    other = damaged.with_name("other.sqlite")
    async with conformance.closing(sqlite.SqliteLedger(other)) as store:
        for i in range(10):
            await conformance.turn(store, f"forged {i}", "yes", conversation="c2")
    change(
        damaged,
        f"ATTACH '{other}' AS other",
        "DELETE FROM ledger WHERE conversation='c2'",
        "INSERT INTO ledger SELECT * FROM other.ledger",
        "DELETE FROM heads WHERE conversation='c2'",
        "UPDATE other.heads SET number = 2",
        "INSERT INTO heads SELECT * FROM other.heads",
    )
    report = audit.verify(str(damaged))
    assert [p.what for p in report.problems] == [
        "the heads are not those signed off: one was changed, removed or put back"
    ]


async def test_with_a_key_no_rewriting_passes(tmp_path: Path) -> None:
    """Without the key, a whole rewritten store passes; with it, no seal does."""
    forged, real = tmp_path / "forged", tmp_path / "real"
    for path, key in [(real, b"secret"), (forged, None)]:
        async with conformance.closing(sqlite.SqliteLedger(path, key=key)) as store:
            await conformance.turn(store)
    assert audit.verify(str(real), b"secret").ok
    assert audit.verify(str(forged)).ok
    with sqlite3.connect(real) as db:
        (check,) = db.execute("SELECT key_check FROM total").fetchone()
    db.close()
    change(forged, f"UPDATE total SET key_check = '{check}'")
    report = audit.verify(str(forged), b"secret")
    assert named(report) == [("", 0), ("c1", 0), ("c1", 0)]  # the total, the head, the run
    assert "another key" in audit.verify(str(real)).problems[0].what


def test_many_problems_are_counted(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.ledger.base.MAX_PROBLEMS", 5)
    change(damaged, "UPDATE ledger SET content='x'")
    report = audit.verify(str(damaged))
    assert (len(report.problems), report.more, report.ok) == (5, 55, False)


def lost(path: Path) -> set[tuple[str, int]]:
    """Which facts of the sound file cannot be read from a damaged one, or differ; by plain lookups."""
    found = set()
    db = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)
    for rowid, fact in enumerate(FACTS, 1):
        try:
            row = db.execute(
                "SELECT conversation, seq, content, hash FROM ledger WHERE rowid=?", (rowid,)
            ).fetchone()
        except (apsw.Error, UnicodeDecodeError):
            row = None
        if row != fact:
            found.add(fact[:2])
    db.close()
    return found


FACTS: list[Any] = []


@pytest.fixture
def _facts(sound: Path) -> None:
    if not FACTS:
        with sqlite3.connect(sound) as db:
            FACTS.extend(
                db.execute("SELECT conversation, seq, content, hash FROM ledger NOT INDEXED ORDER BY rowid")
            )
        db.close()


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def noise(data: bytes) -> bytes:
    return random.Random(1).randbytes(len(data))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


@pytest.mark.usefixtures("_facts")
@pytest.mark.parametrize("tear", [zeros, noise, half])
def test_any_torn_page(sound: Path, damaged: Path, tear: Callable[[bytes], bytes]) -> None:
    """Each page in turn: the report names exactly the facts that are lost, or says what else is damaged."""
    data = sound.read_bytes()
    size = 4096
    pages = len(data) // size
    assert pages > 15
    torn_facts = 0
    for page in range(pages):
        at = page * size
        damaged.write_bytes(data[:at] + tear(data[at : at + size]) + data[at + size :])
        report = audit.verify(str(damaged))
        if damaged.read_bytes() == data:
            continue  # the second half of the page was empty
        if report.ok:
            assert not lost(damaged), f"page {page}"
            continue
        if page == 0:
            continue  # the header: there is no database to look into
        gone = lost(damaged)
        torn_facts += bool(gone)
        assert gone <= set(named(report)), f"page {page}"
    assert torn_facts >= 3


@pytest.mark.usefixtures("_facts")
@pytest.mark.parametrize("bytes_off", [1, 100, 2048, 4095, 4096, 5000, 8192])
def test_a_torn_end(sound: Path, damaged: Path, bytes_off: int) -> None:
    data = sound.read_bytes()
    damaged.write_bytes(data[:-bytes_off])
    report = audit.verify(str(damaged))
    gone = lost(damaged)
    assert gone <= set(named(report))
    assert report.ok <= (not gone)
    if bytes_off >= 4096:
        assert not report.ok
        with pytest.raises(errors.StoreError, match="damaged"):
            sqlite.SqliteLedger(damaged)


def test_a_torn_last_page_of_facts(tmp_path: Path) -> None:
    """The last page of the file holds the last fact: it is named."""
    path = tmp_path / "a.sqlite"

    async def fill() -> None:
        async with conformance.closing(sqlite.SqliteLedger(path)) as store:
            await store.append("c1", "note", "hi", {}, id="1")
            await store.append("c1", "note", "x" * 20_000, {}, id="2")

    asyncio.run(fill())
    data = path.read_bytes()
    path.write_bytes(data[:-4096] + bytes(4096))
    assert ("c1", 2) in named(audit.verify(str(path)))
    path.write_bytes(data[:-4096])
    assert ("c1", 2) in named(audit.verify(str(path)))


def test_any_flipped_bit(sound: Path, damaged: Path) -> None:
    """Whatever bit flips: either verify finds it, or nothing that it covers has changed."""
    data = sound.read_bytes()
    rng = random.Random(3)
    found = 0

    def covered(path: Path) -> object:
        db = apsw.Connection(str(path))
        try:
            return [db.execute(sql).fetchall() for sql in COVERED]
        except (apsw.Error, UnicodeDecodeError) as e:
            return e
        finally:
            db.close()

    whole = covered(sound)
    for _ in range(150):
        at = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        damaged.write_bytes(flipped)
        report = audit.verify(str(damaged))
        found += not report.ok
        if report.ok:
            assert covered(damaged) == whole, f"byte {at}"
    assert found > 30


@pytest.mark.usefixtures("_facts")
def test_a_flipped_bit_in_each_answer(sound: Path, damaged: Path) -> None:
    """In the text of a fact: exactly that fact is named."""
    data = sound.read_bytes()
    for i in range(10):
        text = f"question {i}".encode()
        found = set()
        at = -1
        while (at := data.find(text, at + 1)) != -1:
            flipped = bytearray(data)
            flipped[at] ^= 1 << (i % 8)
            damaged.write_bytes(flipped)
            where = named(audit.verify(str(damaged)))
            assert set(where) == lost(damaged)  # none where the bytes are those of a row that has moved
            found |= set(where)
        assert found == {(f"c{c}", 2 * i + 1) for c in (1, 2, 3)}
