"""Random conversations in a ledger, as hypothesis draws them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st

from headrace.ledger import base
from headrace.ledger.memory import MemoryLedger
from headrace.memory import markers, mirror

_LINES = st.sampled_from(
    [
        "COMMIT: water the plants",
        "COMMIT: read about weirs [n1]",
        "CLOSE: water the plants",
        "CLOSE: c3",
        'CLAIM: weather={"city": "Oslo"}',
        "REFLECT: I answer too quickly, see [n2]",
        "TRAIT: openness +0.02",
        "TRAIT: neuroticism -4",
        "The plants on the balcony need water.",
        "```",
        "",
    ]
)
_TEXT = st.lists(_LINES, max_size=5).map("\n".join)
_NOTES = st.one_of(
    st.tuples(st.just(markers.COMMITMENT), _TEXT, st.just({"turn": 2})),
    st.tuples(st.just(markers.CLOSED), _TEXT, st.integers(1, 30).map(lambda n: {"commitment": f"c{n}"})),
    st.tuples(
        st.just(markers.TRAIT),
        _TEXT,
        st.fixed_dictionaries({"trait": st.sampled_from([*markers.TRAITS, "x"]), "step": st.floats(-1, 1)}),
    ),
    st.tuples(st.just(markers.CLAIM), _TEXT, st.just({"type": "t", "value": [1, None]})),
    st.tuples(st.just(markers.REFLECTION), _TEXT, st.just({"turn": 2})),
    st.tuples(
        st.sampled_from([mirror.IDENTITY, mirror.DIRECTIVE, mirror.EVENT, "odd"]),
        _TEXT,
        st.just({"turn": []}),
    ),
)
_TURN = st.tuples(st.sampled_from(["completed", "cancelled", "open"]), _TEXT, _TEXT)
HISTORIES = st.lists(st.one_of(_TURN, _NOTES), max_size=25)


async def _write(history: list[Any]) -> list[base.Fact]:
    ledger = MemoryLedger()
    trace = [{"step": "context", "nodes": ["n1"]}]
    for number, item in enumerate(history):
        if isinstance(item[2], dict):
            kind, text, meta = item
            await ledger.append("c", kind, text, meta, id=f"note {number}")
            continue
        outcome, asked, said = item
        run = f"run_{number}"
        record = base.RunRecord(
            run=run, conversation="c", owner="", kind="chat", model="m", created=datetime.now(UTC)
        )
        await ledger.begin(record, asked, {})
        if outcome != "open":
            done = outcome == "completed"
            kind = base.RESPONSE if done else base.GENERATION_ENDED
            meta = {"outcome": outcome, "trace": trace}
            await ledger.end(run, kind, said if done else "", meta, outcome=outcome, summary={})
    return await ledger.facts("c")


@pytest.fixture
def histories() -> Any:
    """A strategy of lists of facts."""
    return HISTORIES


@pytest.fixture
def written() -> Callable[[list[Any]], list[base.Fact]]:
    """The facts of a history."""
    return lambda history: asyncio.run(_write(history))
