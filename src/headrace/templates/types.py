"""Slot types: what is asked for, what comes back as a Python value, and whether it fits.

A type says how its answer is asked for (a JSON Schema, words for models without schemas), how it becomes a value,
and what its limits are. Free text streams; everything else is JSON under the key `value`. Types of one's own are
made in `models`. Pure. Next: `models`.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.outputs import shape as outputs
from headrace.templates import faults, options, syntax
from headrace.templates.options import Options

_LENGTHS = frozenset({"min_length", "max_length", "pattern"})
_BOUNDS = frozenset({"min", "max", "gt", "lt"})
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SlotType:
    """A type of slot.

    Attributes:
        name: as it is written in templates.
        temperature: where neither slot nor run says otherwise.
        streams: whether the answer is free text, shown as it comes.
        schema: the JSON Schema of one value; None leaves it open.
        convert: from the JSON value to the Python value; raises ValueError with words for the model.
        limits: options that it honours.
        words, named: whether it takes values without a key, or keys of its own.
        instruction: what the model is told beside the question.
        fields: whether its answers have fields that are shown as they come.
        annotation: the Python type of its values, where it is the user's own.
        bound: reads a limit, such as `min`; raises ValueError where it is none.
    """

    name: str
    temperature: float
    schema: Callable[[Options], Schema | None]
    convert: Callable[[Any, Options], Any]
    streams: bool = False
    limits: frozenset[str] = frozenset()
    words: bool = False
    named: bool = False
    instruction: str = ""
    description: str = ""
    fields: bool = False
    annotation: Any = None
    bound: Callable[[Any], Any] | None = None

    def options(self, slot: syntax.Slot, scope: Mapping[str, Any] | None) -> Options:
        """The slot's options.

        Raises:
            faults.TemplateError: some are wrong.
        """
        named = _field_type if self.named else None
        found = options.read(
            slot, scope, allowed=self.limits, words=self.words, named=named, bound=self.bound
        )
        if self.name == "pick" and not any(o.key is None for o in slot.options):
            raise faults.at(slot.place, f"a pick needs its choices: [[pick:{slot.key}|this,that]]")
        if self.name == "pick" and scope is not None and not found.words:
            raise faults.at(slot.place, "a pick needs its choices, and the list is empty")
        return found


@dataclass(frozen=True, slots=True)
class Shape:
    """One slot's question: its type and options, with the list around it if there is one."""

    slot: syntax.Slot
    type: SlotType
    options: Options

    @property
    def free(self) -> bool:
        """Whether the answer is free text."""
        return self.type.streams and not self.slot.listed

    @property
    def fields(self) -> bool:
        """Whether the answer is shown field by field: records, lists, and types of one's own."""
        return self.type.fields or self.slot.listed

    def early(self) -> outputs.Shape:
        """What can be told of an answer before it is whole: never more than what `value` refuses.

        Values are taken in more forms than the schema has (`yes` for true), so of our own types only their being
        objects and lists, and a text's length, are looked at; a type of the user's is looked at whole.
        """
        own: Any = self.type.annotation
        if own is not None:
            own = own if self.options.required else own | None
            return outputs.Shape.of(list[own] if self.slot.listed else own)
        inner: Schema = {}
        if self.type.name == "record":
            inner = {"type": ["object"] if self.options.required else ["object", "null"]}
        elif self.type.streams and "max_length" in self.options.limits:
            inner = {"maxLength": self.options.limits["max_length"]}
        if self.slot.listed:
            inner = {"type": "array", "items": inner}
            if self.slot.most is not None:
                inner["maxItems"] = self.slot.most
        return outputs.Shape.of(inner)

    def schema(self) -> Schema | None:
        """The JSON Schema of the answer, an object with the one key `value`; None where anything is allowed."""
        inner = self.type.schema(self.options)
        if inner is None and not self.slot.listed:
            return None
        inner = inner or {}
        definitions = inner.pop("$defs", None)
        if self.slot.listed:
            inner = {"type": "array", "items": inner, "minItems": self.slot.least}
            if self.slot.most is not None:
                inner["maxItems"] = self.slot.most
        elif inner and not self.options.required:
            inner = {"anyOf": [inner, {"type": "null"}]}
        schema: Schema = {
            "type": "object",
            "properties": {"value": inner},
            "required": ["value"],
            "additionalProperties": False,
        }
        if definitions:
            schema["$defs"] = definitions
        return schema

    def value(self, text: str) -> Any:
        """The value of an answer.

        Raises:
            ValueError: it does not fit; the words are for the model.
        """
        if self.free:
            if self.options.required and not text.strip():
                raise ValueError("the answer must not be empty")
            return self.type.convert(text, self.options)  # as it is: the tokens shown, joined, are the value
        raw = parse_json(text, scalar=not self.slot.listed and self.type.name not in ("record", "json"))
        if isinstance(raw, dict) and set(raw) == {"value"}:
            raw = raw["value"]
        if not self.slot.listed:
            if raw is None:
                if self.options.required:
                    raise ValueError("the value must not be null")
                return None
            return self.type.convert(raw, self.options)
        if not isinstance(raw, list):
            raise ValueError("the value must be a list")
        least, most = self.slot.least, self.slot.most
        if len(raw) < least or (most is not None and len(raw) > most):
            bounds = (
                f"at least {least}" if most is None else f"{least} to {most}" if least != most else f"{least}"
            )
            raise ValueError(f"the list must have {bounds} items; it has {len(raw)}")
        items = []
        for number, item in enumerate(raw, 1):
            if item is None and self.options.required:
                raise ValueError(f"item {number} must not be null")
            try:
                items.append(None if item is None else self.type.convert(item, self.options))
            except ValueError as error:
                raise ValueError(f"item {number}: {error}") from error
        return items


