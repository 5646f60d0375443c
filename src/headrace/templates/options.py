"""Options of a slot: what may stand there, read from the template or, where a variable is used, from the run.

`read` gives one `Options` for a slot; what is written out is checked before anything is asked, what comes from a
variable when its value is known. Every fault has its place. Next: `types`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.templates import faults, syntax
from headrace.templates.expressions import Expression
from headrace.templates.faults import Fault

LIMITS = frozenset({"min", "max", "gt", "lt", "min_length", "max_length", "pattern"})
CALL = frozenset(
    {"model", "temperature", "max_tokens", "seed", "thinking", "stream", "retries", "fallback", "cache"}
)
_COMMON = CALL | {"required"}
_BOUNDS = frozenset({"min", "max", "gt", "lt"})
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An option whose bare word must name a variable, for as it stands it does not fit."""

    name: str
    fault: Fault


@dataclass(slots=True)
class Options:
    """A slot's options, read.

    Attributes:
        limits: `min`, `max`, … as given.
        call: what concerns the call: `model`, `temperature`, …
        words: the values without a key: choices, or names of fields.
        named: other keys: types of fields.
        wanted: words that fit only where a variable has their name, where that is not known yet.
    """

    required: bool = False
    limits: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    words: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)
    wanted: list[Wanted] = field(default_factory=list)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    if isinstance(value, int | float):
        return value
    text = str(value)
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ValueError("must be a number") from None


def _whole(least: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        number = _number(value)
        if not isinstance(number, int) or number < least:
            raise ValueError(f"must be a whole number from {least}")
        return number

    return check


def _temperature(value: Any) -> float:
    number = _number(value)
    if not 0 <= number <= 10:
        raise ValueError("must be a number from 0 to 10")
    return float(number)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        return str(value).lower() in ("true", "yes", "on", "1")
    raise ValueError("must be true or false")


def _pattern(value: Any) -> str:
    try:
        re.compile(str(value))
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return str(value)


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a word")
    return value


def _names(value: Any) -> tuple[str, ...]:
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    return tuple(_word(name) for name in found)


def _bound(value: Any) -> Any:
    """A limit of a number, or of a date (then it is text)."""
    if isinstance(value, str):
        try:
            return _number(value)
        except ValueError:
            return value
    return value


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "min": _bound, "max": _bound, "gt": _bound, "lt": _bound,
    "min_length": _whole(0), "max_length": _whole(0), "pattern": _pattern, "required": _flag,
    "verify": _flag,
    "model": _word, "temperature": _temperature, "max_tokens": _whole(1), "seed": _whole(0),
    "thinking": _word, "stream": _flag, "retries": _whole(0), "fallback": _names, "cache": _flag,
}  # fmt: skip


def read(
    slot: syntax.Slot,
    scope: Mapping[str, Any] | None,
    *,
    allowed: Iterable[str],
    words: bool,
    named: Callable[[Any], Any] | None = None,
    bound: Callable[[Any], Any] | None = None,
) -> Options:
    """The options of a slot.

    Args:
        scope: the variables; None reads only what needs none, before the run.
        allowed: the limits and own keys of the slot's type.
        words: whether values without a key may stand there.
        named: checks the value of any other key; None where there may be none.
        bound: reads a limit as the slot's type reads a value.

    Raises:
        faults.TemplateError: with every option that is wrong.
    """
    found = Options(required=slot.required)
    wrong: list[Fault] = []
    bounds: dict[str, Any] = {}
    allowed = frozenset(allowed) | _COMMON
    for option in slot.options:
        if option.key is None and isinstance(option.value, syntax.Bare) and option.value.word == "required":
            found.required = True
            continue
        if option.key is None and option.value == syntax.Bare("verify") and "verify" in allowed:
            found.limits["verify"] = True
            continue
        if option.key is None and not words:
            advice = ""
            if isinstance(option.value, syntax.Bare):
                advice = faults.meant(option.value.word, allowed)
            wrong.append(
                Fault(option.place, f"slots of type {slot.type!r} take no values without a key{advice}")
            )
            continue
        if option.key is not None and option.key not in allowed and named is None:
            wrong.append(
                Fault(
                    option.place,
                    f"slots of type {slot.type!r} have no option {option.key!r}"
                    + (faults.meant(option.key, allowed) or f"; there are {', '.join(sorted(allowed))}"),
                )
            )
            continue
        try:
            value = evaluate(option, scope)
        except faults.TemplateError as error:
            wrong.extend(error.faults)
            continue
        if value is _MISSING:
            continue
        if option.key is None:
            found.words.extend(value if isinstance(value, list | tuple) else [value])
            continue
        try:
            if option.key not in _CHECKS and named is not None:
                found.named[option.key] = named(value)
                continue
            checked = _CHECKS[option.key](value)
            if option.key in _BOUNDS and bound is not None:
                bounds[option.key] = bound(checked)
        except (ValueError, TypeError) as error:
            fault = Fault(option.place, f"{option.key}={value!r} {error}")
            bare = isinstance(option.value, syntax.Bare) and option.value.word.isidentifier()
            if scope is None and bare and option.key in _CHECKS:
                found.wanted.append(Wanted(str(value), fault))
            else:
                wrong.append(fault)
            continue
        if option.key == "required":
            found.required = checked or found.required
        elif option.key in CALL:
            found.call[option.key] = checked
        else:
            found.limits[option.key] = checked
    for low, high in (("min", "max"), ("min_length", "max_length"), ("gt", "lt")):
        a, b = (bounds.get(name, found.limits.get(name)) for name in (low, high))
        if a is not None and b is not None and _more(a, b):
            given = found.limits
            wrong.append(
                Fault(slot.place, f"{low}={given[low]} is more than {high}={given[high]}: nothing fits")
            )
    if wrong:
        raise faults.TemplateError(wrong)
    return found


def _more(a: Any, b: Any) -> bool:
    try:
        return bool(a > b)
    except TypeError:  # a moment with a time zone and one without
        return False


def evaluate(option: syntax.Option, scope: Mapping[str, Any] | None) -> Any:
    """The value of an option; `_MISSING` where it needs variables and there are none yet."""
    value = option.value
    if isinstance(value, Expression):
        return _MISSING if scope is None else value.value(scope)
    if isinstance(value, syntax.Bare):
        if scope is not None and value.word in scope:
            return scope[value.word]
        return literal(value.word)
    return value


def literal(word: str) -> Any:
    """An unquoted word: a number, true, false, or itself."""
    if word in ("true", "false"):
        return word == "true"
    try:
        return _number(word)
    except ValueError:
        return word


def arguments(action: syntax.Action, scope: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of an action: those without a key, and those with one."""
    by_place = [evaluate(option, scope) for option in action.options if option.key is None]
    by_name = {option.key: evaluate(option, scope) for option in action.options if option.key is not None}
    return by_place, by_name


def uses(options: Iterable[syntax.Option]) -> set[str]:
    """Names that the options look at, or would where a variable of that name exists."""
    found: set[str] = set()
    for option in options:
        if isinstance(option.value, Expression):
            found |= option.value.uses
        elif isinstance(option.value, syntax.Bare) and option.value.word.isidentifier():
            found.add(option.value.word)
    return found
