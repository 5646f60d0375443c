"""A process that writes turns into a ledger, one after another, and says so after each acknowledgement.

    python child.py FILE-OR-URL CONVERSATION TURNS LIMIT [AT-ONCE]

Prints `user RUN` and `end RUN`. With AT-ONCE, so many turns go on at a time. With a LIMIT (bytes), files cannot grow
beyond it; the first StoreError is printed as `CODE COUNT`, with the number of facts that can still be read.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from datetime import UTC, datetime

from headrace import errors, ids, ledger


async def main(path: str, conversation: str, turns: int, limit: int, at_once: int = 1) -> None:
    store = ledger.open_ledger(path if "://" in path else f"sqlite:///{path}")
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    async def some(count: int) -> None:
        for _ in range(count):
            if not await one():
                break

    async def one() -> bool:
        run = ids.run_id()
        record = ledger.RunRecord(
            run=run,
            conversation=conversation,
            owner="ada",
            kind="chat",
            model="demo",
            created=datetime.now(UTC),
        )
        try:
            await store.begin(record, "question", {})
            print("user", run, flush=True)
            await store.end(run, "response", "answer " * 50, {}, outcome="completed", summary={})
            print("end", run, flush=True)
        except errors.StoreError as e:
            print(e.code, len(await store.facts(conversation, limit=1_000_000)), flush=True)
            return False
        return True

    await asyncio.gather(*(some(turns // at_once) for _ in range(at_once)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
