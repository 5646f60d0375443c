"""Random JSON Schemas, with values that fit them and values that may not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "c", "kind", "x/y", "~"])
TEXTS = st.text(alphabet='abcé"\\\n😀 0', max_size=6)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-20, 20), st.sampled_from([0.5, 2.0, -1.25, 1e30]), TEXTS,
    st.sampled_from(["2026-01-31", "aa1", "abab", "red"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
_PATTERNS = [
    ("^a+[0-9]$", ["a1", "aaa0"]),
    ("^(ab)*$", ["", "abab"]),
    ("^[a-c]{2,3}$", ["ab", "cba"]),
    ("b", ["abc", "b"]),
    ("^(red|green)", ["red", "greenish"]),
    ("^\\d{4}-\\d{2}$", ["2026-01"]),
    ("(?i)^A", ["a", "Ab"]),
]


@st.composite
def pairs(draw: st.DrawFn, depth: int = 3) -> tuple[Any, Any]:
    """A schema, and a value that fits it."""
    kinds = [
        "integer",
        "number",
        "string",
        "boolean",
        "null",
        "enum",
        "const",
        "any",
        "pattern",
        "date",
        "length",
    ]
    if depth:
        kinds += [
            "object",
            "object",
            "object",
            "array",
            "array",
            "tuple",
            "anyOf",
            "oneOf",
            "allOf",
            "ref",
            "map",
        ]
    kind = draw(st.sampled_from(kinds))
    if kind == "integer":
        value: Any = draw(st.integers(-20, 20))
        bounds = draw(
            st.sampled_from([{}, {"minimum": value}, {"maximum": value + 1}, {"exclusiveMaximum": value + 1}])
        )
        return {"type": "integer", **bounds}, value
    if kind == "number":
        value = draw(st.sampled_from([0, 3, 0.5, -2.25, 1e30]))
        return {"type": draw(st.sampled_from(["number", ["number", "null"]])), "minimum": value}, value
    if kind == "string":
        return {"type": "string"}, draw(TEXTS)
    if kind == "length":
        value = draw(TEXTS)
        return {"type": "string", "maxLength": len(value), "minLength": max(0, len(value) - 1)}, value
    if kind == "pattern":
        pattern, fitting = draw(st.sampled_from(_PATTERNS))
        return {"type": "string", "pattern": pattern}, draw(st.sampled_from(fitting))
    if kind == "date":
        return {"type": "string", "format": "date"}, "2026-02-28"
    if kind == "boolean":
        return {"type": "boolean"}, draw(st.booleans())
    if kind == "null":
        return {"type": "null"}, None
    if kind == "enum":
        values = draw(st.lists(VALUES, min_size=1, max_size=3))
        return {"enum": values}, draw(st.sampled_from(values))
    if kind == "const":
        value = draw(VALUES)
        return {"const": value}, value
    if kind == "any":
        return draw(st.sampled_from([{}, True])), draw(VALUES)
    if kind == "array":
        made = draw(pairs(depth=depth - 1))
        count = draw(st.integers(0, 3))
        return {"type": "array", "items": made[0], "maxItems": count, "minItems": count}, [made[1]] * count
    if kind == "tuple":
        made = draw(st.lists(pairs(depth=depth - 1), min_size=1, max_size=3))
        return {"type": "array", "prefixItems": [one for one, _ in made], "items": False}, [
            one for _, one in made
        ]
    if kind == "object":
        named = draw(st.dictionaries(KEYS, pairs(depth=depth - 1), max_size=4))
        present = [key for key in named if draw(st.booleans())]
        schema = {
            "type": "object",
            "properties": {key: one for key, (one, _) in named.items()},
            "required": [key for key in present if draw(st.booleans())],
            "additionalProperties": draw(st.sampled_from([False, True])),
        }
        return schema, {key: named[key][1] for key in present}
    if kind == "map":
        made = draw(pairs(depth=depth - 1))
        keys = draw(st.sets(KEYS, max_size=3))
        return {"additionalProperties": made[0], "type": "object"}, dict.fromkeys(sorted(keys), made[1])
    if kind == "ref":
        made = draw(pairs(depth=0))
        inner = {"$ref": "#/$defs/one"}
        return {"$defs": {"one": made[0]}, "properties": {"a": inner}, "required": ["a"]}, {"a": made[1]}
    if kind == "allOf":
        made = draw(pairs(depth=depth - 1))
        return {"allOf": [made[0], {}]}, made[1]
    made = draw(pairs(depth=depth - 1))
    others = draw(st.lists(pairs(depth=depth - 1), max_size=2))
    members = draw(st.permutations([made[0], *(one for one, _ in others)]))
    return {"anyOf" if kind == "anyOf" else "oneOf": members}, made[1]


def localised(schema: Any) -> Any:
    """The schema with all its definitions at the root, where references look for them."""
    definitions: dict[str, Any] = {}

    def moved(part: Any) -> Any:
        if isinstance(part, list):
            return [moved(one) for one in part]
        if not isinstance(part, dict):
            return part
        part = dict(part)
        if "$defs" in part and set(part) == {"$defs", "properties", "required"}:
            name = f"d{len(definitions)}"
            definitions[name] = moved(part.pop("$defs")["one"])
            return {**part, "properties": {"a": {"$ref": f"#/$defs/{name}"}}}
        return {key: value if key in ("enum", "const") else moved(value) for key, value in part.items()}

    made = moved(schema)
    return {**made, "$defs": definitions} if isinstance(made, dict) and definitions else made
