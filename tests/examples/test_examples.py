"""Every file of `examples/` runs as its first lines say, on the built-in demo or a script; none is left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.redis import Redis
from headrace.testing.server import Server

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

ALONE = {
    "stream.py": r"-- completed, stop, first token after \d+ ms\n-- \d+ tokens, reported\n-- cost: unknown\n\Z",
    "stream_sync.py": r"-- completed: \d{3,} characters",
    "all_events.py": r"\A +1 run-start\n(?s:.*)reasoning-delta(?s:.*)text-delta(?s:.*) run-end +completed",
    "failover.py": r"continue  The river(?s:.*)\[taken back: failover\]",
    "tools.py": r"\[call_1\] = \{'kilowatts': 4.9\}(?s:.*)stop, 1 calls\n\Z",
    "structured.py": r"taken back: early-reject(?s:.*)lines complete(?s:.*)1 answer was stopped; saved",
    "mcp_tools.py": r"\Atools: mill__level\nmill__level \{'river': 'river'\} = river: 1.3 m\n",
    "own_provider.py": r"\AYOUR OWN MODEL(?s:.*)WAITING WORKS TOO  \(unknown usage\)",
    "chat_memory.py": r"\S",
    "engine_with_ledger.py": r"1 user(?s:.*)2 response(?s:.*)4 generation-ended +''\n.*: True",
}
WITH_SERVER = {
    "resume_client.py": r"-- left at event \d+(?s:.*)nothing lost, nothing twice: True",
    "openai_client.py": r"built-in demo(?s:.*)-- \d+ tokens",
    "curl.sh": r'"type":"text"(?s:.*)\nrun_\w+\n(?s:.*)"seq":4(?s:.*)("status":"ended"\n){2}',
}
WITHOUT_MODEL = {"failover.py", "own_provider.py", "engine_with_ledger.py", "structured.py"}
ELSEWHERE = {
    "chat_memory.py",
    "meeting.hr.md",
    "review.hr.md",
    "story.hr.md",
    "review.tac",
    "story.tac",
    *(f"token_streaming_{name}.py" for name in ("basic", "cot", "multi", "websocket", "ui")),
}  # run by the tests of their own rooms


def environment(**more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    source = os.pathsep.join(path for path in sys.path if path)
    return {**kept, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8", **more}


def run(name: str, *arguments: str, **more: str) -> str:
    program = ["bash"] if name.endswith(".sh") else [sys.executable]
    done = subprocess.run(
        [*program, str(EXAMPLES / name), *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_none_is_left_out() -> None:
    found = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert found == {
        *ALONE,
        *WITH_SERVER,
        "own_app.py",
        "sink_to_redis.py",
        "eventsource.html",
        "README.md",
        *ELSEWHERE,
    }
    listed = set(re.findall(r"`([a-z][\w.]*\.(?:py|sh|html|md|tac))`", (EXAMPLES / "README.md").read_text()))
    assert listed == found - {"README.md"}


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str) -> None:
    arguments = [] if name in WITHOUT_MODEL else ["demo:fast"]
    assert re.search(ALONE[name], run(name, *arguments))


@pytest.mark.parametrize("name", WITH_SERVER)
def test_with_a_server(name: str, server: Server) -> None:
    model = "demo" if name == "curl.sh" else "demo:fast"  # curl stops a run that has to be alive
    assert re.search(WITH_SERVER[name], run(name, model, HEADRACE_URL=server.url))


def test_with_redis(redis: Redis) -> None:
    found = run("sink_to_redis.py", "demo:fast", REDIS_URL=redis.url)
    assert re.search(r"-- sent \d{2,} events, dropped 0(?s:.*)-- the same text: True\n\Z", found)


def test_inside_an_app() -> None:
    own = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "own_app.py"), "0"],
        env=environment(HEADRACE_MODEL="demo:fast"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert own.stdout is not None
        url = own.stdout.readline().split()[-1]
        page = urllib.request.urlopen(url, timeout=10).read().decode()
        assert 'new EventSource("/api/chat?message="' in page
        answer = urllib.request.urlopen(
            url.replace("/eventsource", "/api/chat?message=Hi"), timeout=10
        ).read()
        assert answer.rstrip().endswith(b'data: {"type":"done"}')
    finally:
        own.terminate()
        own.wait(10)
        if own.stdout is not None:
            own.stdout.close()
