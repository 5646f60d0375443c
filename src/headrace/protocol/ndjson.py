"""Newline-delimited JSON: bytes in, lines out; whatever the cuts, with a bound on a line.

A line ends in LF; a CR before it is dropped; blank lines are skipped. The last line may lack its LF
(`close` hands it out). Next: `cursor`.
"""

from __future__ import annotations

from headrace import errors

MAX_LINE_BYTES = 8 * 1024 * 1024


class Decoder:
    """Incremental splitter of one `application/x-ndjson` body.

    Args:
        max_line_bytes: bound on one line; past it `feed` raises.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the lines they complete, without line ends.

        Raises:
            errors.ProviderError: `provider-protocol` when a line passes the bound.
        """
        lines = data.split(b"\n")
        if len(lines) == 1:
            self._hold(data)
            return []
        if self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
        rest = lines.pop()
        self._size = 0
        self._hold(rest)
        return [line for line in (line.strip(b" \t\r") for line in lines) if line and self._fits(line)]

    def close(self) -> list[bytes]:
        """The end of the bytes: the last line, where it lacked its line end."""
        rest = b"".join(self._parts).strip()
        self._parts.clear()
        return [rest] if rest else []

    def _hold(self, rest: bytes) -> None:
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._max:
            self._fits(rest, self._size)

    def _fits(self, line: bytes, size: int | None = None) -> bool:
        if (size or len(line)) > self._max:
            self._parts.clear()
            raise errors.ProviderError(
                f"a line is larger than {self._max:,} bytes",
                code="provider-protocol",
                retryable=False,
                details={"max_line_bytes": self._max},
            )
        return True
