from __future__ import annotations

from pathlib import Path

import pytest

from headrace import errors
from headrace.batch import journal
from headrace.messages import Usage
from headrace.templates import caching

ENTRY = caching.Entry(((0.0, "a"), (1.5, "b")), "stop", "p", "m")
USAGE = Usage(basis="reported", output_tokens=2, cost=0.5, currency="USD")


def test_answers_and_rows_come_back_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with journal.Journal(path, "x") as first:
        first.answers("r").put("k", ENTRY, USAGE)
        first.answers("r").put("k", ENTRY, None)
        first.finish("done", {"values": {"a": 1}})
    with journal.Journal(path, "x", resume=True) as again:
        answers = again.answers("r")
        assert answers.take("other") is None
        assert again.answers("s").take("k") is None
        assert answers.take("k") == ENTRY
        assert answers.paid == USAGE
        assert answers.take("k") == ENTRY
        assert answers.paid == USAGE
        assert answers.take("k") is None
        assert again.done == {"done": {"values": {"a": 1}}}


@pytest.mark.parametrize("size", [1, 5, 60])
def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path, size: int) -> None:
    path = tmp_path / "j"
    with journal.Journal(path, "x") as first:
        first.finish("one", {"values": {}})
        first.finish("two", {"values": {"long": "x" * 100}})
    path.write_bytes(path.read_bytes()[:-size])
    with journal.Journal(path, "x", resume=True) as again:
        assert set(again.done) == {"one"}
        again.finish("three", {})
    with journal.Journal(path, "x", resume=True) as last:
        assert set(last.done) == {"one", "three"}


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with journal.Journal(path, "x"):
        pytest.importorskip("fcntl")
        with pytest.raises(errors.StoreError, match="another batch"):
            journal.Journal(path, "x", resume=True)
    with pytest.raises(errors.UsageError, match="--resume goes on"):
        journal.Journal(path, "x")
    with pytest.raises(errors.UsageError, match="another batch"):
        journal.Journal(path, "y", resume=True)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(errors.UsageError, match="no journal"):
        journal.Journal(path, "x", resume=True)
    with pytest.raises(errors.StoreError, match="cannot be written"):
        journal.Journal(tmp_path / "nowhere" / "j", "x")


def test_a_row_is_known_by_what_is_in_it() -> None:
    a, b = {"n": 1}, {"n": 2}
    first, second, third = journal.row_keys([a, b, a])
    assert journal.row_keys([b, a, a]) == [second, first, third]
    assert len({first, second, third}) == 3
