"""What a batch has paid for, on disk as it comes: answers and finished rows, one JSON line each.

    {"batch": 2, "of": "<fingerprint>"}
    {"row": "<row>", "key": "<question>", "entry": {…}, "usage": {…}}     an answer of a slot
    {"row": "<row>", "spent": {…}}                                        a call whose answer did not fit, or failed
    {"row": "<row>", "done": {"values": {…}, …}}                          a row that completed

A line is one write to the end of the file, so after `kill -9` at worst the last line is cut short, and that one is
dropped. A thread hands what was written to the disk once a second, so a power cut may cost the last second. An
interrupted batch takes its answers from here before it asks anybody: rows that are done are not run, and in a row
that was half done only the slots without an answer are asked. A row is known by what is in it, so rows may be added
before it or taken away. Next: `api`.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from headrace import errors
from headrace.messages import Usage
from headrace.templates import caching
from headrace.templates.expressions import plain

VERSION = 2
EVERY = 1.0
"""Seconds between two hand-overs to the disk, at least."""


class Journal:
    """The journal of one batch, open for writing; one process at a time.

    Args:
        path: the file; made when it is not there.
        of: fingerprint of the batch: what it must be the same to go on.
        resume: go on where the file ends; False wants that there is none.

    Attributes:
        done: rows that completed, by `row_keys`.
        paid: what earlier processes paid, by row.

    Raises:
        errors.UsageError: `bad-request`: it is there and `resume` is False; or it is another batch's.
        errors.StoreError: it cannot be opened or written, or another process has it.
    """

    def __init__(self, path: str | Path, of: str, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.done: dict[str, dict[str, Any]] = {}
        self.paid: dict[str, Usage] = {}
        self._answers: dict[tuple[str, str], list[caching.Entry]] = {}
        self._timer: threading.Timer | None = None
        self._broken: OSError | None = None
        self._disk = threading.Lock()  # around the file's end: the thread must not write into another file
        self._closed = False
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._lock()
            lines = self._lines()
            if lines and not resume:
                raise errors.UsageError(
                    f"{self.path} is from a batch that did not come to its end: --resume goes on with it and pays "
                    "nothing twice; to begin anew, delete it",
                    code="bad-request",
                )
            self._take(lines, of)
            if not lines:
                self._write({"batch": VERSION, "of": of})
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows has none; two batches into one output are their user's affair there
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.StoreError(
                f"{self.path}: another batch is writing there", retryable=False
            ) from error

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines; what is behind the last of them is cut off."""
        with open(self.path, "rb") as file:
            data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            os.ftruncate(self._file, end)
        try:
            return [json.loads(line) for line in data[:end].splitlines()]
        except ValueError as error:
            raise errors.UsageError(
                f"{self.path} is no journal of a batch: {error}", code="bad-request"
            ) from error

    def _take(self, lines: Sequence[Any], of: str) -> None:
        for number, line in enumerate(lines):
            if number == 0:
                if not isinstance(line, dict) or line.get("batch") != VERSION or line.get("of") != of:
                    raise errors.UsageError(
                        f"{self.path} is of another batch (another template, model or option); to begin anew, "
                        "delete it",
                        code="bad-request",
                    )
            elif "done" in line:
                self.done[line["row"]] = line["done"]
            elif "spent" in line:
                self._pay(line["row"], line["spent"])
            else:
                entry = msgspec.convert(line["entry"], caching.Entry)
                self._answers.setdefault((line["row"], line["key"]), []).append(entry)
                self._pay(line["row"], line["usage"])

    def _pay(self, row: str, usage: dict[str, Any] | None) -> None:
        if usage is not None:
            one = msgspec.convert(usage, Usage)
            self.paid[row] = self.paid[row] + one if row in self.paid else one

    def answers(self, row: str) -> Answers:
        """The answers of one row, for the run of its template."""
        return Answers(self, row)

    def finish(self, row: str, done: Mapping[str, Any]) -> None:
        """Note a row that completed."""
        self._write({"row": row, "done": plain(dict(done))})

    def take(self, row: str, key: str) -> caching.Entry | None:
        """An answer that an earlier process was given, once."""
        found = self._answers.get((row, key))
        return found.pop(0) if found else None

    def put(self, row: str, key: str, entry: caching.Entry, usage: Usage | None) -> None:
        """Note an answer."""
        self._write({"row": row, "key": key, "entry": entry, "usage": usage})

    def spent(self, row: str, usage: Usage) -> None:
        """Note what a call cost that gave no answer."""
        self._write({"row": row, "spent": usage})

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._broken is not None:
            raise self._failed(self._broken) from self._broken
        data = msgspec.json.encode(line) + b"\n"
        try:
            written = os.write(self._file, data)
        except OSError as error:
            raise self._failed(error) from error
        if written != len(data):
            raise errors.StoreError(f"{self.path} cannot be written: the disk is full", retryable=False)
        if self._timer is None:
            self._timer = threading.Timer(EVERY, self._sync)
            self._timer.daemon = True
            self._timer.start()

    def _sync(self) -> None:
        """Hand what was written to the disk; in a thread, for it may take long. The next line says what failed."""
        self._timer = None  # before the sync: a line that comes in the middle starts the next
        with self._disk:
            if not self._closed:
                self._handed()

    def _handed(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            self._broken = error

    def _failed(self, error: OSError) -> errors.StoreError:
        return errors.StoreError(f"{self.path} cannot be written: {error.strerror or error}", retryable=False)

    def close(self) -> None:
        """Hand all to the disk and close the file; it stays.

        Raises:
            errors.StoreError: the disk has not taken it.
        """
        timer = self._timer
        if timer is not None:
            timer.cancel()
        with self._disk:
            self._handed()
            self._closed = True
            os.close(self._file)
        if self._broken is not None:
            raise self._failed(self._broken) from self._broken

    def remove(self) -> None:
        """Take the file away: all is done."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Answers:
    """The answers of one row; see `caching.Earlier`.

    Attributes:
        paid: what earlier processes paid for this row.
    """

    def __init__(self, journal: Journal, row: str) -> None:
        self._journal = journal
        self._row = row
        self.paid: Usage | None = journal.paid.get(row)

    def take(self, key: str) -> caching.Entry | None:
        """See `caching.Earlier.take`."""
        return self._journal.take(self._row, key)

    def put(self, key: str, entry: caching.Entry, usage: Usage | None) -> None:
        """See `caching.Earlier.put`."""
        self._journal.put(self._row, key, entry, usage)

    def spent(self, usage: Usage) -> None:
        """See `caching.Earlier.spent`."""
        self._journal.spent(self._row, usage)


def row_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A key for each row: a hash of what is in it, and how many like it came before."""
    seen: Counter[str] = Counter()
    keys = []
    for row in rows:
        key = caching.key(row=plain(dict(row)))[:32]
        keys.append(f"{key}.{seen[key]}")
        seen[key] += 1
    return keys


def fingerprint(**what: Any) -> str:
    """The fingerprint of a batch."""
    return hashlib.sha256(msgspec.json.encode(plain(what), order="deterministic")).hexdigest()[:32]
