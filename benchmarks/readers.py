"""What a connected reader costs: memory, and CPU for each event it gets.

    python benchmarks/readers.py [--readers 1000] [--rate 10] [--seconds 10]

One run makes `rate` events a second; `readers` connections follow it. The server is a process of its own, so
that only its memory and CPU time are counted; beside it the same is measured for a bare ASGI app that writes
the same bytes on the same uvicorn and knows nothing of runs, resumes, heartbeats and disconnects. The readers
are this process. Prints one JSON object: bytes a reader, microseconds of CPU an event and reader, the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

PIECE = " and then the miller"
WARM_S = 1.0


# -- the servers, each in a process of its own ------------------------------------------------------------


async def headrace_server(rate: float) -> None:
    from headrace import messages, settings
    from headrace.providers import registry, scripted
    from headrace.runlog import MemoryRunLog
    from headrace.runs.engine import Engine
    from headrace.runs.spec import RunSpec
    from headrace.server import app, runner

    runner.log_to_stderr(50)
    chosen = settings.Settings(model="scripted")
    models = registry.Registry(chosen)
    pieces = [PIECE] * 100_000
    models.register("scripted", scripted.Scripted(scripted.Say(PIECE, pieces, every=1 / rate)))
    engine = Engine(models, MemoryRunLog())
    async with runner.listening(app.create_app(engine, chosen, models)) as server:
        spec = RunSpec(model="scripted", messages=(messages.user("go"),), on_disconnect="continue")
        active = await engine.start(spec)
        print(f"{server.url}/v1/runs/{active.run}/events", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await engine.drain(0)


async def bare_server(rate: float) -> None:
    import uvicorn

    from headrace import events
    from headrace.runlog.base import Entry
    from headrace.server import runner, wire

    event = events.TextDelta(block="b1", delta=PIECE, run="run_01JD0000000000000000000000", seq=1)
    frame = Entry(event, 1, 1).frame
    waiting: list[asyncio.Future[None]] = []

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            turn = loop.create_future()
            waiting.append(turn)
            await turn
            await send({"type": "http.response.body", "body": frame, "more_body": True})

    bound = runner._bind("127.0.0.1", 0)
    config = uvicorn.Config(
        bare, http=wire.Http, lifespan="off", log_config=None, access_log=False, proxy_headers=False
    )
    server = runner.Listening(config, "")
    task = asyncio.create_task(server.serve(sockets=[bound]))
    await server.listens.wait()
    print(f"http://127.0.0.1:{bound.getsockname()[1]}/", flush=True)
    loop = asyncio.get_running_loop()
    stop = loop.run_in_executor(None, sys.stdin.read)
    due = loop.time()
    while not stop.done():
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        turns, waiting[:] = list(waiting), []
        for turn in turns:
            turn.set_result(None)
    os._exit(0)
    await task


# -- the readers ------------------------------------------------------------------------------------------


async def measure(kind: str, readers: int, rate: float, seconds: float) -> dict[str, float]:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        kind,
        "--rate",
        str(rate),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    url = (await server.stdout.readline()).decode().strip()
    host, _, path = url.removeprefix("http://").partition("/")
    port = int(host.rpartition(":")[2])
    request = f"GET /{path} HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n\r\n".encode()

    counted = [0]

    class Reader(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(request)

        def data_received(self, data: bytes) -> None:
            counted[0] += data.count(b"text-delta")

    loop = asyncio.get_running_loop()
    one = (await loop.create_connection(Reader, "127.0.0.1", port))[0]
    await asyncio.sleep(WARM_S)
    before = _memory(server.pid)
    transports = [one]
    for _ in range(readers - 1):
        transports += [(await loop.create_connection(Reader, "127.0.0.1", port))[0]]
    await asyncio.sleep(WARM_S)
    after = _memory(server.pid)
    cpu, seen, began = _cpu(server.pid), counted[0], time.perf_counter()
    await asyncio.sleep(seconds)
    cpu, seen = _cpu(server.pid) - cpu, counted[0] - seen
    elapsed = time.perf_counter() - began
    memory_end = _memory(server.pid)
    for transport in transports:
        transport.abort()
    server.stdin.close()
    try:
        await asyncio.wait_for(server.wait(), 5)
    except TimeoutError:
        server.kill()
        await server.wait()
    return {
        "bytes_per_reader": round((after - before) / (readers - 1)),
        "bytes_per_reader_at_the_end": round((memory_end - before) / (readers - 1)),
        "events_per_second": round(seen / elapsed),
        "cpu_us_per_event": round(cpu / max(seen, 1) * 1e6, 2),
    }


def _memory(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _cpu(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--serve", choices=["headrace", "bare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.readers + 200
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if options.serve:
        import uvloop

        serve = headrace_server if options.serve == "headrace" else bare_server
        uvloop.run(serve(options.rate))
        return
    found = {
        kind: asyncio.run(measure(kind, options.readers, options.rate, options.seconds))
        for kind in ("bare", "headrace")
    }
    ratio = found["headrace"]["cpu_us_per_event"] / found["bare"]["cpu_us_per_event"]
    print(json.dumps({**found, "cpu_ratio": round(ratio, 2), "readers": options.readers}, indent=2))


if __name__ == "__main__":
    main()
