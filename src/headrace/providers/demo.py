"""`demo`: the built-in scripted guide, for a first look without a key and without a network.

Not a model, and its first line says so. It answers in streaming Markdown, shows what Headrace does when a
word such as `structured`, `tool`, `think`, `stop`, `resume` or `long` is in the last message, and tells how
to set up a real model. With a schema it sends a sample that fits, with tools it calls the first of them. The
same messages give the same text. `demo:fast` is the same without the pace. It is made of `scripted`; its
words are at the end of this file. Next: `replay`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from headrace import events, messages
from headrace.providers import base, sample, scripted

NOTICE = "*This is Headrace's built-in demo: a script, not a language model.*"
TOKENS_PER_SECOND = 60.0


class Demo:
    """The provider `demo`, with the models `demo` and `fast`.

    Args:
        sleep: how to wait, in seconds.
        rate: pieces a second of the model `demo`.
    """

    name = "demo"

    def __init__(self, *, sleep: scripted.Sleep = asyncio.sleep, rate: float = TOKENS_PER_SECOND) -> None:
        self._sleep = sleep
        self._every = 1.0 / rate

    def capabilities(self, model: str) -> base.Capabilities:
        """Everything but pictures."""
        return base.Capabilities(images=False, prefill=True)

    async def models(self) -> list[str]:
        """`demo` and `fast`."""
        return ["demo", "fast"]

    async def close(self) -> None:
        """Nothing is held."""

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[events.Event], None]:
        """Play the answer to the last user message."""
        every = 0.0 if request.model == "fast" else self._every
        player = scripted.Scripted(answer(request, every), self.name, sleep=self._sleep)
        playing = player.stream(request, exchange)
        try:
            async for batch in playing:
                yield batch
        finally:
            await playing.aclose()


def answer(request: base.ModelRequest, every: float = 0.0) -> list[str | scripted.Step]:
    """The script for a request: pure, the same for the same messages.

    Args:
        every: seconds before each piece.
    """
    steps = _steps(request, every)
    spoken = [step for step in steps if isinstance(step, scripted.Say | scripted.Think | scripted.Call)]
    thought = sum(_count(step) for step in spoken if isinstance(step, scripted.Think))
    usage = messages.Usage(
        input_tokens=sum(_tokens(part) for message in request.messages for part in message.parts),
        output_tokens=sum(_count(step) for step in spoken),
        reasoning_tokens=thought or None,
        basis="reported",
    )
    return [*steps, usage]


def _steps(request: base.ModelRequest, every: float) -> list[scripted.Step]:
    question = next((m.text for m in reversed(request.messages) if m.role == "user"), "").strip()
    words = question.lower()
    last = request.messages[-1] if request.messages else messages.user("")
    results = [part for part in last.parts if isinstance(part, messages.ToolResult)]
    if request.tools and not results and request.tool_choice != "none":
        tool = request.tools[0]
        return [scripted.Call(tool.name, sample.value(tool.parameters), every=every)]
    if request.output_schema is not None:
        text = json.dumps(sample.value(request.output_schema), indent=2, ensure_ascii=False)
        return [scripted.Say(text, every=every)]
    if results:
        return [scripted.Say(_after_tools(results), every=every)]
    for keys, body in _TOPICS:
        if any(key in words for key in keys):
            say = scripted.Say(f"{NOTICE}\n\n{body.strip()}\n", every=every)
            if "think" in keys:
                return [scripted.Think(_THOUGHT, every=every), say]
            return [say]
    return [scripted.Say(_guide(question), every=every)]


def _count(step: scripted.Say | scripted.Think | scripted.Call) -> int:
    text = json.dumps(step.arguments) if isinstance(step, scripted.Call) else step.text
    return len(scripted.by_word(text))


def _tokens(part: messages.Part) -> int:
    match part:
        case messages.Text(text=text) | messages.Reasoning(text=text) | messages.ToolResult(content=text):
            return len(scripted.by_word(text))
        case messages.ToolCall():
            return len(scripted.by_word(messages.arguments_text(part)))
        case messages.Image():
            return 0


def _after_tools(results: list[messages.ToolResult]) -> str:
    lines = [
        f"- `{part.name or part.call}` answered: {_quote(part.error or part.content)}" for part in results
    ]
    return f"{NOTICE}\n\nThe tools have been called:\n\n" + "\n".join(lines) + "\n"


def _quote(text: str, longest: int = 120) -> str:
    """The person's words as one line of code span: whatever they hold, they stay words."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line[:longest]}{'…' if len(line) > longest else ''}`" if line else "nothing"


def _guide(question: str) -> str:
    said = f"You said: {_quote(question)}\n\n" if question else ""
    return f"{NOTICE}\n\n{said}{_GUIDE.strip()}\n"


