"""Tokens as they come, then what the run came to: `python examples/stream.py [MODEL] [PROMPT]`."""

import asyncio
import sys

import headrace


async def main(model: str = "demo", prompt: str = "Hello") -> None:
    async with headrace.stream(model, prompt) as run:
        async for token in run.text():
            print(token, end="", flush=True)
        result = await run.result()
    usage = result.usage
    print(f"\n-- {result.outcome}, {result.finish_reason}, first token after {result.first_token_ms:.0f} ms")
    print(f"-- {usage.output_tokens if usage else 'unknown'} tokens, {usage.basis if usage else 'unknown'}")
    print(f"-- cost: {'unknown' if result.cost is None else f'{result.cost} {result.currency}'}")


asyncio.run(main(*sys.argv[1:]))
