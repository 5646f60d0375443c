from __future__ import annotations

import json
import signal
from typing import Any

from headrace.client import SyncClient


def _text(found: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in found if event["type"] == "text-delta")


def test_it_follows_a_run_from_any_place(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo:fast", "Hi")
        text = client.result(run).text
    done = headrace("tail", run)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    every = [json.loads(line) for line in headrace("tail", run, "--json").stdout.splitlines()]
    assert every[0]["type"] == "run-start"
    assert every[-1]["type"] == "run-end"
    for after in ("17", f"{run}.17"):
        part = [
            json.loads(line) for line in headrace("tail", run, "--json", "--after", after).stdout.splitlines()
        ]
        assert part[0].get("from", part[0]["seq"]) == 18
        assert 0 < len(_text(part)) < len(text)
        assert text.endswith(_text(part))
        assert part[-1] == every[-1]
    nothing = headrace("tail", run, "--after", str(every[-1]["seq"]))
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_ctrl_c_leaves_the_run_alone(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo", "long", on_disconnect="continue")
        process = headrace.start("tail", run)
        assert process.stdout.read(5) == b"*This"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"Traceback" not in errors
        assert client.run(run).status == "running"
        assert client.cancel(run).outcome == "cancelled"


def test_a_cancelled_run_is_130(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo", "long")
        client.cancel(run)
    assert headrace("tail", run).returncode == 130


def test_what_cannot_be_read(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo:fast", "Hi")
        client.result(run)
    for arguments, code in (
        (["run_00000000000000000000000000"], "run-not-found"),
        ([run, "--after", "99999"], "cursor-ahead"),
        ([run, "--after", "x.y"], "cursor-"),
    ):
        done = headrace("tail", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {code}")
        assert "→" in done.stderr


def test_on_a_terminal_it_is_rendered(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo:fast", "Hi")
    with headrace.terminal("tail", run) as tty:
        assert tty.end() == 0
    assert "demo:fast · " in tty.seen
    assert "**Stop**" not in tty.seen
