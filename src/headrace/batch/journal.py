"""What a batch has paid for, on disk as it comes: answers and finished rows, one JSON line each.

    {"batch": 1, "of": "<fingerprint>"}
    {"row": "<row>", "key": "<question>", "entry": {…}, "usage": {…}}     an answer of a slot
    {"row": "<row>", "done": {"values": {…}, …}}                          a row that completed

A line is one write to the end of the file, so after `kill -9` at worst the last line is cut short, and that one is
dropped. An interrupted batch takes its answers from here before it asks anybody: rows that are done are not run,
and in a row that was half done only the slots without an answer are asked. A row is known by what is in it, so
rows may be added before it or taken away. A power cut may cost what was written in the last seconds. Next: `api`.
"""

from __future__ import annotations

import hashlib
import json
import os
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

VERSION = 1


class Journal:
    """The journal of one batch, open for writing; one process at a time.

    Args:
        path: the file; made when it is not there.
        of: fingerprint of the batch: what it must be the same to go on.
        resume: go on where the file ends; False wants that there is none.

    Attributes:
        done: rows that completed, by `row_keys`.

    Raises:
        errors.UsageError: `bad-request`: it is there and `resume` is False; or it is another batch's.
        errors.StoreError: it cannot be opened or written, or another process has it.
    """

    def __init__(self, path: str | Path, of: str, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.done: dict[str, dict[str, Any]] = {}
        self._answers: dict[tuple[str, str], list[tuple[caching.Entry, Usage | None]]] = {}
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
            else:
                entry = msgspec.convert(line["entry"], caching.Entry)
                usage = None if line["usage"] is None else msgspec.convert(line["usage"], Usage)
                self._answers.setdefault((line["row"], line["key"]), []).append((entry, usage))

    def answers(self, row: str) -> Answers:
        """The answers of one row, for the run of its template."""
        return Answers(self, row)

    def finish(self, row: str, done: Mapping[str, Any]) -> None:
        """Note a row that completed."""
        self._write({"row": row, "done": plain(dict(done))})

    def take(self, row: str, key: str) -> tuple[caching.Entry, Usage | None] | None:
        """An answer that an earlier process was given, once."""
        found = self._answers.get((row, key))
        return found.pop(0) if found else None

    def put(self, row: str, key: str, entry: caching.Entry, usage: Usage | None) -> None:
        """Note an answer."""
        self._write({"row": row, "key": key, "entry": entry, "usage": usage})

    def _write(self, line: Mapping[str, Any]) -> None:
        data = msgspec.json.encode(line) + b"\n"
        try:
            written = os.write(self._file, data)
        except OSError as error:
            raise self._failed(error) from error
        if written != len(data):
            raise errors.StoreError(f"{self.path} cannot be written: the disk is full", retryable=False)

    def _failed(self, error: OSError) -> errors.StoreError:
        return errors.StoreError(f"{self.path} cannot be written: {error.strerror or error}", retryable=False)

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self._file)

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
        paid: usage of the answers that an earlier process was given.
    """

    def __init__(self, journal: Journal, row: str) -> None:
        self._journal = journal
        self._row = row
        self.paid: Usage | None = None

    def take(self, key: str) -> caching.Entry | None:
        """See `caching.Earlier.take`."""
        found = self._journal.take(self._row, key)
        if found is None:
            return None
        entry, usage = found
        if usage is not None:
            self.paid = usage if self.paid is None else self.paid + usage
        return entry

    def put(self, key: str, entry: caching.Entry, usage: Usage | None) -> None:
        """See `caching.Earlier.put`."""
        self._journal.put(self._row, key, entry, usage)


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
