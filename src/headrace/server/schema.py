"""What the OpenAPI description says beyond the signatures: bodies, answers, errors, examples. Values only.

Next: `runs`, which uses it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace import errors
from headrace.server import bodies

_EXAMPLE = "run_01JD3Z8Q4M8T2W6X9Y0ABCDEFG"


def errors_for(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, by status."""
    out: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status = errors.CODES[code].status
        out[status] = {
            "description": f"{out[status]['description']}, `{code}`" if status in out else f"`{code}`",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Error"},
                    "example": {"error": {"code": code, "message": "…", "details": {}}},
                }
            },
        }
    return out


ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string", "enum": sorted(errors.CODES)},
                "message": {"type": "string"},
                "details": {"type": "object"},
            },
        }
    },
}


def components() -> dict[str, Any]:
    """Schemas that the descriptions refer to."""
    _, found = msgspec.json.schema_components(
        [bodies.RunBody, bodies.ResponseBody], ref_template="#/components/schemas/{name}"
    )
    run_body = found["RunBody"]
    for name in ("procedure",):
        run_body["properties"].pop(name, None)
    return {**found, "Error": ERROR_SCHEMA}


START: dict[str, Any] = {
    "description": (
        "Answers at once, before the model does. With `Accept: text/event-stream` the answer is the event stream "
        "itself. The same `Idempotency-Key` again gives the same run, also after a restart; with another body it "
        "is refused."
    ),
    "responses": {
        201: {
            "description": "The run has begun and is in the ledger.",
            "headers": {
                "Location": {"description": "The run", "schema": {"type": "string"}},
                "x-headrace-run": {"description": "The run's id", "schema": {"type": "string"}},
            },
            "content": {
                "application/json": {
                    "example": {
                        "run": _EXAMPLE,
                        "status": "running",
                        "events": f"/v1/runs/{_EXAMPLE}/events",
                        "conversation": _EXAMPLE,
                    }
                },
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        **errors_for("bad-request", "too-large", "too-many", "forbidden", "store-unavailable"),
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/RunBody"},
                    "examples": {
                        "ask": {"value": {"model": "demo", "input": "Hello"}},
                        "messages": {
                            "value": {
                                "model": "openai:gpt-4o-mini",
                                "messages": [{"role": "user", "content": "Hello"}],
                                "fallbacks": ["anthropic:claude-sonnet-4-5"],
                                "on_disconnect": "continue",
                            }
                        },
                    },
                }
            },
        },
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": bodies.MAX_KEY},
                "description": "Makes a repeated POST the same run",
            }
        ],
    },
}

EVENTS: dict[str, Any] = {
    "description": (
        "Every event has its cursor as `id:`. A browser's EventSource comes back by itself with `Last-Event-ID`; "
        "after `run-end` the stream closes, and a reader that has it all gets 204."
    ),
    "responses": {
        200: {
            "description": "Events, one `data:` line of JSON each; comments as heartbeats.",
            "content": {
                "text/event-stream": {
                    "example": (
                        f"retry: 1000\n\nid: {_EXAMPLE}.1\n"
                        f'data: {{"type":"run-start","run":"{_EXAMPLE}","seq":1,"kind":"answer","model":"demo"}}\n\n'
                    )
                }
            },
        },
        204: {"description": "The run has ended and the reader has all of it."},
        **errors_for(
            "cursor-malformed", "cursor-ahead", "cursor-foreign", "run-not-found", "retention-passed"
        ),
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": "after",
                "in": "query",
                "schema": {"type": "string"},
                "description": "A cursor (`<run>.<seq>`): only what comes after it",
            },
            {
                "name": "Last-Event-ID",
                "in": "header",
                "schema": {"type": "string"},
                "description": "The same; stronger than `after`",
            },
            {
                "name": "interval",
                "in": "query",
                "schema": {"type": "integer", "minimum": 0, "maximum": 60000},
                "description": "Milliseconds between two frames at least; deltas in between are merged",
            },
            {
                "name": "dialect",
                "in": "query",
                "schema": {"type": "string", "default": "native"},
                "description": "The format of the events",
            },
            {
                "name": "fields",
                "in": "query",
                "schema": {"type": "boolean", "default": False},
                "description": "With `dialect=ide`: structured answers field by field instead of as their JSON",
            },
        ]
    },
}
