from __future__ import annotations

from pathlib import Path

import pytest

from headrace import errors
from headrace.templates import evidence


def test_rare_words_count_more_and_length_less() -> None:
    found = evidence.Index(
        [
            evidence.Passage("a", "the sea the sea the sea"),
            evidence.Passage("b", "the lighthouse"),
            evidence.Passage("c", "the lighthouse " + "and the rest of a long story " * 20),
            evidence.Passage("d", "nothing"),
        ]
    )
    assert [one.file for one in found.best("The LIGHTHOUSE?", 5)][:2] == ["b", "c"]
    assert [one.file for one in found.best("sea", 5)] == ["a"]
    assert found.best("absent", 5) == []
    assert evidence.Index([]).best("x", 3) == []


def test_scores_are_those_of_bm25() -> None:
    found = evidence.Index([evidence.Passage("a", "x y"), evidence.Passage("b", "x x z w")])
    # idf(x) = ln(1 + 0.5/2.5); tf part 1·2.5/(1 + 1.5·(0.25 + 0.75·2/3))
    import math

    assert found._score(0, ["x"]) == pytest.approx(math.log(1.2) * 2.5 / (1 + 1.5 * 0.75))
    assert found._score(1, ["x"]) == pytest.approx(math.log(1.2) * 2 * 2.5 / (2 + 1.5 * 1.25))


def test_passages_are_paragraphs_put_together() -> None:
    text = "one\n\ntwo\n \nthree\n\n" + "x" * 3000
    found = [one.text for one in evidence.passages(text)]
    assert found[0] == "one\n\ntwo\n\nthree"
    assert [len(one) for one in found[1:]] == [1200, 1200, 600]


def test_an_index_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("alpha")
    (tmp_path / "b.bin").write_text("alpha")
    first = evidence.index(tmp_path)
    assert evidence.index(tmp_path) is first
    assert [one.file for one in first.best("alpha", 5)] == ["a.md"]
    (tmp_path / "c.txt").write_text("alpha beta")
    assert len(evidence.index(tmp_path).best("alpha", 5)) == 2


def test_what_cannot_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.UsageError, match="no folder"):
        evidence.index(tmp_path / "nothing")
    monkeypatch.setattr(evidence, "MAX_BYTES", 2)
    (tmp_path / "a.md").write_text("long")
    with pytest.raises(errors.UsageError) as caught:
        evidence.index(tmp_path)
    assert caught.value.code == "too-large"
