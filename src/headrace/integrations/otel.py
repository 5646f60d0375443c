"""Runs as OpenTelemetry spans, after the GenAI conventions (`gen_ai.*`); extra `otel`.

    engine.observers.append(otel.Spans())

One span a run, from its start to its end, with a span event at the first token. It carries names, counts and
outcomes, never what was said. Where spans go is the program's business: without an SDK they go nowhere.
"""

from __future__ import annotations

import time
from typing import Any

from headrace import errors
from headrace.runs.engine import ActiveRun, Engine

try:
    from opentelemetry import trace
except ImportError as error:
    raise errors.MissingExtra("otel", "tracing with OpenTelemetry") from error

_FINISH = {"tool-calls": "tool_calls", "content-filter": "content_filter"}
_SETTINGS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}


class Spans:
    """An observer of an engine that makes a span of every run.

    Args:
        provider: the tracer provider; default: the program's global one.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("headrace", tracer_provider=provider)
        self._open: dict[str, tuple[trace.Span, int]] = {}

    def started(self, active: ActiveRun) -> None:
        """Open the span."""
        spec = active.spec
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": spec.model,
            "gen_ai.conversation.id": active.conversation,
            "headrace.run": active.run,
            "headrace.kind": spec.kind,
        }
        for name, key in _SETTINGS.items():
            value = getattr(spec, name)
            if value is not None:
                attributes[key] = value
        if spec.stop:
            attributes["gen_ai.request.stop_sequences"] = list(spec.stop)
        if spec.output is not None or spec.output_schema is not None:
            attributes["gen_ai.output.type"] = "json"
        began = time.time_ns()
        span = self._tracer.start_span(
            f"chat {spec.model}", kind=trace.SpanKind.CLIENT, attributes=attributes, start_time=began
        )
        self._open[active.run] = (span, began)

    def ended(self, active: ActiveRun) -> None:
        """Close the span."""
        found = self._open.pop(active.run, None)
        if found is None:
            return
        span, began = found
        info, spec = active.info(), active.spec
        span.set_attribute("headrace.outcome", info.outcome or "")
        if info.finish_reason is not None:
            reason = _FINISH.get(info.finish_reason, info.finish_reason)
            span.set_attribute("gen_ai.response.finish_reasons", [reason])
        if info.usage is not None:
            for name, value in (
                ("gen_ai.usage.input_tokens", info.usage.input_tokens),
                ("gen_ai.usage.output_tokens", info.usage.output_tokens),
            ):
                if value is not None:
                    span.set_attribute(name, value)
            span.set_attribute("headrace.usage.basis", info.usage.basis)
        if info.cost is not None:
            span.set_attribute("headrace.cost", info.cost)
        if info.first_token_ms is not None:
            span.add_event("gen_ai.first_token", timestamp=began + int(info.first_token_ms * 1e6))
        if spec.output is not None and isinstance(info.result, dict) and "rejections" in info.result:
            span.set_attribute("headrace.output.rejections", len(info.result["rejections"]))
            span.set_attribute("headrace.output.tokens_saved", info.result.get("tokens_saved", 0))
        if info.error is not None:
            span.set_attribute("error.type", info.error.code)
            span.set_status(trace.StatusCode.ERROR, info.error.message)
        span.end()


def install(engine: Engine) -> Spans:
    """Make spans of the runs of an engine, with the program's global tracer provider."""
    spans = Spans()
    engine.observers.append(spans)
    return spans
