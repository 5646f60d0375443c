"""What a program declares of values (`field.string {…}`), read, checked, and as JSON Schema. Pure.

A declared value is checked for real: an integer is an integer, a missing value and an undeclared one are errors, and
each error has its path. Lua has one table for lists and objects, so an empty one is whichever was declared. Next:
`sandbox`.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace import errors
from headrace.outputs import prefixes

KINDS = ("string", "number", "integer", "boolean", "array", "object")
_OPTIONS: Mapping[str, frozenset[str]] = {
    kind: frozenset(("required", "default", "description", "enum", *more))
    for kind, more in {
        "string": ("min", "max", "pattern"),
        "number": ("min", "max"),
        "integer": ("min", "max"),
        "boolean": (),
        "array": ("items", "min", "max"),
        "object": ("properties",),
    }.items()
}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One declared value.

    Attributes:
        required: whether it has to be there; else it is `default`, or absent.
        min, max: of a number its size, of a string its characters, of a list its items.
        pattern: a regular expression the whole string has to match.
        properties: of an object; None takes any.
    """

    kind: str
    required: bool = False
    default: Any = None
    description: str = ""
    enum: list[Any] | None = None
    items: Field | None = None
    properties: dict[str, Field] | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None


class Refused(errors.UsageError):
    """A value that does not fit what was declared, or a declaration that is none; the message has the path."""

    default_code = "procedure-error"


def parse(raw: Any, where: str) -> dict[str, Field]:
    """Read a table of fields.

    Raises:
        Refused: it is not one.
    """
    if raw in (None, [], {}):
        return {}
    if not isinstance(raw, dict):
        raise Refused(f"{where} must be a table of names and fields")
    return {name: _field(item, f"{where}.{name}") for name, item in raw.items()}


def _field(raw: Any, where: str) -> Field:
    if not isinstance(raw, dict) or raw.get("$field") not in KINDS:
        raise Refused(f"{where} is no field; use field.string {{…}}, field.{', field.'.join(KINDS[1:])}")
    kind = raw["$field"]
    given = {key: value for key, value in raw.items() if key != "$field"}
    for key in given:
        if key not in _OPTIONS[kind]:
            raise Refused(
                f"{where}: field.{kind} has no option {key!r}; there are {', '.join(sorted(_OPTIONS[kind]))}"
            )
    if "items" in given:
        given["items"] = _field(given["items"], f"{where}.items")
    if "properties" in given:
        given["properties"] = parse(given["properties"], f"{where}.properties")
    try:
        made = msgspec.convert({**given, "kind": kind}, _Raw)
    except msgspec.ValidationError as error:
        raise Refused(f"{where}: {words(error, _Raw)}") from error
    field = Field(**{name: getattr(made, name) for name in Field.__struct_fields__})
    if field.pattern is not None:
        try:
            re.compile(field.pattern)
        except re.error as error:
            raise Refused(f"{where}.pattern is no regular expression: {error}") from error
        if _expression(field.pattern).start is None:
            raise Refused(
                f"{where}.pattern has what is not taken here: look-around, back references, anchors, flags"
            )
    if field.default is not None:
        field = msgspec.structs.replace(field, default=_check(field, field.default, f"{where}.default"))
    return field


_KINDS = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "a table",
}  # fmt: skip


def words(error: msgspec.ValidationError, wanted: type[msgspec.Struct]) -> str:
    """What a setting must be, as a program names it."""
    text = str(error)
    if unknown := re.search(r"unknown field `(\w+)`(?: - at `\$\.(\w+))?", text):
        near = difflib.get_close_matches(unknown[1], wanted.__struct_fields__, 1)
        hint = f"; is it {near[0]!r}?" if near and not unknown[2] else ""
        return f"there is no setting {f'{unknown[2]}.' if unknown[2] else ''}{unknown[1]!r}{hint}"
    if found := re.fullmatch(r"Expected `(.+)`, got `(\w+)` - at `\$\.(.+)`", text):
        kinds = [_KINDS.get(kind, kind) for kind in found[1].split(" | ") if kind != "null"]
        return f"{found[3]} must be {' or '.join(kinds)}, not {_KINDS.get(found[2], found[2])}"
    if found := re.fullmatch(r"Invalid enum value (.+) - at `\$\.(.+)`", text):
        return f"{found[2]} is {found[1]}; use one of own, shared, none"  # only `history` has such
    return text


def problems(raw: Any, where: str) -> list[str]:
    """What is wrong with each field of a table of fields."""
    found = []
    for name, item in raw.items() if isinstance(raw, dict) else ():
        try:
            _field(item, f"{where}.{name}")
        except Refused as refused:
            found.append(refused.message)
    return found


class _Raw(msgspec.Struct, kw_only=True):
    kind: str
    required: bool = False
    default: Any = None
    description: str = ""
    enum: list[Any] | None = None
    items: Any = None
    properties: Any = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None


