"""What the engine counts: cheap enough for the token path, read by whoever exports metrics.

A histogram here is a list of counts and one bisect; nothing is locked, since all of it is on one loop.
Next: `headrace.server.metrics`, which shows it to Prometheus.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from headrace.runs.spec import RunInfo, RunSpec

GAP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
FIRST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STOP_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Histogram:
    """Counts of values by upper bound; the last bucket has no bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value, seconds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Stats:
    """Counters of one engine, since it was made."""

    def __init__(self) -> None:
        self.started = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self.unknown_usage = 0
        self.incomplete_streams = 0
        self.rejections: Counter[str] = Counter()
        self.tokens_saved = 0
        self.skipped_events = 0
        self.resumes = 0
        self.gaps = Histogram(GAP_BOUNDS)
        self.first_tokens = Histogram(FIRST_BOUNDS)
        self.stops = Histogram(STOP_BOUNDS)
        self.gap = self.gaps.add

    def skipped(self, count: int) -> None:
        """Provider events of unknown types were passed over."""
        self.skipped_events += count

    def stopped(self, seconds: float) -> None:
        """A stop was asked for and the provider's socket is closed."""
        self.stops.add(seconds)

    def ended(self, info: RunInfo, spec: RunSpec) -> None:
        """A run has ended."""
        self.outcomes[spec.kind, info.outcome or "failed"] += 1
        if info.first_token_ms is not None:
            self.first_tokens.add(info.first_token_ms / 1000)
        if info.error is not None:
            self.errors[info.error.code] += 1
            if info.error.code == "stream-incomplete":
                self.incomplete_streams += 1
        if spec.output is not None and isinstance(info.result, dict):
            for rejection in info.result.get("rejections", ()):
                self.rejections[rejection["reason"]] += 1
            self.tokens_saved += info.result.get("tokens_saved", 0)
        usage = info.usage
        if usage is None or usage.basis == "unknown":
            self.unknown_usage += 1
        else:
            self.tokens["input", usage.basis] += usage.input_tokens or 0
            self.tokens["output", usage.basis] += usage.output_tokens or 0
