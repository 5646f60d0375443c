"""Slot types of one's own: Pydantic models, and models made of YAML files in `types/` beside the template.

`Types.get` finds a type by the name that a slot uses: a model that was given, a built-in type, a file. Next: `plan`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace import errors
from headrace.templates import faults
from headrace.templates.options import Options
from headrace.templates.types import BUILT_IN, SlotType


@dataclass(slots=True)
class Types:
    """The types a template can use.

    Args:
        models: Pydantic models by the name that templates use.
        folders: where YAML files of types are.
    """

    models: Mapping[str, type[Any]] = field(default_factory=dict)
    folders: Sequence[Path] = ()

    def get(self, name: str, place: faults.Place) -> SlotType:
        """The type of that name.

        Raises:
            faults.TemplateError: there is none, or its file is wrong.
        """
        if name in self.models:
            return of_model(name, self.models[name])
        if name in BUILT_IN:
            return BUILT_IN[name]
        for folder in self.folders:
            for path in (folder / f"{name}.yaml", folder / f"{name}.yml"):
                if path.is_file():
                    try:
                        return of_model(name, from_yaml(path))
                    except (errors.UsageError, OSError) as error:
                        raise faults.at(place, f"the type {name!r}: {error}") from error
        known = [*BUILT_IN, *self.models]
        raise faults.at(
            place,
            f"there is no slot type {name!r}{faults.meant(name, known)}; there are {', '.join(sorted(known))}, "
            f"and types of your own: a Pydantic model, or types/{name}.yaml beside the template",
        )


def of_model(name: str, model: type[Any]) -> SlotType:
    """A slot type whose value is an instance of a Pydantic model."""
    import pydantic

    def convert(raw: Any, given: Options) -> Any:
        try:
            return model.model_validate(raw)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error

    return SlotType(
        name,
        0.0,
        lambda given: model.model_json_schema(),
        convert,
        description=model.__doc__ or "",
        fields=True,
        annotation=model,
    )


_YAML_TYPES: Mapping[str, Any] = {
    "text": str, "str": str, "string": str, "int": int, "integer": int, "number": float, "float": float,
    "bool": bool, "boolean": bool, "date": dt.date, "datetime": dt.datetime, "time": dt.time,
    "duration": dt.timedelta, "json": Any,
}  # fmt: skip
_YAML_LIMITS = {"min": "ge", "max": "le", "gt": "gt", "lt": "lt", "min_length": "min_length",
                "max_length": "max_length", "pattern": "pattern"}  # fmt: skip


def from_yaml(path: Path, chain: tuple[Path, ...] = ()) -> type[Any]:
    """The Pydantic model that a YAML file describes: `name`, `description`, `extends`, `fields`.

    Raises:
        errors.UsageError: `template-error`: the file is wrong.
    """
    import pydantic
    import yaml

    def wrong(what: str) -> errors.UsageError:
        return errors.UsageError(f"{path}: {what}", code="template-error")

    if path in chain:
        raise wrong("it extends itself: " + " → ".join(p.name for p in (*chain, path)))
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise wrong(f"it is not YAML: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("fields", {}), dict):
        raise wrong("it needs name, description and fields")
    unknown = set(found) - {"name", "description", "extends", "fields"}
    if unknown:
        raise wrong(f"there is no key {sorted(unknown)[0]!r}; there are name, description, extends, fields")
    base: type[Any] = pydantic.BaseModel
    if found.get("extends"):
        parent = path.with_name(f"{found['extends']}{path.suffix}")
        if not parent.is_file():
            raise wrong(f"it extends {found['extends']!r}, and there is no {parent.name} beside it")
        base = from_yaml(parent, (*chain, path))
    fields = {name: _yaml_field(name, spec, wrong) for name, spec in found.get("fields", {}).items()}
    make: Callable[..., type[Any]] = pydantic.create_model
    return make(
        str(found.get("name") or path.stem), __base__=base, __doc__=found.get("description"), **fields
    )


def _yaml_field(name: str, spec: Any, wrong: Callable[[str], errors.UsageError]) -> tuple[Any, Any]:
    from typing import Literal

    import pydantic

    spec = {"type": spec} if isinstance(spec, str) else spec
    if not isinstance(spec, dict):
        raise wrong(f"the field {name!r} must be a type, or a mapping with a type")
    kind = str(spec.get("type", "pick" if spec.get("choices") else "text"))
    listed = kind.startswith("list[") and kind.endswith("]")
    inner = kind[5:-1] if listed else kind
    known = set(_YAML_LIMITS) | {"type", "description", "default", "choices", "required"}
    unknown = set(spec) - known
    if unknown:
        raise wrong(
            f"the field {name!r} has no key {sorted(unknown)[0]!r}; there are {', '.join(sorted(known))}"
        )
    if spec.get("choices"):
        annotation: Any = Literal[tuple(spec["choices"])]
    elif inner in _YAML_TYPES:
        annotation = _YAML_TYPES[inner]
    else:
        raise wrong(
            f"the field {name!r} has the unknown type {inner!r}; there are {', '.join(sorted(_YAML_TYPES))}"
        )
    if listed:
        annotation = list[annotation]
    default: Any = ...
    if "default" in spec:
        default = spec["default"]
    elif spec.get("required") is False:
        annotation, default = annotation | None, None
    limits = {_YAML_LIMITS[key]: value for key, value in spec.items() if key in _YAML_LIMITS}
    return annotation, pydantic.Field(default, description=spec.get("description"), **limits)
