"""`headrace chat`: a conversation in the terminal. Reads a line, answers, reads the next.

The conversation lives in this process; `/save` writes it to a file. With `--conversation` it lives in a ledger
instead, and has a memory: `remembering`. Ctrl-C while an answer streams stops that
answer only: what came is kept in the conversation, as the model's own words so far (a ledger keeps none of it).
All answers run on one event loop, which sleeps while the person types.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace import errors
from headrace.cli import clean, failures, options, out

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from headrace.cli.local import Local
    from headrace.runs.tools import Tool

_PROMPT, _MORE = "› ", "… "


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "chat",
        epilog=options.examples(
            "headrace chat",
            "headrace chat -m ollama:llama3.2 --system 'You are a patient teacher.'",
            "headrace chat --conversation garden   # recorded; goes on where it ended",
            "In the chat: /help, /model NAME, /retry, /clear, /save FILE, /quit; a line that ends in \\ goes on",
        ),
    )(chat)


def chat(
    model: options.Model = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions that hold for the whole conversation.")
    ] = None,
    markdown: options.Markdown = True,
    reasoning: options.Reasoning = False,
    conversation: Annotated[
        str | None,
        typer.Option(
            "--conversation", "-c", metavar="NAME", help="Record it in the ledger, and remember it."
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The ledger of --conversation: sqlite:///PATH or postgresql://…  Default: HEADRACE_STORE.",
        ),
    ] = None,
    show_context: Annotated[
        bool, typer.Option("--show-context", help="With --conversation: show what each message is sent with.")
    ] = False,
    tool: options.Tools = None,
    yes: options.Yes = False,
) -> int:
    """Talk with a model in the terminal.

    Ctrl-C stops the answer, not the program; Ctrl-D or /quit ends it. Nothing is recorded, unless /save does, or
    --conversation names where. Then it also has a memory: /help lists its commands.
    """
    from headrace import settings
    from headrace.cli import local
    from headrace.integrations import toolbox

    if conversation is None and (store is not None or show_context):
        raise errors.UsageError("--store and --show-context go with --conversation NAME")
    chosen = settings.load()
    _log_to_stderr()
    with asyncio.Runner() as runner:
        box = toolbox.opened(tool or [], chosen)
        tools = runner.run(_enter(box))
        here = runner.run(_open(local.Local, chosen))
        name = model or here.registry.default_model()
        talk: Talk
        if conversation is None:
            talk = Talk(runner, here, name, system)
        else:
            from headrace.cli import remembering

            url = store or chosen.store
            talk = runner.run(remembering.opened(runner, here, name, system, url, conversation, tools))
            talk.show_context = show_context
        talk.tools, talk.yes = tools, yes
        talk.markdown, talk.reasoning = markdown, reasoning
        try:
            return talk.loop()
        finally:
            runner.run(talk.close())
            runner.run(here.close())
            runner.run(_leave(box))


def _log_to_stderr() -> None:
    """What the library warns of goes where errors go, and what it only mentions nowhere: stdout is the answers'."""
    import logging

    import structlog

    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


async def _enter(box: AbstractAsyncContextManager[tuple[Tool, ...]]) -> tuple[Tool, ...]:
    return await box.__aenter__()


async def _leave(box: AbstractAsyncContextManager[tuple[Tool, ...]]) -> None:
    await box.__aexit__(None, None, None)


async def _open(make: Callable[[Any], Local], chosen: Any) -> Local:
    return make(chosen)  # on the loop that its runs will be on


