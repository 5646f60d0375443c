"""Leave in mid-answer and come back: `python examples/resume_client.py [MODEL]`, with a server running.

The client also comes back by itself when a line breaks; here it leaves on purpose.
"""

import asyncio
import sys

import headrace
from headrace import events


async def main(model: str = "demo") -> None:
    async with headrace.Client() as client:
        run = await client.start(model, "Tell me about resume", on_disconnect="continue")
        text, seen = "", 0
        async for event in client.follow(run):
            seen = event.seq
            if isinstance(event, events.TextDelta):
                text += event.delta
            if len(text) > 60:
                break
        print(f"{text}\n-- left at event {seen}; the run goes on without us")
        async for token in client.text(run, after=seen):
            print(token, end="", flush=True)
            text += token
        result = await client.result(run)
        print(f"\n-- nothing lost, nothing twice: {text == result.text}")


asyncio.run(main(*sys.argv[1:]))
