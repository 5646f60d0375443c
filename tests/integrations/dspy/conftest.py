"""DSPy's tests: an environment and a cache of their own (`./scripts/test-dspy`), a real LM or a scripted one."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("DSPY_CACHEDIR", tempfile.mkdtemp(prefix="headrace-dspy-"))

from headrace.core.events import HeadraceEvent, TokenEvent
from headrace.sinks.base import BaseSink
from headrace.testing import playback
from headrace.testing.engine import Engine


class Keep(BaseSink):
    """Keeps what it is given, at once: what a test looks at is what the program's thread has sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[HeadraceEvent] = []

    def emit(self, event: HeadraceEvent) -> None:
        self.events.append(event)

    @property
    def tokens(self) -> list[TokenEvent]:
        return [event for event in self.events if isinstance(event, TokenEvent)]

    def text(self, field: str, span: str | None = None) -> str:
        return "".join(e.token for e in self.tokens if e.field == field and span in (None, e.span))

    def spans(self) -> dict[str, HeadraceEvent]:
        return {e.span: e for e in self.events if e.event_type == "start" and e.span}

    def check(self) -> None:
        """What holds for the tokens of any run: no gap in the numbers, a reason at each field's end, no marker."""
        fields: dict[tuple[str, str, str], list[TokenEvent]] = {}
        for event in self.events:
            if event.type == "output-reset":
                for path in event.data["fields"]:
                    fields.pop((event.run, event.span, path.removeprefix("/")), None)
            elif isinstance(event, TokenEvent):
                fields.setdefault((event.run, event.span, event.field), []).append(event)
                assert event.event_type == "token"
                assert event.data["token"] == event.token
                assert event.data["field"] == event.field
                assert event.data["token_index"] == event.token_index
        for events in fields.values():
            assert [e.token_index for e in events] == list(range(len(events)))
            assert [e.finish_reason for e in events[:-1]] == [None] * (len(events) - 1)
            assert events[-1].finish_reason in ("stop", "length")
            assert "[[ ##" not in "".join(e.token for e in events)
        for run in {e.run for e in self.events}:
            seqs = [e.seq for e in self.events if e.run == run]
            assert seqs == list(range(1, len(seqs) + 1))


@pytest.fixture
def keep() -> Keep:
    return Keep()


def sse(text: str, cut: Callable[[str], list[str]] | int = 0, finish: str = "stop") -> list[bytes]:
    """A Chat Completions stream of a text, cut as asked for: every so many characters, or by a function."""
    import json

    if callable(cut):
        pieces = cut(text)
    else:
        size = cut or len(text) or 1
        pieces = [text[i : i + size] for i in range(0, len(text), size)]

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        body = {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "scripted",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            **more,
        }
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    usage = {"prompt_tokens": 7, "completion_tokens": len(pieces), "total_tokens": 7 + len(pieces)}
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in pieces),
        chunk({}, finish),
        chunk({}, None, choices=[], usage=usage),
        b"data: [DONE]\n\n",
    ]


def whole(text: str) -> dict[str, Any]:
    """A Chat Completions answer that is not streamed."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


class Writer:
    """A server for OpenAI's clients, in a thread: it writes each field that the prompt asks for, in DSPy's format."""

    def __init__(self) -> None:
        self.server = playback.ScriptedHTTP(self._answer)
        self._pause = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return self.server.url

    def text(self, field: str) -> str:
        """What it writes into a field."""
        return f"This is the {field}: [[is]] what <b>was</b> asked – 世界, in a few words."

    def slowly(self) -> None:
        """From now on a piece takes 50 ms, and there are many."""
        self._pause = 0.05

    def _answer(self, request: playback.Request) -> playback.Response:
        asked = request.json()
        last = asked["messages"][-1]["content"]
        fields = re.findall(r"`\[\[ ## (\w+) ## \]\]`", last)
        text = "".join(
            f"[[ ## {name} ## ]]\n{self.text(name) * (40 if self._pause else 1)}\n\n"
            for name in fields
            if name != "completed"
        )
        text += "[[ ## completed ## ]]"
        if not asked.get("stream"):
            return playback.Response(body=whole(text))
        pieces = [(self._pause, piece) for piece in sse(text, 4)]
        return playback.Response(headers={"Content-Type": "text/event-stream"}, pieces=pieces)

    def __enter__(self) -> Writer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.__aenter__(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.__aexit__(None, None, None), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def writer() -> Iterator[Writer]:
    with Writer() as running:
        yield running


Scripted = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
def scripted() -> Scripted:
    """`async with scripted(text, …, cut=3) as lm`: a `dspy.LM` whose answers are these texts, one a request.

    The first `plain` of them are not streamed.
    """

    @asynccontextmanager
    async def opened(
        *texts: str, cut: Any = 0, finish: str = "stop", plain: int = 0, **options: Any
    ) -> AsyncIterator[Any]:
        import dspy

        responses = [
            playback.Response(body=whole(text))
            if number < plain
            else playback.Response(
                headers={"Content-Type": "text/event-stream"}, pieces=sse(text, cut, finish)
            )
            for number, text in enumerate(texts)
        ]
        async with playback.ScriptedHTTP(*responses) as server:
            given = {"cache": False, "num_retries": 0, **options}
            lm = dspy.LM("openai/scripted", api_base=server.url, api_key="x", **given)
            lm.server = server
            yield lm

    return opened


@pytest.fixture
def lm(engine: Engine) -> Callable[..., Any]:
    """`lm(grammar, …)`: a `dspy.LM` on the real engine that writes what a grammar allows."""
    import dspy

    def made(grammar: str | None = None, **options: Any) -> Any:
        body = {"extra_body": {"grammar": grammar}} if grammar else {}
        given = {"cache": False, "max_tokens": 400, "temperature": 0.9, "seed": 7, "num_retries": 0}
        given |= {"api_base": engine.base_url, "api_key": "x"}
        return dspy.LM("openai/tiny", **{**given, **body, **options})

    return made


@pytest.fixture
def chat() -> Callable[..., str]:
    """`chat(answer='[a-z ]{5,30}')`: a grammar of DSPy's chat format, a pattern for each field."""

    def made(**fields: str) -> str:
        body = "".join(f'"[[ ## {name} ## ]]\\n" {pattern} "\\n\\n" ' for name, pattern in fields.items())
        return f'root ::= {body}"[[ ## completed ## ]]"'

    return made
