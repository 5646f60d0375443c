"""A JSON Schema as a provider accepts it, what that changes, and how the answer is taken back.

Each flavour is a set of rules: what that provider's constrained decoding knows. What it does not know goes into the
description, in words, and into `weakened`; the final check is always by the full schema, so nothing is accepted
that it does not allow. What a provider forbids and the schema would allow (keys that nobody named) is in
`narrowed`. Where a schema cannot be had without forbidding what it is there for (maps with free keys in OpenAI's
strict mode), the flavour falls back to a looser one: see `Portable.flavour`. A portable schema is portable: made
twice, it is the same. The file is long because the rules, what applies them and what undoes them are read together.
Next: `instruct`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from headrace import errors
from headrace.outputs import nodes
from headrace.protocol import json_tokens

Flavour: TypeAlias = Literal[
    "openai-strict", "openai-loose", "anthropic", "gemini", "ollama", "grammar", "tool", "prompt"
]
_DEEPEST = 16
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
        narrowed: what it will not let the model write, although the schema allows it.
    """

    schema: dict[str, Any]
    flavour: Flavour
    wrapped: bool = False
    nulls: bool = False
    weakened: tuple[str, ...] = ()
    narrowed: tuple[str, ...] = ()

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
    rules = _RULES.get(flavour)
    if rules is None:
        raise errors.UsageError(f"there is no flavour {flavour!r} of schemas; use {', '.join(_RULES)}")
    wrapped = rules.object_root and not _plain_object(schema)
    if flavour == "prompt":
        wrapped = not is_object(schema) and _followed(schema, schema).get("type") != "array"
    root = _wrapped(schema) if wrapped else _hoisted(schema)
    try:
        fitter = _Fitter(rules, root)
        made = fitter.fit(root, "")
    except _CannotError:
        assert rules.fallback is not None
        return portable(schema, rules.fallback)
    return Portable(made, flavour, wrapped, fitter.nulls, tuple(fitter.weakened), tuple(fitter.narrowed))


def untouched(schema: Mapping[str, Any], flavour: Flavour) -> Portable:
    """A schema for an answer that is passed on as it comes, so that nothing could be restored in it.

    Where the flavour would have null stand for a key that is left out, it is `openai-loose`; where the answer would
    stand in an object of its own, the schema is sent as it was given, and the provider has the last word.
    """
    form = portable(schema, flavour)
    if form.nulls:
        form = portable(schema, "openai-loose")
    return Portable(dict(schema), "openai-loose") if form.wrapped else form


# --- what each provider knows ---------------------------------------------------------------------------

_LENGTHS = ("minLength", "maxLength")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minItems", "maxItems")
_RARE = (
    "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "propertyNames", "patternProperties",
    "contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties", "minProperties",
    "maxProperties", "uniqueItems", "contentEncoding", "contentMediaType", "contentSchema",
)  # fmt: skip
_SAYS = {"type", "anyOf", "$ref", "enum", "const"}
_MOST_PARTS = 10_000  # of one schema
_MOST_REPEATS = 1000  # of what a grammar repeats: it would be written out


@dataclass(frozen=True)
class _Rules:
    """What one flavour takes.

    Attributes:
        told: keywords that go into the description.
        formats: those that are known; None: any may be named.
        object_root: the root must be a plain object.
        closed: objects must be closed, and may not hold keys that are not named.
        required: all keys must be required; null stands for one that is left out.
        any_of: `oneOf` becomes `anyOf`: it is not known, or a member that is weakened might fit beside another.
        merged: there is no `allOf`.
        bare_refs: nothing may stand beside `$ref`.
        tuples: there are `prefixItems`.
        constants: there is `const`.
        recursive: a schema may hold itself.
        pattern: a pattern as it is taken; None where it is not.
        fallback: the flavour for a schema that cannot be had.
    """

    told: tuple[str, ...] = ()
    formats: frozenset[str] | None = None
    object_root: bool = False
    closed: bool = False
    required: bool = False
    any_of: bool = False
    merged: bool = False
    bare_refs: bool = False
    tuples: bool = True
    constants: bool = True
    recursive: bool = True
    pattern: Callable[[str], str | None] = str
    fallback: Flavour | None = None


def _plain_pattern(pattern: str) -> str | None:
    """A pattern without look-around, back references and word boundaries."""
    return None if re.search(r"\\[bB1-9AZ]|\(\?(?!:)", pattern) else pattern


_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\r"}


