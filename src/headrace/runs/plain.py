"""Any Python value as JSON values, and as the text a model reads. Pure.

Events hold JSON values only: what a tool returned, what a person answered in Python, passes through here first.
Next: `tools`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pydantic_core


def plain(value: Any) -> Any:
    """The value as JSON values.

    Pydantic models, dataclasses, msgspec structs, dates, sets and the like become what their JSON is; bytes that are
    not text become base64; what has no JSON form becomes its `str`.
    """
    made = pydantic_core.to_jsonable_python(
        value, fallback=_other, serialize_unknown=True, bytes_mode="base64"
    )
    try:
        msgspec.json.encode(made)
    except (UnicodeEncodeError, OverflowError):
        return _fit(made)
    return made


def text(value: Any) -> str:
    """The text of a value for a model: a text as it is, everything else as JSON."""
    made = plain(value)
    return made if isinstance(made, str) else msgspec.json.encode(made).decode()


def _other(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=_other, str_keys=True)
    try:
        return pydantic_core.to_jsonable_python(value, bytes_mode="base64")
    except pydantic_core.PydanticSerializationError:
        return str(value)


def _fit(value: Any) -> Any:
    """Text without lone surrogates, which have no UTF-8; whole numbers past 64 bits as text."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, dict):
        return {_fit(key): _fit(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_fit(item) for item in value]
    return value
