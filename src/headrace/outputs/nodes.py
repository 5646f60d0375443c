"""A JSON Schema made ready for `watch`: one `Node` a subschema, with what can be told before a value ends.

A node is what its own keywords assert, and other nodes: `every` (`allOf`, `$ref`) and `some` (`anyOf`, `oneOf`).
`oneOf` is read as `anyOf`, and `not`, `if`, `contains`, `unevaluated…` and the like are left to the final check: a
node may accept more than its schema, never less. References are resolved once, and recursive ones are loops here.
Next: `watch`.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from headrace.outputs import prefixes, typed
from headrace.protocol import json_tokens

# Keywords that hold a schema, a list of schemas, or schemas by name.
SCHEMAS = (
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SCHEMA_MAPS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")

# Keywords that tell, and assert nothing.
ANNOTATIONS = frozenset(
    (
        "$anchor", "$comment", "$defs", "$id", "$schema", "$vocabulary", "default", "definitions", "deprecated",
        "description", "discriminator", "examples", "readOnly", "title", "writeOnly",
    )
)  # fmt: skip


class Node:
    """One subschema; None and empty where it asserts nothing."""

    __slots__ = (
        "additional", "every", "extra", "format", "highest", "items", "kinds", "least", "longest", "lowest", "most",
        "multiple", "never", "open", "over", "pattern", "patterns", "prefix", "properties", "required", "shortest",
        "some", "under", "values", "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.open = False  # nothing is refused here
        self.never = False  # nothing is accepted here
        self.kinds: frozenset[str] | None = None
        self.whole = False  # a number must be an integer
        self.values: list[Any] | None = None
        self.every: list[Node] = []
        self.some: list[list[Node]] = []
        # strings
        self.shortest = 0
        self.longest: int | None = None
        self.pattern: prefixes.Pattern | None = None
        self.format: str | None = None
        # numbers: bounds that are allowed, and that are not
        self.lowest: float | None = None
        self.highest: float | None = None
        self.over: float | None = None
        self.under: float | None = None
        self.multiple: float | None = None
        # objects and arrays
        self.properties: dict[str, Node] = {}
        self.patterns: list[tuple[re.Pattern[str], Node]] = []
        self.extra = True  # whether keys that are not named are allowed
        self.additional: Node | None = None
        self.required: tuple[str, ...] = ()
        self.prefix: list[Node] = []
        self.items: Node | None = None
        self.least = 0
        self.most: int | None = None

    def property(self, key: str) -> list[Node]:
        """What judges the value at a key, besides `every` and `some`."""
        found = [self.properties[key]] if key in self.properties else []
        found += [part for pattern, part in self.patterns if pattern.search(key)]
        return found or ([self.additional] if self.additional is not None else [])

    def item(self, index: int) -> list[Node]:
        """What judges the item at an index, besides `every` and `some`."""
        if index < len(self.prefix):
            return [self.prefix[index]]
        return [self.items] if self.items is not None else []


OPEN = Node()
OPEN.open = True
_NULL = Node()
_NULL.kinds = frozenset(("null",))


def compile(schema: Mapping[str, Any], *, nulls: bool = False) -> Node:
    """The node of a schema.

    Args:
        nulls: whether null may stand for a key that is left out, as models answer where all keys are required.
    """
    return _Compiler(schema, nulls).node(schema)


def lookup(root: Any, ref: str) -> Any:
    """What a reference into the same schema (`#/$defs/Row`) means; True, which is any value, where it finds nothing."""
    if ref != "#" and not ref.startswith("#/"):
        return True
    found = root
    for step in json_tokens.steps(ref[1:]):
        step = urllib.parse.unquote(step)
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return True
    return found


class _Compiler:
    def __init__(self, root: Mapping[str, Any], nulls: bool) -> None:
        self._root = root
        self._nulls = nulls
        self._made: dict[int, Node] = {}
        self._following: set[int] = set()

    def node(self, schema: Any) -> Node:
        if schema is False:
            never = Node()
            never.never = True
            return never
        if not isinstance(schema, Mapping) or schema.get(typed.LOOSE):
            return OPEN
        key = id(schema)
        if key in self._made:
            return self._made[key]
        if "$ref" in schema and all(name == "$ref" or name in ANNOTATIONS for name in schema):
            if key in self._following:
                return OPEN  # it refers to nothing but itself
            self._following.add(key)
            made = self._made[key] = self._target(schema["$ref"])
            self._following.discard(key)
            return made
        made = self._made[key] = Node()
        self._fill(made, schema)
        return made

    def _target(self, ref: Any) -> Node:
        if not isinstance(ref, str):
            return OPEN
        found = lookup(self._root, ref)
        return self.node(found)

    def _fill(self, node: Node, schema: Mapping[str, Any]) -> None:
        if "$ref" in schema:
            node.every.append(self._target(schema["$ref"]))
        node.every += [self.node(part) for part in schema.get("allOf", ())]
        node.some += [
            [self.node(part) for part in schema[key]] for key in ("anyOf", "oneOf") if schema.get(key)
        ]
        kinds = schema.get("type")
        if kinds is not None:
            given = {kinds} if isinstance(kinds, str) else set(kinds)
            node.whole = "integer" in given and "number" not in given
            node.kinds = frozenset("number" if name == "integer" else name for name in given)
        if "const" in schema:
            node.values = [schema["const"]]
        elif "enum" in schema:
            node.values = list(schema["enum"])
        self._fill_scalars(node, schema)
        required = tuple(schema.get("required", ()))
        node.required = required
        for name, part in schema.get("properties", {}).items():
            inner = self.node(part)
            if self._nulls and name not in required and inner is not OPEN:
                either = Node()
                either.some = [[inner, _NULL]]
                inner = either
            node.properties[name] = inner
        for pattern, part in schema.get("patternProperties", {}).items():
            node.patterns.append((re.compile(pattern), self.node(part)))
        more = schema.get("additionalProperties", True)
        node.extra = more is not False
        node.additional = self.node(more) if isinstance(more, Mapping) else None
        node.prefix = [self.node(part) for part in schema.get("prefixItems", ())]
        if "items" in schema and schema["items"] is not True:
            node.items = self.node(schema["items"])
        node.least, node.most = schema.get("minItems", 0), schema.get("maxItems")

    def _fill_scalars(self, node: Node, schema: Mapping[str, Any]) -> None:
        node.shortest, node.longest = schema.get("minLength", 0), schema.get("maxLength")
        if "pattern" in schema:
            node.pattern = prefixes.Pattern(schema["pattern"])
        node.format = schema.get("format")
        node.lowest, node.highest = schema.get("minimum"), schema.get("maximum")
        node.over, node.under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        node.multiple = schema.get("multipleOf")
