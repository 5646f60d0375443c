"""Durability: every call to the host is a numbered step, kept in the ledger, and not made again.

A program run again asks for the same things in the same order, so its steps are found by their number. A step whose
kind or inputs differ stops the run: the program changed. Facts of one journal, all in the run's conversation:

    <id>:program     kind `procedure`       the text; meta: name, inputs
    <id>:step-N      kind `step`            result; meta: kind, hash of the inputs, line, next, usage
    <id>:step-N-asked / -answer             kinds `human-request`, `human-response`
    <id>:turn-N                             kind `turn`: what `history` tells; a replay does not need it

A failed step is written only when the program goes on from it: a run that a failure ended is tried again from there.
The journal's id is that of the first run; runs that go on with it have it in their metadata. Next: `host`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from headrace import errors
from headrace.ledger import base as ledger_base
from headrace.procedures import people
from headrace.runs import questions

PROGRAM, STEP, ASKED, ANSWERED = "procedure", "step", "human-request", "human-response"
TURN = "turn"
KEY = "journal"
"""Under which a run's metadata has the id of the journal that it goes on with."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: the text, its file's name, and the inputs; `path` where it came from a workspace."""

    text: str
    name: str = "procedure.tac"
    inputs: dict[str, Any] = {}
    path: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step that has been made.

    Attributes:
        next: the number of the step that follows; a checkpoint has others inside.
    """

    kind: str
    hash: str
    line: int
    next: int
    result: Any = None
    error: dict[str, str] | None = None


class Changed(errors.UsageError):
    """The program asks for something else than it did the first time."""

    default_code = "procedure-error"


class Failed(errors.HeadraceError):
    """A step that failed the first time, and whose failure the program dealt with."""

    default_code = "procedure-error"


