"""The tokens of JSON: what a string, an escape, a number and a word are, strictly and leniently; no state.

`Grammar` is what the machine in `json` asks: two of them exist, `STRICT` (RFC 8259, nothing else) and `LENIENT`
(JSON5, Python literals, and what models write). Values are those of Python's own `json.loads`. Paths are JSON
Pointers (RFC 6901). Next: `json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_HEX = "[0-9A-Fa-f]"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LOOSE_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]*(\.[0-9]*)?|(\.[0-9]+))([eE][-+]?[0-9]+)?")
_LOOSE_HEX = re.compile(rf"([-+]?)0[xX]({_HEX}+)")
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_LOOSE_WORDS: Mapping[str, Any] = {
    **_WORDS, "True": True, "False": False, "None": None, "undefined": None,
    **{sign + word: float(sign + word.lower()) for sign in ("", "-", "+") for word in ("NaN", "Infinity")},
    **{sign + word: float(sign + word) for sign in ("", "-", "+") for word in ("nan", "inf")},
}  # fmt: skip
_ESCAPE = re.compile(
    rf"\\(?:u([dD][89abAB]{_HEX}{{2}})\\u([dD][c-fC-F]{_HEX}{{2}})|u({_HEX}{{4}})|x({_HEX}{{2}})|(.))",
    re.DOTALL,
)
_MEANS = {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0",
    "/": "/", "\\": "\\", '"': '"', "'": "'", "`": "`", "\n": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grammar:
    """What one mode takes.

    Attributes:
        body: for each quote, a pattern for as much of a string as is whole: no quote, no cut escape.
        cut_escape: an escape whose end has not come yet.
        space: a run of white space.
        starts: the characters a number or a word may begin with.
        words: the words that are values.
        decode: a string's body to text.
        number: a number's text to its value, None when it is not one.
    """

    lenient: bool
    body: Mapping[str, re.Pattern[str]]
    cut_escape: re.Pattern[str]
    space: re.Pattern[str]
    starts: str
    words: Mapping[str, Any]
    decode: Callable[[str], str]
    number: Callable[[str], float | int | None]


class Opened(msgspec.Struct, gc=False):
    """A mark: an object or an array begins; `value` is the live dict or list."""

    path: str
    value: Any


class Closed(msgspec.Struct, gc=False):
    """A mark: an object or an array ends."""

    path: str
    value: Any


class Key(msgspec.Struct, gc=False):
    """A mark: a key is read; its value, at `path`, comes next."""

    path: str
    key: str


class Begun(msgspec.Struct, gc=False):
    """A mark: a number or a word begins, with the character `first`."""

    path: str
    first: str


# The run of a number or a word; whether it is one is asked when it ends.
TOKEN = re.compile(r"[-+.0-9A-Za-z_]*")
BARE_KEY = re.compile(r"""[^\s:,{}\[\]"'/#]*""")


def _strict_decode(raw: str) -> str:
    text: str = json.loads(f'"{raw}"')
    return text


def _strict_number(text: str) -> float | int | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(text) if found.lastindex is None else float(text)


def _lenient_decode(raw: str) -> str:
    return _ESCAPE.sub(_unescape, raw)


def _unescape(found: re.Match[str]) -> str:
    high, low, unit, byte, other = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if unit or byte:
        return chr(int(unit or byte, 16))
    # A backslash before anything else is one that somebody forgot to double: `\d`, `\alpha`.
    return _MEANS.get(other, "\\" + other)


def _lenient_number(text: str) -> float | int | None:
    found = _LOOSE_NUMBER.fullmatch(text)
    if found is not None:
        plain = text.replace("_", "")
        return int(plain) if found.lastindex is None else float(plain)
    found = _LOOSE_HEX.fullmatch(text)
    return None if found is None else int(found[1] + found[2], 16)


STRICT = Grammar(
    lenient=False,
    body={'"': re.compile(rf'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u{_HEX}{{4}}))*')},
    cut_escape=re.compile(rf"\\(?:u{_HEX}{{0,3}})?\Z"),
    space=re.compile(r"[ \t\n\r]*"),
    starts="-0123456789tfn",
    words=_WORDS,
    decode=_strict_decode,
    number=_strict_number,
)
LENIENT = Grammar(
    lenient=True,
    body={
        quote: re.compile(
            rf"(?:[^{quote}\\]+|\\(?:u{_HEX}{{4}}|x{_HEX}{{2}}|[^ux]|u(?={_HEX}{{0,3}}(?!{_HEX})[\s\S])"
            rf"|x(?={_HEX}?(?!{_HEX})[\s\S])))*"
        )
        for quote in ('"', "'")
    },
    cut_escape=re.compile(rf"\\(?:u{_HEX}{{0,3}}|x{_HEX}?)?\Z"),
    space=re.compile(r"[\s\ufeff]*"),
    starts="-0123456789tfnTFNIui+.",
    words=_LOOSE_WORDS,
    decode=_lenient_decode,
    number=_lenient_number,
)


def ends_high(raw: str) -> bool:
    """Whether a string's body ends with the escape of a high surrogate, whose other half may follow."""
    if raw[-6:-4] != "\\u" or raw[-4] not in "dD" or raw[-3] not in "89abAB":
        return False
    before = raw[:-6]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


def pointer(key: str) -> str:
    """One step of a JSON Pointer: `/key`, escaped."""
    if "~" in key or "/" in key:
        key = key.replace("~", "~0").replace("/", "~1")
    return "/" + key


def steps(path: str) -> list[str]:
    """The keys of a JSON Pointer, unescaped; the empty pointer has none."""
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
