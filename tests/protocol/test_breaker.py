"""The circuit breaker as a table: threshold, one probe, recovery."""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.protocol.breaker import Breaker


def test_it_opens_at_the_threshold_and_not_before() -> None:
    breaker = Breaker(3, 10.0)
    for _ in range(2):
        breaker.failure(0.0)
    assert breaker.state == "closed"
    assert breaker.allow(0.0)
    breaker.failure(0.0)
    assert (breaker.state, breaker.opened) == ("open", 1)
    assert not breaker.allow(9.9)
    assert breaker.wait(4.0) == 6.0


def test_a_success_starts_the_count_again() -> None:
    breaker = Breaker(2, 10.0)
    breaker.failure(0.0)
    breaker.success()
    breaker.failure(0.0)
    assert breaker.state == "closed"


def test_one_probe_at_a_time_decides() -> None:
    breaker = Breaker(1, 10.0)
    breaker.failure(0.0)
    assert breaker.allow(10.0)
    assert breaker.state == "half-open"
    assert not breaker.allow(10.0)  # the probe is out
    breaker.failure(10.0)
    assert breaker.state == "open"
    assert not breaker.allow(19.9)
    assert breaker.allow(20.0)
    breaker.success()
    assert (breaker.state, breaker.failures, breaker.opened) == ("closed", 0, 1)


def test_a_probe_that_was_not_made_is_still_to_be_made() -> None:
    breaker = Breaker(1, 10.0)
    breaker.failure(0.0)
    assert breaker.allow(10.0)
    breaker.unused()
    assert breaker.state == "open"
    assert breaker.allow(10.0)


def test_hurry_lets_the_next_probe_through() -> None:
    breaker = Breaker(1, 1000.0)
    breaker.failure(0.0)
    breaker.hurry()
    assert breaker.wait(0.0) == 0
    assert breaker.allow(0.0)


@pytest.mark.parametrize(("threshold", "recovery"), [(0, 1.0), (1, -1.0)])
def test_numbers_that_make_no_sense(threshold: int, recovery: float) -> None:
    with pytest.raises(errors.UsageError):
        Breaker(threshold, recovery)
