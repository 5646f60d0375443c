from __future__ import annotations

import json
import signal
import urllib.request
from typing import Any


def _url(process: Any) -> str:
    return next(str(w) for line in process.stderr for w in line.decode().split() if w.startswith("http://"))


def test_it_listens_and_goes_down_when_asked(headrace: Any) -> None:
    process = headrace.start(
        "serve", "--port", "0", "--store", "memory", "--model", "demo:fast", "--grace", "0"
    )
    url = _url(process)
    assert url.startswith("http://127.0.0.1:")
    request = urllib.request.Request(f"{url}/v1/runs", json.dumps({"input": "Hi"}).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        run = json.load(answer)["run"]
    with urllib.request.urlopen(f"{url}/v1/runs/{run}", timeout=10) as answer:
        assert json.load(answer)["model"] == "demo:fast"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output == b""
    assert b"Traceback" not in errors


def test_a_port_that_is_taken_is_named(headrace: Any, served: Any) -> None:
    port = served[1].rpartition(":")[2]
    done = headrace("serve", "--port", port, "--store", "memory")
    assert done.returncode == 2
    assert port in done.stderr.splitlines()[0]


def test_a_ledger_that_cannot_be_opened(headrace: Any) -> None:
    (headrace.home / "file").write_text("no folder")
    done = headrace("serve", "--port", "0", "--store", "sqlite:///file/ledger.db")
    assert done.returncode == 1
    assert "error: store-unavailable: " in done.stderr
    assert "Traceback" not in done.stderr