_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S)


def parse_json(text: str, *, scalar: bool) -> Any:
    """The JSON in an answer: the whole of it, in a code fence, or after some words.

    Args:
        scalar: whether a plain word may stand for itself.

    Raises:
        ValueError: there is none.
    """
    text = text.strip()
    candidates = [text, *(found.strip() for found in _FENCE.findall(text))]
    for candidate in candidates:
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    decoder = json.JSONDecoder()
    for start in (i for i, char in enumerate(text[:20_000]) if char in "{["):
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    if scalar and text and "{" not in text and "\n" not in text:
        return text.strip("\"'` ").removesuffix(".")
    raise ValueError("the answer must be JSON")


# values


def _text(raw: Any, given: Options) -> Any:
    if not isinstance(raw, str):
        raise ValueError("must be text")
    return _fit_text(raw, given)


def _fit_text(value: str, given: Options) -> str:
    limits = given.limits
    if "min_length" in limits and len(value) < limits["min_length"]:
        raise ValueError(f"must have at least {limits['min_length']} characters; it has {len(value)}")
    if "max_length" in limits and len(value) > limits["max_length"]:
        raise ValueError(f"must have at most {limits['max_length']} characters; it has {len(value)}")
    if "pattern" in limits and re.search(limits["pattern"], value) is None:
        raise ValueError(f"must match the pattern {limits['pattern']}")
    return value


def _fit(value: Any, given: Options, read: Callable[[Any], Any]) -> Any:
    limits = {name: read(limit) for name, limit in given.limits.items() if name in _BOUNDS}
    if "min" in limits and value < limits["min"]:
        raise ValueError(f"must be at least {given.limits['min']}")
    if "max" in limits and value > limits["max"]:
        raise ValueError(f"must be at most {given.limits['max']}")
    if "gt" in limits and value <= limits["gt"]:
        raise ValueError(f"must be more than {given.limits['gt']}")
    if "lt" in limits and value >= limits["lt"]:
        raise ValueError(f"must be less than {given.limits['lt']}")
    return value


def _bool(raw: Any, given: Options) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in ("true", "yes", "y", "1"):
        return True
    if word in ("false", "no", "n", "0"):
        return False
    raise ValueError("must be true or false")


def _number(raw: Any, given: Options) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError("must be a number")
    try:
        value = raw if isinstance(raw, int) else float(raw)
    except ValueError:
        raise ValueError("must be a number") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return _fit(value, given, lambda limit: limit)


def _int(raw: Any, given: Options) -> int:
    value = _number(raw, Options())
    if value != int(value):
        raise ValueError("must be a whole number")
    return int(_fit(int(value), given, lambda limit: limit))


