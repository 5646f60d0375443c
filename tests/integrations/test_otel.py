"""Runs as spans."""

from __future__ import annotations

import pytest

from headrace import errors, messages
from headrace.providers import scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.integrations import otel


class _Models:
    def __init__(self, provider: scripted.Scripted) -> None:
        self.provider = provider

    def resolve(self, name: str) -> tuple[scripted.Scripted, str]:
        return self.provider, name

    async def close(self) -> None:
        await self.provider.close()


async def _spans(*steps: scripted.Step, **options: object) -> list:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    engine = Engine(_Models(scripted.Scripted(list(steps))), MemoryRunLog())
    engine.observers.append(otel.Spans(provider))
    spec = RunSpec(model="m", messages=(messages.user("secret question"),), **options)
    active = await engine.start(spec)
    await active.ended.wait()
    await engine.close()
    return [(active, span) for span in exporter.get_finished_spans()]


async def test_a_run_is_a_span() -> None:
    usage = messages.Usage(input_tokens=3, output_tokens=5, basis="reported")
    ((active, span),) = await _spans(
        scripted.Say("secret answer"), usage, temperature=0.5, max_tokens=9, stop=("x",), conversation="c"
    )
    assert span.name == "chat m"
    had = dict(span.attributes)
    assert had["gen_ai.operation.name"] == "chat"
    assert had["gen_ai.request.model"] == "m"
    assert had["gen_ai.request.temperature"] == 0.5
    assert had["gen_ai.request.max_tokens"] == 9
    assert had["gen_ai.request.stop_sequences"] == ("x",)
    assert had["gen_ai.conversation.id"] == "c"
    assert had["gen_ai.response.finish_reasons"] == ("stop",)
    assert (had["gen_ai.usage.input_tokens"], had["gen_ai.usage.output_tokens"]) == (3, 5)
    assert had["headrace.run"] == active.run
    assert had["headrace.outcome"] == "completed"
    (first,) = span.events
    assert first.name == "gen_ai.first_token"
    assert span.start_time <= first.timestamp <= span.end_time
    assert "secret" not in span.to_json()


async def test_a_failed_run_is_a_failed_span() -> None:
    error = errors.ProviderError("too busy", code="provider-overloaded", retryable=False)
    ((_, span),) = await _spans(scripted.Fail(error))
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["error.type"] == "provider-overloaded"
    assert "gen_ai.usage.output_tokens" not in span.attributes


async def test_an_observer_that_fails_harms_no_run() -> None:
    class Broken:
        def started(self, active: object) -> None:
            raise ZeroDivisionError

        ended = started

    engine = Engine(_Models(scripted.Scripted("Hi")), MemoryRunLog())
    engine.observers.append(Broken())
    active = await engine.start(RunSpec(model="m", messages=(messages.user("Hi"),)))
    await active.ended.wait()
    assert active.end is not None
    assert active.end.outcome == "completed"
    await engine.close()
