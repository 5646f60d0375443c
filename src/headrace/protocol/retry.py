"""When to try again, and after how long: pure arithmetic, the dice and the clock are the caller's.

Exponential back-off with full jitter (a delay drawn evenly from 0 to the bound), and the provider's own
`Retry-After` (RFC 9110 §10.2.3) when it sent one. Next: `providers`, which fail, and `runs`, which retry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from headrace import errors

_DOUBLINGS = 64  # past every cap, within the range of a float


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often one model is tried before the next, or before the run fails.

    Attributes:
        attempts: calls to one model in all, at least 1.
        base: first bound of the delay, seconds.
        cap: largest delay, seconds; a `Retry-After` beyond it is not waited for.
    """

    attempts: int = 3
    base: float = 0.5
    cap: float = 20.0

    def delay(self, failed: int, error: errors.HeadraceError, random: Callable[[], float]) -> float | None:
        """Seconds to wait before the next attempt, or None when there shall be none.

        Args:
            failed: how many attempts have failed already.
            error: why the last one failed.
            random: a source of numbers in [0, 1).
        """
        if failed >= self.attempts or not error.retryable:
            return None
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            return None if asked > self.cap else float(asked)
        bound: float = min(self.cap, self.base * 2 ** min(failed - 1, _DOUBLINGS))
        return bound * random()


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from a `Retry-After` header: a number, or an HTTP date; None where it is neither."""
    if not value:
        return None
    try:
        seconds = float(value)
        return None if math.isnan(seconds) else max(0.0, seconds)
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())
