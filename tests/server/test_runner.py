"""The server as a process: how it starts, what it refuses, how it goes down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace import errors, settings
from headrace.ledger import open_ledger
from headrace.server import runner

SOURCE = str(Path(runner.__file__).parents[2])
PROGRAM = """
import sys
from headrace import settings
from headrace.server import runner
runner.serve(settings.load(store=sys.argv[1], model="demo", drain_seconds=float(sys.argv[2])), port=0)
"""


@contextlib.asynccontextmanager
async def _process(store: str, drain: float) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        store,
        str(drain),
        env={**os.environ, "PYTHONPATH": SOURCE},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        told = []
        while "http://127.0.0.1:" not in (line := (await process.stderr.readline()).decode()):
            assert line, "".join(told)
            told.append(line)
        yield process, next(word for word in line.split() if word.startswith("http://"))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def _read_until(url: str, wanted: int) -> tuple[aiohttp.ClientSession, Any, list[dict[str, Any]]]:
    """Start a run and read until it has shown some text."""
    http = aiohttp.ClientSession(url)
    answer = await http.post(
        "/v1/runs", json={"input": "Hi"}, headers={"accept": "text/event-stream", "idempotency-key": "k"}
    )
    assert answer.status == 201
    stream = _events(answer)
    found = []
    async for event in stream:
        found.append(event)
        if len(found) >= wanted:
            break
    return http, stream, found


async def test_sigterm_with_a_live_run_that_ends_in_time(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    async with _process(store, 30.0) as (process, url):
        http, stream, found = await _read_until(url, 5)
        process.send_signal(signal.SIGTERM)
        async with http:
            while True:  # no new run from here on
                reply = await http.post("/v1/runs", json={"input": "More"})
                if reply.status == 503:
                    break
            found += [event async for event in stream]
        assert await process.wait() == 0
    assert found[-1]["outcome"] == "completed"
    assert [event["seq"] for event in found if "from" not in event][:5] == [1, 2, 3, 4, 5]
    await _one_ending(store, found[0]["run"], "completed")


async def test_sigterm_with_a_live_run_and_no_time(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    async with _process(store, 0.0) as (process, url):
        http, stream, found = await _read_until(url, 5)
        process.send_signal(signal.SIGTERM)
        async with http:
            found += [event async for event in stream]
        assert await process.wait() == 0
    assert found[-1]["outcome"] == "interrupted"
    assert found[-1]["error"]["code"] == "interrupted"
    assert found[-1]["error"]["retryable"] is True
    await _one_ending(store, found[0]["run"], "interrupted")


async def test_a_second_signal_ends_the_grace_time(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a.db'}"
    async with _process(store, 600.0) as (process, url):
        http, stream, found = await _read_until(url, 5)
        process.send_signal(signal.SIGINT)
        async with http:
            while (await http.get("/readyz")).status != 503:
                pass
            process.send_signal(signal.SIGINT)
            found += [event async for event in stream]
        assert await process.wait() == 0
    assert found[-1]["outcome"] == "interrupted"
    await _one_ending(store, found[0]["run"], "interrupted")


async def test_kill_and_come_back(tmp_path: Path) -> None:
    """After `kill -9` the run has its one ending, a reader is told, and the same key is the same run."""
    store = f"sqlite:///{tmp_path / 'a.db'}"
    async with _process(store, 0.0) as (process, url):
        http, _, found = await _read_until(url, 8)
        process.kill()
        await process.wait()
        await http.close()
    run, last = found[0]["run"], found[-1]["seq"]
    for _ in range(2):
        async with _process(store, 0.0) as (process, url), aiohttp.ClientSession(url) as http:
            reply = await http.get(f"/v1/runs/{run}/events", headers={"last-event-id": f"{run}.{last}"})
            assert reply.status == 410
            told = (await reply.json())["error"]["details"]["run"]
            assert (told["status"], told["outcome"]) == ("ended", "interrupted")
            reply = await http.post("/v1/runs", json={"input": "Hi"}, headers={"idempotency-key": "k"})
            assert (await reply.json())["run"] == run
            assert (await (await http.get("/v1/ledger/verify")).json())["ok"] is True
    await _one_ending(store, run, "interrupted")


async def _one_ending(store: str, run: str, outcome: str) -> None:
    ledger = open_ledger(store)
    record = await ledger.run(run)
    assert record is not None
    assert record.outcome == outcome
    facts = await ledger.facts(record.conversation)
    assert [fact.id for fact in facts] == [f"{run}:user", f"{run}:end"]
    await ledger.close()


# -- refusals ---------------------------------------------------------------------------------------------


def _refused(**options: Any) -> str:
    chosen = settings.Settings(**options.pop("settings", {}))
    with pytest.raises(errors.UsageError) as caught:
        runner.check(chosen, **{"host": "127.0.0.1", "insecure": False, "workers": 1, **options})
    return caught.value.message


def test_other_addresses_want_keys() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        message = _refused(host=host)
        assert "HEADRACE_API_KEYS" in message
        assert "--insecure" in message
        runner.check(settings.Settings(), host=host, insecure=True, workers=1)
        runner.check(settings.Settings(api_keys=("k",)), host=host, insecure=False, workers=1)
    for host in ("127.0.0.1", "localhost", "::1"):
        runner.check(settings.Settings(), host=host, insecure=False, workers=1)


def test_workers_and_run_logs() -> None:
    assert "run log" in _refused(workers=4)
    assert "1 or more" in _refused(workers=0)
    assert "redis" in _refused(settings={"runlog": "redis://localhost"})


async def test_an_address_that_is_taken(serving: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with serving() as site:
            with pytest.raises(errors.UsageError) as caught:
                async with runner.listening(site.app, port=taken.getsockname()[1]):
                    pass
            assert "--port" in caught.value.message


async def test_the_url_of_an_ipv6_address(serving: Any) -> None:
    async with serving() as site:
        try:
            async with runner.listening(site.app, host="::1") as server:
                assert server.url.startswith("http://[::1]:")
                async with aiohttp.request("GET", f"{server.url}/healthz") as answer:
                    assert answer.status == 200
        except errors.UsageError:
            pytest.skip("this machine has no IPv6")
