"""Questions to people: answered once, recorded before they count, with a default when their time passes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from headrace import errors, events
from headrace.runlog import MemoryRunLog
from headrace.runs import questions
from headrace.runs.writer import Writer


def desk() -> tuple[questions.Questions, Writer]:
    writer = Writer(MemoryRunLog().create("run_1"), started=time.monotonic())
    writer.write(events.RunStart(kind="answer", model="m"))
    return questions.Questions(writer), writer


def responses(writer: Writer) -> list[Any]:
    found = [entry.event for entry in writer.log.read(0)]
    return [event.value for event in found if isinstance(event, events.HumanResponse)]


async def test_an_answer_is_recorded_before_it_counts() -> None:
    asked, writer = desk()
    recording, go = asyncio.Event(), asyncio.Event()
    kept: list[Any] = []

    async def record(value: Any) -> None:
        recording.set()
        await go.wait()
        kept.append(value)

    waiting = asyncio.create_task(
        asked.ask("input", "?", request="mine", record=record, timeout=0.01, default=0)
    )
    while asked.open != ["mine"]:
        await asyncio.sleep(0)
    answering = asyncio.create_task(asked.answer("mine", 7))
    await recording.wait()
    with pytest.raises(questions.NoSuchRequest):  # somebody was quicker
        await asked.answer("mine", 8)
    await asyncio.sleep(0.02)  # its time passes while the answer is being recorded
    assert responses(writer) == []
    go.set()
    await answering
    assert await waiting == 7
    assert (kept, responses(writer), asked.open) == ([7], [7], [])


async def test_an_answer_that_cannot_be_recorded_leaves_the_question_open() -> None:
    asked, writer = desk()
    kept: list[Any] = []

    async def record(value: Any) -> None:
        if value == "bad disk":
            raise errors.StoreError("full")
        kept.append(value)

    waiting = asyncio.create_task(asked.ask("input", "?", record=record))
    while not asked.open:
        await asyncio.sleep(0)
    with pytest.raises(errors.StoreError):
        await asked.answer("q1", "bad disk")
    await asked.answer("q1", "fine")
    assert await waiting == "fine"
    assert responses(writer) == kept == ["fine"]


async def test_the_default_is_recorded_too() -> None:
    asked, writer = desk()
    kept: list[Any] = []

    async def record(value: Any) -> None:
        kept.append(value)

    assert await asked.ask("input", "?", record=record, timeout=0.001, default="d") == "d"
    assert responses(writer) == kept == ["d"]


async def test_a_check_gives_what_the_program_gets() -> None:
    asked, _ = desk()
    waiting = asyncio.create_task(asked.ask("input", "?", check=int))
    while not asked.open:
        await asyncio.sleep(0)
    with pytest.raises(ValueError):
        await asked.answer("q1", "x")
    await asked.answer("q1", "12")
    assert await waiting == 12


async def test_open_questions_are_bounded() -> None:
    asked, _ = desk()
    waiting = [asyncio.create_task(asked.ask("input", "?")) for _ in range(questions.MAX_OPEN)]
    while len(asked.open) < questions.MAX_OPEN:
        await asyncio.sleep(0)
    with pytest.raises(errors.RunError, match="64 questions"):
        await asked.ask("input", "?")
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert asked.open == []
