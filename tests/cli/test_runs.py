from __future__ import annotations

import json
from typing import Any

from headrace.client import SyncClient


def test_runs_are_listed_newest_first(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        started = [client.start("demo:fast", f"{number}") for number in range(3)]
        for run in started:
            client.result(run)
    newest = started[::-1]
    assert headrace("runs", "--ids", "--limit", "3").stdout.split() == newest
    found = [json.loads(line) for line in headrace("runs", "--json", "--limit", "2").stdout.splitlines()]
    assert [run["run"] for run in found] == newest[:2]
    assert found[0]["outcome"] == "completed"
    rows = [line.split("\t") for line in headrace("runs", "--limit", "3").stdout.splitlines()]
    assert [row[:3] for row in rows] == [[run, "demo:fast", "completed"] for run in newest]


def test_a_table_on_a_terminal(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo:fast", "Hi")
    with headrace.terminal("runs", "--limit", "1", columns=120) as tty:
        assert tty.end() == 0
    assert "FIRST TOKEN" in tty.seen
    assert run in tty.seen


def test_no_server(headrace: Any) -> None:
    done = headrace("runs", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: provider-unreachable: ")
    assert "headrace serve" in done.stderr
