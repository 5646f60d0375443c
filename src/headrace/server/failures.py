"""Errors as HTTP: one JSON shape everywhere, whoever raised them.

    {"error": {"code": "run-not-found", "message": "there is no run 'run_…'", "details": {}}}

The status is the code's own (`errors.CODES`), but for what only HTTP knows (404 for a path, 405, 422). What a
fault inside the server was is in its log, never in an answer. Next: `access`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from headrace import errors

Headers = Sequence[tuple[bytes, bytes]]

_RETRY_AFTER = {"too-many": b"1", "interrupted": b"2", "store-unavailable": b"2"}


def body(error: errors.HeadraceError) -> bytes:
    """The JSON body of an error."""
    try:
        return msgspec.json.encode({"error": error.to_json()})
    except (TypeError, UnicodeEncodeError):
        message = error.message.encode("utf-8", "replace").decode()
        return msgspec.json.encode({"error": {"code": error.code, "message": message, "details": {}}})


def headers(error: errors.HeadraceError) -> list[tuple[bytes, bytes]]:
    """The headers of an error: its type, when to try again, how to log in."""
    out = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    after = _RETRY_AFTER.get(error.code)
    if after is not None:
        out.append((b"retry-after", after))
    if error.code == "unauthorized":
        out.append((b"www-authenticate", b'Bearer realm="headrace"'))
    return out


async def send(
    send: Send,
    error: errors.HeadraceError,
    *,
    status: int | None = None,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer a request with an error, on bare ASGI."""
    content = body(error)
    own = [*headers(error), (b"content-length", b"%d" % len(content)), *more]
    await send({"type": "http.response.start", "status": status or error.status, "headers": own})
    await send({"type": "http.response.body", "body": content})


def response(error: errors.HeadraceError, *, status: int | None = None) -> Response:
    """The same as a response object."""
    answer = Response(body(error), status_code=status or error.status)
    for name, value in headers(error):
        answer.headers[name.decode()] = value.decode()
    return answer


def internal() -> errors.HeadraceError:
    """What an answer says of a fault inside the server."""
    return errors.RunError(
        "the server made an error while answering; its log says which", code="interrupted", retryable=False
    )


def not_found(method: str, path: str) -> errors.HeadraceError:
    """The error for a path that leads nowhere."""
    return errors.UsageError(
        f"there is nothing at {method} {path[:200]}; /openapi.json lists what there is", code="bad-request"
    )


def not_allowed(method: str, path: str, allowed: str) -> errors.HeadraceError:
    """The error for a method that a path does not take."""
    return errors.UsageError(
        f"{path[:200]} does not take {method}; use {allowed}",
        code="bad-request",
        details={"allowed": allowed},
    )


def install(api: FastAPI) -> None:
    """Give the framework's own errors our shape."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.HeadraceError)
        status = getattr(error, "http_status", None)
        return response(error, status=status)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        method, path = request.method, request.url.path
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            answer = response(not_allowed(method, path, allowed), status=405)
            answer.headers["allow"] = allowed
            return answer
        if error.status_code == 404:
            return response(not_found(method, path), status=404)
        return response(errors.UsageError(str(error.detail), code="bad-request"), status=error.status_code)

    async def parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return response(
            errors.UsageError(f"{where}: {first['msg']}", code="bad-request", details={"where": where}),
            status=422,
        )

    async def fault(request: Request, error: Exception) -> Response:
        return response(internal(), status=500)  # the framework raises it again, and the app logs it

    api.add_exception_handler(Exception, fault)
    api.add_exception_handler(errors.HeadraceError, ours)
    api.add_exception_handler(HTTPException, framework)
    api.add_exception_handler(RequestValidationError, parameters)
