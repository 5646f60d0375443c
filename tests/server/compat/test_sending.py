"""Held answers: no head before there is something to show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from headrace import errors, events
from headrace.providers.scripted import Fail, Hang, Pause, Say
from headrace.server.compat import sending

BODY = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


async def test_the_head_waits_for_the_first_token(serving: Callable) -> None:
    async with serving([Pause(1), Say("Hello")]) as site:
        asking = asyncio.create_task(site.post("/v1/chat/completions", BODY))
        while not site.provider.calls:
            await asyncio.sleep(0)
        assert not asking.done()
        site.gate.release()
        assert (await asking).status == 200


async def test_a_run_that_is_stopped_before_that_is_an_error(serving: Callable) -> None:
    async with serving([Hang()]) as site:
        asking = asyncio.create_task(site.post("/v1/chat/completions", BODY))
        while not site.provider.calls:
            await asyncio.sleep(0)
        (active,) = site.engine.all_active()
        await site.engine.cancel(active.run)
        reply = await asking
        assert reply.status == errors.CODES["interrupted"].status
        assert "cancelled" in json.loads(reply.body)["error"]["message"]
        assert reply.headers["x-should-retry"] == "false"


async def test_a_reader_that_leaves_before_that_stops_the_run(serving: Callable) -> None:
    async with serving([Hang()]) as site:
        asking = asyncio.create_task(site.post("/v1/chat/completions", BODY))
        while not site.provider.calls:
            await asyncio.sleep(0)
        asking.cancel()
        (active,) = site.engine.all_active()
        await active.ended.wait()
        assert active.info().outcome == "cancelled"
        assert site.provider.calls[0].closed_early


async def test_a_failure_after_that_is_in_the_stream(serving: Callable) -> None:
    failure = errors.ProviderError("gone", code="provider-error", retryable=False)
    async with serving([Say("Hi"), Fail(failure)]) as site:
        reply = await site.post("/v1/chat/completions", BODY)
        assert reply.status == 200
        assert reply.body.endswith(
            b'data: {"error":{"message":"gone","type":"server_error","param":null,'
            b'"code":"provider_error"}}\n\ndata: [DONE]\n\n'
        )


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "interrupted"])
def test_only_a_completed_run_has_no_failure(outcome: events.Outcome) -> None:
    assert sending.failure(events.RunEnd(outcome="completed")) is None
    why = events.ErrorInfo(code="rate-limited", message="slow down", retryable=True)
    failed = sending.failure(events.RunEnd(outcome=outcome, error=why))
    assert isinstance(failed, errors.ProviderError)
    assert failed.retryable
    assert sending.failure(events.RunEnd(outcome=outcome)) is not None
