"""Send a run to Redis and read it back, as another process would: python examples/sink_to_redis.py [MODEL]

Needs a Redis server at REDIS_URL, default redis://localhost:6379, and the extra `redis`.
"""

from __future__ import annotations

import asyncio
import os
import sys

import headrace
from headrace.consumer import RedisStreamConsumer
from headrace.sinks import RedisSink, attach

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


async def produce(model: str) -> str:
    """Stream an answer; its events go to Redis on the way."""
    async with RedisSink(URL, stream_key="example", flush_interval=0.05) as sink:
        async with headrace.stream(model, "What is a headrace?") as run:
            sent = attach(run, sink)
            result = await run.result()
            await sent.wait()
        print(f"-- sent {sink.sent} events, dropped {sink.dropped}")
    return result.text


async def consume() -> str:
    """Read tokens until the run has ended."""
    consumer = RedisStreamConsumer(URL, stream_key="example", group="pages")
    text: list[str] = []

    @consumer.on("token")
    async def show(event) -> None:
        if event.data.get("field") == "text":
            text.append(event.token)
            print(event.token, end="", flush=True)

    @consumer.on("run-end")
    def end(event) -> None:
        consumer.stop()

    await consumer.run()
    return "".join(text)


async def main(model: str) -> None:
    reading = asyncio.create_task(consume())
    said = await produce(model)
    print(f"\n-- the same text: {await reading == said}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo"))
