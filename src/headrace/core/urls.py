"""Options in the query of a URL, such as `redis://HOST?stream_key=tokens`; others stay in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from headrace import errors

_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def split(url: str, types: Mapping[str, type]) -> tuple[str, dict[str, Any]]:
    """The URL without the options that are named in `types`, and these with their values; `none` is None.

    Raises:
        errors.UsageError: a value is not of its type.
    """
    place, _, query = url.partition("?")
    options: dict[str, Any] = {}
    rest = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in types:
            rest.append((name, text))
        elif text.lower() == "none":
            options[name] = None
        else:
            try:
                options[name] = _BOOLS[text.lower()] if types[name] is bool else types[name](text)
            except (KeyError, ValueError) as error:
                raise errors.UsageError(
                    f"{name}={text!r} in a URL must be of type {types[name].__name__}"
                ) from error
    return f"{place}?{urlencode(rest)}" if rest else place, options
