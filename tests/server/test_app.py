"""What every request passes: one error shape, keys, hosts, sites, and the description."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.server import access

KEYS = {"api_keys": ("alpha-key", "beta-key")}
ALPHA = {"authorization": "Bearer alpha-key"}
BETA = {"authorization": "Bearer beta-key"}


async def test_one_error_shape_also_for_the_frameworks_own(serving: Any) -> None:
    async with serving() as site:
        for method, path, status in [
            ("GET", "/nothing", 404),
            ("GET", "/v1/runs/a/b/c", 404),
            ("GET", "/v1/../etc/passwd", 404),
            ("DELETE", "/v1/runs", 405),
            ("PUT", "/v1/runs/x/cancel", 405),
            ("POST", "/", 405),
            ("GET", "/v1/runs?limit=many", 422),
        ]:
            reply = await site.ask(method, path)
            assert (reply.status, reply.error) == (status, "bad-request"), path
        assert (await site.ask("POST", "/")).headers["allow"] == "GET, HEAD"
        assert "POST" in (await site.ask("DELETE", "/v1/runs")).headers["allow"]


async def test_a_fault_inside_is_not_told(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as site:

        async def broken(*arguments: Any, **options: Any) -> Any:
            raise ZeroDivisionError("secret")

        for name, path in (("list", "/v1/runs"), ("info", "/v1/runs/x"), ("info", "/v1/runs/x/events")):
            monkeypatch.setattr(site.engine, name, broken)
            reply = await site.get(path)
            assert (reply.status, reply.error) == (500, "interrupted")
            assert b"secret" not in reply.body
            assert b"Traceback" not in reply.body


async def test_without_a_key_nothing_is_told(serving: Any) -> None:
    async with serving(**KEYS) as site:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic alpha-key"},
            {"authorization": "Bearer "},
            {"authorization": "Bearer alpha-key-and-more"},
        ):
            for method, path in (
                ("GET", "/v1/runs"),
                ("POST", "/v1/runs"),
                ("GET", "/v1/runs/x"),
                ("GET", "/v1/runs/x/events"),
                ("GET", "/v1/models"),
                ("GET", "/metrics"),
                ("GET", "/v1/ledger/verify"),
                ("GET", "/nothing"),
            ):
                reply = await site.ask(method, path, headers=headers)
                assert (reply.status, reply.error) == (401, "unauthorized")
                assert reply.headers["www-authenticate"].startswith("Bearer")
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert (await site.get(path)).status == 200
        assert (await site.get("/v1/runs", headers=ALPHA)).status == 200
        assert (await site.get("/v1/runs?key=alpha-key")).status == 401


async def test_a_key_sees_only_its_own(serving: Any) -> None:
    async with serving(**KEYS) as site:
        reply = await site.post(
            "/v1/runs", {"input": "Hi", "conversation": "c1"}, headers={**ALPHA, "idempotency-key": "k"}
        )
        run = reply.json["run"]
        await site.ended(run)
        assert site.engine.active(run).spec.owner == access.owner_of("alpha-key")
        assert "alpha" not in site.engine.active(run).spec.owner
        for method, path in (
            ("GET", f"/v1/runs/{run}"),
            ("GET", f"/v1/runs/{run}/events"),
            ("POST", f"/v1/runs/{run}/cancel"),
            ("POST", f"/v1/runs/{run}/responses/q"),
            ("GET", "/v1/conversations/c1"),
            ("GET", "/v1/conversations/c1/facts"),
            ("GET", "/v1/conversations/c1/turns"),
            ("GET", "/v1/ledger/facts?conversation=c1"),
        ):
            body = {"json": {"value": 1}} if method == "POST" else {}
            reply = await site.ask(method, path, headers=BETA, **body)
            assert (reply.status, reply.error) == (404, "run-not-found"), path
            if "responses" not in path:
                assert (await site.ask(method, path, headers=ALPHA, **body)).status == 200, path
        assert (await site.get("/v1/runs", headers=BETA)).json == {"runs": []}
        assert (await site.get("/v1/conversations", headers=BETA)).json == {"conversations": []}
        assert len((await site.get("/v1/runs", headers=ALPHA)).json["runs"]) == 1
        reply = await site.post("/v1/runs", {"input": "Hi", "conversation": "c1"}, headers=BETA)
        assert (reply.status, reply.error) == (403, "forbidden")
        # the same idempotency key of another owner is another run
        reply = await site.post("/v1/runs", {"input": "Hi"}, headers={**BETA, "idempotency-key": "k"})
        assert reply.json["run"] != run


async def test_other_sites_are_kept_out(serving: Any) -> None:
    async with serving() as site:
        run = await site.start()
        here = site.url.removeprefix("http://")
        refused = [
            {"host": "evil.example"},
            {"host": "evil.example:8642"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://localhost:1"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ]
        for headers in refused:
            for method, path in (
                ("POST", "/v1/runs"),
                ("POST", f"/v1/runs/{run}/cancel"),
                ("GET", f"/v1/runs/{run}"),
                ("GET", f"/v1/runs/{run}/events"),
            ):
                reply = await site.ask(method, path, headers=headers)
                assert (reply.status, reply.error) == (403, "forbidden"), (headers, path)
                assert "access-control-allow-origin" not in reply.headers
        assert (await site.get("/", headers={"host": "evil.example"})).status == 403
        for headers in (
            {"origin": f"http://{here}"},
            {"sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "none"},
            {"host": "localhost:8642"},
            {"host": "[::1]:8642"},
            {"host": "192.168.1.5"},
        ):
            assert (await site.get(f"/v1/runs/{run}", headers=headers)).status == 200, headers
        assert (await site.get("/", headers={"sec-fetch-site": "cross-site"})).status == 200


async def test_names_and_origins_that_are_allowed(serving: Any) -> None:
    async with serving(allowed_hosts=("chat.example",), cors_origins=("https://app.example",)) as site:
        assert (await site.get("/v1/runs", headers={"host": "chat.example"})).status == 200
        origin = {"origin": "https://app.example"}
        reply = await site.post("/v1/runs", {"input": "Hi"}, headers=origin)
        assert reply.status == 201
        assert reply.headers["access-control-allow-origin"] == "https://app.example"
        assert reply.headers["vary"] == "origin"
        events = await site.get(reply.json["events"], headers=origin)
        assert events.headers["access-control-allow-origin"] == "https://app.example"
        reply = await site.ask(
            "OPTIONS", "/v1/runs", headers={**origin, "access-control-request-method": "POST"}
        )
        assert reply.status == 204
        assert "idempotency-key" in reply.headers["access-control-allow-headers"]
        reply = await site.get("/v1/runs/x", headers=origin)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (404, "https://app.example")


async def test_no_cors_unless_asked_for(serving: Any) -> None:
    async with serving(**KEYS) as site:
        reply = await site.get("/v1/runs", headers={**ALPHA, "origin": "https://app.example"})
        assert reply.status == 200
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


async def test_the_description(serving: Any) -> None:
    async with serving() as site:
        found = (await site.get("/openapi.json")).json
        assert set(found["paths"]) >= {
            "/v1/runs",
            "/v1/runs/{run}",
            "/v1/runs/{run}/cancel",
            "/v1/runs/{run}/events",
            "/v1/runs/{run}/responses/{asked}",
            "/v1/runs/{run}/resume",
            "/api/run/stream",
            "/v1/models",
            "/v1/conversations",
            "/v1/ledger/verify",
            "/healthz",
            "/readyz",
            "/metrics",
        }
        start = found["paths"]["/v1/runs"]["post"]
        assert start["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/RunBody")
        body = found["components"]["schemas"]["RunBody"]
        assert "input" in body["properties"]
        assert "template" in body["properties"]
        assert "procedure" not in body["properties"]
        assert {"400", "401", "413", "429"} <= set(start["responses"])
        assert found["paths"]["/v1/runs/{run}/events"]["get"]["responses"]["410"]
        for path in found["paths"].values():
            for operation in path.values():
                assert operation["summary"]


async def test_while_draining_new_runs_are_refused_and_old_ones_read(serving: Any, tools: Any) -> None:
    from headrace.providers.scripted import Pause, Say

    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        run = await site.start(on_disconnect="continue")
        draining = asyncio.create_task(site.engine.drain(10))
        await asyncio.sleep(0)
        reply = await site.post("/v1/runs", {"input": "Hi"})
        assert (reply.status, reply.error) == (503, "interrupted")
        assert "retry-after" in reply.headers
        ready = await site.get("/readyz")
        assert (ready.status, ready.error) == (503, "interrupted")
        assert (await site.get("/healthz")).status == 200
        reading = asyncio.create_task(site.read(run))
        site.gate.release()
        await draining
        assert (await reading)[-1]["outcome"] == "completed"
