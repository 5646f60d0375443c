"""Headrace inside an ASGI app of your own, with a page of its own: `python examples/own_app.py [PORT]`.

Open the address it prints: `eventsource.html`, a chat in twenty lines of JavaScript. Everything that is not this
app's own route is Headrace's: `/v1/runs`, `/api/chat`, `/healthz` and the rest.
"""

import asyncio
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from headrace import settings
from headrace.server import app, runner

PAGE = Path(__file__).with_name("eventsource.html")


async def page(request: Request) -> FileResponse:
    return FileResponse(PAGE)


async def main(port: str = "8000") -> None:
    chosen = settings.load(store="memory")
    async with runner.opened(chosen) as (engine, registry):
        headrace_app = app.create_app(engine, chosen, registry)
        own = Starlette(routes=[Route("/eventsource", page), Mount("/", headrace_app)])
        async with runner.listening(own, "127.0.0.1", int(port)) as server:
            print(f"open {server.url}/eventsource", flush=True)
            await asyncio.Event().wait()


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
