"""What a template costs beside the answers it asks for: a token, a long slot, parsing, planning.

A token: the CPU of this process for a template with one slot, against `headrace.stream` of the same answer, event by
event, over HTTP from `upstream`; round by round in turn. A long slot: the same through `values()`, with a look at
every `buffer` of the last hundred tokens, at two lengths, which tells whether it grows with the length. Next:
`startup`.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from benchmarks import measure

OVERHEAD, LINEAR, PARSE_MS, PLAN_MS = 1.05, 1.3, 50.0, 20.0
_TOKENS = 20_000


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(measure.Child("benchmarks.upstream"))
        url = upstream.hear()["url"]
        with asyncio.Runner() as runner:
            yield from _tokens(runner, url, 3 if quick else 9)
            yield from _long(runner, url, 1 if quick else 3)
    yield from _offline(3 if quick else 9)


def _tokens(runner: asyncio.Runner, url: str, rounds: int) -> Iterator[measure.Row]:
    ways = {"bare": _bare, "template": _template, "kept": _kept, "values": _values}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, ask in ways.items():
            cost = runner.run(_cpu(ask, f"{url}/fast/{_TOKENS}"))
            if number:
                found[way].append(cost / _TOKENS * 1e6)
    figures = {way: statistics.median(costs) for way, costs in found.items()}
    yield measure.Row(
        "templates: a token of a slot, event by event",
        "µs CPU",
        figures["template"],
        OVERHEAD,
        figures["bare"],
        "a bare run",
        others={"as Python values": figures["values"]},
    )
    yield measure.Row(
        "templates: the same, with the answer kept (the default)",
        "µs CPU",
        figures["kept"],
        OVERHEAD,
        figures["bare"],
        "a bare run",
    )


def _long(runner: asyncio.Runner, url: str, rounds: int) -> Iterator[measure.Row]:
    sizes = (20_000, 100_000)
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(rounds + 1):
        for size in sizes:
            cost = runner.run(_cpu(_values, f"{url}/fast/{size}"))
            if number:
                found[size].append(cost / size * 1e6)
    short, long = (statistics.median(found[size]) for size in sizes)
    yield measure.Row(
        "templates: a token of a slot of 100,000, with `buffer`", "µs CPU", long, LINEAR, short, "of 20,000"
    )


def _offline(rounds: int) -> Iterator[measure.Row]:
    from headrace.templates import actions, models, parser, plan

    text = document(100_000)
    parser.parse("[[a]] {{ b }}")
    yield measure.Row(
        f"templates: parse {len(text) // 1000:,} KB",
        "ms",
        _best(rounds, lambda: parser.parse(text)),
        PARSE_MS,
    )
    segments = parser.parse(
        "".join(
            f"{{{{ v }}}} {{{{ s{max(n - 3, 0)} }}}} [[s{n}]] [[int:n{n}|max=9]]<checkpoint/>"
            for n in range(200)
        )
    )
    known = models.Types()
    took = _best(rounds, lambda: plan.plan(segments, known, actions.BUILT_IN))
    yield measure.Row("templates: plan 200 segments", "ms", took, PLAN_MS)


def document(size: int) -> str:
    """A template of that many characters: prose, slots of three types, conditions, segments."""
    prose = (
        "The water that turns the wheel comes down this channel, {{ guest }}, and is easy to shut off.\n" * 6
    )
    parts: list[str] = []
    while sum(map(len, parts)) < size:
        n = len(parts)
        parts.append(
            f"## Part {n}\n{prose}A title? [[title_{n}]]\n[[pick:mood_{n}|happy,sad,neither]]\n"
            f"{{% if title_{n} == 'x' %}}yes{{% endif %}}\n<checkpoint>Part {n}</checkpoint>\n"
        )
    return "".join(parts)


def _best(rounds: int, work: Callable[[], Any]) -> float:
    """Milliseconds: CPU of the best round, for other processes are at work here too."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times) * 1000


async def _cpu(ask: Callable[[Any], Awaitable[int]], url: str) -> float:
    """CPU seconds of this process for one answer."""
    from headrace.providers import openai_chat, transport

    provider = transport.HttpProvider("bench", openai_chat.OpenAIChatWire(), url)
    try:
        began = time.process_time()
        tokens = await ask(provider)
        took = time.process_time() - began
    finally:
        await provider.close()
    assert tokens, "nothing was said"
    return took


async def _bare(provider: Any) -> int:
    import headrace

    count = 0
    async with headrace.stream(provider, "Tell me about the mill.") as run:
        async for event in run:
            count += event.type == "text-delta"
    return count


async def _template(provider: Any, cache: Any = False) -> int:
    import headrace

    count = 0
    template = headrace.Template("Tell me about the mill. [[a]]")
    async with template.stream(provider, cache=cache) as run:
        async for event in run:
            count += event.type == "text-delta"
    return count


async def _kept(provider: Any) -> int:
    from headrace.templates import caching

    return await _template(provider, caching.Cache())


async def _values(provider: Any) -> int:
    import headrace

    count = 0
    template = headrace.Template("Tell me about the mill. [[a]]")
    last: list[Any] = []
    async with template.stream(provider, cache=False) as run:
        async for value in run.values():
            if value.type == "token":
                count += 1
                last = [*last[-99:], value] if count % 1000 == 0 else last
        assert all(value.buffer for value in last)
    return count
