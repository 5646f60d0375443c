"""Events into a file, one JSON object a line; the file is rotated by size.

`PATH` is the newest, `PATH.1` the one before, and so on. A line is whole or not there: what a full disk cut off is
taken back and written again when there is room. Next: `redis`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from headrace import errors
from headrace.core import events as core
from headrace.sinks.base import BaseSink, Item


class JsonlSink(BaseSink):
    """Appends events to a file.

    Args:
        path: the file; its folder must exist.
        max_bytes: of one file, about; past it the next begins. 0 never rotates.
        keep: files that are kept beside the newest.
        options: of `BaseSink`.
    """

    def __init__(
        self, path: str | Path, *, max_bytes: int = 100_000_000, keep: int = 5, **options: Any
    ) -> None:
        super().__init__(**options)
        if max_bytes < 0 or keep < 0:
            raise errors.UsageError("max_bytes and keep must be 0 or more")
        self.path = Path(path)
        self._most = max_bytes
        self._keep = keep
        self._file: IO[bytes] | None = None

    async def handle_batch(self, batch: Sequence[Item]) -> None:
        """See `BaseSink.handle_batch`."""
        try:
            self._write(b"".join([core.encode(event) + b"\n" for _, event in batch]))
        except OSError as error:
            raise ConnectionError(f"{self.path} cannot be written: {error}") from error

    async def disconnect(self) -> None:
        """See `BaseSink.disconnect`."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
        size = self._file.seek(0, 2)
        if size and self._most and size + len(lines) > self._most:
            self._file.close()
            self._file = None
            self._rotate()
            self._file = self.path.open("ab", buffering=0)
            size = 0
        view = memoryview(lines)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            raise

    def _rotate(self) -> None:
        if not self._keep:
            self.path.unlink()
            return
        for number in range(self._keep, 0, -1):
            newer = self._place(number - 1)
            if newer.exists():
                newer.replace(self._place(number))

    def _place(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path
