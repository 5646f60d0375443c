"""The page: its files, its headers, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from headrace.server import pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "static"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<!doctype html><title>Chat</title>")
    (built / "assets" / "index-abc.js").write_text("console.log('ü')")
    (built / "assets" / "mark-abc.svg").write_text("<svg/>")
    (built / "assets" / "inter-abc.woff2").write_bytes(b"\x00\x01")
    (tmp_path / "secret").write_text("secret")
    return built


async def test_the_page(serving: Any, folder: Path) -> None:
    async with serving() as site:
        site.app.pages = pages.Pages(folder)
        index = await site.get("/")
        assert (index.status, index.body) == (200, b"<!doctype html><title>Chat</title>")
        assert index.headers["cache-control"] == "no-cache"
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        policy = index.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script-src" not in policy, "scripts fall under default-src: no inline ones"
        assert index.headers["x-content-type-options"] == "nosniff"
        assert (await site.get("/index.html")).body == index.body
        script = await site.get("/assets/index-abc.js")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert (await site.get("/assets/mark-abc.svg")).headers["content-type"] == "image/svg+xml"
        assert (await site.get("/assets/inter-abc.woff2")).headers["content-type"] == "font/woff2"
        again = await site.get("/", headers={"if-none-match": index.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        head = await site.ask("HEAD", "/")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(index.body)))


async def test_nothing_outside_the_folder(serving: Any, folder: Path) -> None:
    found = pages.Pages(folder)
    for path in (
        "/../secret",
        "/assets/../../secret",
        "//secret",
        "/secret",
        "/assets",
        "/assets/",
        "secret",
        "",
    ):
        assert not found.has(path), path
    async with serving() as site:
        site.app.pages = found
        for path in ("/%2e%2e/secret", "/assets/%2e%2e%2f%2e%2e%2fsecret"):
            reply = await site.get(URL(path, encoded=True))
            assert (reply.status, reply.error) == (404, "bad-request")


async def test_a_page_that_was_not_built_says_how(serving: Any, tmp_path: Path) -> None:
    async with serving() as site:
        site.app.pages = pages.Pages(tmp_path)
        reply = await site.get("/")
        assert reply.status == 200
        assert b"scripts/setup" in reply.body
        assert b"http" not in reply.body.replace(b"http-equiv", b""), "it asks nobody for anything"
        assert (await site.get("/assets/index.js")).status == 404
