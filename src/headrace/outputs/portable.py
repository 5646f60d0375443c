"""A JSON Schema as a provider accepts it, what that weakens, and how the answer is taken back.

Each flavour is a table of what that provider's constrained decoding knows. What it does not know goes into the
description, in words, and into `weakened`: the final check is always by the full schema, so nothing is accepted that
it does not allow. A schema is never narrowed in silence: where a keyword cannot be left out without forbidding valid
answers, the flavour falls back to a looser one. Next: `instruct`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from headrace import errors
from headrace.outputs import nodes

Flavour: TypeAlias = Literal[
    "openai-strict", "openai-loose", "anthropic", "gemini", "ollama", "grammar", "tool", "prompt"
]
WRAP = "value"  # the key that holds an answer whose root is no object, where the provider wants one


@dataclass(frozen=True)
class Portable:
    """A schema for one provider.

    Attributes:
        schema: what to send.
        flavour: what it was made for; `openai-loose` where `openai-strict` could not have it.
        wrapped: whether the answer stands under the key `value` of an object.
        nulls: whether null may stand for a key that is left out.
        weakened: what the provider will not hold the model to, each with its place.
    """

    schema: dict[str, Any]
    flavour: Flavour
    wrapped: bool = False
    nulls: bool = False
    weakened: tuple[str, ...] = field(default=())

    @property
    def strict(self) -> bool:
        """OpenAI's `strict`: whether the model is held to the schema."""
        return self.flavour == "openai-strict"

    def restore(self, value: Any, schema: Mapping[str, Any]) -> Any:
        """The answer as the schema that was given wants it: taken out of its object, without stand-in nulls."""
        if self.wrapped and isinstance(value, dict) and WRAP in value:
            value = value[WRAP]
        return self.without_nulls(value, schema)

    def without_nulls(self, value: Any, schema: Mapping[str, Any]) -> Any:
        """The value without the nulls that stand for keys that are left out."""
        return _Denuller(schema).value(value) if self.nulls else value


def is_object(schema: Mapping[str, Any]) -> bool:
    """Whether only an object can fit the schema, as far as its root tells."""
    root, seen = _followed(schema, schema), 0
    while root.get("allOf") and root.get("type") is None and seen < _DEEPEST:
        root, seen = _followed(root["allOf"][0], schema), seen + 1
    return root.get("type") in ("object", ["object"])


def portable(schema: Mapping[str, Any], flavour: Flavour) -> Portable:
    """A schema as a provider takes it.

    Raises:
        errors.UsageError: there is no such flavour.
    """
    if flavour not in get_args(Flavour):
        raise errors.UsageError(
            f"there is no flavour {flavour!r} of schemas; use {', '.join(get_args(Flavour))}"
        )
    if not is_object(schema) and flavour in _WANTS_OBJECT:
        return Portable(_wrapped(schema), flavour, wrapped=True)
    return Portable(copy.deepcopy(dict(schema)), flavour)


_DEEPEST = 16
_WANTS_OBJECT = ("openai-strict", "openai-loose", "anthropic", "tool", "prompt")


def _followed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a chain of references ends at."""
    for _ in range(_DEEPEST):
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            break
        found = nodes.lookup(root, ref)
        if not isinstance(found, Mapping) or found is schema:
            break
        schema = found
    return schema


def _wrapped(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object that holds the answer under `value`; the definitions stay at the root."""
    inner = {
        key: _moved(value) for key, value in schema.items() if key not in ("$defs", "definitions", "$schema")
    }
    made: dict[str, Any] = {
        "type": "object",
        "properties": {WRAP: inner},
        "required": [WRAP],
        "additionalProperties": False,
    }
    return made | {key: _moved(schema[key]) for key in ("$defs", "definitions") if key in schema}


def _moved(part: Any) -> Any:
    """A copy whose references to the root find it where it is now."""
    if isinstance(part, list):
        return [_moved(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    made = {key: _moved(value) for key, value in part.items()}
    ref = made.get("$ref")
    if isinstance(ref, str) and ref.startswith("#") and not ref.startswith(("#/$defs/", "#/definitions/")):
        made["$ref"] = f"#/properties/{WRAP}{ref[1:]}"
    return made


class _Denuller:
    """Takes the nulls out that stand for keys left out: optional ones, whose schema has no null of its own."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._judge = nodes.compile(root)

    def value(self, value: Any) -> Any:
        return self._at(value, [self._judge], 0)

    def _at(self, value: Any, given: list[nodes.Node], depth: int) -> Any:
        """The value at a place that these nodes judge."""
        if not isinstance(value, dict | list):
            return value
        judged = _all(given)
        if isinstance(value, list):
            return [
                self._at(item, [one for node in judged for one in node.item(number)], depth + 1)
                for number, item in enumerate(value)
            ]
        required = {key for node in judged for key in node.required}
        made = {}
        for key, item in value.items():
            inner = [one for node in judged for one in node.property(key)]
            if item is None and key not in required and inner and not any(_takes_null(one) for one in inner):
                continue
            made[key] = self._at(item, inner, depth + 1)
        return made


def _all(given: list[nodes.Node]) -> list[nodes.Node]:
    """The nodes, and those that judge the same place with them."""
    found: list[nodes.Node] = []
    todo = [*given]
    while todo:
        node = todo.pop()
        if node not in found:
            found.append(node)
            todo += [*node.every, *(one for members in node.some for one in members)]
    return found


def _takes_null(node: nodes.Node, depth: int = 0) -> bool:
    if node.open or depth > _DEEPEST:
        return True
    if node.never or (node.kinds is not None and "null" not in node.kinds):
        return False
    if node.values is not None and None not in node.values:
        return False
    return all(_takes_null(one, depth + 1) for one in node.every) and all(
        any(_takes_null(one, depth + 1) for one in members) for members in node.some
    )
