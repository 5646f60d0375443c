"""Alive, ready, and which models."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace import errors
from headrace.ledger.memory import MemoryLedger
from headrace.providers.registry import Listing
from headrace.server import probes


async def test_alive_and_ready(serving: Any) -> None:
    async with serving() as site:
        assert (await site.get("/healthz")).json == {"status": "ok"}
        ready = await site.get("/readyz")
        assert (ready.status, ready.json) == (200, {"status": "ready", "running": 0, "queued": 0})
        assert (await site.get("/healthz", headers={"host": "10.0.0.1:8642"})).status == 200


async def test_not_ready_without_its_ledger(serving: Any, monkeypatch: Any) -> None:
    class Gone(MemoryLedger):
        async def runs(self, **options: Any) -> Any:
            raise errors.StoreError("the disk is gone")

    class Slow(MemoryLedger):
        async def runs(self, **options: Any) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr(probes, "_READY_WITHIN_S", 0.02)
    for ledger in (Gone(), Slow()):
        async with serving(ledger=ledger) as site:
            reply = await site.get("/readyz")
            assert (reply.status, reply.error) == (503, "store-unavailable")
            assert (await site.get("/healthz")).status == 200


async def test_models(serving: Any, monkeypatch: Any) -> None:
    asked = []

    async def models() -> list[Listing]:
        asked.append(1)
        await asyncio.sleep(0)
        down = errors.ProviderError("nobody listens", code="provider-unreachable")
        return [
            Listing(provider="scripted", models=["scripted:a", "scripted:b"]),
            Listing(provider="ollama", error=down),
        ]

    async with serving() as site:
        monkeypatch.setattr(site.service.registry, "models", models)
        replies = await asyncio.gather(*(site.get("/v1/models") for _ in range(5)))
        found = replies[0].json
        assert found["object"] == "list"
        assert [model["id"] for model in found["data"]] == ["scripted", "scripted:a", "scripted:b"]
        assert found["data"][1] == {
            "id": "scripted:a",
            "object": "model",
            "created": 0,
            "owned_by": "scripted",
        }
        assert found["default"] == "scripted"
        ollama = next(row for row in found["providers"] if row["name"] == "ollama")
        assert ollama["error"]["code"] == "provider-unreachable"
        assert len(asked) == 1
