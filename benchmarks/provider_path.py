"""What does a token cost from the provider's socket to a list of events?

    python benchmarks/provider_path.py [TOKENS]

A server in a child process sends Chat Completions chunks of about 300 bytes, as fast as it can and then paced
(one a read). Read once by hand (aiohttp, a split, a typed decode: the floor) and once by `HttpProvider.stream`.
Printed: CPU microseconds a token of the reading process. The bar: 6 for a fast stream.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import resource
import sys
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
import msgspec

from headrace import messages
from headrace.providers import base, openai_chat, transport

PACE = 0.0005
PACED_TOKENS = 2000


def chunk(text: str, finish: str | None = None) -> bytes:
    """One chunk of the answer, of the usual size."""
    body = {
        "id": "chatcmpl-E4Rjs6IxaJVge9Ntk5keJsaeDy6vS",
        "object": "chat.completion.chunk",
        "created": 1784728648,
        "model": "gpt-5-2025-08-07",
        "service_tier": "default",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
        "usage": None,
        "obfuscation": "EeXxvZrEeXxvZrEeXxvZrEeXxv",
    }
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def serve(tokens: int, port: Connection) -> None:
    """Answer every request with that many chunks; `?paced` gets one each `PACE` seconds."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        paced = b"?paced" in head.split(b"\r\n")[0]
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        data = chunk(" Paris")
        frame = b"%x\r\n%b\r\n" % (len(data), data)
        for number in range(PACED_TOKENS if paced else tokens):
            writer.write(frame)
            if paced:
                await asyncio.sleep(PACE)
            elif number % 4 == 0:
                await writer.drain()
        last = chunk("", "stop") + b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]


async def by_hand(url: str) -> int:
    """The floor: bites, split at blank lines, a decode that keeps one field."""
    decode, count, rest = msgspec.json.Decoder(_Chunk).decode, 0, b""
    async with aiohttp.ClientSession(read_bufsize=transport.READ_BUFFER_BYTES) as session:
        async with session.post(url, data=b"{}") as response:
            async for bite in response.content.iter_any():
                *blocks, rest = (rest + bite).split(b"\n\n")
                for block in blocks:
                    if block != b"data: [DONE]" and decode(block[6:]).choices[0].delta.content:
                        count += 1
    return count


async def by_provider(url: str) -> int:
    """The product: typed events, time-outs, end rules."""
    root, _, query = url.partition("/chat/completions")
    provider = transport.HttpProvider("bench", openai_chat.OpenAIChatWire(), root + query)
    numbers, count = itertools.count(1), 0
    exchange = base.Exchange(lambda: f"b{next(numbers)}")
    request = base.ModelRequest(model="m", messages=(messages.user("Hi"),))
    async for batch in provider.stream(request, exchange):
        count += len(batch)
    await provider.close()
    return count - 3  # start, end, model end


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    import uvloop

    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    here, there = multiprocessing.Pipe()
    child = multiprocessing.Process(target=serve, args=(tokens, there), daemon=True)
    child.start()
    root = f"http://127.0.0.1:{here.recv()}/chat/completions"
    readers: tuple[Callable[[str], Awaitable[int]], ...] = (by_hand, by_provider)
    loops = (("asyncio", asyncio.run), ("uvloop", uvloop.run))
    for (loop, run), (kind, url), reader in itertools.product(
        loops, (("fast", root), ("paced", root + "?paced")), readers
    ):
        costs = []
        for _ in range(3):
            began = cpu()
            count = run(reader(url))
            costs.append((cpu() - began) / count * 1e6)
        print(f"{loop:8} {kind:6} {reader.__name__:12} {min(costs):6.2f} µs a token (best of 3)")
    child.terminate()


if __name__ == "__main__":
    main()
