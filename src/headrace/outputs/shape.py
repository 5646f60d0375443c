"""What an answer must look like: `Shape.of` a Python type or a JSON Schema, and the checks of values and fields.

The schema is JSON Schema 2020-12. For a schema the last word is its own (the jsonschema library, formats included);
for a type it is the type's: pydantic's or msgspec's, with the user's own validators. Schemas are never fetched:
every `$ref` has to be found inside. Next: `typed`, `watch`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import jsonschema.exceptions
import jsonschema.protocols
import referencing
import referencing.exceptions
import referencing.jsonschema

from headrace import errors
from headrace.outputs import formats, nodes, problems, typed, validators, watch
from headrace.outputs.problems import Problem, ShapeError

_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64
_DEEPEST = 100  # levels of a JSON Schema
_META = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Shape:
    """What an answer must look like. Made by `Shape.of`.

    Attributes:
        name: for the provider: letters, digits, `_` and `-`, at most 64.
        schema: the full JSON Schema 2020-12.
        annotation: the Python type; None for a JSON Schema.
    """

    def __init__(self, name: str, schema: dict[str, Any], annotation: Any, form: typed.Typed | None) -> None:
        self.name = name
        self.schema = schema
        self.annotation = annotation
        self._form = form

    @classmethod
    def of(cls, output: Any, *, name: str | None = None) -> Shape:
        """The shape of a type or a schema.

        Args:
            output: a Pydantic model, dataclass, TypedDict, msgspec Struct, `list[…]`, a union, an enum, `Literal`, a
                scalar, a date, `Annotated[…]` of these; a mapping is a JSON Schema; a shape is itself.
            name: default: the type's, or the schema's title.

        Raises:
            errors.UsageError: no schema can be made of it, or the schema is none; the message names the place.
        """
        if isinstance(output, Shape):
            return (
                output if name is None else cls(_name(name), output.schema, output.annotation, output._form)
            )
        if isinstance(output, Mapping):
            title = output.get("title")
            name = _name(name or (title if isinstance(title, str) else "") or "output")
            schema = _plain(output)
            _refuse_bad(schema)
            return cls(name, schema, None, None)
        if output is None:
            raise errors.UsageError("output=None is no type; leave output out for free text")
        name = _name(name or _named(output))
        if issubclass(type(output), type):
            return _of_class(output, name, getattr(output, "__pydantic_validator__", None))
        form = typed.of(output, name)
        return cls(name, form.schema, output, form)

    def __repr__(self) -> str:
        return f"Shape({self.name!r})"

    @functools.cached_property
    def judge(self) -> watch.Judge:
        """The schema as `watch` reads it: where a type coerces or has validators of its own, less is refused."""
        if self._form is None:
            return watch.Judge(self.schema)
        return watch.Judge(self._form.marked, lax=True)

    @functools.cached_property
    def validator(self) -> jsonschema.protocols.Validator:
        """The jsonschema library's validator of the full schema."""
        return _validator(self.schema)

    def check(self, value: Any) -> Any:
        """A JSON value (as `json.loads` gives it) as a value of the type; of a JSON Schema the value itself.

        Raises:
            ShapeError: it does not fit; `problems` has all that was found.
        """
        if self._form is not None:
            return self._form.make(value)
        try:
            wrong = sorted(
                self.validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path))
            )
        except RecursionError as error:
            raise ShapeError([Problem("", "is nested too deep to be checked")], where=self.name) from error
        if wrong:
            raise ShapeError([_problem(error) for error in wrong], where=self.name)
        return value

    def check_field(self, path: str, value: Any) -> tuple[Problem, ...]:
        """What is wrong with one field's value, as far as the field alone tells.

        Args:
            path: its JSON Pointer. Unions on the way are kept open: what one member accepts is right.
            value: its complete value.
        """
        problem = self.judge.check(value, path) or self.check_own(path, value)
        return () if problem is None else (problem,)

    def check_own(self, path: str, value: Any) -> Problem | None:
        """What validators of the user's own say of one field, where they look at nothing else."""
        check = validators.find(self.annotation, path) if self.has_own_checks else None
        wrong = None if check is None else check(value)
        return None if wrong is None else Problem(path, wrong)

    @functools.cached_property
    def has_own_checks(self) -> bool:
        """Whether any field has validators of the user's own."""
        return self.annotation is not None and validators.any_in(self.annotation)


@functools.lru_cache(maxsize=128)
def _of_class(output: type, name: str, version: object) -> Shape:
    """The shape of a class, made once: it takes milliseconds. `version` is another one when a model was rebuilt."""
    form = typed.of(output, name)
    return Shape(name, form.schema, output, form)