def check(fields: Mapping[str, Field], value: Any, where: str) -> dict[str, Any]:
    """The values as declared, defaults filled in.

    Raises:
        Refused: the first that does not fit, by its path.
    """
    if value in (None, []):
        value = {}
    if not isinstance(value, dict):
        raise Refused(f"{where} must be a table of {', '.join(fields) or 'nothing'}, not {_shown(value)}")
    for name in value:
        if name not in fields:
            known = f"; there are {', '.join(fields)}" if fields else ""
            raise Refused(f"{where}.{name} is not declared{known}")
    out: dict[str, Any] = {}
    for name, field in fields.items():
        given = value.get(name)
        if given is None:
            if field.default is not None:
                out[name] = field.default
            elif field.required:
                raise Refused(f"{where}.{name} is missing; it is required ({field.kind})")
            continue
        out[name] = _check(field, given, f"{where}.{name}")
    return out


def _check(field: Field, value: Any, where: str) -> Any:
    value = _typed(field, value, where)
    if field.enum is not None and value not in field.enum:
        raise Refused(f"{where} is {_shown(value)}; use one of {', '.join(map(_shown, field.enum))}")
    if isinstance(value, str | list):
        size, of = len(value), "characters" if isinstance(value, str) else "items"
        _bounds(field, size, f"{where} has {size} {of}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _bounds(field, value, f"{where} is {value}")
    if field.pattern is not None and not _expression(field.pattern).ends(value):
        raise Refused(f"{where} does not match the pattern {field.pattern}")
    return value


@functools.lru_cache(maxsize=256)
def _expression(pattern: str) -> prefixes.Pattern:
    """A program's pattern, to be matched without `re`: the host must not be the one that hangs in it."""
    return prefixes.Pattern(f"^(?:{pattern})$")


def _typed(field: Field, value: Any, where: str) -> Any:
    kind = field.kind
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("number", "integer") and isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "number" or isinstance(value, int):
            return value
        if value.is_integer():
            return int(value)
    if kind == "array" and (isinstance(value, list) or value == {}):
        item = field.items
        return [_check(item, v, f"{where}[{i}]") if item else v for i, v in enumerate(value or [], 1)]
    if kind == "object" and (isinstance(value, dict) or value == []):
        return check(field.properties, value, where) if field.properties is not None else value or {}
    raise Refused(f"{where} must be {_ARTICLE[kind]}, not {_shown(value)}")


_ARTICLE = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
}


def _bounds(field: Field, size: float, what: str) -> None:
    if field.min is not None and size < field.min:
        raise Refused(f"{what}; at least {field.min:g}")
    if field.max is not None and size > field.max:
        raise Refused(f"{what}; at most {field.max:g}")


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= 60 else f"{text[:57]}…"


def schema(fields: Mapping[str, Field], *, all_required: bool = False, nulls: bool = False) -> dict[str, Any]:
    """The fields as a JSON Schema of an object.

    Args:
        all_required: a model that answers in this shape has to give every value.
        nulls: null stands for a value that need not be there, as it does for `check`; and patterns, which may be
            anybody's, are left to it.
    """
    required = [name for name, field in fields.items() if field.required or all_required]
    properties = {}
    for name, field in fields.items():
        made = properties[name] = _schema(field, all_required, nulls)
        if nulls and name not in required:
            made["type"] = [made["type"], "null"]
            if "enum" in made:
                made["enum"] = [*made["enum"], None]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _schema(field: Field, all_required: bool, nulls: bool) -> dict[str, Any]:
    if field.kind == "object" and field.properties is not None:
        out = schema(field.properties, all_required=all_required, nulls=nulls)
    else:
        out = {"type": field.kind}
    if field.description:
        out["description"] = field.description
    if field.enum is not None:
        out["enum"] = field.enum
    if field.items is not None:
        out["items"] = _schema(field.items, all_required, nulls)
    if field.pattern is not None and not nulls:
        out["pattern"] = f"^(?:{field.pattern})$"
    low, high = {
        "string": ("minLength", "maxLength"),
        "array": ("minItems", "maxItems"),
    }.get(field.kind, ("minimum", "maximum"))
    for name, value in ((low, field.min), (high, field.max)):
        if value is not None:
            out[name] = int(value) if float(value).is_integer() else value
    return out


def sample(fields: Mapping[str, Field]) -> dict[str, Any]:
    """Values of the declared kinds, for a program that is only looked at."""
    return {name: _sample(field) for name, field in fields.items()}


def _sample(field: Field) -> Any:
    if field.default is not None:
        return field.default
    if field.enum:
        return field.enum[0]
    least = max(field.min or 0, 0)
    match field.kind:
        case "string":
            return "x" * min(int(least), 1000)
        case "number" | "integer":
            return math.ceil(field.min or 0) if field.kind == "integer" else field.min or 0.0
        case "boolean":
            return False
        case "array":
            return [_sample(field.items)] * min(max(int(least), 1), 100) if field.items is not None else []
    return sample(field.properties or {})


def from_text(fields: Mapping[str, Field], given: Mapping[str, str]) -> dict[str, Any]:
    """Values typed on a command line (`--param k=v`): numbers, booleans and JSON where they are declared so."""
    out: dict[str, Any] = {}
    for name, text in given.items():
        field = fields.get(name)
        if field is None or field.kind == "string":
            out[name] = text
            continue
        try:
            out[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            out[name] = text  # the check says what is wrong with it
    return out