class Talk:
    """One conversation.

    Attributes:
        messages: what was said, oldest first, in the role-and-content form; without the system text.
        show_context: whether what is sent is shown before each answer; only where there is a memory.
        tools: what the model may call; `yes` allows it without asking.
    """

    show_context = False
    tools: tuple[Tool, ...] = ()
    yes = False

    def __init__(self, runner: asyncio.Runner, here: Local, model: str, system: str | None) -> None:
        self._runner = runner
        self._here = here
        self._model = model
        self._system = system
        self.messages: list[dict[str, str]] = []
        self.markdown, self.reasoning = True, False
        self._commands: dict[str, tuple[str, Callable[[str], bool]]] = {
            "/help": ("this list", self._help),
            "/model": ("MODEL goes on with another model; alone, says which it is", self._set_model),
            "/retry": ("asks the last question again", self._retry),
            "/clear": ("forgets the conversation", self._clear),
            "/save": ("FILE writes the conversation there, as Markdown or (.json) as messages", self._save),
            "/quit": ("ends the chat; so does Ctrl-D", lambda rest: False),
        }

    def loop(self) -> int:
        """Read and answer until the end; returns the exit code: 1 where stdin was a script and an answer failed."""
        self._interactive = os.isatty(0)
        if self._interactive:
            import readline  # line editing and history of this session  # noqa: F401

            out.note(f"{self._model} · /help lists the commands, Ctrl-D ends")
        failed = False
        while True:
            try:
                line = self._read()
            except KeyboardInterrupt:
                out.note("\n(Ctrl-D or /quit ends the chat)")
                continue
            except EOFError:
                if self._interactive:
                    out.note("")
                return failures.FAILED if failed else failures.DONE
            if not line.strip():
                continue
            try:
                if not self._one(line):
                    return failures.FAILED if failed else failures.DONE
            except errors.HeadraceError as error:
                failures.report(error)
                failed = not self._interactive
            except OSError as error:
                if isinstance(error, BrokenPipeError):
                    raise
                failures.say("usage", f"{error.filename}: {error.strerror}")
                failed = not self._interactive

    def _read(self) -> str:
        """One message; a line that ends in a backslash goes on with the next.

        Raises:
            EOFError: nothing more is typed.
        """
        lines: list[str] = []
        while True:
            if self._interactive:
                line = input(_MORE if lines else _PROMPT)
            else:
                line = sys.stdin.readline()
                if not line:
                    if lines:
                        return "\n".join(lines)
                    raise EOFError
                line = line.rstrip("\n")
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _one(self, line: str) -> bool:
        """Act on one message; False ends the chat."""
        word, _, rest = line.strip().partition(" ")
        if not word.startswith("/") or "/" in word[1:]:
            self.messages.append({"role": "user", "content": line})
            self._answer()
            return True
        command = self._commands.get(word)
        if command is None:
            raise errors.UsageError(f"there is no command {word!r}; there are {', '.join(self._commands)}")
        return command[1](rest.strip())

    def _answer(self) -> None:
        """Ask for the answer to the last message, and keep it.

        Raises:
            errors.HeadraceError: it failed; the question is kept, and /retry asks it again.
        """
        heard = _Heard()
        try:
            end = self._runner.run(self._stream(heard))
        except KeyboardInterrupt:
            out.note("stopped")
        else:
            if end.error is not None:
                raise errors.error_for(end.error.code, end.error.message)
        if heard.text:
            self.messages.append({"role": "assistant", "content": heard.text})

    async def _stream(self, heard: _Heard) -> Any:
        from headrace.cli import show

        reader = show.reader(
            markdown=self.markdown, reasoning=self.reasoning, waiting=f"waiting for {self._model}"
        )
        heard.reader = reader
        async with reader:
            end = await self._follow(heard)
        if out.is_terminal(1) and out.is_terminal(2) and end.error is None:
            out.note("\n" + show.footer(end, self._model))
        return end

    async def _follow(self, heard: _Heard) -> Any:
        """Ask, and show the run to its end."""
        prompt: list[dict[str, str]] = list(self.messages)
        if self._system:
            prompt.insert(0, {"role": "system", "content": self._system})
        from headrace.cli import people

        asked = people.People(yes=self.yes)
        return await self._here.follow(
            heard, self._model, prompt, people=asked, kind="chat", tools=self.tools
        )

    async def close(self) -> None:
        """The chat is over."""

    # commands

    def _help(self, rest: str) -> bool:
        for name, (what, _) in self._commands.items():
            out.note(f"{name:12} {what}", "bold")
        return True

    def _set_model(self, rest: str) -> bool:
        if rest:
            self._here.registry.resolve(rest)
            self._model = rest
        out.note(f"the model is {self._model}")
        return True

    def _retry(self, rest: str) -> bool:
        if self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if not self.messages:
            raise errors.UsageError("nothing has been asked yet")
        self._answer()
        return True

    def _clear(self, rest: str) -> bool:
        self.messages.clear()
        out.note("forgotten")
        return True

    def _save(self, rest: str) -> bool:
        if not rest:
            raise errors.UsageError("name the file: /save FILE")
        path = Path(rest).expanduser()
        if path.suffix == ".json":
            import msgspec

            path.write_bytes(msgspec.json.format(msgspec.json.encode(self.messages), indent=2) + b"\n")
        else:
            parts = (f"**{turn['role']}:**\n\n{turn['content'].strip()}\n" for turn in self.messages)
            path.write_text("\n".join(parts), "utf-8")
        out.note(f"{len(self.messages)} messages are in {clean.line(str(path))}")
        return True


class _Heard:
    """Passes a run's events to a reader and keeps the text."""

    def __init__(self) -> None:
        self.reader: Any = None
        self.text = ""

    async def batch(self, batch: list[Any]) -> None:
        from headrace import events

        for event in batch:
            if isinstance(event, events.TextDelta):
                self.text += event.delta
            elif isinstance(event, events.OutputReset):
                self.text = ""
        await self.reader.batch(batch)

    async def hold(self) -> None:
        """Leave the terminal to a question, where the reader draws on it."""
        if hasattr(self.reader, "hold"):
            await self.reader.hold()

    async def release(self) -> None:
        """Draw again."""
        if hasattr(self.reader, "release"):
            await self.reader.release()