_GUIDE = """
## What you are looking at

These words come out of the same run engine, run log and dialects that a real model's would. Each piece is
an event with a number; a reader that drops comes back with the last number it saw, and goes on from there.

Try it:

1. Reload the page, or pull the plug: the answer goes on where it was.
2. Press **Stop**: the provider's socket is closed, and nothing partial is kept as a fact.
3. Ask for `structured`, `tool`, `think`, `stop`, `resume` or `long` to see more.

## Set up a real model

| model | what to set |
|---|---|
| OpenAI | `OPENAI_API_KEY`, then `openai:gpt-4o-mini` |
| Anthropic | `ANTHROPIC_API_KEY`, then `anthropic:claude-sonnet-4-5` |
| Gemini | `GEMINI_API_KEY`, then `gemini:gemini-2.5-flash` |
| Ollama, on this machine | `ollama serve`, then `ollama:llama3.2` |
| a GGUF file, in this process | the extra `local`, then `local:model.gguf` |
| any server that speaks OpenAI's Chat Completions | `OPENAI_BASE_URL`, or a table in `headrace.toml` |

```bash
pip install 'headrace[local]'
export HEADRACE_MODEL=ollama:llama3.2
headrace ask "Tell me a story"
```

```python
import headrace

async with headrace.stream("ollama:llama3.2", "Tell me a story") as run:
    async for token in run.text():
        print(token, end="", flush=True)
```

`headrace doctor` says what can be reached from here; the rest is in the file `docs/getting-started.md`, and a
server describes its own API under `/docs`.
"""

_STRUCTURED = """
## Structured output

Give a schema and the answer is checked against it, while its fields are already on their way:

```python
class Invoice(pydantic.BaseModel):
    number: str
    total: float

async with headrace.stream("openai:gpt-4o-mini", text, output=Invoice) as run:
    async for invoice in run.partials():
        show(invoice)  # grows, and has the schema's shape at every moment
```

- `field-delta` events carry the text of one field, addressed by a JSON Pointer such as `/items/0/name`.
- An answer that the schema refuses is taken back by an `output-reset`, and the model is asked again.
- `output` comes once, validated.

With a schema this demo answers too: `headrace ask -m demo --schema invoice.json "Hi"`.
"""

_STOP = """
## Stop is not disconnect

**Stop** is a request: `POST /v1/runs/{run}/cancel`, Ctrl-C, or `await run.cancel()`. It works from any
process, and the provider's socket is closed at once.

A **disconnect** only moves a reader away. What the run then does is its own policy:

| `on_disconnect` | what happens when nobody reads |
|---|---|
| `grace` | the run goes on for 60 seconds, then it is cancelled |
| `continue` | the run goes on to its end |
| `cancel` | the run is cancelled at once |

Every run ends exactly once: completed, failed, cancelled or interrupted.
"""

_RESUME = """
## Resume

Every event has a cursor, `<run>.<seq>`. A reader that comes back sends the last one it saw:

```bash
curl -N "$URL/v1/runs/$RUN/events?after=$RUN.17"
```

- A browser's `EventSource` does this by itself, with `Last-Event-ID`.
- `headrace tail RUN` attaches a terminal to the same run; any number of readers can.
- A run can be read for an hour after its end; then the answer is 410, never silence.
"""

_TOOL = """
## Tools

A Python function with type hints is a tool:

```python
def lookup(city: str) -> str:
    "The weather in a city."
    return weather[city]

answer = await headrace.ask("openai:gpt-4o-mini", "How is Oslo?", tools=[lookup])
```

1. `tool-call-start`, its arguments as they are written, `tool-call-end`.
2. Your function runs, in a span of its own; `tool-result` has what it returned.
3. The model goes on with the result.

Give this demo a tool and it will call it.
"""

_THINK = """
## Reasoning

What you saw before this answer was a block of *reasoning*: `reasoning-start`, `reasoning-delta`,
`reasoning-end`. It is kept apart from the answer, so a reader can show it, fold it or leave it out, and it
goes back to the provider with its signature where the provider wants it.
"""

_THOUGHT = (
    "The person asked about thinking. I am a script, so I do not think; but I can show where a model's"
    " reasoning goes, before the first word of the answer."
)

_VERSES = (
    "The river comes down from the hills in the dark, and nobody has asked it to.",
    "A gate of oak stands where the channel begins; one hand can open it, and the same hand can shut it.",
    "What passes the gate arrives: all of it, in order, and nothing twice.",
    "Under the wheel the water is loud; a little further on it is only bright.",
    "When the miller sleeps the channel fills, and keeps what came, and waits.",
)

_LONG = "## A long answer\n\nLong enough to stop, to leave, and to come back to.\n\n" + "\n\n".join(
    f"### {number}\n\n" + " ".join(_VERSES[(number + i) % len(_VERSES)] for i in range(4))
    for number in range(1, 25)
)

_TOPICS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("structured", "schema", "json"), _STRUCTURED),
    (("think", "reason"), _THINK),
    (("tool",), _TOOL),
    (("resume", "reconnect"), _RESUME),
    (("stop", "cancel"), _STOP),
    (("long", "story"), _LONG),
)
