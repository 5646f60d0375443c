"""The model's side: a raw server that streams OpenAI chunks as fast as it can, or at a pace.

    python -m benchmarks.upstream      prints {"url": "http://127.0.0.1:PORT"} and serves until it is killed

The path of the request says what comes: `/fast/N/…` is N tokens at once, `/paced/R/N/…` is N tokens at R a
second, each stream with a beat of its own, `/json/R/SIZE/…` a JSON document of SIZE characters in tokens of four,
at R a second (0: at once). Every token is one chunk of about 300 bytes as the vendor sends
it, in an HTTP chunk of its own; a usage chunk and `[DONE]` end the answer. Nothing but sockets and bytes, so
that it takes little of the machine. Next: `consume`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import time
from collections.abc import Sequence

from benchmarks import json_partial

SENTENCE = "the water that turns the mill wheel comes down this channel and is easy to shut off"
WORDS = SENTENCE.split()
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_BASE = {
    "id": "chatcmpl-CkV0bZzQpH2mYw3nXrT8sLd4uEoJa",
    "object": "chat.completion.chunk",
    "created": 1794000000,
    "model": "gpt-5-mini-2026-08-07",
    "service_tier": "default",
    "system_fingerprint": "fp_8c2f1d7a90",
}


def _framed(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _chunk(
    delta: dict[str, str] | None, finish: str | None = None, usage: dict[str, int] | None = None
) -> bytes:
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    )
    body = {**_BASE, "choices": choices, "usage": usage, "obfuscation": "pX3kQ9sV1c"}
    return _framed(json.dumps(body, separators=(",", ":")).encode())


TOKENS = [_chunk({"content": f" {word}"}) for word in WORDS]
OPENING = _chunk({"role": "assistant", "content": ""})


def ending(tokens: int) -> bytes:
    """What follows the last token."""
    usage = {"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens}
    return _chunk({}, "stop") + _chunk(None, usage=usage) + _framed(b"[DONE]") + b"0\r\n\r\n"


@functools.lru_cache(maxsize=8)
def whole(tokens: int) -> bytes:
    """A complete answer."""
    return OPENING + b"".join(TOKENS[i % len(TOKENS)] for i in range(tokens)) + ending(tokens)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            for line in head.split("\r\n"):
                if line.lower().startswith("content-length:"):
                    await reader.readexactly(int(line.partition(":")[2]))
            parts = head.split(" ", 2)[1].strip("/").split("/")
            writer.write(_HEAD)
            if parts[0] == "fast":
                writer.write(whole(int(parts[1])))
                await writer.drain()
            elif parts[0] == "json":
                pieces = _document(int(parts[2]))
                if float(parts[1]):
                    await _paced(writer, float(parts[1]), len(pieces), pieces)
                else:
                    writer.write(OPENING + b"".join(pieces) + ending(len(pieces)))
                    await writer.drain()
            else:
                await _paced(writer, float(parts[1]), int(parts[2]))
            if "\r\nconnection: close\r\n" in head.lower():
                break
    writer.close()


@functools.lru_cache(maxsize=8)
def _document(size: int) -> list[bytes]:
    text = json_partial.document(size)
    return [_chunk({"content": text[i : i + 4]}) for i in range(0, len(text), 4)]


async def _paced(
    writer: asyncio.StreamWriter, rate: float, tokens: int, pieces: Sequence[bytes] = TOKENS
) -> None:
    writer.write(OPENING)
    beat = 1.0 / rate
    due = time.monotonic() + random.random() * beat
    for i in range(tokens):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if writer.transport.is_closing():
            raise ConnectionResetError
        writer.write(pieces[i % len(pieces)])
        due += beat
    writer.write(ending(tokens))
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
