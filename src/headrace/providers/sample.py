"""A sample value for a JSON Schema: small, fixed, and valid for the schemas that models are asked with.

The demo answers structured requests and tool calls with it. It knows types, `enum`, `const`, `default`,
`examples`, `$ref` inside the document, `anyOf`/`oneOf`/`allOf`, bounds and the common string formats; it does
not know `pattern` or `not`. Pure. Next: `demo`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 12
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def value(schema: Mapping[str, Any], name: str = "text") -> Any:
    """A value that `schema` accepts; the same schema gives the same value.

    Args:
        name: what a string without a better word is called.
    """
    return _value(schema, name, schema, 0)


def _value(schema: Any, name: str, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping):
        return name
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    if "$ref" in schema:
        return _value(_follow(schema["$ref"], root), name, root, depth + 1) if depth < _DEEPEST else None
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            part = _follow(part["$ref"], root) if "$ref" in part else part
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", []), *part.get("required", [])]
            merged = {**merged, **part, "properties": properties, "required": required}
        return _value({**{k: v for k, v in schema.items() if k != "allOf"}, **merged}, name, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        choices = schema.get(key)
        if choices:
            # past a certain depth the choice that ends a recursive schema is taken: null
            empty = [choice for choice in choices if choice.get("type") == "null"]
            return _value(empty[0] if empty and depth > _DEEPEST // 2 else choices[0], name, root, depth + 1)
    return _typed(schema, name, root, depth)


def _typed(schema: Mapping[str, Any], name: str, root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            properties = schema.get("properties", {})
            required = schema.get("required", list(properties))
            wanted = properties if depth < _DEEPEST // 2 else {k: properties[k] for k in required}
            return {key: _value(sub, key, root, depth + 1) for key, sub in wanted.items()}
        case "array":
            if "prefixItems" in schema:
                return [_value(sub, name, root, depth + 1) for sub in schema["prefixItems"]]
            count = max(2 if depth < _DEEPEST // 2 else 0, schema.get("minItems", 0))
            count = min(count, schema.get("maxItems", count))
            return [_value(schema.get("items", {}), name, root, depth + 1) for _ in range(count)]
        case "integer" | "number":
            return _number(schema, kind)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, name)


def _number(schema: Mapping[str, Any], kind: str) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    step = schema.get("multipleOf") or 1
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (step if kind == "integer" else step / 2)
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (step if kind == "integer" else step / 2)
    number = 1 if low is None else low
    if high is not None and number > high:
        number = high
    if schema.get("multipleOf"):
        number = math.ceil(number / step) * step
    return math.ceil(number) if kind == "integer" else float(number)


def _string(schema: Mapping[str, Any], name: str) -> str:
    text = _FORMATS.get(schema.get("format", ""), name.replace("_", " "))
    text = text.ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]


def _follow(reference: str, root: Mapping[str, Any]) -> Any:
    target: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        target = target.get(step.replace("~1", "/").replace("~0", "~"), {})
    return target
