from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger import conformance

from headrace import errors
from headrace.ledger import base, hashing, postgres_batch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.text(st.sampled_from("a\x00🌊")))
def test_nuls_come_back_to_their_places(text: str) -> None:
    kept, places = postgres_batch.without_nuls(text)
    assert "\x00" not in kept
    numbers = [int(n) for n in places[1:-1].split(",")] if places else None
    assert postgres_batch.with_nuls(kept, numbers) == text


def state() -> postgres_batch.State:
    return postgres_batch.State(None, NOW, hashing.Total())


def new(id: str, kind: str = "user") -> postgres_batch.New:
    return hashing.new_fact(id, kind, "text", {})


def test_a_turn_in_one_batch() -> None:
    s, record = state(), hashing.checked_run(conformance.record("r", idempotency_key="k"))
    begun = postgres_batch.Begin(record, new("r:user")).do(s)
    again = postgres_batch.Begin(record, new("r:user")).do(s)
    other = hashing.checked_run(conformance.record("r2", idempotency_key="k"))
    assert postgres_batch.Begin(other, new("r2:user")).do(s) is None
    end = postgres_batch.End("r", "completed", {}, new("r:end", "response"))
    ended = end.do(s)
    assert begun == again
    assert end.do(s) == ended
    assert [fact.id for fact, _ in s.new_facts] == ["r:user", "r:end"]
    assert (s.new_runs, s.ended, s.runs["r"].status) == (["r"], [], base.ENDED)
    assert (s.total.facts, s.total.conversations) == (2, 1)
    assert record.status == base.RUNNING  # the caller's own is left alone


def test_refusals_change_nothing() -> None:
    s = state()
    postgres_batch.Begin(hashing.checked_run(conformance.record("r")), new("r:user")).do(s)
    foreign = hashing.checked_run(conformance.record("r2", owner="bob"))
    with pytest.raises(errors.AccessError):
        postgres_batch.Begin(foreign, new("r2:user")).do(s)
    with pytest.raises(errors.ReadError):
        postgres_batch.End("nowhere", "completed", {}, new("x:end", "response")).do(s)
    assert (len(s.new_facts), list(s.runs)) == (1, ["r"])


def test_what_a_dead_worker_left_is_closed_once() -> None:
    s = state()
    postgres_batch.Begin(hashing.checked_run(conformance.record("r")), new("r:user")).do(s)
    s.of_workers["w"] = ["r"]
    assert [r.run for r in postgres_batch.Close("w").do(s)] == ["r"]
    assert postgres_batch.Close("w").do(s) == postgres_batch.Close("nobody").do(s) == []


def test_a_fact_is_given_to_each_as_its_own() -> None:
    s = state()
    append = postgres_batch.Append("c", hashing.new_fact("n", "note", "", {"a": [1]}))
    append.do(s).meta["a"].append(2)
    assert append.do(s).meta == {"a": [1]}
