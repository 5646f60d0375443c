"""JSON from servers that bend the rules: typed and strict first, forgiving only when that fails.

A wire decodes each chunk with a typed msgspec decoder. When that refuses (`NOT_JSON`), `read_object` reads
the text with the forgiving decoder of the standard library, and `convert` fills the same struct from it,
field by field: numbers in quotes, null and wrong kinds in places nobody needs, lone surrogates of a
character that was cut in two. What is not an object even then is `provider-protocol`. Next: `openai_errors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from headrace import errors

# What msgspec raises for bytes it cannot read. (Bytes that are not UTF-8 are no DecodeError to it.)
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_plain = msgspec.json.Decoder()
_S = TypeVar("_S", bound=msgspec.Struct)


def read_object(payload: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        errors.ProviderError: `provider-protocol`, with the beginning of what came instead.
    """
    try:
        body = _plain.decode(payload)
    except NOT_JSON:
        try:
            body = json.loads(payload.decode("utf-8", "replace"), strict=False)
        except (ValueError, RecursionError) as error:
            raise _refused(payload, f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _refused(payload, "not a JSON object")
    return body


def clean(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs joined, lone ones replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Joiner:
    """Texts in pieces that may be cut inside a character: keeps the first half until the second comes."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def __call__(self, text: str) -> str:
        """The next piece, in whole characters."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return clean(text)


def convert(
    cls: type[_S],
    body: dict[str, Any],
    joined: Callable[[str], str] = clean,
    pieces: frozenset[str] = frozenset(),
) -> _S:
    """Fill a struct with what can be read of `body`; the rest keeps its default.

    Args:
        cls: the struct; all fields have defaults.
        body: the object.
        joined: puts together the text of the fields in `pieces`.
        pieces: fields whose text goes on in the next chunk.
    """
    values: dict[str, Any] = {}
    inside = _inside(cls)
    for field in msgspec.structs.fields(cls):
        raw = body.get(field.encode_name)
        if raw is None:
            continue
        if isinstance(raw, str):
            raw = joined(raw) if field.name in pieces else clean(raw)
        struct = inside[field.name]
        if struct is not None and isinstance(raw, dict):
            values[field.name] = convert(struct, raw, joined, pieces)
        elif struct is not None and isinstance(raw, list):
            rows = (row for row in raw if isinstance(row, dict))
            values[field.name] = [convert(struct, row, joined, pieces) for row in rows]
        else:
            for reading in (raw, str(raw)) if isinstance(raw, int | float) else (raw,):
                try:
                    values[field.name] = msgspec.convert(reading, field.type, strict=False)
                    break
                except msgspec.ValidationError:
                    continue
    return cls(**values)


@cache
def _inside(cls: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """For each field the struct in it, also inside `list[…]` and `… | None`."""
    return {name: _struct(hint) for name, hint in get_type_hints(cls).items()}


def _struct(hint: Any) -> type[msgspec.Struct] | None:
    arguments = get_args(hint)
    if not arguments:
        return hint if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else None
    return next((found for found in map(_struct, arguments) if found is not None), None)


def _refused(payload: bytes, why: str) -> errors.ProviderError:
    start = payload[:200].decode("utf-8", "replace")
    return errors.ProviderError(
        f"a chunk of the answer is {why}. It begins: {start!r}",
        code="provider-protocol",
        details={"start": start},
    )
