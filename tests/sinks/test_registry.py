"""From URLs to sinks."""

from __future__ import annotations

import pytest

from headrace import errors, sinks


def test_each_scheme_has_its_sink() -> None:
    found = {
        "redis://localhost:6379?stream_key=tokens&buffer_size=5": sinks.RedisSink,
        "amqp://localhost?exchange=tokens&stream=true": sinks.RabbitMQSink,
        "events.jsonl": sinks.JsonlSink,
        "jsonl:out/events?max_bytes=0": sinks.JsonlSink,
        "terminal:?inline=true": sinks.TerminalSink,
    }
    for url, cls in found.items():
        assert type(sinks.of(url)) is cls, url
    assert sinks.of("redis://localhost?buffer_size=7").room == 7


@pytest.mark.parametrize(
    "url", ["http://localhost", "nothing", "redis://localhost?buffer_size=x", "amqp://localhost?batch_size=0"]
)
def test_what_has_none(url: str) -> None:
    with pytest.raises(errors.UsageError):
        sinks.of(url)


def test_every_name_of_the_room_can_be_had() -> None:
    for name in sinks.__all__:
        assert getattr(sinks, name) is not None
    assert set(dir(sinks)) == set(sinks.__all__)
    with pytest.raises(AttributeError):
        _ = sinks.nothing
