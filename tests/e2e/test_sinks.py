"""A server whose runs go to a broker: whole runs in a real Redis, over an outage of it too; what /metrics says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request

from headrace.client import Client
from headrace.consumer import RedisStreamConsumer
from headrace.core import events as core
from headrace.testing.redis import Redis
from headrace.testing.runs import check_stream
from headrace.testing.server import Server


def metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics") as page:
        return str(page.read().decode())


async def whole_runs(server: Redis, count: int) -> dict[str, list[core.HeadraceEvent]]:
    """The events of so many runs that have ended, by run, from the stream of a sink."""
    consumer = RedisStreamConsumer(server.url, group=None)
    found: dict[str, list[core.HeadraceEvent]] = {}
    ended = 0
    async for event in consumer:
        found.setdefault(event.run, []).append(event)
        ended += event.type == "run-end"
        if ended == count:
            consumer.stop()
    return found


async def test_runs_of_a_server_go_to_its_sinks_also_over_an_outage(redis: Redis) -> None:
    sink = f"{redis.url}?failure_threshold=1&recovery_timeout=0.05&buffer_size=20&flush_interval=0.01"
    with Server(arguments=("--sink", sink)) as server:
        async with Client(server.url) as client:
            first = await client.result(await client.start("demo:fast", "What is a headrace?"))
            redis.kill()
            second = await client.result(await client.start("demo:fast", "And without a broker?"))  # as ever
            await asyncio.to_thread(redis.start)
            found = await asyncio.wait_for(whole_runs(redis, 2), 30)
        sent = sum(map(len, found.values()))
        expected = f'headrace_sink_events_total{{outcome="sent",sink="1-RedisSink"}} {float(sent)}\n'
        while expected not in (page := await asyncio.to_thread(metrics, server.url)):
            await asyncio.sleep(0.01)  # what Redis has taken is counted when its answer has been read
        assert server.terminate() == 0
    for result in (first, second):
        events = [core.to_native(event) for event in found[result.run]]
        check_stream(events)
        tokens = [e.token for e in found[result.run] if isinstance(e, core.TokenEvent) and e.field == "text"]
        assert "".join(tokens) == result.text
    assert 'headrace_sink_events_total{outcome="dropped",sink="1-RedisSink"} 0.0' in page


async def test_a_programs_runs_go_to_the_sinks_of_its_settings(redis: Redis) -> None:
    program = 'import headrace; print(headrace.ask_sync("demo:fast", "What is a headrace?").text, end="")'
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HEADRACE_SINKS": redis.url,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ((_, found),) = (await asyncio.wait_for(whole_runs(redis, 1), 30)).items()
    tokens = [e.token for e in found if isinstance(e, core.TokenEvent) and e.field == "text"]
    assert "".join(tokens) == done.stdout
