"""Events into a file: whole lines, rotated, and a disk that is full for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import errors
from headrace.core.events import TokenEvent, decode
from headrace.sinks.jsonl import JsonlSink


def seqs(path: Path) -> list[int]:
    return [decode(line).seq for line in path.read_bytes().splitlines()]


def token(seq: int) -> TokenEvent:
    return TokenEvent(token="a\nb", field="answer", seq=seq)


def test_a_line_an_event_and_a_second_sink_appends(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for first in (1, 11):
        with JsonlSink(path) as sink:
            for seq in range(first, first + 10):
                sink.emit(token(seq))
    assert seqs(path) == list(range(1, 21))


def test_rotated_by_size(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JsonlSink(path, max_bytes=2000, keep=2, batch_size=5) as sink:
        for seq in range(1, 101):
            sink.emit(token(seq))
    kept = [path.with_name(f"{path.name}.{n}") for n in (2, 1)] + [path]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in kept)
    assert all(p.stat().st_size <= 2000 for p in kept)
    found = [seq for p in kept for seq in seqs(p)]
    assert found == list(range(found[0], 101))


def test_none_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JsonlSink(path, max_bytes=500, keep=0, batch_size=1) as sink:
        for seq in range(1, 21):
            sink.emit(token(seq))
    assert [p.name for p in tmp_path.iterdir()] == ["events.jsonl"]
    assert seqs(path)[-1] == 20


def test_what_a_full_disk_cut_off_is_taken_back_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    class Full:
        """A file whose third write is cut short, and the next refused."""

        writes = 0

        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            Full.writes += 1
            if Full.writes == 3:
                return int(self.file.write(data[: len(data) // 2]))
            if Full.writes == 4:
                raise OSError(28, "No space left on device")
            return int(self.file.write(data))

    class Sink(JsonlSink):
        def _write(self, lines: bytes) -> None:
            if self._file is None:
                self._file = Full(self.path.open("ab", buffering=0))  # type: ignore[assignment]
            super()._write(lines)

    with Sink(path, batch_size=2, failure_threshold=1, recovery_timeout=0.01) as sink:
        for seq in range(1, 21):
            sink.emit(token(seq))
        assert sink.flush(20)
        assert (sink.sent, sink.dropped, sink.failed) == (20, 0, 0)
    assert Full.writes > 4
    assert seqs(path) == list(range(1, 21))


def test_numbers_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError):
        JsonlSink(tmp_path / "x", keep=-1)
