"""Names for runs and conversations: sortable by time, hard to guess.

A ULID (https://github.com/ulid/spec): 48 bits of milliseconds, 80 random bits, Crockford's base 32.
Nothing else may live here; the pure rooms take ids as arguments. Next: `messages`.
"""

from __future__ import annotations

import os
import re
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RUN = re.compile(r"run_[0-9A-HJKMNP-TV-Z]{26}\Z")


def ulid() -> str:
    """A new ULID: 26 characters, later ones sort after earlier ones (to the millisecond)."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def run_id() -> str:
    """A new run id: `run_` and a ULID."""
    return "run_" + ulid()


def conversation_id() -> str:
    """A new conversation id: `conv_` and a ULID."""
    return "conv_" + ulid()
