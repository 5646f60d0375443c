"""When to try again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.protocol import retry

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machines

OVERLOADED = errors.ProviderError("x", code="provider-overloaded")
NOW = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)


def test_the_bound_doubles_up_to_the_cap() -> None:
    policy = retry.RetryPolicy(attempts=10, base=0.5, cap=3.0)
    assert [policy.delay(n, OVERLOADED, lambda: 1.0) for n in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert policy.delay(1, OVERLOADED, lambda: 0.0) == 0.0


@UNHURRIED
@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_the_delay_is_within_its_bound_however_often(failed: int, dice: float) -> None:
    delay = retry.RetryPolicy(attempts=failed + 1).delay(failed, OVERLOADED, lambda: dice)
    assert delay is not None
    assert 0 <= delay <= 20.0


def test_when_there_is_no_next_attempt() -> None:
    policy = retry.RetryPolicy(attempts=2)
    assert policy.delay(2, OVERLOADED, lambda: 1.0) is None
    assert policy.delay(1, errors.ProviderError("x", code="auth-failed"), lambda: 1.0) is None
    assert policy.delay(1, errors.RunError("x", code="output-rejected"), lambda: 1.0) == 0.5
    assert retry.RetryPolicy(attempts=1).delay(1, OVERLOADED, lambda: 1.0) is None


def test_the_provider_may_say_how_long() -> None:
    policy = retry.RetryPolicy(cap=20.0)
    asked = errors.ProviderError("x", code="rate-limited", retry_after=7)
    assert policy.delay(1, asked, lambda: 0.0) == 7.0
    too_long = errors.ProviderError("x", code="rate-limited", retry_after=21)
    assert policy.delay(1, too_long, lambda: 0.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("Fri, 20 Nov 2026 10:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:30 +0100", 30.0),
        ("Fri, 20 Nov 2026 10:00:30 -0000", 30.0),
        ("Fri, 20 Nov 2026 09:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("Mon, 99 Jan 2020 00:00:00 GMT", None),
        ("Mon, 1 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry.parse_retry_after(value, NOW) == seconds


@UNHURRIED
@given(st.text())
def test_any_header_is_a_number_or_nothing(value: str) -> None:
    seconds = retry.parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0
