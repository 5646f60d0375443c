"""Small write buffers."""

from __future__ import annotations

from typing import Any

from headrace.server import wire


async def test_buffers_are_small(serving: Any) -> None:
    marks = []

    async with serving() as site:
        real = wire.Http.connection_made

        def made(self: Any, transport: Any) -> None:
            real(self, transport)
            marks.append(transport.get_write_buffer_limits())

        wire.Http.connection_made = made  # type: ignore[method-assign]
        try:
            await site.get("/healthz")
        finally:
            wire.Http.connection_made = real  # type: ignore[method-assign]
    assert marks == [(wire.HIGH_WATER // 4, wire.HIGH_WATER)]
