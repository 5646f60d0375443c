from __future__ import annotations

import json
from typing import Any

from headrace.client import SyncClient


def test_a_run_is_stopped_once(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo", "long")
        assert client.run(run).status == "running"
        done = headrace("cancel", run)
        assert (done.returncode, done.stdout) == (0, "cancelled\n")
        assert client.run(run).outcome == "cancelled"
    again = headrace("cancel", run, "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["outcome"] == "cancelled"


def test_a_run_that_had_ended_is_left_as_it_was(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo:fast", "Hi")
        client.result(run)
    assert headrace("cancel", run).stdout == "completed\n"


def test_a_run_that_there_is_not(served: Any) -> None:
    done = served[0]("cancel", "run_00000000000000000000000000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: run-not-found: ")
