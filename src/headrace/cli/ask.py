"""`headrace ask`: one answer, streamed. The prompt is put together here; `local` runs it, `show` shows it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import failures, options, out

if TYPE_CHECKING:
    from headrace.outputs.shape import Shape

_STDIN_PATIENCE = 2.0  # seconds without a word on stdin before the person is told what is waited for


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "ask",
        epilog=options.examples(
            "headrace ask 'Why is the sky blue?'",
            "headrace ask -m ollama:llama3.2 --system 'Be brief.' 'What is SSE?'",
            "git diff | headrace ask 'Write a commit message for this:'",
            "headrace ask -m openai:gpt-4o-mini --schema invoice.json --file mail.txt > invoice.json",
            "headrace ask --tool shop/tools.py --tool mcp:files 'What is there, and what does it cost?'",
            "headrace ask --json 'Hi' | jq -r 'select(.type == \"text-delta\").delta'",
        ),
    )(ask)


def ask(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="What to ask; - stands for stdin.")
    ] = None,
    model: options.Model = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions, put before the prompt.")
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", metavar="FILE", help="Add the text of a file; may be repeated."),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A JSON Schema: the answer is a JSON value that was checked by it."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="TOKENS", help="The longest answer.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, metavar="X", help="0 is the most predictable.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same answer again, where supported.")
    ] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Go on with this model when the first fails; may be repeated."),
    ] = None,
    failover: Annotated[
        str, typer.Option(metavar="restart|continue", help="What a fallback does with text already shown.")
    ] = "restart",
    tool: options.Tools = None,
    yes: options.Yes = False,
    json: options.Events = False,
    markdown: options.Markdown = True,
    reasoning: options.Reasoning = False,
) -> int:
    """Ask once and stream the answer.

    On a terminal the answer is rendered as it grows; in a pipe it is the plain text, sent on as it comes. With
    --schema a terminal shows the value as it grows; a pipe gets the value alone, on one line, once it is whole and
    fits. An answer that does not fit is stopped and asked for again, three times in all. Text piped in is added to
    the prompt. Ctrl-C stops the run and closes the connection to the provider. Nothing is recorded.
    """
    if failover not in ("restart", "continue"):
        raise typer.BadParameter("must be restart or continue", param_hint="--failover")
    given: dict[str, Any] = {
        "system": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "fallbacks": tuple(fallback or ()),
        "failover": failover,
        "output": _schema(schema) if schema else None,
    }
    text = _prompt(prompt or [], file or [])
    return asyncio.run(
        _ask(model, text, given, tools=tool or [], yes=yes, json=json, markdown=markdown, reasoning=reasoning)
    )


async def _ask(
    model: str | None,
    prompt: str,
    given: dict[str, Any],
    *,
    tools: list[str],
    yes: bool,
    json: bool,
    markdown: bool,
    reasoning: bool,
) -> int:
    from headrace import settings
    from headrace.cli import local, people, show
    from headrace.integrations import toolbox

    chosen = settings.load()
    async with toolbox.opened(tools, chosen) as given["tools"], local.opened(chosen) as here:
        name = model or here.registry.default_model()
        waiting = f"waiting for {name}"
        reader: show.Reader
        if given["output"] is None or json:
            reader = show.reader(json=json, markdown=markdown, reasoning=reasoning, waiting=waiting)
        else:
            from headrace.cli import form

            on_screen = markdown and out.is_terminal(1)
            reader = form.Form(given["output"], waiting=waiting) if on_screen else form.Value()
        try:
            async with reader:
                asked = people.People(yes=yes, silent=json)
                end = await here.follow(reader, name, prompt, people=asked, **given)
        except asyncio.CancelledError:
            out.note("stopped")
            raise
    code = show.ending(end)
    if code == failures.DONE and given["output"] is not None and "output" not in (end.result or {}):
        failures.say("output-rejected", f"the answer has no value in it (it ended with {end.finish_reason})")
        code = failures.FAILED
    if out.is_terminal(1) and out.is_terminal(2) and not json:
        out.note("\n" + show.footer(end, name))
    return code


def _schema(path: Path) -> Shape:
    import msgspec

    from headrace import errors
    from headrace.outputs import shape

    try:
        value = msgspec.json.decode(_read(path, "--schema"))
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}", param_hint="--schema") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{path} has no JSON object in it", param_hint="--schema")
    try:
        return shape.Shape.of(value)
    except errors.UsageError as error:
        raise typer.BadParameter(f"{path}: {error.message}", param_hint="--schema") from error


def _prompt(words: list[str], files: list[Path]) -> str:
    """The arguments as one text: words, stdin in the place of `-` or after them, then the files."""
    parts: list[str] = []
    line: list[str] = []
    seen = False
    for word in words:
        if word != "-":
            line.append(word)
            continue
        parts += [" ".join(line)] if line else []
        parts.append("" if seen else _stdin())
        line, seen = [], True
    parts += [" ".join(line)] if line else []
    stdin_in_files = any(str(path) == "-" for path in files)
    if not seen and not stdin_in_files and _is_piped():
        parts.append(_stdin())
    parts += [_stdin() if str(path) == "-" else _read(path, "--file") for path in files]
    text = "\n\n".join(part for part in parts if part.strip())
    if not text:
        raise typer.BadParameter("there is nothing to ask; give a text, or pipe one in", param_hint="PROMPT")
    return text


def _is_piped() -> bool:
    """Whether stdin is a pipe or a file; not a terminal, /dev/null or a socket."""
    import os
    import stat

    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _stdin() -> str:
    import os
    import select

    if os.isatty(0):
        out.note("type the prompt; end it with Ctrl-D on a line of its own")
    elif os.name != "nt" and not select.select([0], [], [], _STDIN_PATIENCE)[0]:
        out.note("note: waiting for the rest of the prompt on stdin (</dev/null leaves it out)")
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint=option) from error
