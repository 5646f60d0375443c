"""Provider bytes to typed events in a Python program: what a token and a call cost.

The whole path of `headrace.stream`: HTTP, decoder, engine, lifecycle, run log, iterator. Its floor is `hand`:
aiohttp and msgspec, nothing checked and nothing kept. Next: `server`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks import consume, measure, peers

FAST, PACED, CALL = 2.0, 1.3, 0.5
_TOKENS = {"headrace": 20_000, "hand": 20_000, "openai": 4_000, "litellm": 1_500}


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(measure.Child("benchmarks.upstream"))
        url = upstream.hear()["url"]
        children = {
            way: stack.enter_context(measure.Child("benchmarks.consume", way)) for way in ("headrace", "hand")
        }
        missing: dict[str, float | str] = {}
        for way in ("openai", "litellm"):
            try:
                python = peers.python(way, install=not quick)
            except peers.MissingPeer as error:
                missing[way] = f"missing ({error})"
            else:
                child = measure.Child("benchmarks.consume", way, python=python)
                children[way] = stack.enter_context(child)

        def figures(do: str, key: str, rounds: int, **more: float) -> dict[str, float]:
            def ask(way: str) -> object:
                sizes = {"tokens": _TOKENS[way]} if do == "fast" else more
                return children[way].ask(do=do, url=url, **sizes)

            answers = measure.interleaved(rounds, {way: (lambda way=way: ask(way)) for way in children})
            return {way: measure.median(found, key) for way, found in answers.items()}

        def paced(rounds: int, *ways: str) -> dict[str, float]:
            asked = {way: children[way] for way in ways if way in children}
            seconds = 1.5 if quick else 2.0
            answers = measure.together(
                rounds, asked, do="paced", url=url, streams=20, rate=50, seconds=seconds
            )
            return {way: measure.median(found, "us") for way, found in answers.items()}

        for what, target, found in (
            ("a token, one fast stream", FAST, figures("fast", "us", 3 if quick else 9)),
            (
                "a token, 20 streams at 50 tokens/s",
                PACED,
                paced(3 if quick else 7, "headrace", "hand") | paced(1, "openai", "litellm"),
            ),
        ):
            ours, hand = found.pop("headrace"), found.pop("hand")
            others = {**found, **missing}
            yield measure.Row(f"Python: {what}", "µs CPU", ours, target, hand, "by hand", others=others)
        found = figures("calls", "ms", 3 if quick else 5, count=50 if quick else 100)
        ours = found.pop("headrace")
        others = {"by hand": found.pop("hand"), **found, **missing}
        yield measure.Row("Python: a call of its own", "ms CPU", ours, CALL, others=others)


assert _TOKENS.keys() == consume.WAYS.keys()
