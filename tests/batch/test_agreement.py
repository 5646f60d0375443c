from __future__ import annotations

import pytest

from headrace.batch import agreement


def test_figures_worked_out_by_hand() -> None:
    # right: 4 × yes, 3 × no. answered: yes yes yes no / no no yes
    pairs = [("yes", "yes")] * 3 + [("yes", "no")] + [("no", "no")] * 2 + [("no", "yes")]
    found = agreement.compare(pairs, slot="s", column="c")
    assert (found.rows, found.correct, found.failed) == (7, 5, 0)
    assert found.accuracy == pytest.approx(5 / 7)
    no, yes = found.labels
    assert (yes.label, yes.support, yes.answered) == ("yes", 4, 4)
    assert (yes.precision, yes.recall, yes.f1) == (0.75, 0.75, 0.75)
    assert (no.precision, no.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    chance = (4 * 4 + 3 * 3) / 49
    assert found.kappa == pytest.approx((5 / 7 - chance) / (1 - chance))
    assert found.f1 == pytest.approx((0.75 + 2 / 3) / 2)
    assert found.confusion == {"no": {"no": 2, "yes": 1}, "yes": {"no": 1, "yes": 3}}


def test_rows_that_failed_are_never_correct() -> None:
    found = agreement.compare([("yes", None), ("yes", None), ("no", "no"), (agreement.FAILED, None)])
    assert (found.correct, found.failed, found.accuracy) == (1, 3, 0.25)
    assert found.confusion["yes"] == {agreement.FAILED: 2}
    yes = next(one for one in found.labels if one.label == "yes")
    assert (yes.precision, yes.recall, yes.f1) == (None, 0.0, None)
    assert found.kappa is not None
    assert found.kappa <= found.accuracy


def test_what_is_not_known_is_none() -> None:
    nothing = agreement.compare([])
    assert (nothing.accuracy, nothing.kappa, nothing.f1) == (None, None, None)
    same = agreement.compare([("a", "a")] * 3)
    assert (same.accuracy, same.kappa) == (1.0, None)


def test_a_perfect_and_an_opposite_answer() -> None:
    assert agreement.compare([("a", "a"), ("b", "b")]).kappa == 1.0
    assert agreement.compare([("a", "b"), ("b", "a")]).kappa == -1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [("Yes ", "yes"), (1.0, "1"), (2, "2.0"), ("not so  good", "Not so good"), (True, "true")],
)
def test_labels_that_are_the_same(one: object, other: object) -> None:
    assert agreement.label(one) == agreement.label(other)


def test_in_words() -> None:
    text = agreement.shown(agreement.compare([("a", "a"), ("b", None)], slot="s", column="c"))
    assert "s against c: 1 of 2 correct, 1 failed" in text
    assert "accuracy 0.500" in text
    assert "b      (failed) 1" in text
