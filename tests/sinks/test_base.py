"""The port of the sinks: order, overflow, the circuit, flush, and a program that never notices."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from headrace import errors
from headrace.core.events import HeadraceEvent, TokenEvent
from headrace.sinks.base import BaseSink, Item, SinkFull


def number(value: int) -> HeadraceEvent:
    return HeadraceEvent(event_type="n", data={"n": value})


def numbers(events: list[HeadraceEvent]) -> list[int]:
    return [event.data["n"] for event in events]


class Collector(BaseSink):
    """Keeps what it gets; `gate` closed holds it up."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.found: list[HeadraceEvent] = []
        self.arrived = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def handle_event(self, event: HeadraceEvent) -> None:
        self.arrived.set()
        assert self.gate.wait(20)
        self.found.append(event)


class Broker(BaseSink):
    """A far side that can be away, and can break after it has taken a part."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.up = threading.Event()
        self.up.set()
        self.tried = threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.found: list[int] = []
        self.known = 0
        self.break_after: int | None = None

    async def connect(self) -> None:
        self.tried.release()
        if not self.up.is_set():
            raise ConnectionRefusedError("away")

    async def handle_batch(self, batch: list[Item]) -> None:  # type: ignore[override]
        await self.connect()
        self.batches.append([event.data["n"] for _, event in batch])
        for place, event in batch:
            if self.break_after is not None and event.data["n"] >= self.break_after:
                self.break_after = None
                raise ConnectionResetError("broke off")
            if place > self.known:  # idempotent by number
                self.found.append(event.data["n"])
                self.known = place


def test_a_sink_of_ones_own_is_a_class_with_one_method() -> None:
    class TokenCollector(BaseSink):
        def __init__(self) -> None:
            super().__init__()
            self.tokens: list[TokenEvent] = []

        def handle_event(self, event: HeadraceEvent) -> None:
            if isinstance(event, TokenEvent):
                self.tokens.append(event)

    sink = TokenCollector()
    for index, text in enumerate(["The", " mill"]):
        sink.emit(TokenEvent(token=text, token_index=index, field="answer"))
    assert sink.flush()
    assert "".join(t.token for t in sink.tokens if t.data.get("field") == "answer") == "The mill"
    sink.stop()


def test_async_handlers_keep_the_order_too() -> None:
    class Async(Collector):
        async def handle_event(self, event: HeadraceEvent) -> None:  # type: ignore[override]
            self.found.append(event)

    with Async(flush_interval=0) as sink:
        for value in range(1000):
            sink.emit(number(value))
        assert sink.flush()
        assert numbers(sink.found) == list(range(1000))


def test_events_of_many_threads_arrive_once_and_each_threads_in_order() -> None:
    with Collector(flush_interval=0, batch_size=7) as sink:

        def work(who: int) -> None:
            for value in range(500):
                sink.emit(HeadraceEvent(event_type="n", data={"who": who, "n": value}))

        threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sink.flush()
    assert (sink.sent, sink.dropped, sink.failed) == (4000, 0, 0)
    for who in range(8):
        mine = [event.data["n"] for event in sink.found if event.data["who"] == who]
        assert mine == list(range(500))


def test_the_interval_is_a_timer_of_its_own() -> None:
    with Collector(batch_size=100, flush_interval=0.02) as sink:
        sink.emit(number(1))  # nothing else comes: only the timer can send it
        assert sink.arrived.wait(20)
    with Collector(batch_size=2, flush_interval=3600) as sink:
        sink.emit(number(1))
        assert not sink.arrived.wait(0.1)  # it would wait for the hour
        sink.emit(number(2))  # a full batch does not wait
        assert sink.arrived.wait(20)
    with Collector(batch_size=2, flush_interval=3600) as sink:
        sink.emit(number(1))
        assert sink.flush(20)  # nor does a flush
        assert numbers(sink.found) == [1]


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", [0, 7, 8, 9]), ("drop_newest", [0, 1, 2, 3])])
def test_what_is_dropped_is_counted(overflow: str, kept: list[int]) -> None:
    sink = Collector(buffer_size=4, batch_size=1, flush_interval=0, overflow=overflow)
    sink.gate.clear()
    sink.emit(number(0))
    assert sink.arrived.wait(20)  # 0 is being handled, and holds one place
    for value in range(1, 10):
        sink.emit(number(value))
    assert (sink.dropped, sink.buffered, sink.room) == (6, 4, 0)
    sink.gate.set()
    assert sink.flush(20)
    assert numbers(sink.found) == kept
    sink.stop()
    assert sink.sent + sink.dropped == 10


def test_raise_raises_and_takes_nothing() -> None:
    sink = Collector(buffer_size=1, flush_interval=0, overflow="raise")
    sink.gate.clear()
    sink.emit(number(0))
    with pytest.raises(SinkFull, match="buffer of Collector is full"):
        sink.emit(number(1))
    sink.gate.set()
    sink.stop()
    assert numbers(sink.found) == [0]


def test_block_makes_the_program_wait_and_loses_nothing() -> None:
    with Collector(buffer_size=2, batch_size=1, flush_interval=0, overflow="block") as sink:
        for value in range(200):
            sink.emit(number(value))
        assert sink.flush(20)
        assert numbers(sink.found) == list(range(200))
        assert sink.dropped == 0


def test_a_handler_that_raises_opens_the_circuit_and_never_reaches_the_program() -> None:
    class Raises(BaseSink):
        def handle_event(self, event: HeadraceEvent) -> None:
            raise ValueError("always")

    sink = Raises(failure_threshold=3, recovery_timeout=3600, flush_interval=0, buffer_size=10)
    for value in range(50):
        sink.emit(number(value))
    while sink.circuit_state != "open":
        time.sleep(0.001)
    assert sink.failed == 3
    sink.stop()  # one more try, then it gives up
    assert sink.failed == 4
    assert sink.failed + sink.dropped == 50


def test_one_bad_event_does_not_stop_the_others() -> None:
    class Picky(Collector):
        def handle_event(self, event: HeadraceEvent) -> None:
            if event.data["n"] == 3:
                raise ValueError("not this one")
            super().handle_event(event)

    with Picky(flush_interval=0) as sink:
        for value in range(6):
            sink.emit(number(value))
        assert sink.flush(20)
    assert numbers(sink.found) == [0, 1, 2, 4, 5]
    assert (sink.failed, sink.circuit_state) == (1, "closed")


def test_dead_at_the_start_the_newest_are_kept_and_come_in_order_when_it_is_there() -> None:
    sink = Broker(buffer_size=100, failure_threshold=2, recovery_timeout=0.05, flush_interval=0)
    sink.up.clear()
    sink.start()
    for value in range(1000):
        sink.emit(number(value))
    while sink.circuit_state != "open":
        time.sleep(0.001)
    assert (sink.dropped, sink.buffered) == (900, 100)
    sink.up.set()
    assert sink.flush(20)
    assert sink.circuit_state == "closed"
    assert sink.found == list(range(900, 1000))
    sink.stop()


def test_what_broke_in_mid_batch_comes_once_and_in_order() -> None:
    with Broker(batch_size=50, flush_interval=0, failure_threshold=3, recovery_timeout=0.01) as sink:
        sink.break_after = 120
        for value in range(300):
            sink.emit(number(value))
        assert sink.flush(20)
    assert sink.found == list(range(300))
    assert (sink.sent, sink.dropped, sink.failed) == (300, 0, 0)


def test_a_broker_that_stays_away_is_given_up_at_the_stop() -> None:
    sink = Broker(failure_threshold=1, recovery_timeout=3600, flush_interval=0)
    sink.up.clear()
    sink.emit(number(1))
    while sink.circuit_state != "open":
        time.sleep(0.001)
    sink.stop(20)
    assert (sink.sent, sink.dropped, sink.buffered) == (0, 1, 0)


def test_a_broker_that_comes_back_for_the_stop_gets_all() -> None:
    sink = Broker(failure_threshold=1, recovery_timeout=3600, flush_interval=0)
    sink.up.clear()
    for value in range(10):
        sink.emit(number(value))
    while sink.circuit_state != "open":
        time.sleep(0.001)
    sink.up.set()
    sink.stop(20)
    assert sink.found == list(range(10))


def test_a_batch_that_nobody_could_send_is_counted_and_left_behind() -> None:
    class Fussy(Broker):
        async def handle_batch(self, batch: list[Item]) -> None:  # type: ignore[override]
            if batch[0][1].data["n"] == 0:
                raise ValueError("too large, say")
            await super().handle_batch(batch)

    with Fussy(batch_size=2, flush_interval=3600) as sink:
        for value in range(6):
            sink.emit(number(value))
        assert sink.flush(20)
    assert sink.found == [2, 3, 4, 5]
    assert (sink.failed, sink.sent) == (2, 4)


def test_filters_by_function_and_by_type() -> None:
    def picky(event: HeadraceEvent) -> bool:
        return event.data["n"] % 2 == 0  # raises for the token, which has none

    with Collector(event_filter=picky) as sink:
        for value in range(4):
            sink.emit(number(value))
        sink.emit(TokenEvent(token="x"))
    assert numbers(sink.found) == [0, 2]
    with Broker(event_filter=["n"]) as broker:
        broker.emit(TokenEvent(token="x"))
        broker.emit(number(1))
        assert broker.flush()
    assert broker.found == [1]


def test_after_a_stop_events_are_counted_and_a_start_begins_again() -> None:
    sink = Collector()
    sink.emit(number(1))
    sink.stop()
    sink.stop()
    sink.emit(number(2))
    assert (sink.sent, sink.dropped) == (1, 1)
    with sink:
        sink.emit(number(3))
    assert numbers(sink.found) == [1, 3]


def test_a_flush_from_the_handler_does_not_wait_for_itself() -> None:
    said: list[bool] = []

    class Eager(BaseSink):
        def handle_event(self, event: HeadraceEvent) -> None:
            said.append(self.flush())

    with Eager() as sink:
        sink.emit(number(1))
    assert said == [False]


async def test_coroutines_have_their_twins() -> None:
    async with Collector() as sink:
        sink.emit(number(1))
        assert await sink.aflush()
        assert numbers(sink.found) == [1]


def test_a_slow_sink_holds_up_neither_the_program_nor_its_end() -> None:
    sink = Collector(flush_interval=0, buffer_size=5)
    sink.gate.clear()
    for value in range(1000):  # returns: nothing here waits for the gate
        sink.emit(number(value))
    assert sink.found == []
    assert not sink.flush(0.01)
    sink.stop(0.01)
    sink.gate.set()
    assert sink.dropped >= 995


def test_a_program_that_forgets_to_stop_still_sends_what_it_has() -> None:
    program = (
        "from headrace.sinks import TerminalSink\n"
        "from headrace.core.events import TokenEvent\n"
        "TerminalSink(flush_interval=60).emit(TokenEvent(token='late', field='answer'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stdout == '[TOKEN] answer: "late"\n'


@pytest.mark.parametrize(
    "wrong", [{"buffer_size": 0}, {"batch_size": 0}, {"flush_interval": -1}, {"overflow": "explode"}]
)
def test_parameters_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(errors.UsageError):
        Collector(**wrong)
