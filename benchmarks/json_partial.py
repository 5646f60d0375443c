"""A structured answer shown while it forms: field events and the value so far after every token of 4 characters.

Nested objects of 4, 64 and 512 KB, and one string of 1 MB. Ours is `headrace.protocol.json.Parser`, in Python and
compiled, and `headrace.outputs.reader.Reader` on it; each token is fed and the value asked for. Peers, in an
environment of their own: those that parse again from the beginning at every token (`jiter`, `pydantic_core`,
`partial-json-parser`: what most programs do today; none of them tells which field grew) and those that are
incremental (`jsonriver` gives the value so far; `ijson` and `json-stream` give parse events or a lazy value, no
value so far, and are fed here through their push or generator interface). What one peer cannot do, or is not there,
is said in its line. Run as a module it is the process that measures. Next: `memory`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

SIZES = (4_096, 65_536, 524_288)
TARGET_US, TARGET_COMPILED_US, TARGET_STRING_US, TARGET_MEMORY = 1.2, 0.3, 0.6, 3.0
TARGET_READER_US = 2.5  # the machine, a value of the user's types, and the judgement of it
PEERS = ("jiter", "pydantic_core", "partial-json-parser", "jsonriver", "ijson", "json-stream")
_WORDS = [
    "water",
    "runs",
    "down",
    "to",
    "the",
    "wheel",
    "and",
    "turns",
    "it",
    "while",
    "the",
    "gate",
    "is",
    "open",
    "no",
    "drop",
    "is",
    "lost",
    "on",
    "the",
    "way",
]
_BEST_OF = 2  # runs of each measurement in a round, the same for all
_BUDGET_S = 0.3  # of one measurement; peers that parse again are measured on evenly spread tokens of the text


def document(size: int) -> str:
    """Nested objects: a report with sections, each with text, figures, flags, tags and an address."""
    chance = random.Random(20)

    def words(count: int) -> str:
        return " ".join(chance.choices(_WORDS, k=count))

    sections: list[Any] = []
    length = 0
    while length < size:
        section = {
            "id": len(sections),
            "title": words(4),
            "body": words(24) + ".\n" + words(6),
            "open": chance.random() < 0.5,
            "tags": chance.choices(_WORDS, k=3),
            "author": {
                "name": words(2),
                "address": {"street": words(3), "zip": "12345", "geo": {"lat": 48.2, "lon": 16.37}},
            },
            "figures": [{"label": words(2), "value": round(chance.random() * 100, 2)} for _ in range(2)],
        }  # fmt: skip
        sections.append(section)
        length += len(json.dumps(section)) + 2
    return json.dumps({"report": {"title": words(5), "sections": sections}})


def one_string(size: int) -> str:
    """A document that is one string."""
    return json.dumps(" ".join(random.Random(20).choices(_WORDS, k=size // 5))[: size - 2])


def _ours(kind: str) -> Callable[[list[str]], float]:
    from headrace.protocol.json import PARSERS

    if kind not in PARSERS:
        raise ImportError("python compile_machine.py makes it")
    make = PARSERS[kind]

    def measure(tokens: list[str]) -> float:
        parser = make()
        feed = parser.feed
        began = time.thread_time()
        for token in tokens:
            feed(token)
            parser.value  # noqa: B018 (asking for it is what is measured)
        took = time.thread_time() - began
        assert parser.value == json.loads("".join(tokens))
        return took / len(tokens)

    return measure


def _reader() -> Callable[[list[str]], float]:
    """A structured answer as a run reads it: events, the value so far in Pydantic models, early rejection."""
    import pydantic

    from headrace.outputs.reader import Reader
    from headrace.outputs.shape import Shape

    def model(name: str, /, **fields: Any) -> Any:
        return pydantic.create_model(name, **{field: (kind, ...) for field, kind in fields.items()})

    place = model("Address", street=str, zip=str, geo=model("Geo", lat=float, lon=float))
    section = model(
        "Section", id=int, title=str, body=str, open=bool, tags=list[str],
        author=model("Author", name=str, address=place),
        figures=list[model("Figure", label=str, value=float)],  # type: ignore[misc]
    )  # fmt: skip
    shape = Shape.of(model("Document", report=model("Report", title=str, sections=list[section])))

    def measure(tokens: list[str]) -> float:
        reader = Reader(shape, strict=True)
        feed = reader.feed
        began = time.thread_time()
        for token in tokens:
            feed(token)
            reader.value  # noqa: B018
        took = time.thread_time() - began
        assert reader.problem is None
        assert reader.finish().model_dump() == json.loads("".join(tokens))
        return took / len(tokens)

    return measure


def _again(parse: Callable[[str], Any]) -> Callable[[list[str]], float]:
    """A peer that parses all there is at every token; a sample of the tokens where the text is long."""

    def measure(tokens: list[str]) -> float:
        text, count = "".join(tokens), len(tokens)
        began = time.thread_time()
        parse(text[: count * 2])
        one = time.thread_time() - began
        sample = max(8, min(count, int(_BUDGET_S / max(one, 1e-9))))
        step = count / sample
        spent = 0.0
        for number in range(sample):
            head = text[: (int(number * step) + 1) * 4]
            began = time.thread_time()
            parse(head)
            spent += time.thread_time() - began
        return spent / sample

    return measure


def _peer(name: str) -> Callable[[list[str]], float]:
    if name == "jiter":
        import jiter

        return _again(lambda text: jiter.from_json(text.encode(), partial_mode="trailing-strings"))
    if name == "pydantic_core":
        import pydantic_core

        return _again(lambda text: pydantic_core.from_json(text, allow_partial="trailing-strings"))
    if name == "partial-json-parser":
        import partial_json_parser

        return _again(partial_json_parser.loads)
    if name == "jsonriver":
        return _jsonriver
    if name == "ijson":
        return _ijson
    return _json_stream


def _jsonriver(tokens: list[str]) -> float:
    import asyncio

    import jsonriver

    async def source() -> Any:
        for token in tokens:
            yield token

    async def consume() -> None:
        async for _ in jsonriver.parse(source()):
            pass

    began = time.thread_time()
    asyncio.run(consume())
    return (time.thread_time() - began) / len(tokens)


def _ijson(tokens: list[str]) -> float:
    import ijson

    pieces = [token.encode() for token in tokens]
    events = ijson.sendable_list()
    parser = ijson.parse_coro(events)
    began = time.thread_time()
    for piece in pieces:
        parser.send(piece)
        events.clear()
    took = time.thread_time() - began
    with contextlib.suppress(StopIteration):
        parser.close()
    return took / len(tokens)


def _json_stream(tokens: list[str]) -> float:
    import json_stream

    began = time.thread_time()
    json_stream.visit((token.encode() for token in tokens), lambda value, path: None)
    return (time.thread_time() - began) / len(tokens)


def _memory(text: str) -> dict[str, float]:
    """What an open parser takes, with its value, and what the value alone takes from `json.loads`; in texts."""

    def ours() -> Any:
        from headrace.protocol.json import Parser

        parser = Parser()
        for at in range(0, len(text) - 8, 4):
            parser.feed(text[at : at + 4])
        return parser

    def used(make: Callable[[], Any]) -> float:
        make()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        made = make()
        size = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        del made
        return size / len(text)

    return {"all": used(ours), "value": used(lambda: json.loads(text))}


def _serve(name: str) -> None:
    """Answer JSON lines: `{"size"}` with the microseconds a token."""
    try:
        kind = {"headrace": "python", "headrace compiled": "compiled"}.get(name)
        measure = _ours(kind) if kind else _reader() if name == "headrace reader" else _peer(name)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"ready": name}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        text = one_string(command["size"]) if command.get("string") else document(command["size"])
        if command.get("memory"):
            print(json.dumps(_memory(text)), flush=True)
            continue
        tokens = [text[i : i + 4] for i in range(0, len(text), 4)]
        try:
            us = min(measure(tokens) for _ in range(command.get("repeat", 1))) * 1e6
            answer: dict[str, Any] = {"us": us}
        except Exception as error:  # a peer that fails is reported, and stops nobody else
            answer = {"failed": f"{type(error).__name__}: {error}"[:120]}
        print(json.dumps(answer), flush=True)


def run(*, quick: bool) -> Iterator[Any]:
    """Measure; yields the rows."""
    from benchmarks import measure, peers

    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(measure.Child("benchmarks.json_partial", "headrace"))
        ours.hear()
        compiled = stack.enter_context(measure.Child("benchmarks.json_partial", "headrace compiled"))
        has_compiled = "ready" in compiled.hear()
        reader = stack.enter_context(measure.Child("benchmarks.json_partial", "headrace reader"))
        reader.hear()
        others: dict[str, Any] = {}
        missing: dict[str, float | str] = {}
        try:
            python = peers.python("json", install=not quick)
        except peers.MissingPeer as error:
            missing = dict.fromkeys(PEERS, f"missing ({error})")
        else:
            for name in PEERS:
                child = stack.enter_context(measure.Child("benchmarks.json_partial", name, python=python))
                hello = child.hear()
                if "missing" in hello:
                    missing[name] = f"missing ({hello['missing']})"
                else:
                    others[f"{name} {peers.version(python, name)}"] = child
        for size in SIZES:
            asks = {"headrace": lambda size=size: ours.ask(size=size, repeat=_BEST_OF)}
            asks["reader"] = lambda size=size: reader.ask(size=size, repeat=_BEST_OF)
            if has_compiled:
                asks["compiled"] = lambda size=size: compiled.ask(size=size, repeat=_BEST_OF)
            for name, child in others.items():
                asks[name] = lambda child=child, size=size: child.ask(size=size, repeat=_BEST_OF)
            answers = measure.interleaved(1 if quick else 3, asks)
            figures: dict[str, float | str] = {}
            for name, found in answers.items():
                failed = next((answer["failed"] for answer in found if "failed" in answer), None)
                figures[name] = f"failed ({failed})" if failed else measure.median(found, "us")
            took = figures.pop("headrace")
            if isinstance(took, str):
                raise RuntimeError(took)
            what = f"JSON: a token of 4 characters, {size // 1024} KB"
            fast, read = figures.pop("compiled", None), figures.pop("reader")
            yield measure.Row(what, "µs", took, TARGET_US, others={**figures, **missing})
            if isinstance(fast, float):
                yield measure.Row(
                    f"{what}, compiled", "µs", fast, TARGET_COMPILED_US, others={"Python": took}
                )
            if isinstance(read, str):
                raise RuntimeError(read)
            machine = took if fast is None else fast
            yield measure.Row(
                f"{what}, typed and judged",
                "µs",
                read,
                TARGET_READER_US,
                others={"the machine alone": machine},
            )
        took = ours.ask(size=1 << 20, string=True, repeat=_BEST_OF)["us"]
        fast_string = (
            compiled.ask(size=1 << 20, string=True, repeat=_BEST_OF)["us"] if has_compiled else "missing"
        )
        yield measure.Row(
            "JSON: a token of 4 characters of one string of 1 MB",
            "µs",
            took,
            TARGET_STRING_US,
            others={"compiled": fast_string},
        )
        found = ours.ask(size=SIZES[-1], memory=True)
        yield measure.Row(
            "JSON: memory of an open parser beside its value",
            "times the text",
            found["all"] - found["value"],
            TARGET_MEMORY,
            others={"parser and value": found["all"], "the same value from json.loads": found["value"]},
        )


if __name__ == "__main__":
    _serve(sys.argv[1])
