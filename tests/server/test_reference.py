"""The description for people."""

from __future__ import annotations

import re
from typing import Any

from headrace.server import reference


async def test_the_page_has_every_route_and_asks_nobody(serving: Any) -> None:
    async with serving() as site:
        reply = await site.get("/docs")
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in reply.headers["content-security-policy"]
        text = reply.body.decode()
        for path in (await site.get("/openapi.json")).json["paths"]:
            assert path in text
        assert "on_disconnect" in text
        assert "<script" not in text
        assert not re.search(r"(src|href)=['\"]?(https?:)?//", text)


def test_text_is_escaped() -> None:
    assert reference._text("a `<b>` & c") == "a <code>&lt;b&gt;</code> &amp; c"
