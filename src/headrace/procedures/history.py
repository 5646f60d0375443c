"""What a procedure did, to be read again long after its events are gone: its turns, and what it asked people.

A turn is a fact of kind `turn` when it has ended: what the agent said, what was refused and why, its tool calls with
their results, usage and times. A turn that was stopped on its way is none. Runs that go on with a journal add to the
same story. Next: `turns`, which tells it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace import errors, messages
from headrace.ledger import base as ledger_base
from headrace.procedures.journal import ANSWERED, ASKED, KEY, PROGRAM, STEP, TURN, Source

_KINDS = {PROGRAM, STEP, ASKED, ANSWERED, TURN}


class Turn(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One turn of an agent.

    Attributes:
        items: what happened, in order: `{"kind": "text" | "reasoning", "text"}`,
            `{"kind": "tool-call", "call", "name", "arguments", "value" | "error", "elapsed_ms"}`,
            `{"kind": "retry", "reason"}`. What was taken back has `rejected`, the reason.
        output: what the program got.
        elapsed_ms, first_token_ms: None where the answer was known already.
    """

    agent: str
    model: str
    line: int
    run: str
    provider: str | None = None
    streaming: bool = True
    outcome: str = "completed"
    error: dict[str, str] | None = None
    items: list[dict[str, Any]] = []
    output: Any = None
    usage: messages.Usage | None = None
    elapsed_ms: float | None = None
    first_token_ms: float | None = None

    def said(self, parts: tuple[messages.Part, ...]) -> None:
        """The model has answered."""
        for part in parts:
            match part:
                case messages.Text(text=text):
                    self.items.append({"kind": "text", "text": text})
                case messages.Reasoning(text=text) if text:
                    self.items.append({"kind": "reasoning", "text": text})
                case messages.ToolCall(id=call, name=name, arguments=arguments):
                    self.items.append(
                        {"kind": "tool-call", "call": call, "name": name, "arguments": arguments}
                    )

    def called(self, call: str, value: Any, error: str | None, elapsed_ms: float) -> None:
        """A tool has answered."""
        for item in self.items:
            if item.get("call") == call and "elapsed_ms" not in item:
                item |= {
                    "elapsed_ms": elapsed_ms,
                    **({"value": value} if error is None else {"error": error}),
                }

    def refused(self, since: int, reason: str) -> None:
        """What was said since that item is taken back."""
        for item in self.items[since:]:
            item["rejected"] = reason


class Story(msgspec.Struct, kw_only=True):
    """What is known of a program's runs.

    Attributes:
        items: turns, questions and answers, in the order of the program: `{"type": "turn", …}` or
            `{"type": "human-request", "request", "kind", "message", …, "answered", "value"}`.
    """

    source: Source
    items: list[dict[str, Any]]


async def source(ledger: ledger_base.Ledger, conversation: str, journal: str) -> Source | None:
    """The program of a journal, None where there is none."""
    after = 0
    while facts := await ledger.facts(conversation, after=after, kinds={PROGRAM}):
        for fact in facts:
            if fact.meta.get(KEY) == journal:
                return _source(fact)
        after = facts[-1].seq
    return None


async def story(ledger: ledger_base.Ledger, conversation: str, journal: str) -> Story:
    """What a journal's runs did.

    Raises:
        errors.UsageError: `bad-request`: its program is not in the ledger.
    """
    program: Source | None = None
    found: dict[tuple[int, str], dict[str, Any]] = {}
    after = 0
    while facts := await ledger.facts(conversation, after=after, kinds=_KINDS):
        for fact in facts:
            if fact.meta.get(KEY) != journal:
                continue
            if fact.kind == PROGRAM:
                program = _source(fact)
                continue
            number, value = fact.meta["number"], msgspec.json.decode(fact.content)
            if fact.kind == TURN:
                found[number, fact.id] = {"type": "turn", "number": number, **value}
            elif fact.kind == ASKED:
                ask = {"type": "human-request", "number": number, "answered": False, **value}
                found[number, ASKED] = ask
            elif (asked := found.get((number, ASKED))) is not None:
                asked |= {"answered": True, "value": value if fact.kind == ANSWERED else value.get("result")}
        after = facts[-1].seq
    if program is None:
        raise errors.UsageError(f"the program of {journal} is not in the ledger", code="bad-request")
    return Story(source=program, items=[found[key] for key in sorted(found, key=lambda key: key[0])])


def _source(fact: ledger_base.Fact) -> Source:
    meta = fact.meta
    return Source(text=fact.content, name=meta["name"], inputs=meta["inputs"], path=meta.get("path", ""))
