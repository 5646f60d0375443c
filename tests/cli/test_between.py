from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.cli.between import Heard, judge

HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform"}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def heard(arrivals: list[float], every: float = 0.02) -> list[Heard]:
    return [Heard(at, BEGIN + timedelta(seconds=every * i)) for i, at in enumerate(arrivals)]


def paced(late: Any = lambda i: 0.001) -> list[Heard]:
    return heard([1000 + 0.02 * i + late(i) for i in range(100)])


def test_as_it_is_written() -> None:
    found = judge(paced(), HEADERS)
    assert found.problems == []
    assert found.advice == []


def test_the_clocks_need_not_agree() -> None:
    assert judge([Heard(one.arrived - 5e6, one.written) for one in paced()], HEADERS).problems == []


@pytest.mark.parametrize(
    "arrivals",
    [
        [1002.0] * 100,  # all at the end
        [1000 + 0.02 * (i // 50 * 50 + 50) for i in range(100)],  # in two lumps of a second
    ],
)
def test_held_back(arrivals: list[float]) -> None:
    found = judge(heard(arrivals), HEADERS)
    assert found.problems == ["buffers"]
    assert any("proxy_buffering off" in line for line in found.advice)
    assert any("haproxy" in line for line in found.advice)


def test_one_pause_of_the_network_is_not_a_buffer() -> None:
    found = judge(paced(lambda i: 0.4 if 40 <= i < 43 else 0.001), HEADERS)
    assert found.problems == []


def test_compressed() -> None:
    found = judge(paced(), HEADERS | {"content-encoding": "gzip"})
    assert found.problems == ["compresses"]
    assert any("gzip_types" in line for line in found.advice)


def test_headers_that_were_changed_or_added() -> None:
    assert judge(paced(), {"Content-Type": "text/event-stream"}).problems == ["changes-headers"]
    assert judge(paced(), HEADERS | {"Content-Length": "9"}).problems == ["buffers"]
    found = judge(paced(), HEADERS | {"Via": "1.1 cache", "Server": "nginx/1.26"})
    assert found.problems == []
    assert [fact for fact in found.facts if "1.1 cache" in fact or "nginx/1.26" in fact]