def _grammar_pattern(pattern: str) -> str | None:
    """A pattern from `^` to `$` with classes written out, as grammars are made of."""
    if not (pattern.startswith("^") and pattern.endswith("$")) or pattern.endswith("\\$"):
        return None
    if _plain_pattern(pattern) is None or "(?" in pattern or re.search(r"[*+?}][?+]", pattern):
        return None
    made, within, at = "", False, 0
    while at < len(pattern):
        c = pattern[at]
        if c == "\\":
            letter = pattern[at + 1 : at + 2]
            if letter in _CLASSES:
                made += _CLASSES[letter] if within else f"[{_CLASSES[letter]}]"
            elif letter.isalnum() and letter not in "nrt":
                return None
            else:
                made += c + letter
            at += 2
            continue
        if c == "[" and not within:
            within = True
        elif c == "]":
            within = False
        made += c
        at += 1
    return made


_RULES: Mapping[str, _Rules] = {
    # https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    "openai-strict": _Rules(
        told=(*_LENGTHS, *_RARE, "default", "examples"),
        formats=frozenset(
            ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
        ),
        object_root=True,
        closed=True,
        required=True,
        any_of=True,
        merged=True,
        bare_refs=True,
        tuples=False,
        pattern=_plain_pattern,
        fallback="openai-loose",
    ),
    "openai-loose": _Rules(object_root=True),
    # https://platform.claude.com/docs/en/build-with-claude/structured-outputs
    "anthropic": _Rules(
        told=(*_LENGTHS, *_NUMBERS, *_COUNTS, *_RARE),
        formats=frozenset(
            ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
        ),
        closed=True,
        any_of=True,
        tuples=False,
        recursive=False,
        pattern=_plain_pattern,
        fallback="prompt",
    ),
    # https://ai.google.dev/gemini-api/docs/structured-output
    "gemini": _Rules(
        told=(*_LENGTHS, "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", *_RARE),
        formats=frozenset(("date-time", "date", "time")),
        any_of=True,
        merged=True,
        bare_refs=True,
        constants=False,
        fallback="prompt",
    ),
    # llama.cpp's grammars, which Ollama has inside as well
    "grammar": _Rules(told=(*_RARE, "multipleOf"), any_of=True, pattern=_grammar_pattern, fallback="prompt"),
    "ollama": _Rules(told=(*_RARE, "multipleOf"), any_of=True, pattern=_grammar_pattern, fallback="prompt"),
    "tool": _Rules(object_root=True),
    "prompt": _Rules(),
}


class _CannotError(Exception):
    """The flavour has no schema for this; its fallback has."""


