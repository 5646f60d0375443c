"""What Prometheus reads."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from headrace import errors
from headrace.messages import Usage
from headrace.providers.scripted import Drop, Pause, Say


async def _values(site: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    reply = await site.get("/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


async def test_counts(serving: Any) -> None:
    scripts = [
        [Say("Hello"), Usage(input_tokens=3, output_tokens=5, basis="reported")],
        [Say("Hello"), Drop()],
        [Say("Hello"), Pause(1), Say("more")],
    ]
    async with serving(scripts) as site:
        first = await site.start()
        await site.read(first)
        await site.read(first, after=f"{first}.2")
        second = await site.start()
        await site.ended(second)
        third = await site.start()
        async with site.http.get(f"/v1/runs/{third}/events") as answer:
            await answer.content.readuntil(b"Hello")
            live = await _values(site)
            assert live["headrace_readers", ()] == 1
            assert live["headrace_runs", (("status", "running"),)] == 1
        await site.post(f"/v1/runs/{third}/cancel")
        found = await _values(site)

    def of(name: str, **labels: str) -> float:
        return found[f"headrace_{name}", tuple(sorted(labels.items()))]

    assert of("runs_started_total") == 3
    assert of("runs_ended_total", kind="answer", outcome="completed") == 1
    assert of("runs_ended_total", kind="answer", outcome="failed") == 1
    assert of("runs_ended_total", kind="answer", outcome="cancelled") == 1
    assert of("run_errors_total", code="stream-incomplete") == 1
    assert of("incomplete_streams_total") == 1
    assert of("tokens_total", direction="output", basis="reported") == 5
    assert of("resumes_total") == 1
    assert of("first_token_seconds_count") == 3
    assert of("first_token_seconds_bucket", le="+Inf") == 3
    assert of("cancel_to_closed_seconds_count") == 1
    assert of("runs", status="running") == 0
    assert of("logs") == 3
    assert of("log_bytes") > 0
    assert of("merges_total") >= 0
    assert of("unknown_usage_total") >= 0
    assert errors.CODES


async def test_what_retention_drops_is_still_counted(serving: Any) -> None:
    async with serving() as site:
        run = await site.start()
        await site.read(run, params={"interval": "1"})
        before = (await _values(site))["headrace_merges_total", ()]
        assert before >= 1
        site.engine.runlog._drop(run)
        after = await _values(site)
        assert after["headrace_merges_total", ()] == before
        assert after["headrace_logs", ()] == 0