def _bounds(given: Options, kind: str) -> Schema:
    names = {"min": "minimum", "max": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
    return {
        "type": kind,
        **{names[k]: v for k, v in given.limits.items() if k in names and isinstance(v, int | float)},
    }


def _lengths(given: Options) -> Schema:
    names = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
    return {"type": "string", **{names[k]: v for k, v in given.limits.items() if k in names}}


def _pick(raw: Any, given: Options) -> Any:
    for choice in given.words:
        if raw == choice and type(raw) is type(choice):
            return choice
    word = str(raw).strip().casefold()
    for choice in given.words:
        if str(choice).strip().casefold() == word:
            return choice
    raise ValueError(f"must be one of: {', '.join(map(str, given.words))}")


def _date(raw: Any) -> dt.date:
    if isinstance(raw, dt.datetime):
        return raw.date()
    return raw if isinstance(raw, dt.date) else _datetime(raw).date()


def _datetime(raw: Any) -> dt.datetime:
    if isinstance(raw, dt.datetime):
        return raw
    if isinstance(raw, dt.date):
        return dt.datetime(raw.year, raw.month, raw.day)
    from dateutil import parser

    text = str(raw).strip()
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            # What the text leaves out must not be filled in from today's date.
            first, second = (
                parser.parse(text, default=dt.datetime(y, m, m)) for y, m in ((2000, 1), (2001, 2))
            )
        except (ValueError, OverflowError, TypeError):
            raise ValueError("must be a date in ISO 8601, such as 2026-05-17") from None
    if first != second:
        raise ValueError("must be a whole date in ISO 8601, such as 2026-05-17")
    found: dt.datetime = first
    return found


def _time(raw: Any) -> dt.time:
    if isinstance(raw, dt.time):
        return raw
    from dateutil import parser

    text = str(raw).strip()
    try:
        return dt.time.fromisoformat(text)
    except ValueError:
        try:
            found: dt.time = parser.parse(text, default=dt.datetime(2000, 1, 1)).timetz()
        except (ValueError, OverflowError, TypeError):
            raise ValueError("must be a time such as 14:30") from None
    return found


_DURATION = re.compile(
    r"(?P<sign>-)?P(?:(?P<weeks>[\d.]+)W)?(?:(?P<days>[\d.]+)D)?"
    r"(?:T(?:(?P<hours>[\d.]+)H)?(?:(?P<minutes>[\d.]+)M)?(?:(?P<seconds>[\d.]+)S)?)?\Z"
)


def _duration(raw: Any) -> dt.timedelta:
    if isinstance(raw, dt.timedelta):
        return raw
    text = str(raw).strip().upper()
    try:
        return dt.timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass
    found = _DURATION.match(text)
    parts = {k: v for k, v in found.groupdict().items() if v and k != "sign"} if found else {}
    if not found or not parts:
        raise ValueError("must be a duration in ISO 8601, such as PT1H30M")
    try:
        value = dt.timedelta(**{name: float(number) for name, number in parts.items()})
    except (ValueError, OverflowError):
        raise ValueError("must be a duration in ISO 8601, such as PT1H30M") from None
    return -value if found["sign"] else value


def _rule(raw: Any, given: Options) -> Any:
    from dateutil import rrule

    try:
        return rrule.rrulestr(str(raw))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"must be a recurrence such as DTSTART:20260517T090000\\nRRULE:FREQ=WEEKLY: {error}"
        ) from None


_PERIOD = r"^-?P([0-9]{1,5}W|[0-9]{1,5}D(T_)?|T_)$".replace(
    "T_", r"T([0-9]{1,5}H([0-9]{1,5}M)?([0-9]{1,5}S)?|[0-9]{1,5}M([0-9]{1,5}S)?|[0-9]{1,5}(\.[0-9]{1,6})?S)"
)
"""Durations as models that are held to a schema may write them; engines do not know the format."""
_DAY = "(MO|TU|WE|TH|FR|SA|SU)"
_STAMP = "[12][0-9]{3}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]"
_RECURRENCE = (
    f"^DTSTART:{_STAMP} RRULE:FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY|HOURLY|MINUTELY|SECONDLY)"
    f"(;(INTERVAL|COUNT)=[1-9][0-9]{{0,3}}|;UNTIL={_STAMP}|;BYDAY=(-?[1-5])?{_DAY}(,(-?[1-5])?{_DAY})*"
    f"|;BY(MONTHDAY|MONTH|HOUR|MINUTE|SECOND|SETPOS)=-?[0-9]{{1,2}}(,-?[0-9]{{1,2}})*|;WKST={_DAY})*$"
)


