from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from headrace import ledger
from headrace.cli import doctor
from headrace.testing.playback import Response, ScriptedHTTP
from headrace.testing.postgres import Postgres


def _findings(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_all_is_well_and_nothing_was_made(headrace: Any) -> None:
    done = headrace("doctor", "--json", HEADRACE_MODEL="demo:fast")
    found = _findings(done.stdout)
    assert done.returncode == 0, done.stdout
    assert not [f for f in found if f["state"] == "wrong"]
    assert any("from HEADRACE_MODEL" in f["what"] for f in found)
    assert any("demo:fast" in f["what"] for f in found if f["about"] == "model")
    assert list(headrace.home.iterdir()) == []


def test_settings_are_named_with_their_file_and_keys_are_stars(headrace: Any) -> None:
    (headrace.home / "headrace.toml").write_text("stall_timeout = 7.0\n")
    done = headrace("doctor", OPENAI_API_KEY="sk-very-secret", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert "stall_timeout = 7.0, from stall_timeout in" in done.stdout
    assert "sk-very-secret" not in done.stdout
    assert "from OPENAI_API_KEY" in done.stdout
    assert done.returncode == 1, "a provider that is set up and cannot be reached is wrong"
    assert "✗ provider  openai" in done.stdout


def test_a_bad_setting(headrace: Any) -> None:
    done = headrace("doctor", HEADRACE_STALL_TIMEOUT="soon")
    assert done.returncode == 1
    assert "✗ settings  the environment variable HEADRACE_STALL_TIMEOUT" in done.stdout


def test_a_ledger_that_is_damaged(headrace: Any) -> None:
    path = headrace.home / "ledger.db"
    path.write_bytes(b"this is not a database" * 1000)
    done = headrace("doctor", HEADRACE_STORE=f"sqlite:///{path}")
    assert done.returncode == 1
    assert "✗ ledger" in done.stdout


def test_a_server_that_should_be_there(headrace: Any) -> None:
    done = headrace("doctor", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "✗ server" in done.stdout
    assert "headrace serve" in done.stdout


@pytest.mark.slow
def test_a_server_that_streams(served: Any) -> None:
    headrace, url = served
    done = headrace("doctor", "--url", url)
    assert done.returncode == 0, done.stdout
    assert f"✓ server    {url} is ready" in done.stdout
    assert "✓ stream    comes through as it is written" in done.stdout


async def test_a_proxy_that_holds_everything_back(headrace: Any, served: Any) -> None:
    """A stand-in for a server behind one: events written over two seconds, sent at once, compressed in name."""
    begin = time.time()
    lines = []
    for seq in range(1, 101):
        written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin + seq * 0.02))
        body = {"type": "text-delta", "run": "run_1", "seq": seq, "block": "b1", "delta": "x"}
        micro = int((begin + seq * 0.02) % 1 * 1e6)
        lines.append(f"data: {json.dumps(body | {'time': f'{written}.{micro:06d}Z'})}\n\n")
    stream = "".join(lines).encode()

    def answer(request: Any) -> Response:
        if request.path.endswith("/events"):
            headers = {"Content-Type": "text/event-stream", "Via": "1.1 held"}
            return Response(headers=headers, pieces=[stream])
        return Response(body={"run": "run_1", "status": "ok"})

    async with ScriptedHTTP(answer) as server:
        done = await asyncio.to_thread(headrace, "doctor", "--url", server.url)
    assert done.returncode == 1
    assert "buffers the stream" in done.stdout
    assert "changes the headers" in done.stdout
    assert "Via: 1.1 held" in done.stdout
    assert "proxy_buffering off" in done.stdout


def test_a_path_for_the_ledger_that_cannot_be_made(headrace: Any) -> None:
    (headrace.home / "file").write_text("")
    done = headrace("doctor", HEADRACE_STORE=f"sqlite:///{Path(headrace.home) / 'file' / 'ledger.db'}")
    assert done.returncode == 1
    assert "✗ ledger" in done.stdout


async def test_a_ledger_on_postgresql(postgres: Postgres) -> None:
    url = postgres.store()

    async def told(url: str) -> tuple[str, str]:
        (found,) = [finding async for finding in doctor._postgres(url)]
        return found.state, found.what

    for _ in range(2):  # looking makes none
        state, what = await told(url)
        assert (state, "there is no ledger" in what) == ("good", True)
    await ledger.open_ledger(url).close()
    assert (await told(url))[1].endswith("is there; not verified")
    state, what = await told("postgresql://ada:secret@127.0.0.1:1/x")
    assert (state, "secret" in what) == ("wrong", False)
