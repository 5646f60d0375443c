"""Tools of an MCP server. Run it: `python examples/mcp_tools.py [MODEL]`; needs the extra `mcp`.

The server is this file too (`python examples/mcp_tools.py serve`): any program that speaks MCP would do. Without a
model it plays a script that calls the tool as a model would.
"""

from __future__ import annotations

import asyncio
import sys

import headrace
from headrace.integrations import mcp
from headrace.providers.scripted import Call, Say, Scripted

SCRIPT = Scripted([[Call("mill__level", {"river": "Iller"})], [Say("The Iller stands at 1.3 m.")]])


def serve() -> None:
    from mcp.server import MCPServer

    server = MCPServer("mill")

    @server.tool()
    def level(river: str) -> str:
        """How high a river stands."""
        return f"{river}: 1.3 m"

    server.run()


async def main(model: object) -> None:
    async with mcp.Server("mill", command=sys.executable, arguments=[__file__, "serve"]) as server:
        print("tools:", ", ".join(tool.name for tool in server.tools))
        answer = await headrace.ask(model, "How high does the Iller stand?", tools=server.tools)
    for call in answer.tool_calls:
        print(call["name"], call["arguments"], "=", call["value"])
    print(answer.text)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else SCRIPT))
