"""From URLs to consumers."""

from __future__ import annotations

import pytest

from headrace import consumer, errors


def test_each_scheme_has_its_consumer() -> None:
    redis = consumer.EventConsumer("redis://localhost?group=web&stream_key=tokens", batch_size=7)
    assert isinstance(redis, consumer.RedisStreamConsumer)
    assert (redis.group, redis.stream_key, redis.batch_size) == ("web", "tokens", 7)
    rabbit = consumer.EventConsumer("amqp://localhost?stream=true&group=none", group="x")
    assert isinstance(rabbit, consumer.RabbitMQConsumer)
    assert (rabbit.stream, rabbit.group) == (True, "x")


@pytest.mark.parametrize("url", ["http://localhost", "nothing", "redis://localhost?claim_idle=x"])
def test_what_has_none(url: str) -> None:
    with pytest.raises(errors.UsageError):
        consumer.EventConsumer(url)


def test_every_name_of_the_room_can_be_had() -> None:
    for name in consumer.__all__:
        assert getattr(consumer, name) is not None
    assert set(dir(consumer)) == set(consumer.__all__)
    with pytest.raises(AttributeError):
        _ = consumer.nothing
