from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.memory import context, views
from headrace.memory.context import Budgets, Cache, build

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(data=st.data())
def test_the_same_ledger_gives_the_same_bytes(data: st.DataObject, histories: Any, written: Any) -> None:
    history = data.draw(histories)
    first = build(views.of_facts(written(history)), "water the plants", system="Be kind.", teach=True)
    again = build(views.of_facts(written(history)), "water the plants", system="Be kind.", teach=True)
    assert first == again
    assert first.text.encode() == again.text.encode()


def test_an_empty_ledger_adds_nothing(written: Any) -> None:
    built = build(views.Views(), "Hello")
    assert [(m.role, m.text) for m in built.messages] == [("user", "Hello")]
    assert built.block == ""


def test_budgets(written: Any) -> None:
    long = "plants " * 60
    history = [("commitment", f"{n} {long}", {}) for n in range(9)]
    history += [("reflection", f"{n} {long}", {}) for n in range(9)]
    history += [("directive", long, {}) for n in range(9)]
    history += [("identity", long * 10, {}), ("trait", "", {"trait": "openness", "step": 0.01})]
    history += [("completed", f"{n} {long}", long) for n in range(60)]
    budgets = Budgets()
    built = build(views.of_facts(written(history)), "plants?", budgets=budgets)
    parts = {name: text.split("\n") for name, text in built.parts}
    commitments = [line.removeprefix("- ") for line in parts["commitments"][1:]]
    assert [line[:4] for line in commitments] == ["c5: ", "c6: ", "c7: ", "c8: ", "c9: "]
    assert max(map(len, commitments)) == 80
    assert sum(map(len, commitments)) <= 400
    reflections = [line.removeprefix("- ") for line in parts["reflections"][1:]]
    assert [line[0] for line in reflections] == ["6", "7", "8"]
    assert max(map(len, reflections)) == 120
    assert sum(map(len, reflections)) <= 600
    memory = [line.removeprefix("- ") for line in parts["memory"][1:]]
    assert sum(map(len, memory)) <= budgets.graph
    assert [line.split("]")[0][1:] for line in memory] == list(built.nodes)
    thread = built.messages[1:-1]
    assert len(thread) <= budgets.messages
    assert sum(len(message.text) for message in thread) <= budgets.recent
    assert len(built.block) < 4000


def test_fewer_characters_than_a_total_needs(written: Any) -> None:
    history = [("commitment", "x" * 100, {}) for _ in range(5)]
    budgets = Budgets(commitments_total=170)
    parts = dict(build(views.of_facts(written(history)), "", budgets=budgets).parts)
    assert len(parts["commitments"].split("\n")) == 3  # the title and two of 80


def test_an_answer_that_broke_off_is_not_sent(written: Any) -> None:
    built = build(views.of_facts(written([("completed", "a", "b"), ("cancelled", "c", "")])), "d")
    assert [(m.role, m.text) for m in built.messages[1:]] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("user", "d"),
    ]


def test_the_slice_leaves_out_what_is_said_anyway(written: Any) -> None:
    facts = written([("completed", "plants need water", "they do")] * 15)
    built = build(views.of_facts(facts), "plants", budgets=Budgets(messages=4))
    assert built.nodes == ("n25", "n23", "n21", "n19", "n17", "n15", "n13", "n11")


def test_cut() -> None:
    assert context.cut("a  b\nc", 9) == "a b c"
    assert context.cut("abcdef", 4) == "abc…"
    assert context.cut("abc", 0) == ""


def test_the_cache_counts_and_forgets() -> None:
    cache = Cache(size=2)
    made = [build(views.Views(), text) for text in "abc"]
    for key in (0, 0, 1, 2, 0):
        assert cache.get(key, lambda key=key: made[key]) is made[key]  # type: ignore[misc]
    assert (cache.hits, cache.misses) == (1, 4)
