"""What does a token of a DSPy program cost: plain `dspy.streamify` with a listener, and `@instrument` with a sink?

    .venv-dspy/bin/python -m benchmarks.dspy

DSPy has an environment of its own, so this is not one of `python -m benchmarks`. An answer of 2,000 tokens comes from
a server in a process of its own as fast as it can be read, through the same LM, adapter and predictor; wall time a
token, rounds interleaved, the median. Beside it: the same program without any streaming (the floor), and with no
fields asked for (spans alone). The target is a tenth of a millisecond above `streamify`; it comes out below it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from benchmarks import measure

TOKENS = 2000
TARGET_US = 100.0

_SERVER = """
import asyncio, json, sys
from headrace.testing import playback

def chunk(delta, reason=None):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\\n\\n"

WORDS = " ".join(f"word{n}" for n in range(int(sys.argv[1]))).split(" ")
TEXT = ["[[ ## ", "answer", " ## ]]\\n", *(w + " " for w in WORDS[:-1]), WORDS[-1], "\\n\\n[[ ## completed ## ]]"]
WHOLE = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,
    "message": {"role": "assistant", "content": "".join(TEXT)}, "finish_reason": "stop"}]}
STREAM = [b"".join([chunk({"role": "assistant"}), *(chunk({"content": t}) for t in TEXT), chunk({}, "stop"),
    b"data: [DONE]\\n\\n"])]

def answer(request):
    if request.json().get("stream"):
        return playback.Response(headers={"Content-Type": "text/event-stream"}, pieces=STREAM)
    return playback.Response(body=WHOLE)

async def main():
    async with playback.ScriptedHTTP(answer) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def run(*, quick: bool = False) -> Iterator[measure.Row]:
    """Measure; yields the rows."""
    rounds = 3 if quick else 9
    child = [sys.executable, "-c", _SERVER, str(TOKENS)]
    with subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            found = asyncio.run(_measure(url, rounds))
            bad = asyncio.run(_troubled(url, 3 * rounds))
        finally:
            process.kill()
    ours, theirs = found["@instrument, a field and a sink"], found["dspy.streamify with a listener"]
    others: dict[str, float | str] = {name: us for name, us in found.items() if us not in (ours, theirs)}
    others |= {"@instrument": ours, "dspy.streamify with a listener": theirs}
    yield measure.Row("DSPy: a token above dspy.streamify", "µs", ours - theirs, TARGET_US, others=others)
    for name, us in bad.items():
        if name != "good":
            what = f"DSPy: a token with a sink that {name}"
            yield measure.Row(what, "µs", us, 1.05, bad["good"], "with a good sink")


async def _measure(url: str, rounds: int) -> dict[str, float]:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import dspy

    import headrace
    from headrace.sinks.base import BaseSink

    class Count(BaseSink):
        count = 0

        def handle_event(self, event: Any) -> None:
            self.count += 1

    sink = Count(buffer_size=1_000_000)

    def module() -> Any:
        class QA(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.predict = dspy.Predict("question -> answer")

            async def aforward(self, question: str) -> Any:
                return await self.predict.acall(question=question)

        return QA

    plain = module()()
    spans = headrace.instrument(sinks=[sink])(module())()
    ours = headrace.instrument(stream_fields=["answer"], sinks=[sink])(module())()

    async def streamify() -> Any:
        listener = dspy.streaming.StreamListener(signature_field_name="answer", predict=plain.predict)
        program = dspy.streamify(plain, stream_listeners=[listener], is_async_program=True)
        *_, last = [value async for value in program(question="?")]
        return last

    ways: dict[str, Callable[[], Awaitable[Any]]] = {
        "@instrument, a field and a sink": lambda: ours.acall(question="?"),
        "dspy.streamify with a listener": streamify,
        "without streaming": lambda: plain.acall(question="?"),
        "@instrument, spans alone": lambda: spans.acall(question="?"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with dspy.context(lm=dspy.LM("openai/m", api_base=url, api_key="x", cache=False)):
        for number in range(rounds + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                found = await way()
                if number:
                    times[name].append((time.perf_counter() - began) / TOKENS * 1e6)
                assert found.answer.count("word") == TOKENS
            sink.flush()
    return {name: statistics.median(values) for name, values in times.items()}


async def _troubled(url: str, rounds: int) -> dict[str, float]:
    """The same program with sinks that misbehave; the fastest of the rounds, since what else runs only ever adds."""
    import dspy

    import headrace
    from headrace.sinks.base import BaseSink

    class Good(BaseSink):
        def handle_event(self, event: Any) -> None: ...

    class Sleeps(BaseSink):
        def handle_event(self, event: Any) -> None:
            time.sleep(1)

    class Raises(BaseSink):
        def handle_event(self, event: Any) -> None:
            raise ValueError("always")

    class QA(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        async def aforward(self, question: str) -> Any:
            return await self.predict.acall(question=question)

    sinks: dict[str, Callable[[], BaseSink]] = {
        "good": Good,
        "sleeps 1 s an event": lambda: Sleeps(flush_interval=0),
        "raises each time": lambda: Raises(flush_interval=0),
        "is full (5 events)": lambda: Sleeps(buffer_size=5, flush_interval=0),
    }
    best = dict.fromkeys(sinks, float("inf"))
    with dspy.context(lm=dspy.LM("openai/m", api_base=url, api_key="x", cache=False)):
        for number in range(rounds + 1):
            for name, make in sinks.items():
                sink = make()
                cls = type("QA", (QA,), {})
                program = headrace.instrument(stream_fields=["answer"], sinks=[sink])(cls)()
                gc.collect()
                began = time.perf_counter()
                found = await program.acall(question="?")
                if number:
                    best[name] = min(best[name], (time.perf_counter() - began) / TOKENS * 1e6)
                assert found.answer.count("word") == TOKENS
                sink.stop(0)
    return best


if __name__ == "__main__":
    for row in run(quick="--quick" in sys.argv):
        print(row)
