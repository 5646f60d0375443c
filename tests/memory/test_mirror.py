from __future__ import annotations

from typing import Any

from headrace.ledger import base
from headrace.ledger.memory import MemoryLedger
from headrace.memory import markers, metrics, mirror


async def facts(*items: tuple[str, str, dict[str, Any]]) -> list[base.Fact]:
    ledger = MemoryLedger()
    for number, (kind, text, meta) in enumerate(items):
        await ledger.append("c", kind, text, meta, id=str(number))
    return await ledger.facts("c")


async def test_commitments_open_and_close() -> None:
    found = await facts(
        ("commitment", "Water  the plants", {}),
        ("commitment", "read", {}),
        ("commitment-closed", "x", {"commitment": "c1"}),
        ("commitment-closed", "x", {"commitment": "c1"}),
    )
    before, after = mirror.rebuild(found[:2]), mirror.rebuild(found)
    assert before.find("water the plants") == "c1"
    assert before.find("c2") == "c2"
    assert before.find("anything else") is None
    assert [made.id for made in after.open.values()] == ["c2"]
    assert after.closed == [mirror.Commitment("c1", "Water  the plants", 1, closed=3)]
    assert after.unmatched == 1
    assert mirror.diff(before, after) == {
        "from": 2,
        "to": 4,
        "closed": ["c1"],
        "counts": {"commitment-closed": 2},
    }


async def test_traits_move_by_bounded_steps_and_stay_within_bounds() -> None:
    found = await facts(*[("trait", "", {"trait": "openness", "step": 3.0})] * 12, ("identity", "Brook", {}))
    assert mirror.rebuild(found[:1]).traits["openness"] == 0.55
    last = mirror.rebuild(found)
    assert last.traits["openness"] == 1.0
    assert mirror.diff(mirror.Mirror(), last)["name"] == ["", "Brook"]
    assert mirror.diff(mirror.Mirror(), last)["traits"] == {"openness": 0.5}


async def test_it_holds_the_last_and_counts_the_rest() -> None:
    found = await facts(*[("reflection", f"{n}", {}) for n in range(mirror.KEPT + 5)])
    state = mirror.rebuild(found)
    assert len(state.reflections) == mirror.KEPT
    assert state.reflections[-1].text == "54"
    assert state.counts == {"reflection": mirror.KEPT + 5}


async def test_its_size_has_a_bound() -> None:
    made = [
        (markers.COMMITMENT, f"promise {n} " + "x" * 3000, {"turn": 1}) for n in range(1, mirror.OPEN + 6)
    ]
    before = mirror.rebuild(await facts(*made[:3]))
    found = await facts(*made, (markers.CLOSED, "c1", {"commitment": "c1"}))
    after = mirror.rebuild(found)
    assert len(after.open) == mirror.OPEN
    assert (after.lapsed, after.unmatched) == (5, 1)
    assert next(iter(after.open)) == "c6"
    assert {len(kept.text) for kept in after.open.values()} == {mirror.TEXT}
    assert mirror.diff(before, after)["lapsed"] == ["c1", "c2", "c3"]
    counted = metrics.rebuild(found)
    assert counted.open == list(after.open)
    assert (counted.opened, counted.closed) == (mirror.OPEN + 5, 0)
