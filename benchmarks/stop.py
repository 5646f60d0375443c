"""From a stop to an idle engine: the real engine, the real server, and its `/slots` as the witness.

What is measured is what a person waits for and what a bill is made of: from sending the request to stop (or from
leaving the Python iterator) until the engine says that nothing is generated. Next: `memory`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from benchmarks import measure

LIMIT_MS = 100.0


def run(*, quick: bool = False) -> Iterator[measure.Row]:
    """The rows of this benchmark."""
    yield from asyncio.run(_run(5 if quick else 20))


async def _run(times: int) -> list[measure.Row]:
    import headrace
    from headrace.client import Client
    from headrace.testing.engine import Engine
    from headrace.testing.runs import engine_for
    from headrace.testing.server import Server

    body = {"max_tokens": 30_000, "options": {"ignore_eos": True}}
    with Engine() as engine:
        runs = engine_for(llamacpp_base_url=f"{engine.url}/v1")

        async def idle(stop: Callable[[], Awaitable[object]]) -> float:
            began = time.perf_counter()
            await stop()
            while await asyncio.to_thread(engine.busy):
                pass
            return (time.perf_counter() - began) * 1000

        by_iterator = []
        for _ in range(times):
            stream = headrace.stream("llamacpp:tiny", "go", engine=runs, **body)
            run = await stream.__aenter__()
            async for _token in run.text():
                break
            by_iterator.append(await idle(lambda stream=stream: stream.__aexit__(None, None, None)))
        await runs.close()
        by_request = []
        with Server(environment={"LLAMACPP_BASE_URL": f"{engine.url}/v1"}) as server:
            async with Client(server.url) as client:
                for _ in range(times):
                    started = await client.start("llamacpp:tiny", "go", **body)
                    async for _token in client.text(started):
                        break
                    by_request.append(await idle(lambda started=started: client.cancel(started)))
    return [
        measure.Row(
            f"{how} to an idle engine, slowest of {times}",
            "ms",
            max(took),
            LIMIT_MS,
            others={"median": sorted(took)[len(took) // 2]},
        )
        for how, took in (("leaving the iterator", by_iterator), ("a stop over HTTP", by_request))
    ]
