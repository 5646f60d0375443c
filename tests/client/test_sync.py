"""The blocking twin, in a thread beside the server's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from headrace import errors, events
from headrace.client import SyncClient
from headrace.providers.scripted import Fail, Hang, Say


async def test_a_run_from_start_to_end(serving: Callable) -> None:
    async with serving("One two three") as site:

        def work() -> None:
            with SyncClient(site.url) as client:
                run = client.start("scripted", "Hi")
                assert "".join(client.text(run)) == "One two three"
                got = list(client.follow(run))
                assert got[0].seq == 1
                assert isinstance(got[-1], events.RunEnd)
                assert client.result(run).text == "One two three"
                assert client.run(run).status == "ended"
                assert [found.run for found in client.runs()] == [run]

        await asyncio.to_thread(work)


async def test_it_is_live_and_can_be_left(serving: Callable) -> None:
    async with serving([Say("One"), Hang()]) as site:

        def work() -> None:
            with SyncClient(site.url) as client:
                run = client.start("scripted", "Hi")
                tokens = client.text(run)
                assert next(tokens) == "One"
                tokens.close()
                assert client.cancel(run).outcome == "cancelled"

        await asyncio.to_thread(work)


async def test_a_structured_answer_grows(serving: Callable) -> None:
    async with serving([Say('{"rows": [1, 2]}')]) as site:

        def work() -> None:
            with SyncClient(site.url) as client:
                run = client.start("scripted", "Hi", output=dict[str, list[int]])
                assert list(client.partials(run, dict[str, list[int]]))[-1] == {"rows": [1, 2]}
                assert list(client.partials(run))[-1] == {"rows": [1, 2]}
                assert [(f.path, f.value) for f in client.fields(run)] == [("/rows/0", 1), ("/rows/1", 2)]

        await asyncio.to_thread(work)


async def test_errors_are_raised(serving: Callable) -> None:
    async with serving([Fail(errors.ProviderError("no", code="bad-request"))]) as site:

        def work() -> None:
            with SyncClient(site.url) as client:
                with pytest.raises(errors.UsageError, match="no"):
                    list(client.text(client.start("scripted", "Hi")))
                with pytest.raises(errors.ReadError):
                    client.run("run_01JD0000000000000000000000")

        await asyncio.to_thread(work)
