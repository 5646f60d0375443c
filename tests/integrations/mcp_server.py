"""An MCP server for the tests: `python mcp_server.py` on stdin and stdout, `… http PORT` over HTTP."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("test")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def variables() -> list[str]:
    """The names of all environment variables there are, and where it runs."""
    return [*sorted(os.environ), os.getcwd()]


@server.tool()
def fails() -> str:
    """Raise."""
    raise ValueError("out of order")


@server.tool()
def dies() -> str:
    """End the process."""
    os._exit(3)


@server.tool()
async def steps(context: Context) -> str:
    """Tell of its progress."""
    for number in (1, 2):
        await context.report_progress(number, 2, f"step {number}")
    return "done"


@server.tool()
async def hangs() -> str:
    """Never come back."""
    await asyncio.sleep(3600)
    return ""


@server.tool(name="odd name/é")
def odd() -> str:
    """Have a name that no provider takes."""
    return "fine"


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()
