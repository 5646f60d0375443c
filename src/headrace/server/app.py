"""The ASGI app: what every request passes, and where it goes.

    request ─► guard (host, site, key) ─► event streams, WebSockets    on bare ASGI, `streams`
                                      ├─► the page                      `pages`
                                      └─► everything else               FastAPI routes: `runs`, `conversations`, …

The framework is kept off the token path: a stream that passed it would hold its request objects and pay its
wrappers for each event. Here too: the bound on bodies, one log line a request, and the last net under faults.
No route's own logic. Next: `access`, then `runs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from starlette.types import Message, Receive, Scope, Send

from headrace import errors
from headrace.providers.registry import Registry
from headrace.runs.engine import Engine
from headrace.server import (
    access,
    bodies,
    compat,
    conversations,
    failures,
    ide,
    memory,
    pages,
    probes,
    procedures,
    reference,
    runs,
    streams,
    templates,
    websocket,
)
from headrace.server.service import Service
from headrace.settings import Settings

log = structlog.get_logger("headrace.access")

Routes = Callable[[Service], APIRouter]

_STREAM_METHODS = "GET, HEAD, OPTIONS"
_PAGE_METHODS = "GET, HEAD"
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"accept, authorization, content-type, idempotency-key, last-event-id",
    ),
    (b"access-control-max-age", b"600"),
)


def create_app(
    engine: Engine,
    settings: Settings,
    registry: Registry,
    *,
    more: Sequence[Routes] = (),
    static: Path = pages.STATIC,
    tools: Mapping[str, Any] | Iterable[Any] = (),
    workspace: Path | None = None,
) -> App:
    """The server as an ASGI app.

    Args:
        engine: runs the runs; the caller closes it.
        settings: keys, limits, names.
        registry: knows the models.
        more: makers of further routes.
        static: the folder of the built page.
        tools: functions and `Tool`s that runs may name (`"tools": ["lookup"]`) and the engine then runs; a mapping
            gives them names of its own.
        workspace: the folder whose programs the IDE page shows, edits and runs; None is none.

    Raises:
        errors.UsageError: a tool cannot be one.
    """
    return App(Service(engine, settings, registry, tools, workspace), more, static)


class App:
    """See `create_app`.

    Attributes:
        service: what the routes share.
        api: the FastAPI part; `api.openapi()` describes all of it.
    """

    def __init__(self, service: Service, more: Sequence[Routes], static: Path) -> None:
        self.service = service
        self.pages = pages.Pages(static)
        self.api = FastAPI(
            title="Headrace",
            version="1",
            description=_ABOUT,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        failures.install(self.api)
        for routes in (
            runs.routes,
            conversations.routes,
            memory.routes,
            templates.routes,
            procedures.routes,
            ide.routes,
            probes.routes,
            reference.routes,
            *compat.ROUTES,
            *more,
        ):
            self.api.include_router(routes(service))
        reference.describe(self.api)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        run = websocket.run_of(scope["path"])
        if run is None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        began = time.perf_counter()
        await websocket.serve(self.service, run, scope, receive, send)
        ms = round((time.perf_counter() - began) * 1000, 1)
        log.info("request", method="WS", path=_shown(scope), ms=ms)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope, send)
        try:
            await self._serve(scope, receive, answer)
        except errors.HeadraceError as error:
            if not answer.status:
                await failures.send(answer.send, error, status=getattr(error, "http_status", None))
        except Exception:
            log.exception("the server made an error", method=scope["method"], path=_shown(scope))
            if not answer.status:
                await failures.send(answer.send, failures.internal(), status=500)
            elif answer.status != 500:
                raise  # in the middle of an answer: the connection has to break off
        finally:
            answer.log()

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        gate, headers = self.service.gate, scope["headers"]
        method, path = scope["method"], scope["path"]
        origin = access.header(headers, b"origin")
        if origin is not None and gate.allows(origin):
            answer.allow(origin)
            if method == "OPTIONS" and access.header(headers, b"access-control-request-method"):
                await answer.send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
                await answer.send({"type": "http.response.body"})
                return
        if path in ("/healthz", "/readyz"):
            scope["headrace.owner"] = ""
            await self.api(scope, receive, answer.send)
            return
        gate.check_host(headers)
        if self.pages.has(path):
            if method not in ("GET", "HEAD"):
                await _refuse(answer, method, path, _PAGE_METHODS)
                return
            answer.note(await self.pages.send(scope, answer.raw))
            return
        gate.check_site(headers)
        scope["headrace.owner"] = owner = "" if path in access.OPEN_PATHS else gate.owner(headers)
        run = _stream_of(path)
        if run is not None:
            await self._events(run, owner, scope, receive, answer)
            return
        limited = _Limited(scope, receive, self.service.settings.max_body_bytes)
        await self.api(scope, limited.receive, answer.send)

    async def _events(self, run: str, owner: str, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """The hot path: the server's own `send`, with nothing around it."""
        method = scope["method"]
        if method == "OPTIONS":
            headers = [(b"allow", _STREAM_METHODS.encode())]
            await answer.send({"type": "http.response.start", "status": 204, "headers": headers})
            await answer.send({"type": "http.response.body"})
        elif method not in ("GET", "HEAD"):
            await _refuse(answer, method, scope["path"], _STREAM_METHODS)
        else:
            scope["headrace.headers"] = answer.more
            answer.note(await streams.events_of(self.service, run, owner, scope, receive, answer.raw))


