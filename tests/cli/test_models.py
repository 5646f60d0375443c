from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from headrace.cli import models
from headrace.testing.playback import Response, ScriptedHTTP


def _rows(text: str) -> dict[str, dict[str, Any]]:
    return {row["provider"]: row for row in map(json.loads, text.splitlines())}


def test_what_is_set_up(headrace: Any) -> None:
    done = headrace("models")
    assert done.returncode == 0
    assert [line.split("\t")[0] for line in done.stdout.splitlines()].count("demo") == 1
    assert "anthropic" not in done.stdout
    assert "the default is demo" in done.stderr
    assert "anthropic\tnot set up" in headrace("models", "--all").stdout


def test_as_json(headrace: Any) -> None:
    rows = _rows(headrace("models", "--json", HEADRACE_MODEL="demo:fast").stdout)
    assert rows["demo"]["default"] == "demo:fast"
    assert rows["demo"]["models"] == ["demo:demo", "demo:fast"]
    assert rows["openai"]["configured"] is False
    assert rows["openai"]["variable"] == "OPENAI_API_KEY"


async def test_a_provider_is_asked(headrace: Any) -> None:
    async with ScriptedHTTP(Response(body={"data": [{"id": "one"}, {"id": "two"}]})) as server:
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "secret-key"}
        done = await asyncio.to_thread(headrace, "models", "--json", **variables)
    row = _rows(done.stdout)["openai"]
    assert (row["configured"], row["reachable"]) == (True, True)
    assert row["models"] == ["openai:one", "openai:two"]
    assert row["default"] == "openai:gpt-4o-mini"
    assert "secret-key" not in done.stdout + done.stderr


async def test_one_that_does_not_answer_in_time(headrace: Any) -> None:
    async with ScriptedHTTP(Response(pieces=[(30.0, b"{}")])) as server:
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
        done = await asyncio.to_thread(headrace, "models", "--timeout", "0.3", "--json", **variables)
    assert done.returncode == 0
    assert _rows(done.stdout)["openai"]["error"]["code"] == "provider-timeout"


def test_a_model_that_streams(headrace: Any) -> None:
    done = headrace("models", "test", "demo", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["streams"] is True
    assert found["arrivals"] > 10


@pytest.mark.engine
def test_a_real_engine(headrace: Any, engine: Any) -> None:
    variables = {"OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "none"}
    done = headrace("models", "test", "openai:tiny", **variables)
    assert "streams" in done.stdout
    assert "does not stream" not in done.stdout
    assert done.returncode == 0


async def test_a_model_that_does_not(headrace: Any, openai_chunks: Callable[..., list[bytes]]) -> None:
    pieces: list[Any] = [(0.2, b"".join(openai_chunks("all ", "at ", "once")))]
    async with ScriptedHTTP(Response(headers={"Content-Type": "text/event-stream"}, pieces=pieces)) as server:
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
        done = await asyncio.to_thread(headrace, "models", "test", "openai:m", **variables)
    assert done.returncode == 1
    assert "does not stream" in done.stdout


async def test_a_table_of_models(headrace: Any, openai_chunks: Callable[..., list[bytes]]) -> None:
    pieces: list[Any] = [(0.2, b"".join(openai_chunks("all ", "at ", "once")))]
    async with ScriptedHTTP(Response(headers={"Content-Type": "text/event-stream"}, pieces=pieces)) as server:
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
        asked = ("models", "test", "demo", "openai:m", "nope:x")
        done = await asyncio.to_thread(headrace, *asked, **variables)
    assert done.returncode == 1
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        ["demo", "token by token"], ["openai:m", "not at all"], ["nope:x", "usage"],
    ]  # fmt: skip
    assert int(rows[0][2]) > 10
    assert all(cell.endswith(" ms") for cell in rows[0][3:])


def test_a_model_that_there_is_not(headrace: Any) -> None:
    assert headrace("models", "test", "nope:x").returncode == 2


@pytest.mark.parametrize(
    ("seen", "elapsed_ms", "streams", "word"),
    [
        ([(0.1 * i, 1, 5) for i in range(20)], 2100, True, "streams"),
        ([(2.0, 20, 100)], 2000, False, "one piece"),
        ([(1.0, 1, 5), (2.0, 19, 95)], 2000, False, "one piece"),
        ([(0.5, 1, 20), (1.0, 1, 20), (2.0, 10, 60)], 2000, False, "lumps"),
        ([(1.98 + 0.001 * i, 1, 5) for i in range(20)], 2000, False, "held back"),
        ([(0.001 * i, 1, 5) for i in range(20)], 25, True, "at once"),
        ([(0.2 * i, 1, 120) for i in range(9)], 2000, False, "in large chunks of 120 characters"),
        ([], 100, False, "no text"),
    ],
)
def test_the_verdict(seen: list[tuple[float, int, int]], elapsed_ms: float, streams: bool, word: str) -> None:
    found = models.judge([models.Arrival(*one) for one in seen], elapsed_ms)
    assert found["streams"] is streams
    assert word in found["verdict"]
