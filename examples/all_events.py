"""Every event of a run, typed and numbered: `python examples/all_events.py [MODEL] [PROMPT]`."""

import asyncio
import sys

import headrace
from headrace import events


async def main(model: str = "demo", prompt: str = "Please think about rivers") -> None:
    async with headrace.stream(model, prompt) as run:
        async for event in run:
            match event:
                case events.ReasoningDelta(delta=delta) | events.TextDelta(delta=delta):
                    print(f"{event.seq:4} {event.type:16} {delta!r}")
                case events.RunEnd():
                    print(f"{event.seq:4} {event.type:16} {event.outcome}, usage {event.usage}")
                case _:
                    print(f"{event.seq:4} {event.type}")


asyncio.run(main(*sys.argv[1:]))