class _Answer:
    """What is known of an answer while it goes out."""

    __slots__ = ("_began", "_scope", "more", "raw", "status")

    def __init__(self, scope: Scope, send: Send) -> None:
        self.raw = send
        self.status = 0
        self.more: list[tuple[bytes, bytes]] = []
        self._scope = scope
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Pass a message on; the first of them is noted."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.more:
                message = {**message, "headers": [*message.get("headers", ()), *self.more]}
        await self.raw(message)

    def note(self, status: int) -> None:
        """The answer went out another way."""
        self.status = status

    def allow(self, origin: str) -> None:
        """Let a page of another site read the answer."""
        self.more += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"location, x-headrace-run, retry-after"),
            (b"vary", b"origin"),
        ]

    def log(self) -> None:
        """One line a request, at its end."""
        scope = self._scope
        log.info(
            "request",
            method=scope["method"],
            path=_shown(scope),
            status=self.status,
            ms=round((time.perf_counter() - self._began) * 1000, 1),
        )


class _Limited:
    """A request whose body is refused when it is too large: by its length where it is told, else on the way."""

    __slots__ = ("_limit", "_receive", "_size")

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        length = access.header(scope["headers"], b"content-length")
        if length is not None and length.isdigit() and int(length[:18]) > limit:
            raise bodies.too_large("body", int(length[:18]), limit, "bytes")

    async def receive(self) -> Message:
        """The next message of the request."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._limit:
                raise bodies.too_large("body", self._size, self._limit, "bytes")
        return message


async def _refuse(answer: _Answer, method: str, path: str, allowed: str) -> None:
    await failures.send(
        answer.send,
        failures.not_allowed(method, path, allowed),
        status=405,
        more=[(b"allow", allowed.encode())],
    )


def _shown(scope: Scope) -> str:
    """The path as a log can show it: what would steer a terminal is escaped."""
    return ascii(scope["path"])[1:-1]


def _stream_of(path: str) -> str | None:
    """The run whose event stream a path is."""
    if path.startswith("/v1/runs/") and path.endswith("/events"):
        run = path[9:-7]
        if run and "/" not in run:
            return run
    return None


async def _lifespan(receive: Receive, send: Send) -> None:
    """Engine and ledger are opened and closed by whoever runs the app."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


_ABOUT = """Start runs and stream them. Every token at once; nothing partial, repeated or lost becomes a fact.

Errors have one shape everywhere: `{"error": {"code", "message", "details"}}`. Where the server has API keys, send
`Authorization: Bearer KEY`; a key sees only its own runs and conversations."""
