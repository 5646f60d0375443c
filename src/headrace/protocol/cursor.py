"""Cursors: `<run id>.<seq>`, where a follower stands. Opaque to clients; read and made only here.

Next: `lifecycle`.
"""

from __future__ import annotations

from headrace import errors


def make(run: str, seq: int) -> str:
    """The cursor of a reader that has everything of `run` up to and with `seq`."""
    return f"{run}.{seq}"


def parse(text: str, *, run: str) -> int:
    """The seq of a cursor into `run`. A bare number is taken as a seq of that run.

    Raises:
        errors.ReadError: `cursor-malformed`, or `cursor-foreign` when it belongs to another run.
    """
    owner, dot, number = text.rpartition(".")
    if not (number.isascii() and number.isdigit() and len(number) < 16) or (dot and not owner):
        raise errors.ReadError(
            f"the cursor {text[:80]!r} is not of the form <run>.<seq>; send the last `id:` you received",
            code="cursor-malformed",
        )
    if owner and owner != run:
        raise errors.ReadError(
            f"the cursor {text[:80]!r} belongs to another run than {run!r}", code="cursor-foreign"
        )
    return int(number)
