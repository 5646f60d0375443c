"""Python types as JSON Schema, and JSON values as Python types: through pydantic, or msgspec for its Structs.

A type that holds a `msgspec.Struct` anywhere is msgspec's; every other type is pydantic's. The schema of a type
comes twice: as it is shown to models, and with marks (`LOOSE`) where a validator of the user's own, or an option of
the model, may accept what the schema would not: there nothing may be refused before the end. Next: `shape`.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pydantic.errors
import pydantic.json_schema

from headrace import errors
from headrace.outputs import problems

LOOSE = "x-headrace-loose"  # in a schema: what is refused here is decided by the user's own code, at the end

_MSGSPEC_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_MSGSPEC_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Typed(typing.NamedTuple):
    """A Python type in JSON.

    Attributes:
        schema: JSON Schema 2020-12, for models.
        marked: the same with `LOOSE` marks.
        make: a JSON value to a value of the type; raises `ShapeError`.
    """

    schema: dict[str, Any]
    marked: dict[str, Any]
    make: Callable[[Any], Any]


class PlainSchema(pydantic.json_schema.GenerateJsonSchema):
    """JSON Schema without the titles that only repeat names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never: models read the names."""
        return False


class _Marked(PlainSchema):
    def function_before_schema(self, schema: Any) -> dict[str, Any]:
        return _loose(super().function_before_schema(schema))

    def function_wrap_schema(self, schema: Any) -> dict[str, Any]:
        return _loose(super().function_wrap_schema(schema))

    def function_plain_schema(self, schema: Any) -> dict[str, Any]:
        return _loose(super().function_plain_schema(schema))

    def str_schema(self, schema: Any) -> dict[str, Any]:
        made = super().str_schema(schema)
        config = self._config
        names = ("strip_whitespace", "to_lower", "to_upper")
        if any(schema.get(name) for name in names) or (
            config.str_strip_whitespace or config.str_to_lower or config.str_to_upper
        ):
            return _loose(made)
        return made

    def set_schema(self, schema: Any) -> dict[str, Any]:
        return _without_bound(super().set_schema(schema))

    def frozenset_schema(self, schema: Any) -> dict[str, Any]:
        return _without_bound(super().frozenset_schema(schema))

    def call_schema(self, schema: Any) -> dict[str, Any]:
        return _loose(super().call_schema(schema))

    def model_schema(self, schema: Any) -> dict[str, Any]:
        made = super().model_schema(schema)
        model = schema["cls"]
        config = getattr(model, "model_config", {})
        by_name = config.get("populate_by_name") or config.get("validate_by_name")
        fields = getattr(model, "model_fields", {}).values()
        aliases = [field.validation_alias for field in fields if field.validation_alias is not None]
        if (by_name and aliases) or any(not isinstance(alias, str) for alias in aliases):
            return _loose(made)  # several keys stand for one field, and the schema knows one of them
        return made


def of(annotation: Any, name: str) -> Typed:
    """The JSON form of a type.

    Raises:
        errors.UsageError: it has none; the message says why.
    """
    if holds_struct(annotation):
        return _msgspec(annotation, name)
    try:
        adapter = pydantic.TypeAdapter(annotation)
        schema = adapter.json_schema(schema_generator=PlainSchema)
        marked = adapter.json_schema(schema_generator=_Marked)
    except (
        pydantic.errors.PydanticUserError,
        pydantic.errors.PydanticUndefinedAnnotation,
        pydantic.errors.PydanticInvalidForJsonSchema,
        TypeError,
        NameError,
    ) as error:
        raise errors.UsageError(f"output={name}: this type has no JSON form: {error}") from error

    def make(value: Any) -> Any:
        try:
            # As JSON: dates, sets and strict models read it as they do the text of an answer.
            return adapter.validate_json(_encoded(value))
        except pydantic.ValidationError as error:
            found = [
                problems.Problem(_place(value, item["loc"]), _words(item))
                for item in error.errors(include_url=False)
            ]
            raise problems.ShapeError(found, where=name) from error

    return Typed(schema, marked, make)


def _msgspec(annotation: Any, name: str) -> Typed:
    try:
        schema = msgspec.json.schema(annotation)
    except (TypeError, NameError) as error:
        raise errors.UsageError(f"output={name}: this type has no JSON form: {error}") from error
    schema = _untitled(schema)

    def make(value: Any) -> Any:
        try:
            return msgspec.convert(_whole(value), annotation)
        except msgspec.ValidationError as error:
            found = _MSGSPEC_PATH.match(str(error))
            assert found is not None
            steps = [a or b for a, b in _MSGSPEC_STEP.findall(found["path"] or "")]
            path = problems.pointer(steps)
            raise problems.ShapeError([problems.Problem(path, found["what"])], where=name) from error

    return Typed(schema, schema, make)


def holds_struct(annotation: Any, seen: frozenset[int] = frozenset()) -> bool:
    """Whether a `msgspec.Struct` is somewhere in the type, not counting what is inside other classes."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return True
    return any(holds_struct(inner) for inner in typing.get_args(annotation))


def _encoded(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def clean(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs joined, lone ones replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _whole(value: Any) -> Any:
    """The value with text that can be encoded."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def _place(value: Any, loc: tuple[Any, ...]) -> str:
    """The JSON Pointer of pydantic's `loc`, without the steps that name a union's member or a validator."""
    steps: list[Any] = []
    for number, step in enumerate(loc):
        if isinstance(value, dict) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif number == len(loc) - 1 and isinstance(value, dict) and isinstance(step, str):
            value = None  # the last step of a key that is missing
        else:
            continue
        steps.append(step)
    return problems.pointer(steps)


def _words(item: Any) -> str:
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "extra_forbidden":
        return "there is no such key"
    message: str = item["msg"]
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    got = item["input"]
    return message if isinstance(got, dict | list) else f"{message}, got {problems.shown(got)}"


def _loose(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, LOOSE: True}


def _without_bound(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("maxItems", "uniqueItems")}


def _untitled(schema: Any) -> Any:
    """msgspec's schema without titles that repeat the type's name."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(inner) for name, inner in value.items()}
        if key in ("properties", "$defs")
        else _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
