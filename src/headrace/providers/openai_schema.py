"""One question about a JSON Schema: does it keep the rules of OpenAI's strict mode?

Strict mode holds the model to the schema while it writes, but the API refuses schemas that leave an object
open or a key optional. A schema that keeps the rules is sent strict; any other is sent as it is, and the
run engine's own check of the answer decides. Next: `openai_chat`.
"""

from __future__ import annotations

from typing import Any

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "prefixItems")


def strict(schema: Any) -> bool:
    """Whether every object in `schema` is closed and requires all its keys."""
    if not isinstance(schema, dict) or "oneOf" in schema:
        return False
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required", ())) != set(properties):
            return False
    inside = [part for key in _MAPS for part in schema.get(key, {}).values()]
    inside += [part for key in _LISTS for part in schema.get(key, ())]
    if "items" in schema:
        inside.append(schema["items"])
    return all(strict(part) for part in inside)
