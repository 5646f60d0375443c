"""Cursors."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import errors, ids
from headrace.protocol import cursor

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines


@UNHURRIED
@given(st.integers(0, 10**15 - 1))
def test_there_and_back(seq: int) -> None:
    run = ids.run_id()
    assert cursor.parse(cursor.make(run, seq), run=run) == seq
    assert cursor.parse(str(seq), run=run) == seq


@pytest.mark.parametrize(
    "text",
    ["", ".", "run_1", "run_1.", ".5", "run_1.-1", "run_1.1x", "run_1.1 ", "run_1. 1", "run_1.٣", "run_1.1\n",
     "-1", "1e3", "run_1." + "9" * 16, "x" * 10_000],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(errors.ReadError) as caught:
        cursor.parse(text, run="run_1")
    assert caught.value.code == "cursor-malformed"
    assert len(caught.value.message) < 300


def test_foreign() -> None:
    with pytest.raises(errors.ReadError) as caught:
        cursor.parse("run_2.5", run="run_1")
    assert caught.value.code == "cursor-foreign"
    assert caught.value.status == 403


@UNHURRIED
@given(st.text())
def test_any_text_is_a_seq_or_a_typed_error(text: str) -> None:
    try:
        assert cursor.parse(text, run="run_1") >= 0
    except errors.ReadError:
        pass
