"""What a run leaves in memory after its end, while its log is kept: `python -m benchmarks.memory` is the child.

The child makes runs of 1,000 tokens and keeps them all; the growth of its resident memory, divided by their
number, is held against the bytes of their text. Next: `startup`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Iterator

from benchmarks import measure

TOKENS, RUNS = 1000, 500
TIMES_TEXT, MORE_KB = 3.0, 8.0


async def runs() -> dict[str, float]:
    """Bytes a run, and the bytes of its text."""
    import headrace
    from headrace.providers import scripted
    from headrace.runlog import MemoryRunLog
    from headrace.runs.engine import Engine

    words = ["the", "water", "that", "turns", "the", "mill", "wheel", "comes", "down", "this", "channel"]
    pieces = [f" {words[i % len(words)]}" for i in range(TOKENS)]
    text = "".join(pieces)
    model = scripted.Scripted(scripted.Say(text, pieces))
    engine = Engine(headrace_models(), MemoryRunLog())

    async def some(count: int) -> None:
        for _ in range(count):
            assert (await headrace.ask(model, "go", engine=engine)).text == text

    await some(50)
    gc.collect()
    before = measure.memory_of(os.getpid())
    await some(RUNS)
    gc.collect()
    grown = measure.memory_of(os.getpid()) - before
    await engine.close()
    return {"run": grown / RUNS, "text": len(text)}


def headrace_models() -> object:
    """A registry with the settings' defaults."""
    from headrace import settings
    from headrace.providers import registry

    return registry.Registry(settings.Settings())


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the row."""
    with measure.Child("benchmarks.memory") as child:
        found = child.hear()
    target = (TIMES_TEXT * found["text"] + MORE_KB * 1024) / 1024
    what = f"memory of an ended run of {TOKENS:,} tokens ({found['text'] / 1024:.1f} KB of text)"
    yield measure.Row(what, "KB", found["run"] / 1024, target)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(runs())), flush=True)