class _Fitter:
    def __init__(self, rules: _Rules, root: Mapping[str, Any]) -> None:
        self.rules = rules
        self.root = root
        self.weakened: list[str] = []
        self.narrowed: list[str] = []
        self.nulls = False
        self._fitted = 0
        self._looping: dict[str, bool] = {}
        self._grammar = rules in (_RULES["grammar"], _RULES["ollama"])
        if not rules.recursive and _recursive(root):
            raise _CannotError

    def fit(self, schema: Any, path: str) -> Any:
        """A schema as the rules want it."""
        self._fitted += 1
        if self._fitted > _MOST_PARTS:
            raise _CannotError  # references written out over and over
        if not isinstance(schema, Mapping):
            if self.rules.closed and path and schema is False:
                raise _CannotError
            return schema
        schema = self._beside_ref(schema)
        if self.rules.merged and "allOf" in schema:
            schema = self._merged(schema, path)
        if not self.rules.tuples and "prefixItems" in schema:
            schema = self._untupled(schema, path)
        made: dict[str, Any] = {}
        told: list[str] = []
        for key, value in schema.items():
            if key == "$schema":
                continue
            if not self._knows(key, value):
                self._tell(told, path, key, value)
            elif key == "discriminator" and self.rules.any_of:
                continue  # it asserts nothing, and is none of JSON Schema's
            elif key == "oneOf" and self.rules.any_of:
                if not _apart(value, self.root):
                    self.weakened.append(f"{path}/oneOf: more than one may fit")
                made["anyOf"] = [self.fit(part, f"{path}/oneOf/{n}") for n, part in enumerate(value)]
            elif key == "const" and not self.rules.constants:
                made["enum"] = [value]
            elif key == "pattern":
                made[key] = self.rules.pattern(value)
            elif key in nodes.SCHEMA_MAPS and isinstance(value, Mapping):
                made[key] = {
                    name: self.fit(part, f"{path}/{key}{json_tokens.pointer(name)}")
                    for name, part in value.items()
                }
            elif key in nodes.SCHEMA_LISTS and isinstance(value, list):
                made[key] = [self.fit(part, f"{path}/{key}/{n}") for n, part in enumerate(value)]
            elif key in nodes.SCHEMAS:
                made[key] = self.fit(value, f"{path}/{key}") if isinstance(value, Mapping) else value
            else:
                made[key] = value
        self._close(made, path)
        if self.rules.required and not _SAYS & made.keys():
            raise _CannotError  # it is open to anything, and strict mode wants a type everywhere
        if told:
            note = "{" + ", ".join(told) + "}"
            said = made.get("description")
            made["description"] = f"{said} {note}" if isinstance(said, str) else note
        return made

    def _knows(self, key: str, value: Any) -> bool:
        """Whether the provider knows a keyword, with this value."""
        if key in self.rules.told:
            return key == "minItems" and value in (0, 1)
        if key == "pattern":
            return self.rules.pattern(value) is not None
        if key == "format":
            return self.rules.formats is None or value in self.rules.formats
        return not (self._grammar and key in (*_LENGTHS, *_COUNTS) and value > _MOST_REPEATS)

    def _tell(self, told: list[str], path: str, key: str, value: Any) -> None:
        if key == "default" and value in (None, "", [], {}):
            return
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        told.append(f"{key}: {shown}")
        if key not in ("default", "examples"):
            self.weakened.append(f"{path}/{key}: {shown}")

    def _close(self, made: dict[str, Any], path: str) -> None:
        """Objects as `closed` and `required` want them."""
        kinds = made.get("type")
        if not self.rules.closed or not (
            kinds == "object" or "properties" in made or _holds(kinds, "object")
        ):
            return
        more = made.get("additionalProperties")
        properties = made.get("properties")
        free = more is True or more == {}
        if (
            (isinstance(more, Mapping) and not free)
            or (not properties and free)
            or (properties is None and more is None)
        ):
            raise _CannotError  # it is there for its free keys: closed, it would have none
        if more is not False:
            self.narrowed.append(f"{path}: keys that are not named")
        made["additionalProperties"] = False
        if not self.rules.required or not properties:
            return
        required = made.get("required", [])
        for name, part in properties.items():
            if name not in required:
                if takes_null(part, self.root):
                    place = f"{path}/properties{json_tokens.pointer(name)}"
                    self.narrowed.append(f"{place}: null and a key that is left out become the same")
                else:
                    properties[name] = self._nullable(part)
        made["required"] = list(properties)

    def _nullable(self, part: Any) -> Any:
        """A schema that null fits too."""
        self.nulls = True
        kind = part.get("type")
        if isinstance(kind, str) and not {"enum", "const", "properties", "anyOf", "$ref"} & part.keys():
            return {**part, "type": [kind, "null"]}
        said = {key: part[key] for key in ("description",) if key in part}
        inner = {key: value for key, value in part.items() if key not in said}
        members = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
        return {"anyOf": [*members, {"type": "null"}], **said}

    def _beside_ref(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a `$ref` with company means, without the reference."""
        company = {
            key: value
            for key, value in schema.items()
            if key not in ("$ref", "$defs", "definitions", "$schema")
        }
        if not self.rules.bare_refs or "$ref" not in schema or not company:
            return schema
        target = _followed(schema, self.root)
        if target is schema or "$ref" in target or self._loops(schema["$ref"]):
            if company.keys() - nodes.ANNOTATIONS:
                raise _CannotError
            return {key: value for key, value in schema.items() if key not in company}
        both = company.keys() & target.keys() - nodes.ANNOTATIONS
        if both:
            raise _CannotError
        kept = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        return {**target, **company, **kept}

    def _loops(self, ref: str) -> bool:
        if ref not in self._looping:
            self._looping[ref] = _recursive(self.root, [ref])
        return self._looping[ref]

    def _merged(self, schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """`allOf` in one schema, where its parts do not say different things."""
        made = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            found = _followed(part, self.root) if isinstance(part, Mapping) else part
            if not isinstance(found, Mapping) or "$ref" in found:
                raise _CannotError
            if "allOf" in found:
                found = self._merged(found, path)
            for key, value in found.items():
                if key == "properties":
                    mine = made.get("properties", {})
                    if any(name in mine and mine[name] != inner for name, inner in value.items()):
                        raise _CannotError
                    made[key] = {**mine, **value}
                elif key == "required":
                    made[key] = [
                        *made.get(key, []),
                        *(name for name in value if name not in made.get(key, [])),
                    ]
                elif key not in made or key in nodes.ANNOTATIONS or made[key] == value:
                    made.setdefault(key, value)
                else:
                    raise _CannotError
        return made

    def _untupled(self, schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """A tuple as a list of its members' types."""
        first, more = schema["prefixItems"], schema.get("items", True)
        if more is True or (isinstance(more, Mapping) and not more):
            if schema.get("maxItems", len(first) + 1) > len(first):
                raise _CannotError
            more = False
        members = [
            part for n, part in enumerate([*first, more]) if part is not False and part not in first[:n]
        ]
        made = {key: value for key, value in schema.items() if key not in ("prefixItems", "items")}
        self.weakened.append(f"{path}/prefixItems: which item has which type")
        if schema.get("items") is False or more is False:
            made["maxItems"] = min(schema.get("maxItems", len(first)), len(first))
        return {**made, "items": members[0] if len(members) == 1 else {"anyOf": members}}


def _followed(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a chain of references ends at."""
    at: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
    for _ in range(_DEEPEST):
        ref = at.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            break
        found = nodes.lookup(root, ref)
        if not isinstance(found, Mapping) or found is at:
            break
        at = found
    return at


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

    def moved(ref: str) -> str:
        return ref if ref.startswith(("#/$defs/", "#/definitions/")) else f"#/properties/{WRAP}{ref[1:]}"

    return _with_refs(part, moved)


def _with_refs(part: Any, change: Callable[[str], str]) -> Any:
    """A copy with every local reference changed."""
    if isinstance(part, list):
        return [_with_refs(item, change) for item in part]
    if not isinstance(part, Mapping):
        return part
    made = {key: _with_refs(value, change) for key, value in part.items()}
    ref = made.get("$ref")
    if isinstance(ref, str) and ref.startswith("#"):
        made["$ref"] = change(ref)
    return made


def _plain_object(schema: Mapping[str, Any]) -> bool:
    """Whether the root itself is an object, and no union or reference."""
    return schema.get("type") == "object" and not {"anyOf", "oneOf", "allOf", "$ref"} & schema.keys()


def _hoisted(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, where it refers to its own root with the root among the definitions."""
    if not any(ref == "#" for ref in _refs(schema)):
        return schema
    made: dict[str, Any] = _with_refs(schema, lambda ref: "#/$defs/root" if ref == "#" else ref)
    inner = {key: value for key, value in made.items() if key not in ("$defs", "definitions", "$schema")}
    return {**made, "$defs": {**made.get("$defs", {}), "root": inner}}


def _refs(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _refs(inner)


def _recursive(root: Mapping[str, Any], refs: Iterable[str] | None = None) -> bool:
    """Whether one of these references (default: any in the schema) leads back to itself, or to one that does."""
    done: dict[str, bool] = {}  # False while it is followed

    def loops(ref: str) -> bool:
        if ref not in done:
            done[ref] = False
            if any(loops(one) for one in set(_refs(_outline(nodes.lookup(root, ref))))):
                return True
            done[ref] = True
        return not done[ref]

    return any(loops(ref) for ref in set(_refs(root) if refs is None else refs))


def _outline(part: Any) -> Any:
    """A schema without its definitions, which are not followed for being there."""
    if not isinstance(part, Mapping):
        return part
    return {key: value for key, value in part.items() if key not in ("$defs", "definitions")}


def _holds(kinds: Any, kind: str) -> bool:
    return isinstance(kinds, list) and kind in kinds


def _apart(members: Any, root: Mapping[str, Any]) -> bool:
    """Whether no value can fit two of these: by type, or by a key with another constant in each."""
    found = [_followed(part, root) for part in members if isinstance(part, Mapping)]
    kinds = [part.get("type") for part in found]
    if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds):
        return set(kinds) != {"integer", "number"}
    keys = [
        {
            name: json.dumps(inner["const"])
            for name, inner in part.get("properties", {}).items()
            if isinstance(inner, Mapping) and "const" in inner and name in part.get("required", ())
        }
        for part in found
    ]
    shared = set.intersection(*map(set, keys)) if keys else set()
    return any(len({one[name] for one in keys}) == len(keys) for name in shared)


def takes_null(schema: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    """Whether null fits a schema, as far as can be told."""
    if not isinstance(schema, Mapping):
        return schema is not False
    ref = schema.get("$ref")
    if (
        isinstance(ref, str)
        and ref not in seen
        and not takes_null(nodes.lookup(root, ref), root, seen | {ref})
    ):
        return False
    kinds = schema.get("type", "null")
    if kinds != "null" and not _holds(kinds, "null"):
        return False
    if None not in schema.get("enum", [None]) or schema.get("const") is not None:
        return False
    if not all(takes_null(part, root, seen) for part in schema.get("allOf", ())):
        return False
    return all(
        any(takes_null(part, root, seen) for part in schema[key])
        for key in ("anyOf", "oneOf")
        if schema.get(key)
    )


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


def _takes_null(node: nodes.Node, known: dict[nodes.Node, bool] | None = None) -> bool:
    known = {} if known is None else known
    if node not in known:
        known[node] = True  # what refers to itself says nothing against it
        known[node] = (
            not node.never
            and (node.kinds is None or "null" in node.kinds)
            and (node.values is None or None in node.values)
            and all(_takes_null(one, known) for one in node.every)
            and all(any(_takes_null(one, known) for one in members) for members in node.some)
        )
    return known[node]
