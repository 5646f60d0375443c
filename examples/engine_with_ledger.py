"""An engine of your own, a ledger on disk, and a run that is stopped: `python examples/engine_with_ledger.py`.

The ledger holds complete facts only: the question before the model is asked, then one ending. What was shown of
the stopped run is not in it; that it was stopped is.
"""

import asyncio
import tempfile
from pathlib import Path

import headrace
from headrace import ledger
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'facts.db'}"
        engine = headrace.Engine(Registry(), MemoryRunLog(), ledger.open_ledger(store), max_running=8)
        try:
            await headrace.ask("demo:fast", "Hello", engine=engine, conversation="tour")
            async with headrace.stream("demo", "A long story", engine=engine, conversation="tour") as run:
                async for token in run.text():
                    if token:
                        break  # leaving the block stops the run, and closes the provider's socket
            for fact in await engine.ledger.facts("tour"):
                print(f"{fact.seq} {fact.kind:18} {fact.content[:50]!r}")
            print(f"the ledger is as it was written: {(await engine.ledger.verify()).ok}")
        finally:
            await engine.close()


asyncio.run(main())
