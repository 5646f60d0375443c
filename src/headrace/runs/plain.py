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
    try:
        made = _jsonable(value)
        msgspec.json.encode(made)
        return made
    except UnicodeEncodeError:
        if isinstance(value, str | dict | list | tuple):
            return plain(_valid(value))
        return plain(str(value))


def text(value: Any) -> str:
    """The text of a value for a model: a text as it is, everything else as JSON."""
    made = plain(value)
    return made if isinstance(made, str) else msgspec.json.encode(made).decode()


def _jsonable(value: Any) -> Any:
    return pydantic_core.to_jsonable_python(
        value, fallback=_other, serialize_unknown=True, bytes_mode="base64"
    )


def _other(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, enc_hook=_jsonable, str_keys=True)
    return str(value)


def _valid(value: Any) -> Any:
    """Without lone surrogates, which have no UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(item) for item in value]
    return plain(value)
