"""The user's own validators of single fields, run the moment a field ends.

A pydantic model's field validators (decorators, `AfterValidator` and the like) are in its core schema, field by
field. A field that has any gets a validator of its own here. Left to the final check are those that look at other
fields (they take an `info`), validators of the whole model, and whatever raises something other than a refusal
when run alone. Next: `watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pydantic
import pydantic_core

from headrace.outputs import molds, typed
from headrace.protocol import json_tokens

Check = Callable[[Any], str | None]

_OWN = ("function-after", "function-before", "function-wrap", "function-plain")


def find(annotation: Any, path: str) -> Check | None:
    """The user's checks of the field at a JSON Pointer; None where there are none, or where a union is open."""
    mold: molds.Mold | None = molds.mold(annotation)
    steps = json_tokens.steps(path)
    for number, step in enumerate(steps):
        is_array = isinstance(mold, molds.Listed)
        if isinstance(mold, molds.Record) and number == len(steps) - 1:
            return of(mold.annotation).get(step)
        if mold is None or isinstance(mold, molds.Union) or (is_array and not step.isdecimal()):
            return None
        found = (
            mold.inner(int(step) if is_array else step)
            if isinstance(mold, molds.Listed | molds.Mapped)
            else None
        )
        mold = None if found is None else found[1]
    return None


def any_in(annotation: Any) -> bool:
    """Whether a type has fields with checks of the user's own."""
    seen: set[int] = set()
    todo = [molds.mold(annotation)]
    while todo:
        mold = todo.pop()
        if id(mold) in seen:
            continue
        seen.add(id(mold))
        if isinstance(mold, molds.Record):
            if of(mold.annotation):
                return True
            todo += [inner for _, inner in mold.fields.values()]
        elif isinstance(mold, molds.Listed):
            todo += [mold.item, *mold.first]
        elif isinstance(mold, molds.Mapped):
            todo.append(mold.item)
    return False


@lru_cache(256)
def of(kind: Any) -> Mapping[str, Check]:
    """By JSON key, the checks of a model's fields; empty for what is no pydantic model."""
    core: Any = getattr(kind, "__pydantic_core_schema__", None)
    if not isinstance(core, Mapping):
        return {}
    definitions: list[Any] = []
    config: Any = None
    while True:
        config = core.get("config", config)
        if core["type"] == "definitions":
            definitions += core["definitions"]
            core = core["schema"]
        elif core["type"] == "definition-ref":
            found = [one for one in definitions if one.get("ref") == core["schema_ref"]]
            if not found:
                return {}
            core = found[0]
        elif core["type"] in ("function-after", "model") and "schema" in core:
            core = core["schema"]
        else:
            break
    if core["type"] != "model-fields":
        return {}
    checks: dict[str, Check] = {}
    for name, field in core["fields"].items():
        alias = field.get("validation_alias", name)
        if isinstance(alias, str) and _own(field["schema"]):
            check = _check(field["schema"], definitions, config)
            if check is not None:
                checks[alias] = check
    return checks


def _own(core: Any) -> bool:
    """Whether code of the user's reads the field itself, and the field alone."""
    own = False
    while isinstance(core, Mapping):
        if core["type"] in _OWN:
            if core["function"]["type"] != "no-info":
                return False
            own = True
        core = core.get("schema")
    return own


def _check(core: Any, definitions: list[Any], config: Any) -> Check | None:
    try:
        whole: Any = (
            {"type": "definitions", "schema": core, "definitions": definitions} if definitions else core
        )
        validator = pydantic_core.SchemaValidator(whole, config)
    except pydantic_core.SchemaError:
        return None

    def check(value: Any) -> str | None:
        try:
            validator.validate_json(typed.encoded(value))
        except pydantic.ValidationError as error:
            return typed.words(dict(error.errors(include_url=False)[0]))
        except Exception:  # code of the user's that cannot be run alone: the final check runs it in its place
            return None
        return None

    return check
