"""Events to a function: on the sink's thread, or on the loop where the sink was made."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headrace import errors
from headrace.core.events import HeadraceEvent
from headrace.sinks.callback import CallbackSink


def event(value: int) -> HeadraceEvent:
    return HeadraceEvent(event_type="n", seq=value)


def test_a_plain_function_runs_on_the_sinks_thread() -> None:
    seen: list[tuple[int, str]] = []
    with CallbackSink(lambda e: seen.append((e.seq, threading.current_thread().name))) as sink:
        sink.emit(event(1))
        assert sink.flush()
    assert seen == [(1, "headrace-CallbackSink")]


async def test_a_coroutine_function_runs_on_the_loop_where_the_sink_was_made() -> None:
    here = asyncio.get_running_loop()
    seen: list[int] = []

    async def callback(e: HeadraceEvent) -> None:
        assert asyncio.get_running_loop() is here
        seen.append(e.seq)

    async with CallbackSink(callback) as sink:
        for value in range(100):
            sink.emit(event(value))
        assert await sink.aflush()
    assert seen == list(range(100))


def test_without_a_loop_a_coroutine_function_runs_on_the_sinks_own() -> None:
    seen: list[int] = []

    async def callback(e: HeadraceEvent) -> None:
        seen.append(e.seq)

    with CallbackSink(callback) as sink:
        sink.emit(event(1))
        assert sink.flush()
    assert seen == [1]


def test_a_loop_that_is_closed_is_a_failure_and_no_hang() -> None:
    async def callback(e: HeadraceEvent) -> None: ...

    async def make() -> CallbackSink:
        return CallbackSink(callback)

    with asyncio.run(make()) as sink:
        sink.emit(event(1))
        assert sink.flush()
        assert sink.failed == 1


def test_what_is_no_function() -> None:
    with pytest.raises(errors.UsageError):
        CallbackSink("text")  # type: ignore[arg-type]
