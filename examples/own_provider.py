"""Any object with `generate_stream` or `generate` is a model: `python examples/own_provider.py`.

Blocking code runs in a thread of its own, so an event loop is never held up by it.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import headrace


class Echo:
    """Says what was said, slowly; stands for an SDK of your own."""

    name = "echo"

    def generate(self, messages: list[dict[str, Any]]) -> str:
        return "".join(self.generate_stream(messages))

    def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
        for word in messages[-1]["content"].split():
            time.sleep(0.02)
            yield word.upper() + " "


async def main() -> None:
    async with headrace.stream(Echo(), "your own model, and every guarantee of a run") as run:
        async for token in run.text():
            print(token, end="", flush=True)
    result = await headrace.ask(Echo(), "waiting works too")
    print(f"\n{result.text} ({result.usage.basis if result.usage else 'unknown'} usage)")


asyncio.run(main())
