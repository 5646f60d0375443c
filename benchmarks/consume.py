"""Python programs that read a model's answer, one way or another, and say what it cost them.

    python -m benchmarks.consume headrace | hand | openai | litellm

Commands come as JSON lines on stdin, with the `url` of `upstream`:

    {"do": "fast",  "tokens": N}                        one stream as fast as it comes
    {"do": "paced", "streams": S, "rate": R, "seconds": T}   S streams at once, T seconds out of their middle
    {"do": "calls", "count": C}                         C short answers, one after the other

Each way is an async generator of tokens, as a program would write it. `hand` is the floor: aiohttp and
msgspec, nothing checked, nothing kept. Only the standard library is imported at the top, since peers run
this in environments of their own. Next: `tokens`, which compares them.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

Tokens = Callable[[str], AsyncIterator[Any]]
_PROMPT = [{"role": "user", "content": "Tell me about the mill."}]


def headrace() -> Tokens:
    """Typed events through the engine and the run log."""
    import headrace as library
    from headrace import events

    provider_at = _providers()

    async def tokens(url: str) -> AsyncIterator[Any]:
        async with library.stream(provider_at(url), _PROMPT) as run:
            async for event in run:
                if type(event) is events.TextDelta:
                    yield event
                    if (
                        event.from_seq is not None
                    ):  # several tokens merged: a burst was larger than the log keeps
                        for _ in range(event.seq - event.from_seq):
                            yield event

    return tokens


def _providers() -> Callable[[str], Any]:
    from headrace.providers import openai_chat, transport

    made: dict[str, transport.HttpProvider] = {}

    def at(url: str) -> transport.HttpProvider:
        if url not in made:
            made[url] = transport.HttpProvider("bench", openai_chat.OpenAIChatWire(), url)
        return made[url]

    return at


def hand() -> Tokens:
    """aiohttp and msgspec by hand."""
    import aiohttp
    import msgspec

    class Delta(msgspec.Struct):
        content: str | None = None

    class Choice(msgspec.Struct):
        delta: Delta

    class Chunk(msgspec.Struct):
        choices: list[Choice]

    decode = msgspec.json.Decoder(Chunk).decode
    sessions: list[aiohttp.ClientSession] = []

    async def tokens(url: str) -> AsyncIterator[Any]:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        body = {"model": "m", "messages": _PROMPT, "stream": True}
        async with sessions[0].post(url + "/chat/completions", json=body) as response:
            rest = b""
            async for bite in response.content.iter_any():
                *found, rest = (rest + bite).split(b"\n\n")
                for event in found:
                    if event == b"data: [DONE]":
                        continue
                    choices = decode(event[6:]).choices
                    if choices and choices[0].delta.content:
                        yield choices[0].delta.content

    return tokens


def openai() -> Tokens:
    """The vendor's SDK."""
    import openai as sdk

    clients: dict[str, Any] = {}

    async def tokens(url: str) -> AsyncIterator[Any]:
        if url not in clients:
            clients[url] = sdk.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        stream = await clients[url].chat.completions.create(model="m", messages=_PROMPT, stream=True)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return tokens


def litellm() -> Tokens:
    """LiteLLM's Python API."""
    import litellm as sdk

    sdk.suppress_debug_info = True

    async def tokens(url: str) -> AsyncIterator[Any]:
        stream = await sdk.acompletion(
            model="openai/gpt-5-mini", messages=_PROMPT, stream=True, api_base=url, api_key="none"
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return tokens


WAYS = {way.__name__: way for way in (headrace, hand, openai, litellm)}


async def fast(read: Tokens, url: str, tokens: int) -> dict[str, float]:
    """CPU of one stream of `tokens` tokens, an answer before it so that the connection stands."""
    await _count(read(f"{url}/fast/3"))
    began = time.process_time()
    seen = await _count(read(f"{url}/fast/{tokens}"))
    took = time.process_time() - began
    if seen != tokens:
        raise RuntimeError(f"{seen} tokens of {tokens}")
    return {"us": took / tokens * 1e6}


async def paced(read: Tokens, url: str, streams: int, rate: float, seconds: float) -> dict[str, float]:
    """CPU a token of paced streams, in a window in which all of them run."""
    seen = 0
    lasting = int(rate * (seconds + 3.0))

    async def reader() -> None:
        nonlocal seen
        async for _ in read(f"{url}/paced/{rate:g}/{lasting}"):
            seen += 1

    tasks = [asyncio.create_task(reader()) for _ in range(streams)]
    await asyncio.sleep(1.5)
    before, began = seen, time.process_time()
    await asyncio.sleep(seconds)
    took, count = time.process_time() - began, seen - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if count < 0.8 * streams * rate * seconds:
        raise RuntimeError(f"only {count} tokens in {seconds} s")
    return {"us": took / count * 1e6}


async def calls(read: Tokens, url: str, count: int) -> dict[str, float]:
    """CPU of a call whose answer is one token."""
    await _count(read(f"{url}/fast/1"))
    began = time.process_time()
    for _ in range(count):
        await _count(read(f"{url}/fast/1"))
    return {"ms": (time.process_time() - began) / count * 1e3}


async def _count(tokens: AsyncIterator[Any]) -> int:
    seen = 0
    async for _ in tokens:
        seen += 1
    return seen


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # some libraries print
    read = WAYS[sys.argv[1]]()
    work = {"fast": fast, "paced": paced, "calls": calls}
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            command = json.loads(line)
            answer = runner.run(work[command.pop("do")](read, **command))
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