class Journal:
    """The steps of one program, across its runs.

    Args:
        ledger: where they are kept; None keeps them in memory for the length of the run.
        id: the id of the first run.
    """

    def __init__(self, ledger: ledger_base.Ledger | None, conversation: str, id: str) -> None:
        self.id = id
        self.source: Source | None = None
        self.number = 0
        self.questions: dict[int, people.Question] = {}
        self.answers: dict[int, Any] = {}
        self._ledger = ledger
        self._conversation = conversation
        self._steps: dict[int, Step] = {}
        self._failed: tuple[int, Step] | None = None
        self._telling: list[asyncio.Future[Any]] = []

    async def load(self) -> None:
        """Read what is there."""
        assert self._ledger is not None
        after = 0
        kinds = {PROGRAM, STEP, ASKED, ANSWERED}
        while facts := await self._ledger.facts(self._conversation, after=after, kinds=kinds):
            for fact in facts:
                if fact.meta.get(KEY) == self.id:
                    self._take(fact)
            after = facts[-1].seq

    def _take(self, fact: ledger_base.Fact) -> None:
        if fact.kind == PROGRAM:
            self.source = Source(
                text=fact.content,
                name=fact.meta["name"],
                inputs=fact.meta["inputs"],
                path=fact.meta.get("path", ""),
            )
            return
        number, value = fact.meta["number"], msgspec.json.decode(fact.content)
        if fact.kind == STEP:
            self._steps[number] = msgspec.convert(value, Step)
        elif fact.kind == ASKED:
            self.questions[number] = msgspec.convert(value, people.Question)
        else:
            self.answers[number] = value

    async def begin(self, source: Source) -> None:
        """Keep the program itself."""
        self.source = source
        meta = {
            "name": source.name,
            "inputs": source.inputs,
            **({"path": source.path} if source.path else {}),
        }
        await self._append(PROGRAM, source.text, meta, "program")

    async def step(
        self, kind: str, inputs: Any, line: int, make: Callable[[], Awaitable[Any]]
    ) -> tuple[Any, bool]:
        """The result of the next step, and whether it was known already.

        Raises:
            Changed: the program made another step here before.
            Failed: the step failed before.
        """
        number, digest = await self.enter(kind, inputs, line)
        known = self._steps.get(number)
        if known is not None:
            self.number = known.next - 1
            if known.error is not None:
                raise Failed(known.error["message"], code=known.error["code"])
            return known.result, True
        try:
            result = await make()
        except errors.HeadraceError as error:
            failure = {"code": error.code, "message": error.message}
            failed = Step(kind=kind, hash=digest, line=line, next=self.number + 1, error=failure)
            self._failed = (number, failed)
            raise
        await self.keep(number, kind, digest, line, result)
        return result, False

    async def enter(self, kind: str, inputs: Any, line: int) -> tuple[int, str]:
        """Begin the next step; its number, and the hash of its inputs.

        Raises:
            Changed: the program made another step here before.
        """
        if self._failed is not None:
            number, failed = self._failed
            self._failed = None
            await self._write(number, failed)
        self.number += 1
        digest = hashlib.sha256(msgspec.json.encode([kind, inputs], order="deterministic")).hexdigest()
        known = self._steps.get(self.number)
        if known is not None and (known.kind, known.hash) != (kind, digest):
            was = "one with other inputs" if known.kind == kind else f"a step {known.kind!r}"
            raise Changed(
                f"the program changed at line {line}: step {self.number} is a step {kind!r}, and was {was} "
                f"(line {known.line}) before; start it afresh",
                details={"line": line, "step": self.number},
            )
        return self.number, digest

    def known(self, number: int) -> Step | None:
        """The step of that number, if it has been made."""
        return self._steps.get(number)

    async def keep(self, number: int, kind: str, digest: str, line: int, result: Any) -> None:
        """The step has been made."""
        step = Step(kind=kind, hash=digest, line=line, next=self.number + 1, result=result)
        await self._write(number, step)

    async def asked(self, question: people.Question) -> None:
        """The present step waits for a person."""
        self.questions[self.number] = question
        await self._append(ASKED, _text(question), {"number": self.number}, f"step-{self.number}-asked")

    async def answered(self, number: int, value: Any) -> None:
        """A person has answered the question of that step."""
        self.answers[number] = value
        await self._append(ANSWERED, _text(value), {"number": number}, f"step-{number}-answer")

    def told(self, number: int, turn: Any, run: str) -> None:
        """A turn that began with that step has ended; `run` where it failed, as it may be tried again.

        It is written while the program goes on, and is there before the next fact, or when `settled` returns.
        """
        if self._ledger is not None:
            name = f"turn-{number}" + (f"-{run}" if run else "")
            write = self._ledger.append(
                self._conversation,
                TURN,
                _text(turn),
                {KEY: self.id, "number": number},
                id=f"{self.id}:{name}",
            )
            self._telling.append(asyncio.ensure_future(write))

    async def settled(self) -> None:
        """What has been told is on disk.

        Raises:
            errors.StoreError: it is not.
        """
        while self._telling:
            await self._telling[0]
            self._telling.pop(0)

    def open_question(self, request: str) -> tuple[int, people.Question]:
        """The question of that id that nobody has answered.

        Raises:
            questions.NoSuchRequest: there is none.
        """
        for number, question in self.questions.items():
            if question.request == request and number not in self.answers and number not in self._steps:
                return number, question
        raise questions.NoSuchRequest(
            f"there is no open question {request[:80]!r}",
            code="bad-request",
            details={"request": request[:80]},
        )

    async def _write(self, number: int, step: Step) -> None:
        self._steps[number] = step
        usage = step.result.get("usage") if isinstance(step.result, dict) else None
        meta = {"number": number, "kind": step.kind, "hash": step.hash, "line": step.line, "usage": usage}
        await self._append(STEP, _text(step), meta, f"step-{number}")

    async def _append(self, kind: str, content: str, meta: dict[str, Any], name: str) -> None:
        if self._ledger is not None:
            await self.settled()
            id = f"{self.id}:{name}"
            await self._ledger.append(self._conversation, kind, content, {KEY: self.id, **meta}, id=id)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
