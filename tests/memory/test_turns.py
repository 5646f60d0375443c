"""The reader's side of a turn, where text is taken back and markers are hidden."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.memory.runtime import Runtime
from headrace.providers.base import Capabilities
from headrace.providers.callable import DummyChat
from headrace.providers.scripted import Drop, Finish, Say, Scripted, Think
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.handle import Retraction


class Table:
    """Model names to providers."""

    def __init__(self, **providers: Scripted) -> None:
        self.providers = providers

    def resolve(self, name: str) -> tuple[Scripted, str]:
        return self.providers[name], name

    async def close(self) -> None:
        pass


def failing(ledger: Any, **scripts: Any) -> Engine:
    plain = Capabilities(prefill=False)
    return Engine(
        Table(**{name: Scripted(script, capabilities=plain) for name, script in scripts.items()}),
        MemoryRunLog(),
        ledger,
    )


@pytest.fixture
def ledger() -> Any:
    from headrace.ledger.memory import MemoryLedger

    return MemoryLedger()


def joined(pieces: list[str]) -> str:
    """What a reader is left with: a retraction takes back all before it."""
    text = ""
    for piece in pieces:
        text = "" if isinstance(piece, Retraction) else text + piece
    return text


async def test_a_marker_that_was_half_said_when_a_model_failed(ledger: Any) -> None:
    engine = failing(ledger, m=["Sure.\nCOMM", Drop()], other=["Yes.\nCOMMIT: a\nDone."])
    async with Runtime("m", engine=engine, hide_markers=True, fallbacks=["other"]) as runtime:
        pieces = [piece async for piece in runtime.stream("Hello")]
        assert any(isinstance(piece, Retraction) for piece in pieces)
        assert joined(pieces) == "Yes.\nDone."
        assert (await runtime.facts())[1].content == "Yes.\nCOMMIT: a\nDone."
        assert await runtime.ask("Again") == "Yes.\nDone."


async def test_what_stands_is_not_lost_when_a_thought_is_taken_back(ledger: Any) -> None:
    first = [Say("Sure.\nCOM"), Think("Hm"), Drop()]
    engine = failing(ledger, m=first, other=["PLETELY.\nCOMMIT: a\n"])
    options: dict[str, Any] = {"fallbacks": ["other"], "failover": "continue"}
    async with Runtime("m", engine=engine, hide_markers=True, **options) as runtime:
        pieces = [piece async for piece in runtime.stream("Hello")]
        assert "".join(pieces) == "Sure.\nCOMPLETELY.\n"
        assert (await runtime.facts())[1].content == "Sure.\nCOMPLETELY.\nCOMMIT: a\n"


async def test_a_marker_over_two_parts_of_a_reply() -> None:
    scripts = [["Sure.\nCOMMIT: water", Finish("length")], [" the plants\nDone."]]
    provider = Scripted(scripts, capabilities=Capabilities(prefill=False))
    async with Runtime(provider, hide_markers=True) as runtime:
        assert await runtime.ask("Hello") == "Sure.\nDone."
        await runtime.settle()
        assert [made.text for made in (await runtime.views()).mirror.open.values()] == ["water the plants"]


async def test_the_last_line_without_a_newline() -> None:
    async with Runtime(DummyChat("COMMIT"), hide_markers=True) as runtime:
        assert await runtime.ask("Hello") == "COMMIT"


async def test_closing_twice_is_once() -> None:
    async with Runtime(DummyChat("Yes.")) as runtime:
        turn = await runtime.begin("Hello")
        assert (await turn.result()).text == "Yes."
        await turn.close()
        await turn.close()
        assert [fact.kind for fact in await runtime.facts()] == ["user", "response"]


async def test_a_reflection_without_words_is_none() -> None:
    async with Runtime(DummyChat(" ")) as runtime:
        turn = await runtime.reflect()
        with pytest.raises(errors.RunError, match="without a word"):
            await turn.result()
        assert await runtime.facts() == []
