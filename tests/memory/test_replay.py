from __future__ import annotations

from headrace.ledger.memory import MemoryLedger
from headrace.memory import replay
from headrace.memory.runtime import Runtime
from headrace.providers.callable import DummyChat


async def recorded(*conversations: str) -> MemoryLedger:
    ledger = MemoryLedger()
    for name in conversations:
        async with Runtime(DummyChat(), ledger, conversation=name, consistency="strict") as runtime:
            await runtime.ask("Hello")
            await runtime.ask("COMMIT: water the plants")
    return ledger


async def test_two_recordings_replay_to_the_same_digests() -> None:
    one, other = await recorded("a", "b"), await recorded("b", "a")
    found = [item async for item in replay.replay_all(one)]
    again = [item async for item in replay.replay_all(other)]
    assert [item.conversation for item in found] == ["b", "a"]
    assert found[0] == again[1]
    assert replay.total(found) == replay.total(again)
    assert set(found[0].views) == {"mirror", "graph", "metrics", "traces"}
    assert found[0].facts == 5
    assert len(found[0].head) == 64


async def test_one_fact_more_changes_the_digest() -> None:
    ledger = await recorded("a")
    before = await replay.replay(ledger, "a")
    await ledger.append("a", "event", "rain", {}, id="x")
    assert (await replay.replay(ledger, "a")).digest != before.digest


async def test_a_conversation_without_facts() -> None:
    assert (await replay.replay(MemoryLedger(), "nobody")).facts == 0
