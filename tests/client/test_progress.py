"""Each event once, and never a hole."""

from __future__ import annotations

import pytest

from headrace import errors, events
from headrace.client.progress import Progress
from headrace.protocol import sse


def _block(seq: int, *, first: int | None = None, run: str = "run_a") -> sse.SSE:
    event = events.TextDelta(
        block="b1", delta="x" * (seq - (first or seq) + 1), run=run, seq=seq, from_seq=first
    )
    return sse.SSE(events.encode(event))


def test_new_events_pass_and_known_ones_do_not() -> None:
    progress = Progress("run_a", 2)
    assert [
        event.seq for event in progress.take([_block(1), _block(2), _block(3), _block(3), _block(4)])
    ] == [3, 4]
    assert progress.seq == 4


def test_a_merged_delta_covers_its_seqs() -> None:
    progress = Progress("run_a", 2)
    assert [event.seq for event in progress.take([_block(9, first=3), _block(10)])] == [9, 10]
    assert progress.take([_block(9, first=3)]) == []


@pytest.mark.parametrize("block", [_block(4), _block(9, first=4)])
def test_a_hole_is_told(block: sse.SSE) -> None:
    with pytest.raises(errors.ReadError, match="events 3 to 3 of run_a are missing") as caught:
        Progress("run_a", 2).take([block])
    assert caught.value.code == "stream-incomplete"
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "block",
    [_block(5, first=2), _block(3, run="run_b"), sse.SSE(b"{"), sse.SSE(b'{"type":"custom","name":"n"}')],
)
def test_what_is_not_the_next_event_is_refused(block: sse.SSE) -> None:
    with pytest.raises(errors.ReadError) as caught:
        Progress("run_a", 2).take([block])
    assert caught.value.code == "provider-protocol"
    assert not caught.value.retryable


def test_unknown_types_count_too() -> None:
    progress = Progress("run_a", 2)
    (event,) = progress.take(
        [sse.SSE(b'{"type":"later","run":"run_a","seq":3,"time":"2026-11-20T10:00:00Z"}')]
    )
    assert isinstance(event, events.Unknown)
    assert progress.seq == 3


def test_the_end() -> None:
    progress = Progress("run_a", 2)
    end = events.RunEnd(outcome="completed", run="run_a", seq=3)
    progress.take([sse.SSE(events.encode(end))])
    assert progress.ended
