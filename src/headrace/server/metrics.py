"""The engine's counts in Prometheus' words: read when somebody asks, nothing on the token path.

Next: `pages`.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.stats import Histogram
from headrace.server.service import Service
from headrace.sinks.following import Followers


class Metrics:
    """All metrics of one server."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(service))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, for an `Accept` header."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """What there is now."""
        engine, stats = self._service.engine, self._service.engine.stats
        logs, log_bytes, merges = (
            engine.runlog.measure() if isinstance(engine.runlog, MemoryRunLog) else (0, 0, 0)
        )
        yield _counter("runs_started", "Runs that were started", stats.started)
        yield _counters(
            "runs_ended", "Runs that have ended, by how", ("kind", "outcome"), stats.outcomes.items()
        )
        yield _counters(
            "run_errors",
            "Runs that ended with an error, by its code",
            ("code",),
            (((code,), count) for code, count in stats.errors.items()),
        )
        yield _counters(
            "tokens",
            "Tokens of ended runs; basis says whether the provider reported them",
            ("direction", "basis"),
            stats.tokens.items(),
        )
        yield _counters(
            "output_rejections",
            "Structured answers that did not fit and were taken back, by when that was seen",
            ("reason",),
            (((reason,), count) for reason, count in stats.rejections.items()),
        )
        yield _counter(
            "output_tokens_saved",
            "Tokens that answers stopped early would have cost more, estimated",
            stats.tokens_saved,
        )
        yield _counter("unknown_usage", "Runs whose token count is not known", stats.unknown_usage)
        yield _counter(
            "incomplete_streams",
            "Runs that failed because a provider's stream broke off",
            stats.incomplete_streams,
        )
        yield _counter(
            "skipped_provider_events", "Provider events of types nobody knew", stats.skipped_events
        )
        yield _counter("resumes", "Readers that came back with a cursor", stats.resumes)
        yield _counter("merges", "Times that deltas were merged for readers", merges)
        yield _histogram("first_token_seconds", "From a run's start to its first token", stats.first_tokens)
        yield _histogram("token_gap_seconds", "Between two batches of tokens", stats.gaps)
        yield _histogram(
            "cancel_to_closed_seconds", "From a stop to the provider's socket being closed", stats.stops
        )
        yield GaugeMetricFamily("headrace_readers", "Event streams that are open", self._service.readers)
        runs = GaugeMetricFamily("headrace_runs", "Runs that are alive", labels=["status"])
        runs.add_metric(["running"], engine.running)
        runs.add_metric(["queued"], engine.queued)
        yield runs
        yield from _sinks(engine)
        yield GaugeMetricFamily("headrace_logs", "Run logs that are kept", logs)
        yield GaugeMetricFamily("headrace_log_bytes", "What all run logs hold, roughly", log_bytes)


def _sinks(engine: Engine) -> Iterable[Metric]:
    """What became of the events for sinks, and whether these can be reached; one line a sink, by its kind."""
    found = [s for watch in engine.observers if isinstance(watch, Followers) for s in watch.sinks]
    events = CounterMetricFamily(
        "headrace_sink_events", "Events for sinks, by what became of them", labels=["sink", "outcome"]
    )
    buffered = GaugeMetricFamily("headrace_sink_buffered", "Events that wait for a sink", labels=["sink"])
    opened = GaugeMetricFamily(
        "headrace_sink_circuit_open", "1 while a sink is away and left alone", labels=["sink"]
    )
    for number, sink in enumerate(found, 1):
        name = f"{number}-{type(sink).__name__}"
        for outcome in ("sent", "dropped", "failed"):
            events.add_metric([name, outcome], getattr(sink, outcome))
        buffered.add_metric([name], sink.buffered)
        opened.add_metric([name], float(sink.circuit_state != "closed"))
    return events, buffered, opened


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"headrace_{name}", text, value)


def _counters(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]
) -> Metric:
    family = CounterMetricFamily(f"headrace_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, found: Histogram) -> Metric:
    buckets, total = [], 0
    for bound, count in zip((*found.bounds, float("inf")), found.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return HistogramMetricFamily(f"headrace_{name}", text, buckets=buckets, sum_value=found.total)