def _problem(error: Any) -> Problem:
    """jsonschema's error, the one that matters of a union."""
    if error.validator in ("anyOf", "oneOf") and error.context:
        best = jsonschema.exceptions.best_match([error])
        if best is not None and best is not error and len(best.absolute_path) > len(error.absolute_path):
            return _problem(best)
        fewest: dict[Any, Any] = {}
        for inner in error.context:
            fewest.setdefault(inner.schema_path[0], inner)
        words = list(dict.fromkeys(_said(inner) for inner in fewest.values()))
        return Problem(problems.pointer(error.absolute_path), "; or ".join(words))
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        for key in missing:
            if error.message.startswith(repr(key)):
                return Problem(problems.pointer([*error.absolute_path, key]), "is missing")
    return Problem(problems.pointer(error.absolute_path), _said(error))


def _said(error: Any) -> str:
    wanted, got = error.validator_value, error.instance
    match error.validator:
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            return f"must be {' or '.join(map(watch.article, kinds))}, not {watch.article(watch.kind(got))}"
        case "enum":
            return f"must be one of {', '.join(map(problems.shown, wanted))}, got {problems.shown(got)}"
        case "const":
            return f"must be {problems.shown(wanted)}, got {problems.shown(got)}"
        case "additionalProperties" if wanted is False:
            extra = sorted(set(got) - set(error.schema.get("properties", {})))
            return f"has keys that are not allowed: {', '.join(map(problems.shown, extra))}"
    message: str = error.message
    return message if len(message) <= 400 else message[:399] + "…"


def _name(text: str) -> str:
    return _NAME.sub("_", text).strip("_")[:_LONGEST_NAME] or "output"


def _named(output: Any) -> str:
    if isinstance(output, type) and not hasattr(output, "__args__"):
        return output.__name__
    return re.sub(r"[A-Za-z_]\w*\.", "", str(output)).replace("<class ", "").replace("'>", "")


def _plain(schema: Any, depth: int = 0) -> Any:
    """A copy in plain dicts and lists."""
    if depth > _DEEPEST:
        raise _bad("", f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(schema, Mapping):
        return {str(key): _plain(value, depth + 1) for key, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_plain(value, depth + 1) for value in schema]
    return schema


def _validator(schema: dict[str, Any]) -> jsonschema.protocols.Validator:
    made: jsonschema.protocols.Validator = jsonschema.Draft202012Validator(
        schema, format_checker=formats.CHECKER, registry=referencing.Registry()
    )
    return made


def _refuse_bad(schema: dict[str, Any]) -> None:
    """Raise `errors.UsageError` where it is not a JSON Schema that can be checked with what is in it."""
    dialect = schema.get("$schema", DIALECT)
    if isinstance(dialect, str) and not dialect.startswith(
        ("https://json-schema.org/", "http://json-schema.org/")
    ):
        raise _bad("/$schema", f"{dialect!r} is no known dialect; schemas are JSON Schema 2020-12")
    found = jsonschema.exceptions.best_match(_META.iter_errors(schema))
    if found is not None:
        raise _bad(problems.pointer(found.absolute_path), found.message)
    resolver = referencing.Registry().resolver_with_root(
        referencing.Resource.from_contents(schema, default_specification=referencing.jsonschema.DRAFT202012)
    )
    for path, part in _parts(schema, ""):
        target = part.get("$ref", part.get("$dynamicRef"))
        if isinstance(target, str):
            try:
                resolver.lookup(target)
            except referencing.exceptions.Unresolvable as error:
                raise _bad(
                    f"{path}/$ref", f"{target!r} is not in the schema, and schemas are not fetched"
                ) from error
        for key in ("pattern", *part.get("patternProperties", {})):
            pattern = part.get("pattern") if key == "pattern" else key
            if isinstance(pattern, str):
                try:
                    re.compile(pattern)
                except re.error as error:
                    place = f"{path}/pattern" if key == "pattern" else f"{path}/patternProperties"
                    raise _bad(place, f"{pattern!r} is no regular expression: {error}") from error


def _parts(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its place."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key, value in schema.items():
        if key in nodes.SCHEMA_MAPS and isinstance(value, dict):
            for name, inner in value.items():
                yield from _parts(inner, f"{path}{problems.pointer([key, name])}")
        elif key in nodes.SCHEMA_LISTS and isinstance(value, list):
            for number, inner in enumerate(value):
                yield from _parts(inner, f"{path}/{key}/{number}")
        elif key in nodes.SCHEMAS:
            yield from _parts(value, f"{path}/{key}")


def _bad(path: str, what: str) -> errors.UsageError:
    return errors.UsageError(
        f"output: this is no usable JSON Schema, at {path or 'its root'}: {what}",
        code="bad-request",
        details={"path": path},
    )
