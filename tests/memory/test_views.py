"""The views together: kept incrementally, rebuilt, as of an earlier fact; all of them at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.ledger.memory import MemoryLedger
from headrace.memory import graph, metrics, mirror, traces, views

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(data=st.data())
def test_incremental_is_a_rebuild_from_zero(data: st.DataObject, histories: Any, written: Any) -> None:
    facts = written(data.draw(histories))
    kept = views.Views()
    for at, fact in enumerate(facts, 1):
        kept.apply(fact)
        kept.apply(fact)  # twice is once
        as_of = views.of_facts(facts[:at])
        assert kept.json() == as_of.json()
        assert kept.digest() == as_of.digest()
        assert kept.unfollowed == as_of.unfollowed
    assert kept.mirror == mirror.rebuild(facts)
    assert kept.metrics == metrics.rebuild(facts)
    assert kept.graph.json() == graph.rebuild(facts).json()
    assert kept.traces.json() == traces.rebuild(facts).json()
    assert 0 <= kept.metrics.ias <= 1
    assert 0 <= kept.metrics.gas <= 1
    assert all(0 <= value <= 1 for value in kept.mirror.traits.values())
    for text in ("water the plants", "weirs", ""):
        assert kept.graph.slice(text) == graph.rebuild(facts).slice(text)


async def test_following_a_ledger_and_going_back(written: Any) -> None:
    ledger = MemoryLedger()
    kept = views.Views()
    for number in range(30):
        await ledger.append("c", "event", f"thing {number}", {}, id=str(number))
        if number % 7 == 0:
            await views.follow(kept, ledger, "c")
    await views.follow(kept, ledger, "c")
    assert kept.seq == 30
    assert kept.digests() == (await views.rebuild(ledger, "c")).digests()
    back = await views.rebuild(ledger, "c", as_of=12)
    assert back.seq == 12
    assert back.digest() == views.of_facts(await ledger.facts("c", limit=12)).digest()


async def test_a_gap_is_not_passed_over() -> None:
    ledger = MemoryLedger()
    for number in range(3):
        await ledger.append("c", "event", "x", {}, id=str(number))
    with pytest.raises(ValueError, match="fact 3 came after fact 0"):
        views.Views().apply((await ledger.facts("c"))[2])
