"""Names of runs and conversations."""

from __future__ import annotations

import time

import pytest

from headrace import ids


def test_form() -> None:
    assert ids.RUN.fullmatch(ids.run_id())
    assert ids.conversation_id().startswith("conv_")
    assert len(ids.ulid()) == 26
    assert not ids.RUN.match("run_" + "U" * 26)
    assert not ids.RUN.match(ids.run_id() + "\n")


def test_hard_to_guess_and_never_twice() -> None:
    assert len({ids.ulid() for _ in range(2000)}) == 2000


def test_known_value_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.os, "urandom", lambda count: b"\0" * count)
    monkeypatch.setattr(time, "time_ns", lambda: 1469918176385 * 1_000_000)
    early = ids.ulid()
    assert early == "01ARYZ6S41" + "0" * 16  # the time part of the specification's own example
    monkeypatch.setattr(time, "time_ns", lambda: 1469918176386 * 1_000_000)
    assert ids.ulid() > early
