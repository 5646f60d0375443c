"""How well answers agree with a column of right ones: accuracy, confusion, precision, recall, F1, kappa. Pure.

A row that failed, or has no answer, has the label `FAILED`: it counts in every figure and is never correct, also
where nothing was the right answer. What cannot be known (a precision of a label that nobody answered) is None, not
0. Next: `api`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

FAILED = "(failed)"


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one label; None is not known.

    Attributes:
        support: rows of which it is the right answer.
        answered: rows that were answered with it.
    """

    label: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Answers against right ones.

    Attributes:
        slot, column: what was compared.
        rows: how many rows had a right answer.
        failed: how many of them have no answer.
        accuracy: correct rows of all; None where there are no rows.
        kappa: Cohen's kappa: agreement beyond chance; None where chance alone would agree fully.
        precision, recall, f1: the mean over the labels that are right answers somewhere (macro); a precision that
            is not known counts as 0 there, and an F1 too, as is usual.
        labels: each label that is a right answer or was answered, in order.
        confusion: right answer to answer to how many rows.
    """

    slot: str
    column: str
    rows: int
    correct: int
    failed: int
    accuracy: float | None
    kappa: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    labels: list[Label]
    confusion: dict[str, dict[str, int]]


def compare(pairs: Sequence[tuple[str, str | None]], *, slot: str = "", column: str = "") -> Comparison:
    """Compare labels.

    Args:
        pairs: the right answer and the answer of each row; None where the row has none.
    """
    found = [(right, FAILED if answer is None else answer) for right, answer in pairs]
    total = len(found)
    counts = Counter(found)
    rights, answers = Counter(right for right, _ in found), Counter(answer for _, answer in found)
    hits = {right: count for (right, answer), count in counts.items() if right == answer and answer != FAILED}
    correct = sum(hits.values())
    labels = [
        _label(name, rights[name], answers[name], hits.get(name, 0))
        for name in sorted({*rights, *answers} - ({FAILED} if FAILED not in rights else set()))
    ]
    accuracy = correct / total if total else None
    chance = sum(rights[name] * answers[name] for name in rights if name != FAILED) / total**2 if total else 1
    right = [one for one in labels if one.support]
    return Comparison(
        slot=slot,
        column=column,
        rows=total,
        correct=correct,
        failed=answers[FAILED],
        accuracy=accuracy,
        kappa=None if accuracy is None or chance == 1 else (accuracy - chance) / (1 - chance),
        precision=_mean([one.precision or 0.0 for one in right]),
        recall=_mean([one.recall or 0.0 for one in right]),
        f1=_mean([one.f1 or 0.0 for one in right]),
        labels=labels,
        confusion={
            name: {answer: counts[name, answer] for answer in sorted(answers) if counts[name, answer]}
            for name in sorted(rights)
        },
    )


def _label(name: str, support: int, answered: int, hits: int) -> Label:
    precision = hits / answered if answered else None
    recall = hits / support if support else None
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Label(label=name, support=support, answered=answered, precision=precision, recall=recall, f1=f1)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def label(value: Any) -> str:
    """A value as a label: text without case and without space around it; numbers that are equal are one label."""
    from headrace.templates.expressions import show

    text = " ".join(show(value).split()).casefold()
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:g}" if number == number and abs(number) < 1e15 else text


def shown(found: Comparison) -> str:
    """The figures in words and tables, for people."""

    def figure(value: float | None) -> str:
        return "—" if value is None else f"{value:.3f}"

    lines = [
        f"{found.slot} against {found.column}: {found.correct} of {found.rows} correct"
        + (f", {found.failed} failed" if found.failed else ""),
        f"accuracy {figure(found.accuracy)}   kappa {figure(found.kappa)}   precision {figure(found.precision)}   "
        f"recall {figure(found.recall)}   F1 {figure(found.f1)}",
    ]
    width = max([len(one.label) for one in found.labels] + [5])
    lines.append(f"{'label':<{width}}  right  answered  precision  recall     F1")
    lines += [
        f"{one.label:<{width}}  {one.support:>5}  {one.answered:>8}  {figure(one.precision):>9}  "
        f"{figure(one.recall):>6}  {figure(one.f1):>5}"
        for one in found.labels
    ]
    lines.append("confusion (right answer: answers)")
    for right, answers in found.confusion.items():
        told = ", ".join(f"{answer} {count}" for answer, count in answers.items())
        lines.append(f"{right:<{width}}  {told}")
    return "\n".join(lines)
