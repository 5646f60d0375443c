"""One turn: the program that a chat run is, and the reader's side of it.

    answer      call (rounds, where there are tools) ─► ended with `length`? ─► go on, at most `continuations`
                times ─► one response
    reflection  call ─► the whole text becomes a fact, before the run's end is told

A turn's steps go into the meta of its ending, so they are there however it ended. What `Turn` hands out are the
reply's pieces as they come; joined they are the response, byte for byte, but for marker lines where those are hidden
(`veil`). Leaving early cancels. Next: `runtime`, which starts these.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

from headrace import errors, messages
from headrace.ledger import base as ledger_base
from headrace.memory import context, markers, veil
from headrace.runs import attempts, engine, handle, rounds
from headrace.runs.context import Context
from headrace.runs.spec import Program, Result
from headrace.runs.tools import Tool

Late: TypeAlias = "Callable[[Context], Awaitable[context.Built]]"
"""Builds the context inside the run, which may tell its readers that it takes a while."""


def answer(
    made: context.Built | Late,
    took_ms: float,
    *,
    models: attempts.Models,
    continuations: int,
    hide: bool = False,
) -> Program:
    """The program of a chat turn.

    Args:
        made: what is sent, or what makes it.
        took_ms: how long that took to build, milliseconds.
        models: says whether the model can go on from a prefill.
        continuations: how often a reply that ended with `length` is gone on with, at most.
        hide: whether marker lines are kept from the run's readers.
    """

    async def program(run: Context) -> dict[str, Any]:
        if hide:
            run.hide(veil.Veil())
        began = time.monotonic()
        built = made if isinstance(made, context.Built) else await made(run)
        steps: list[dict[str, Any]] = [_context_step(built)]
        run.meta["trace"] = steps
        durations = [round(took_ms + (time.monotonic() - began) * 1000, 3)]
        parts: list[dict[str, Any]] = []
        thread, text = built.messages, ""
        while True:
            step: dict[str, Any] = {"step": "continue" if parts else "generate"}
            steps.append(step)
            began = time.monotonic()
            onward = _onward(run, models, thread, text)
            said = await _ask(run, step, **onward)
            got = said.answer
            durations.append(round((time.monotonic() - began) * 1000, 3))
            if said.rounds > 1:  # what tools said stands between: only the last answer can be gone on with
                thread, text = said.messages[:-1], got.text
            else:
                text += got.text
            run.finish_reason = got.finish_reason
            parts.append({"characters": len(got.text), "finish_reason": got.finish_reason})
            step |= parts[-1]
            if got.finish_reason != "length" or not got.text or len(parts) > continuations:
                break
        if len(parts) > 1:
            run.meta["parts"] = parts
        return {"durations_ms": durations}

    return program


def reflection(
    built: context.Built, ledger: ledger_base.Ledger, conversation: str, turn: int | None
) -> Program:
    """The program of a reflection: a complete text becomes a fact of kind `reflection`, any other nothing.

    Args:
        turn: the seq of the response that it is about.
    """

    async def program(run: Context) -> None:
        got = await run.call()
        run.finish_reason = got.finish_reason
        if not got.text.strip():
            raise errors.RunError("the model reflected without a word; ask again", code="output-rejected")
        meta: dict[str, Any] = {"model": run.spec.model, "finish_reason": got.finish_reason}
        if turn is not None:
            meta["turn"] = turn
        id = f"reflection:{run.run}"
        await ledger.append(conversation, markers.REFLECTION, got.text, meta, id=id)

    return program


def _context_step(built: context.Built) -> dict[str, Any]:
    return {
        "step": "context",
        "seq": built.seq,
        "nodes": list(built.nodes),
        "messages": len(built.messages),
        "characters": sum(len(message.text) for message in built.messages),
        "parts": [name for name, _ in built.parts],
    }


async def _ask(
    run: Context, step: dict[str, Any], *, thread: tuple[messages.Message, ...], **changes: Any
) -> rounds.Conversation:
    """One answer: rounds of calls where there are tools to run, which the step then names in order."""
    if not any(isinstance(tool, Tool) for tool in run.spec.tools):
        got = await run.call(messages=thread, **changes)
        return rounds.Conversation(answer=got, messages=thread, rounds=1)
    said = await rounds.converse(run, thread=thread, **changes)
    new = [part for message in said.messages[len(thread) :] for part in message.parts]
    if called := [part.name for part in new if isinstance(part, messages.ToolCall)]:
        step["tools"] = called
    return said


def _onward(
    run: Context, models: attempts.Models, thread: tuple[messages.Message, ...], text: str
) -> dict[str, Any]:
    """How a call goes on from the text so far: as a prefill where every model asked takes one, else in words."""
    if not text:
        return {"thread": thread}
    spec = run.spec
    provider, model = models.resolve(spec.model)
    if not spec.fallbacks and provider.capabilities(model).prefill:
        return {"thread": thread, "prefill": text}
    return {"thread": (*thread, messages.assistant(text), messages.user(attempts.CONTINUE))}


class Turn:
    """A started turn, for its one reader.

    Attributes:
        run: the run, for who wants its events.
        built: what was sent.
    """

    def __init__(self, made: engine.Engine, active: engine.ActiveRun, built: context.Built) -> None:
        self.run = handle.Run(made, active)
        self.built = built
        self.active = active
        self._follower = active.writer.log.follow(0)

    async def next(self) -> list[str] | None:
        """The pieces that have come, not none; None after the last.

        Raises:
            errors.HeadraceError: after the last piece, when the turn failed.
        """
        while (entries := await self._follower.next()) is not None:
            if pieces := handle.tokens([entry.event for entry in entries]):
                return pieces
        await self.run.result()
        return None

    async def __aiter__(self) -> AsyncIterator[str]:
        while (pieces := await self.next()) is not None:
            for piece in pieces:
                yield piece

    async def result(self) -> Result:
        """Wait for the end; see `runs.handle.Run.result`."""
        return await self.run.result()

    async def text(self) -> str:
        """Wait for the end; the reply as its reader sees it.

        Raises:
            errors.HeadraceError: the turn failed.
        """
        return (await self.run.result()).text

    def release(self) -> None:
        """Read no more of it and let it go on: its run is left to other readers."""
        self._follower.close()

    async def close(self) -> None:
        """The reader is done: a turn that has not ended is cancelled. Twice is once."""
        self._follower.close()
        await self.run.cancel()
