"""uvicorn's protocols with small write buffers, so that a slow reader holds little.

A socket that does not take bytes fills the transport's buffer up to its high water mark before `send` waits.
uvicorn's mark is asyncio's 64 KB; a reader here costs 16 KB at most. Next: `runner`.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

HIGH_WATER = 16 * 1024
SEND_BUFFER = 64 * 1024
"""What the kernel queues for a reader; it takes the double of it."""


class Http(HttpToolsProtocol):
    """One HTTP connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection stands."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 4)


class WebSocket(WSProtocol):
    """One WebSocket connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection stands."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 4)
