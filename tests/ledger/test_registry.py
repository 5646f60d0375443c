from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.ledger import conformance

from headrace import errors, ledger
from headrace.ledger import memory, sqlite
from headrace.testing.postgres import Postgres


async def test_memory_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, path in [
        (f"sqlite:///{tmp_path}/a.sqlite", "a.sqlite"),
        ("sqlite:///data/b.sqlite", "data/b.sqlite"),
        ("sqlite:///with%20space.sqlite", "with space.sqlite"),
    ]:
        async with conformance.closing(ledger.open_ledger(url)) as store:
            assert isinstance(store, sqlite.SqliteLedger)
            assert store.path == str(tmp_path / path)
            await conformance.turn(store)
        report = await ledger.verify_ledger(url)
        assert (report.ok, report.facts) == (True, 2)
    async with conformance.closing(ledger.open_ledger("memory")) as store:
        assert isinstance(store, memory.MemoryLedger)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://localhost/x?schema=a-b", "schema='a-b'"),
        ("sqlite://", "sqlite:///path"),
        ("sqlite:///", "sqlite:///path"),
        ("sqlite:///:memory:", "'memory'"),
        ("mysql://x", "'memory'"),
        ("", "'memory'"),
    ],
)
async def test_other_urls_are_told_what_there_is(url: str, told: str) -> None:
    with pytest.raises(errors.UsageError, match=told):
        ledger.open_ledger(url)
    with pytest.raises(errors.UsageError, match=told):
        await ledger.verify_ledger(url)


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/x", "postgres://ada:secret@127.0.0.1:1/x"])
async def test_a_server_that_is_not_there(url: str) -> None:
    for opening in (lambda: asyncio.to_thread(ledger.open_ledger, url), lambda: ledger.verify_ledger(url)):
        with pytest.raises(errors.StoreError, match="is the server running") as caught:
            await opening()
        assert caught.value.code == "store-unavailable"
        assert caught.value.retryable
        assert "secret" not in str(caught.value)


async def test_postgresql(postgres: Postgres) -> None:
    url = postgres.store()
    with pytest.raises(errors.StoreError, match="no ledger"):
        await ledger.verify_ledger(url)
    for scheme in ("postgresql://", "postgres://"):
        async with conformance.closing(ledger.open_ledger(url.replace("postgresql://", scheme))) as store:
            await conformance.turn(store)
    report = await ledger.verify_ledger(url)
    assert (report.ok, report.facts) == (True, 4)


async def test_verify_without_opening(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="memory"):
        await ledger.verify_ledger("memory")
    with pytest.raises(errors.StoreError, match="no ledger"):
        await ledger.verify_ledger(f"sqlite:///{tmp_path}/nowhere")
    (tmp_path / "torn").write_bytes(b"SQLite format 3\x00 and no more")
    report = await ledger.verify_ledger(f"sqlite:///{tmp_path}/torn")
    assert not report.ok


async def test_the_key_is_passed_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.sqlite"
    async with conformance.closing(ledger.open_ledger(url, key=b"k")) as store:
        await conformance.turn(store)
    assert (await ledger.verify_ledger(url, key=b"k")).ok
    assert not (await ledger.verify_ledger(url)).ok


def test_the_front_door_loads_no_driver() -> None:
    code = "import sys, headrace.ledger; sys.exit('apsw' in sys.modules or 'asyncpg' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False
        ).returncode
        == 0
    )
