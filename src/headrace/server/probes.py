"""What machines ask a server about itself: alive, ready, which models and tools, how it does.

Next: `metrics`.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace import errors
from headrace.server import failures
from headrace.server.metrics import Metrics
from headrace.server.runs import Json
from headrace.server.service import Service

MODELS_KEPT_S = 30.0
_READY_WITHIN_S = 2.0


def routes(service: Service) -> APIRouter:
    """The routes, for one service."""
    router = APIRouter()
    models = _Models(service)
    counted = Metrics(service)

    @router.get("/healthz", tags=["probes"], summary="Alive")
    async def healthz() -> Response:
        return Json({"status": "ok"})

    @router.get("/readyz", tags=["probes"], summary="Ready for new runs; 503 while shutting down")
    async def readyz() -> Response:
        try:
            await _check(service)
        except errors.HeadraceError as error:
            return failures.response(error, status=503)
        return Json({"status": "ready", "running": service.engine.running, "queued": service.engine.queued})

    @router.get("/metrics", tags=["probes"], summary="Counts and times, for Prometheus")
    async def metrics(request: Request) -> Response:
        content, kind = counted.text(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})

    @router.get("/v1/models", tags=["models"], summary="The models that can be asked for")
    async def list_models() -> Response:
        return Json(await models.get())

    @router.get(
        "/v1/tools", tags=["models"], summary="The tools that runs can name, and this server then runs"
    )
    async def list_tools() -> Response:
        data = [
            {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "approval": bool(tool.approval),
            }
            for tool in service.tools.values()
        ]
        return Json({"object": "list", "data": data})

    return router


async def _check(service: Service) -> None:
    if service.engine.draining:
        raise errors.RunError("the server is shutting down", code="interrupted")
    if service.engine.ledger is not None:
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await service.engine.ledger.runs(owner=None, limit=1)
        except TimeoutError as error:
            raise errors.StoreError(f"the ledger did not answer within {_READY_WITHIN_S:g} s") from error


class _Models:
    """The list of models, asked for once for all who want it at the same time, and kept a while."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._kept: dict[str, object] | None = None
        self._until = 0.0

    async def get(self) -> dict[str, object]:
        async with self._lock:
            if self._kept is None or time.monotonic() > self._until:
                self._kept = await self._ask()
                self._until = time.monotonic() + MODELS_KEPT_S
            return self._kept

    async def _ask(self) -> dict[str, object]:
        registry = self._service.registry
        listings = {listing.provider: listing for listing in await registry.models()}
        default = registry.default_model()
        names = dict.fromkeys([default, *(name for found in listings.values() for name in found.models)])
        providers = []
        for known in registry.known():
            row: dict[str, object] = {"name": known.name, "origin": known.origin, "set_up": known.set_up}
            for key in ("variable", "default_model", "notes"):
                if getattr(known, key):
                    row[key] = getattr(known, key)
            found = listings.get(known.name)
            if found is not None and found.error is not None:
                row["error"] = found.error.to_json()
            providers.append(row)
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": 0,
                    "owned_by": name.replace("/", ":").partition(":")[0],
                }
                for name in names
            ],
            "default": default,
            "providers": providers,
        }
