from __future__ import annotations

import queue
from pathlib import Path

import pytest

from headrace import errors
from headrace.batch import journal
from headrace.messages import Usage
from headrace.templates import caching

ENTRY = caching.Entry(((0.0, ["a"]), (1.5, ["b", "c"])), "stop", "p", "m")
USAGE = Usage(basis="reported", output_tokens=2, cost=0.5, currency="USD")


def test_answers_and_rows_come_back_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with journal.Journal(path, "x") as first:
        first.answers("r").put("k", ENTRY, USAGE)
        first.answers("r").put("k", ENTRY, None)
        first.answers("r").spent(USAGE)
        first.finish("done", {"values": {"a": 1}})
    with journal.Journal(path, "x", resume=True) as again:
        answers = again.answers("r")
        assert answers.take("other") is None
        assert again.answers("s").take("k") is None
        assert answers.take("k") == ENTRY
        assert answers.take("k") == ENTRY
        assert answers.take("k") is None
        assert answers.paid == USAGE + USAGE
        assert again.answers("s").paid is None
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


def test_lines_reach_the_disk_once_a_while_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: queue.Queue[int] = queue.Queue()
    monkeypatch.setattr(journal.os, "fsync", synced.put)
    monkeypatch.setattr(journal, "EVERY", 0.01)
    with journal.Journal(tmp_path / "j", "x") as open_one:
        for n in range(2):
            open_one.finish(f"{n}", {})
            synced.get(timeout=30)
        monkeypatch.setattr(journal, "EVERY", 3600.0)
        open_one.finish("2", {})
        before = synced.qsize()
    assert synced.qsize() > before


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal.os, "fsync", fail)
    opened = journal.Journal(tmp_path / "j", "x")
    with pytest.raises(errors.StoreError, match="Input/output error"):
        opened.close()


def test_a_row_is_known_by_what_is_in_it() -> None:
    a, b = {"n": 1}, {"n": 2}
    first, second, third = journal.row_keys([a, b, a])
    assert journal.row_keys([b, a, a]) == [second, first, third]
    assert len({first, second, third}) == 3
