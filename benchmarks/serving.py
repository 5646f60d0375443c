"""The servers that are measured, each in a process of its own: `python -m benchmarks.serving KIND ARGUMENT`.

    headrace UPSTREAM   the real server: uvloop, uvicorn, a SQLite ledger on disk; models `fast-2000:m`, …
    relay UPSTREAM      its floor: an aiohttp server on uvloop that forwards the upstream's bytes
    run RATE            the real app with one run that makes RATE tokens a second; the URL is that of its events
    bare RATE           its floor: an ASGI app on the same uvicorn that writes the same bytes to all who ask, and
                        knows nothing of runs, cursors, heartbeats and readers that leave

Each prints one line of JSON with its `url`. Next: `server` and `readers`, which measure them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from typing import Any

PIECE = " and then the miller"
PATHS = {
    "fast-1": "fast/1",
    "fast-2000": "fast/2000",
    "paced-50": "paced/50/100000",
    "paced-20": "paced/20/100000",
    "paced-30": "paced/30/90",
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
            _ready(f"http://127.0.0.1:{runner.addresses[0][1]}")
            await asyncio.Event().wait()

    uvloop.run(serve())


def run(rate: str) -> None:
    """One run for many readers."""
    import uvloop

    from headrace import messages, settings
    from headrace.providers import registry, scripted
    from headrace.runlog import MemoryRunLog
    from headrace.runs.engine import Engine
    from headrace.runs.spec import RunSpec
    from headrace.server import app, runner

    async def serve() -> None:
        runner.log_to_stderr(50)
        chosen = settings.Settings(model="scripted")
        models = registry.Registry(chosen)
        say = scripted.Say(PIECE, [PIECE] * 100_000, every=1 / float(rate))
        models.register("scripted", scripted.Scripted(say))
        engine = Engine(models, MemoryRunLog())
        async with runner.listening(app.create_app(engine, chosen, models)) as server:
            spec = RunSpec(model="scripted", messages=(messages.user("go"),), on_disconnect="continue")
            active = await engine.start(spec)
            _ready(f"{server.url}/v1/runs/{active.run}/events")
            await asyncio.Event().wait()

    uvloop.run(serve())


def bare(rate: str) -> None:
    """The same bytes to all who ask."""
    import socket

    import uvicorn
    import uvloop

    from headrace import events
    from headrace.runlog.base import Entry
    from headrace.server import wire

    event = events.TextDelta(block="b1", delta=PIECE, run="run_01JD0000000000000000000000", seq=1)
    frame = Entry(event, 1, 1).frame
    waiting: list[asyncio.Future[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            turn = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            await turn
            await send({"type": "http.response.body", "body": frame, "more_body": True})

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            config = uvicorn.Config(app, http=wire.Http, lifespan="off", log_config=None, access_log=False)
            server = asyncio.create_task(uvicorn.Server(config).serve(sockets=[listener]))
            _ready(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            due = asyncio.get_running_loop().time()
            while not server.done():
                due += 1 / float(rate)
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                turns, waiting[:] = list(waiting), []
                for turn in turns:
                    if not turn.done():
                        turn.set_result(None)

    uvloop.run(serve())


def _ready(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


if __name__ == "__main__":
    {"headrace": headrace, "relay": relay, "run": run, "bare": bare}[sys.argv[1]](sys.argv[2])
