"""The API described: `/openapi.json`, and `/docs`, a page of the same without scripts and without other hosts.

Next: `schema`, the words.
"""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, Response

from headrace.server import pages, schema
from headrace.server.service import Service

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
code,pre{font:14px/1.5 ui-monospace,monospace}pre{overflow:auto;padding:.75rem;background:#f4f4f2;border-radius:6px}
h2{margin-top:2.5rem;font-size:1.1rem}h2 b{display:inline-block;min-width:3.5rem}table{border-collapse:collapse}
td{padding:.2rem 1rem .2rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#eee;background:#16181c}pre{background:#22252b}a{color:#8ab4f8}}
"""


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        headers = {name.decode(): value.decode() for name, value in pages.GUARD}
        return HTMLResponse(page(request.app.openapi()), headers=headers)

    return router


def describe(api: FastAPI) -> None:
    """Add to an app's description what its signatures cannot say."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            found = made()
            found.setdefault("components", {}).setdefault("schemas", {}).update(schema.components())
            for path in found["paths"].values():
                for operation in path.values():
                    operation.get("responses", {}).pop("422", None)
        return made()

    api.openapi = openapi  # type: ignore[method-assign]


def page(found: dict[str, Any]) -> str:
    """The description as a page."""
    out = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Headrace API</title><style>{_STYLE}</style><h1>Headrace API</h1>",
        f"<p>{_text(found['info']['description'])}</p>",
        "<p>For programs: <a href='/openapi.json'>/openapi.json</a>. The chat page: <a href='/'>/</a>.</p>",
    ]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            out.append(_operation(path, method, operation))
    body = found["components"]["schemas"]["RunBody"]
    out.append("<h2 id=RunBody>The body of POST /v1/runs</h2>")
    out.append(
        _rows((name, _type(part), part.get("description", "")) for name, part in body["properties"].items())
    )
    return "".join(out)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    out = [f"<h2><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h2>"]
    out.append(f"<p>{_text(operation.get('summary', ''))}</p>")
    if operation.get("description"):
        out.append(f"<p>{_text(operation['description'])}</p>")
    parameters = operation.get("parameters", [])
    if parameters:
        out.append(_rows((p["name"], p["in"], p.get("description", "")) for p in parameters))
    answers = operation.get("responses", {})
    out.append(_rows((status, "", answers[status].get("description", "")) for status in sorted(answers)))
    return "".join(out)


def _rows(rows: Any) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(str(name))}</code><td>{escape(kind)}<td>{_text(text)}"
        for name, kind, text in rows
    )
    return f"<table>{cells}</table>"


def _type(part: dict[str, Any]) -> str:
    kinds = part.get("anyOf", [part])
    return " or ".join(str(kind.get("type") or "object") for kind in kinds if kind.get("type") != "null")


def _text(text: str) -> str:
    """Escaped text, with `code` as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))