def _moment(
    name: str, format: str, read: Callable[[Any], Any], instruction: str, pattern: str | None = None
) -> SlotType:
    def schema(given: Options) -> Schema:
        made = {"type": "string", "format": format, "description": instruction}
        return made if pattern is None else {**made, "pattern": pattern}

    def convert(raw: Any, given: Options) -> Any:
        try:
            return _fit(read(raw), given, read)
        except TypeError:
            raise ValueError("must have a time zone exactly where its limits have one") from None

    return SlotType(name, 0.1, schema, convert, limits=_BOUNDS, instruction=instruction, bound=read)


def _free(
    name: str, temperature: float, instruction: str = "", limits: frozenset[str] = _LENGTHS
) -> SlotType:
    return SlotType(name, temperature, _lengths, _text, streams=True, limits=limits, instruction=instruction)


_FIELD_TYPES = {"text": "string", "str": "string", "int": "integer", "number": "number", "bool": "boolean"}


def _record_schema(given: Options) -> Schema | None:
    fields = {str(name): "text" for name in given.words} | {k: str(v) for k, v in given.named.items()}
    if not fields:
        return {"type": "object"}
    return {
        "type": "object",
        "properties": {name: {"type": _FIELD_TYPES.get(kind, "string")} for name, kind in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def _record(raw: Any, given: Options) -> Any:
    if not isinstance(raw, dict):
        raise ValueError("must be an object")
    fields = {str(name): "text" for name in given.words} | {k: str(v) for k, v in given.named.items()}
    if not fields:
        return raw
    missing = [name for name in fields if name not in raw]
    if missing:
        raise ValueError(f"the field {missing[0]!r} is missing")
    value = {}
    for name, kind in fields.items():
        inner = BUILT_IN.get("text" if kind == "str" else kind)
        if inner is None:
            raise ValueError(f"the field {name!r} has the unknown type {kind!r}")
        try:
            value[name] = None if raw[name] is None else inner.convert(raw[name], Options())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return value


def _field_type(value: Any) -> str:
    kind = str(value)
    if kind != "str" and kind not in BUILT_IN:
        known = ", ".join(sorted(_FIELD_TYPES))
        raise ValueError(f"is no type of a field{faults.meant(kind, BUILT_IN) or f'; there are {known}'}")
    return kind


def _limit(value: Any) -> Any:
    return _number(value, Options())


def _any(raw: Any, given: Options) -> Any:
    return raw


def _bool_schema(given: Options) -> Schema:
    return {"type": "boolean"}


def _decide(name: str) -> SlotType:
    return SlotType(name, 0.0, _bool_schema, _bool, instruction="Answer with true or false.")


BUILT_IN: Mapping[str, SlotType] = {
    kind.name: kind
    for kind in (
        _free("text", 0.7),
        _free("respond", 0.7),
        _free("speak", 0.8, "Answer in the words you would say out loud."),
        _free("think", 0.5, "Think step by step."),
        _free("poem", 1.5, "Answer with a poem."),
        _free(
            "extract",
            0.0,
            "Answer only with words copied from the text above, letter by letter.",
            _LENGTHS | {"verify"},
        ),
        _decide("bool"),
        _decide("boolean"),
        _decide("decide"),
        SlotType(
            "int",
            0.0,
            lambda o: _bounds(o, "integer"),
            _int,
            limits=_BOUNDS,
            instruction="A whole number.",
            bound=_limit,
        ),
        SlotType(
            "number",
            0.1,
            lambda o: _bounds(o, "number"),
            _number,
            limits=_BOUNDS,
            instruction="A number.",
            bound=_limit,
        ),
        SlotType(
            "pick", 0.0, lambda o: {"enum": list(o.words)}, _pick, words=True, instruction="Choose one."
        ),
        _moment("date", "date", _date, "A date in ISO 8601, such as 2026-05-17."),
        _moment(
            "datetime", "date-time", _datetime, "A date and time in ISO 8601, such as 2026-05-17T14:30:00."
        ),
        _moment("time", "time", _time, "A time of day, such as 14:30:00."),
        _moment("duration", "duration", _duration, "A duration in ISO 8601, such as PT1H30M.", _PERIOD),
        SlotType(
            "date_rule",
            0.1,
            lambda o: {"type": "string", "pattern": _RECURRENCE},
            _rule,
            instruction="A recurrence of RFC 5545 with its start, such as DTSTART:20260517T090000 RRULE:FREQ=WEEKLY.",
        ),
        SlotType("json", 0.0, lambda o: {}, _any, instruction="Answer with JSON."),
        SlotType("record", 0.0, _record_schema, _record, words=True, named=True, fields=True),
    )
}
