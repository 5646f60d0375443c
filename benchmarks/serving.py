"""The servers that are measured, each in a process of its own: `python -m benchmarks.serving KIND UPSTREAM`.

    headrace    the real server: uvloop, uvicorn, a SQLite ledger on disk; models `fast-2000:m`, `paced-50:m`, …
    relay       the floor: an aiohttp server on uvloop that forwards the upstream's bytes and knows nothing

Each prints one line of JSON with its `url`. Next: `server`, which measures them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile

PATHS = {
    "fast-1": "fast/1",
    "fast-2000": "fast/2000",
    "paced-50": "paced/50/100000",
    "paced-20": "paced/20/100000",
}
"""Names of models, and what the upstream answers for them."""


def headrace(upstream: str) -> None:
    """The product, as `headrace serve` runs it."""
    from headrace import settings
    from headrace.server import runner

    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.Settings(
            store=f"sqlite:///{folder}/ledger.sqlite",
            providers={
                name: settings.Endpoint(base_url=f"{upstream}/{path}") for name, path in PATHS.items()
            },
        )
        runner.serve(chosen, port=0, on_ready=_ready)


def relay(upstream: str) -> None:
    """Bytes in, bytes out: `/v1/chat/completions` goes to the path of its model."""
    import aiohttp
    import uvloop
    from aiohttp import web

    async def serve() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def forward(request: web.Request) -> web.StreamResponse:
                body = await request.read()
                path = PATHS[json.loads(body)["model"]]
                async with session.post(f"{upstream}/{path}/chat/completions", data=body) as source:
                    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                    await answer.prepare(request)
                    async for bite in source.content.iter_any():
                        await answer.write(bite)
                    await answer.write_eof()
                    return answer

            app = web.Application()
            app.router.add_post("/v1/chat/completions", forward)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            _ready("http://127.0.0.1:%d" % runner.addresses[0][1])
            await asyncio.Event().wait()

    uvloop.run(serve())


def _ready(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


if __name__ == "__main__":
    {"headrace": headrace, "relay": relay}[sys.argv[1]](sys.argv[2])
