"""`headrace consume` as a program: lines for people, native events for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from headrace.core.events import FromRun
from headrace.events import RunStart, TextDelta
from headrace.sinks.redis import RedisSink
from headrace.testing.redis import Redis


def consume(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "headrace", "consume", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def filled(redis: Redis) -> Redis:
    convert = FromRun()
    with RedisSink(redis.url) as sink:
        sink.emit(convert(RunStart(run="run_1", seq=1, kind="answer", model="demo")))
        for seq, text in ((2, "The"), (3, " mill")):
            sink.emit(convert(TextDelta(run="run_1", seq=seq, block="b1", delta=text)))
    return redis


def test_lines_for_people(filled: Redis) -> None:
    done = consume(filled.url, "--count", "3")
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == '[START] answer kind=answer model=demo\n[TOKEN] text: "The"\n[TOKEN] text: " mill"\n'
    )
    assert consume(filled.url, "--count", "3", "--inline").stdout == (
        "[START] answer kind=answer model=demo\ntext: The mill\n"
    )


def test_native_events_for_programs_and_a_place_that_is_kept(filled: Redis) -> None:
    done = consume(filled.url, "--json", "--count", "2", "--group", "audit")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in found] == ["run-start", "text-delta"]
    assert found[1]["delta"] == "The"
    rest = consume(filled.url, "--json", "--count", "1", "--group", "audit")
    assert json.loads(rest.stdout)["delta"] == " mill"


def test_wrong_use() -> None:
    done = consume("http://localhost")
    assert done.returncode == 2
    assert "there is no consumer for 'http:…'" in done.stderr
