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
        self._failure: errors.ProviderError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the lines they complete, without line ends.

        Raises:
            errors.ProviderError: `provider-protocol` when a line passes the bound. Where the same bytes
                hold whole lines before it, those are returned and the next call raises.
        """
        if self._failure is not None:
            raise self._failure
        out: list[bytes] = []
        *ended, rest = data.split(b"\n")
        try:
            for line in ended:
                self._hold(line)
                self._end_line(out)
            self._hold(rest)
        except errors.ProviderError as error:
            self._failure = error
            if not out:
                raise
        return out

    def close(self) -> list[bytes]:
        """The end of the bytes: the last line, where it lacked its line end.

        Raises:
            errors.ProviderError: as `feed`, where it did not get to raise.
        """
        if self._failure is not None:
            raise self._failure
        out: list[bytes] = []
        self._end_line(out)
        return out

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._parts.append(piece)
        self._size += len(piece)
        if self._size > self._max:
            self._parts.clear()
            raise errors.ProviderError(
                f"a line is larger than {self._max:,} bytes",
                code="provider-protocol",
                retryable=False,
                details={"max_line_bytes": self._max},
            )

    def _end_line(self, out: list[bytes]) -> None:
        line = b"".join(self._parts).strip(b" \t\r")
        self._parts.clear()
        self._size = 0
        if line:
            out.append(line)
