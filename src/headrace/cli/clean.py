"""What a terminal would take as an order, made visible. Pure.

One character in, at most one out, and no state: an escape sequence that is cut in two by the stream has no
second chance. ESC, NUL and the other C0 controls become their control pictures (␛, ␀), DEL and the C1 range
(which some terminals take as escape sequences of one character) and the bidirectional overrides (which show
text in another order than it has) become U+FFFD. Newline and tab stay; a carriage return, which would let a
line be written over, is dropped. Next: `out`.
"""

from __future__ import annotations

from typing import Any

import msgspec

_TABLE: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(0x20)}
_TABLE |= dict.fromkeys([0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_TABLE |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # lone surrogates have no UTF-8
_TABLE[0x0D] = None
for _kept in "\n\t":
    del _TABLE[ord(_kept)]


def clean(text: str) -> str:
    """The text with nothing in it that a terminal obeys, but newlines and tabs."""
    return text.translate(_TABLE)


def line(text: str, longest: int = 2000) -> str:
    """The text on one line, clean, cut to `longest` characters."""
    flat = " ".join(clean(text[: 4 * longest]).split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def value(value: Any, longest: int = 160) -> str:
    """A text as it is, anything else as JSON; on one line, clean and cut."""
    return line(value if isinstance(value, str) else msgspec.json.encode(value).decode(), longest)
