from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from headrace.client import SyncClient


@pytest.fixture
def ledger(headrace: Any) -> tuple[Any, str]:
    """A ledger with two turns, left by a server; the program is told where it is. Also the second run's id."""
    headrace.environment["HEADRACE_STORE"] = f"sqlite:///{headrace.home / 'ledger.db'}"
    process = headrace.start("serve", "--port", "0", "--grace", "0")
    try:
        url = next(w for line in process.stderr for w in line.decode().split() if w.startswith("http://"))
        with SyncClient(url) as client:
            client.result(client.start("demo:fast", "First"))
            second = client.start("demo:fast", "Second \x1b[31m")
            client.result(second)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    return headrace, second


def test_verify_show_export(ledger: tuple[Any, str]) -> None:
    headrace, run = ledger
    done = headrace("ledger", "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("good: 4 facts in 2 conversations\nseal: ")
    assert json.loads(headrace("ledger", "verify", "--json").stdout)["ok"] is True

    listed = headrace("ledger", "show").stdout.splitlines()
    assert listed[0].split("\t")[:2] == [run, "2"]
    shown = headrace("ledger", "show", run).stdout
    assert shown.startswith("1 user  ")
    assert "  Second" in shown
    facts = [json.loads(line) for line in headrace("ledger", "show", run, "--json").stdout.splitlines()]
    assert [fact["kind"] for fact in facts] == ["user", "response"]

    exported = headrace("ledger", "export").stdout
    assert [json.loads(line)["kind"] for line in exported.splitlines()] == ["user", "response"] * 2
    done = headrace("ledger", "export", "-o", "facts.jsonl")
    assert (headrace.home / "facts.jsonl").read_text() == exported
    assert done.stdout == ""
    assert "4 facts" in done.stderr
    one = headrace("ledger", "export", run).stdout
    assert [json.loads(line) for line in one.splitlines()] == facts

    with headrace.terminal("ledger", "show", run) as tty:
        assert tty.end() == 0
    assert "Second ␛[31m" in tty.seen


def test_replay(ledger: tuple[Any, str]) -> None:
    headrace, run = ledger
    done = headrace("ledger", "replay")
    assert done.returncode == 0, done.stderr
    assert done.stdout == headrace("ledger", "replay").stdout
    assert done.stdout.splitlines()[0] == f"{run}: 2 facts"
    assert done.stdout.splitlines()[-1].startswith("digest: ")
    one = json.loads(headrace("ledger", "replay", run, "--json").stdout)
    assert set(one["views"]) == {"mirror", "graph", "metrics", "traces"}
    assert headrace("ledger", "replay", "nobody").returncode == 1


def test_a_fact_that_was_changed_is_named(ledger: tuple[Any, str]) -> None:
    headrace, run = ledger
    with sqlite3.connect(headrace.home / "ledger.db") as file:
        table = next(
            name
            for (name,) in file.execute("select name from sqlite_master where type = 'table'")
            if "prev_hash" in {row[1] for row in file.execute(f"pragma table_info({name})")}
        )
        for (name,) in file.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            file.execute(f"drop trigger {name}")
        file.execute(f"update {table} set content = 'Changed' where kind = 'user' and content like 'Second%'")
    file.close()
    done = headrace("ledger", "verify")
    assert done.returncode == 1
    assert f"{run} 1: " in done.stdout
    assert done.stderr.startswith("error: store-unavailable: the ledger does not verify")


def test_looking_makes_nothing(headrace: Any) -> None:
    for command in ("verify", "show", "export"):
        done = headrace("ledger", command)
        assert done.returncode == 1
        assert done.stderr.startswith("error: store-unavailable: there is no ledger at")
    assert list(headrace.home.iterdir()) == []


def test_a_conversation_that_there_is_not(ledger: tuple[Any, str]) -> None:
    done = ledger[0]("ledger", "show", "nobody")
    assert done.returncode == 1
    assert "'nobody'" in done.stderr
