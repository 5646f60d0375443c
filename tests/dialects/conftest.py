"""Runs written down as native events, one a line, and what each dialect makes of them, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace import dialects, events

GOLDEN = Path(__file__).parent / "golden"
RUN = "run_01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def info() -> dialects.Info:
    return dialects.Info(
        run=RUN,
        model="demo",
        created=datetime(2026, 11, 20, 10, tzinfo=UTC),
        conversation="conv_1",
        include_usage=True,
    )


@pytest.fixture
def scenario() -> Callable[[str], list[events.Event]]:
    """The events of a run in `golden/`."""

    def read(name: str) -> list[events.Event]:
        return [events.decode(line) for line in (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()]

    return read


@pytest.fixture
def golden() -> Callable[[str, str], bytes]:
    """The bytes of a run in a dialect, as they must be."""
    return lambda name, dialect: (GOLDEN / f"{name}.{dialect}").read_bytes()


@pytest.fixture
def encode(info: dialects.Info) -> Callable[..., bytes]:
    """All bytes that a reader gets, from the first event or after a cursor."""

    def run(dialect: str, batch: list[events.Event], after: int = 0) -> bytes:
        encoder = dialects.get(dialect).encoder(info)
        for event in batch[:after]:
            encoder.skip(event)
        return encoder.start() + b"".join(encoder.encode(event) for event in batch[after:]) + encoder.end()

    return run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`name` is every run in `golden/`."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.jsonl")))
