"""A circuit breaker: when to leave a far side that fails alone, and when to try it again. Pure.

    closed ──`failure_threshold` failures in a row──► open ──`recovery_timeout` seconds──► half-open: one probe
       ▲                                               ▲                                        │
       └────────────────── it succeeds ────────────────┼────────────────────────────────────────┤
                                                       └───────────────── it fails ─────────────┘

Whoever asks `allow` says how it went; the clock is the caller's. Next: `headrace.sinks.base`, which uses it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from headrace import errors

State: TypeAlias = Literal["closed", "open", "half-open"]


class Breaker:
    """The state of one circuit.

    Args:
        failure_threshold: failures in a row that open it.
        recovery_timeout: seconds it stays open before one probe is let through.

    Attributes:
        failures: failures in a row so far.
        opened: how often it has opened.

    Raises:
        errors.UsageError: a number that makes no sense.
    """

    def __init__(self, failure_threshold: int = 5, recovery_timeout: float = 5.0) -> None:
        if failure_threshold < 1 or recovery_timeout < 0:
            raise errors.UsageError(
                "failure_threshold must be 1 or more and recovery_timeout 0 or more, not"
                f" {failure_threshold!r} and {recovery_timeout!r}"
            )
        self.failures = 0
        self.opened = 0
        self._threshold = failure_threshold
        self._recovery = recovery_timeout
        self._until: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """`closed`, `open`, or `half-open` while a probe is out."""
        if self._until is None:
            return "closed"
        return "half-open" if self._probing else "open"

    def wait(self, now: float) -> float:
        """Seconds until something may be tried; 0 when it may be now."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def allow(self, now: float) -> bool:
        """Whether to try now. Of an open circuit whose time has come this is the one probe: say how it went."""
        if self._until is None:
            return True
        if self._probing or now < self._until:
            return False
        self._probing = True
        return True

    def hurry(self) -> None:
        """Let the next probe through at once (somebody waits for it)."""
        if self._until is not None:
            self._until = float("-inf")

    def unused(self) -> None:
        """Nothing was tried after all: the probe, if this was one, is still to be made."""
        self._probing = False

    def success(self) -> None:
        """What was tried went well: closed."""
        self.failures = 0
        self._until = None
        self._probing = False

    def failure(self, now: float) -> None:
        """What was tried failed."""
        self.failures += 1
        if self._probing or self.failures >= self._threshold:
            if self._until is None:
                self.opened += 1
            self._until = now + self._recovery
            self._probing = False
