"""The formats of JSON Schema that are asserted here, by the same functions while an answer streams and at its end.

A date-time and a time may leave out their offset: models do, and so do pydantic and msgspec. Formats that are not
here say something to the model and refuse nothing. Next: `nodes`.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?")
_DURATION = re.compile(
    r"P(?!$)(?:[0-9]+W|(?:[0-9]+Y)?(?:[0-9]+M)?(?:[0-9]+D)?(?:T(?=[0-9])(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+(?:\.[0-9]+)?S)?)?)"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")


def _date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _made(datetime.date.fromisoformat, text)


def _time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None and _made(datetime.time.fromisoformat, text.upper())


def _date_time(text: str) -> bool:
    return len(text) > 10 and text[10] in "Tt " and _date(text[:10]) and _time(text[11:])


def _made(make: Callable[[str], Any], text: str) -> bool:
    try:
        make(text)
    except ValueError:
        return False
    return True


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "date": _date,
    "date-time": _date_time,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": lambda text: "@" in text,
    "ipv4": lambda text: _made(ipaddress.IPv4Address, text),
    "ipv6": lambda text: _made(ipaddress.IPv6Address, text),
    "time": _time,
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
}


def _checker() -> jsonschema.FormatChecker:
    made = jsonschema.FormatChecker(formats=())
    for name, check in CHECKS.items():
        made.checks(name)(lambda value, check=check: not isinstance(value, str) or check(value))
    return made


CHECKER = _checker()
