"""The chats with a memory that this server has open: one `memory.Runtime` for each conversation asked for last.

A run with `"memory": true` is a turn of its conversation's runtime: its context instead of the plain turns so far,
its program, and its follow-up after the run's end. The routes that show what a conversation adds up to look at the
same views. What is closed to make room is opened again, from its snapshot, when it is asked for. Next: `memory`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from headrace.memory import runtime, views
from headrace.runs.engine import Engine

KEPT = 64
"""Conversations that are kept open; more while they are busy."""


class Memories:
    """The open conversations of one engine.

    Args:
        engine: runs the turns, and has the ledger.
        reflect_every: turns after which the follow-up has the model reflect; 0 is never.
    """

    def __init__(self, engine: Engine, reflect_every: int = 0) -> None:
        self._reflect_every = reflect_every
        self._engine = engine
        self._open: OrderedDict[tuple[str, str], runtime.Runtime] = OrderedDict()

    def of(self, conversation: str, owner: str) -> runtime.Runtime:
        """The runtime of an owner's conversation. Whether it is the caller's to see has been checked."""
        key = (conversation, owner)
        found = self._open.get(key)
        if found is None:
            found = runtime.Runtime(
                "",
                engine=self._engine,
                conversation=conversation,
                teach=True,
                hide_markers=True,
                reflect_every=self._reflect_every,
                owner=owner,
                on_disconnect="grace",
            )
            self._open[key] = found
            idle = [key for key, other in self._open.items() if not other.busy]
            for old in idle[: max(0, len(self._open) - KEPT)]:
                del self._open[old]
        self._open.move_to_end(key)
        return found

    async def views(self, conversation: str, owner: str, as_of: int | None = None) -> views.Views:
        """What the conversation adds up to: now, or after an earlier fact."""
        return await self.of(conversation, owner).views(as_of=as_of)

    async def settle(self) -> None:
        """Wait until the follow-ups under way are done."""
        await asyncio.gather(*(found.settle() for found in self._open.values()))
