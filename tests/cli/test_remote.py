from __future__ import annotations

from typing import Any

from headrace.client import SyncClient


def _complete(headrace: Any, words: str, **variables: str) -> list[str]:
    count = str(words.count(" "))
    done = headrace(_HEADRACE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count, **variables)
    return list(done.stdout.split())


def test_run_ids_complete(served: Any) -> None:
    headrace, url = served
    with SyncClient(url) as client:
        run = client.start("demo:fast", "Hi")
    assert run in _complete(headrace, "headrace tail ")
    assert _complete(headrace, f"headrace cancel {run[:-2]}") == [run]
    assert _complete(headrace, "headrace tail nothing") == []


def test_completion_without_a_server_is_empty_and_silent(headrace: Any) -> None:
    assert _complete(headrace, "headrace tail ", HEADRACE_URL="http://127.0.0.1:9") == []


def test_the_key_is_sent(headrace: Any) -> None:
    process = headrace.start(
        "serve",
        "--port",
        "0",
        "--store",
        "memory",
        "--grace",
        "0",
        variables={"HEADRACE_API_KEYS": "one,two"},
    )
    try:
        url = next(w for line in process.stderr for w in line.decode().split() if w.startswith("http://"))
        refused = headrace("runs", "--url", url)
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: unauthorized: ")
        assert "--key" in refused.stderr
        assert headrace("runs", "--url", url, "--key", "two").returncode == 0
        assert headrace("runs", "--url", url, HEADRACE_API_KEYS="one,two").returncode == 0
    finally:
        process.terminate()
        process.communicate(timeout=30)
