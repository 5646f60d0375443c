"""A structured answer through the whole path, its growing value read at every token: what a token costs.

A document (`json_partial.document`) comes over HTTP in tokens of four characters: as fast as it can, and paced, so
that each token also wakes the program up, which costs everybody about the same. Ours is the whole path with a
Pydantic model: HTTP, engine, field events, early rejection, run log, the typed value, the whole check at the end.
Paced it is read by `run.partials()`; fast that would give one value for all tokens that came together, so there the
value is made after every event. Peers do the same in their own way, in environments of their own: `pydantic-ai`
(`stream_output` with native output), `instructor` (`create_partial`) and `openai` (`chat.completions.stream`, whose
`parsed` is plain JSON read again at every token, and no value of the type before the end). Run as a module it is
the process that measures. Next: `memory`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pydantic

FAST, PACED = 0.0, 800.0
CASES = (
    ("4 KB, one fast stream", FAST, 4_096, 10.0),
    ("16 KB, one fast stream", FAST, 16_384, 10.0),
    ("4 KB at 800 tokens/s", PACED, 4_096, 3.0),
)
PEERS = ("pydantic-ai", "instructor", "openai")
RULED = (
    "pydantic-ai",
    "instructor",
)  # the target is a part of the better of these; their values are of the type
_PROMPT = "The report, please."

Values = Callable[[str], AsyncIterator[Any]]


class Geo(pydantic.BaseModel):
    lat: float
    lon: float


class Address(pydantic.BaseModel):
    street: str
    zip: str
    geo: Geo


class Author(pydantic.BaseModel):
    name: str
    address: Address


class Figure(pydantic.BaseModel):
    label: str
    value: float


class Section(pydantic.BaseModel):
    id: int
    title: str
    body: str
    open: bool
    tags: list[str]
    author: Author
    figures: list[Figure]


class Report(pydantic.BaseModel):
    title: str
    sections: list[Section]


class Document(pydantic.BaseModel):
    report: Report


def headrace() -> Values:
    """`run.partials()`, and its value after every event."""
    import headrace as library
    from headrace.outputs.shape import Shape
    from headrace.providers import openai_chat, transport
    from headrace.runs import growing

    shape = Shape.of(Document)

    async def values(url: str) -> AsyncIterator[Any]:
        provider = transport.HttpProvider("bench", openai_chat.OpenAIChatWire(), url)
        async with library.stream(provider, _PROMPT, output=Document) as run:
            if "/json/0/" in url:
                value = growing.Growing(shape)
                async for event in run:
                    if value.add((event,)):
                        yield value.value
            else:
                async for value in run.partials():
                    yield value
        await provider.close()

    return values


def pydantic_ai() -> Values:
    """pydantic-ai's `stream_output`."""
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def values(url: str) -> AsyncIterator[Any]:
        model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(base_url=url, api_key="none"))
        agent = Agent(model, output_type=NativeOutput(Document))
        async with agent.run_stream(_PROMPT) as result:
            async for value in result.stream_output(debounce_by=None):
                yield value

    return values


def instructor() -> Values:
    """instructor's `create_partial`."""
    import instructor as library
    import openai

    async def values(url: str) -> AsyncIterator[Any]:
        client = library.from_openai(
            openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0), mode=library.Mode.JSON
        )
        messages: Any = [{"role": "user", "content": _PROMPT}]
        async for value in client.chat.completions.create_partial(
            model="gpt-5-mini", messages=messages, response_model=Document
        ):
            yield value

    return values


def openai() -> Values:
    """The SDK's stream helper."""
    import openai as library

    async def values(url: str) -> AsyncIterator[Any]:
        client = library.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        messages: Any = [{"role": "user", "content": _PROMPT}]
        async with client.chat.completions.stream(
            model="gpt-5-mini", messages=messages, response_format=Document
        ) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    yield event.parsed
            yield (await stream.get_final_completion()).choices[0].message.parsed

    return values


WAYS = {"headrace": headrace, "pydantic-ai": pydantic_ai, "instructor": instructor, "openai": openai}


async def measured(values: Values, url: str, rate: float, size: int) -> dict[str, float]:
    """CPU of one answer, a short one before it so that everything is loaded."""
    async for _ in values(f"{url}/json/2000/200"):
        pass
    began, seen, last = time.process_time(), 0, None
    async for value in values(f"{url}/json/{rate:g}/{size}"):
        seen, last = seen + 1, value
    took = time.process_time() - began
    assert last is not None
    text = json.dumps(last.model_dump(mode="json"))
    return {"us": took / (len(text) / 4) * 1e6, "seen": seen}


def run(*, quick: bool) -> Iterator[Any]:
    """Measure; yields the rows."""
    from benchmarks import measure, peers

    with contextlib.ExitStack() as stack:
        url = stack.enter_context(measure.Child("benchmarks.upstream")).hear()["url"]
        children = {"headrace": stack.enter_context(measure.Child("benchmarks.partials", "headrace"))}
        missing: dict[str, float | str] = {}
        for way in PEERS:
            try:
                python = peers.python(way, install=not quick)
            except peers.MissingPeer as error:
                missing[way] = f"missing ({error})"
            else:
                child = measure.Child("benchmarks.partials", way, python=python, quiet=True)
                children[way] = stack.enter_context(child)
        for case, rate, size, target in CASES[:1] if quick else CASES:
            asks = {
                way: (lambda child=child, rate=rate, size=size: child.ask(url=url, rate=rate, size=size))
                for way, child in children.items()
            }
            answers = measure.interleaved(1 if quick else 3, asks)
            found = {way: measure.median(got, "us") for way, got in answers.items()}
            ours = found.pop("headrace")
            what = f"A growing value at every token, end to end: {case}"
            ruled = [way for way in RULED if way in found]
            if not ruled:
                yield measure.Row(what, "µs CPU a token", ours, 50.0, others={**found, **missing})
                continue
            name = min(ruled, key=lambda way: found[way])
            others = {**{way: us for way, us in found.items() if way != name}, **missing}
            yield measure.Row(
                what, "µs CPU a token", ours, target, found[name], name, at_least=True, others=others
            )


def main() -> None:
    """Measure what is asked for on stdin."""
    answers, sys.stdout = sys.stdout, sys.stderr  # some libraries print
    values = WAYS[sys.argv[1]]()
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            answer = runner.run(measured(values, **json.loads(line)))
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
