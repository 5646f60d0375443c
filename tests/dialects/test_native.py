"""The native dialect says what the run log's own frames say."""

from __future__ import annotations

from collections.abc import Callable

from headrace import dialects, events
from headrace.protocol import sse
from headrace.runlog.base import Entry


def test_frames_are_those_of_the_log(name: str, scenario: Callable, info: dialects.Info) -> None:
    encoder = dialects.get("native").encoder(info)
    for event in scenario(name):
        assert encoder.encode(event) == Entry(event, event.seq, event.seq).frame


def test_events_come_back_as_they_went(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    decoder = sse.Decoder()
    blocks = decoder.feed(encode("native", batch))
    assert [events.decode(block.data) for block in blocks] == batch
    assert [block.id for block in blocks] == [f"{event.run}.{event.seq}" for event in batch]
    assert decoder.retry_ms == 1000
