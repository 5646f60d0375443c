"""AMQP frames both ways, in any cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from headrace.protocol import amqp


def delivered(tag: int, body: bytes, *, message_id: str = "", cut: int = 10, **headers: object) -> bytes:
    """What a broker sends for one message, its body in frames of `cut` bytes."""
    head = amqp.method(1, commands.Basic.Deliver("ctag", tag, True, "exchange", "the.key"))
    published = amqp.publish(
        1, "e", "k", body, message_id=message_id, frame_max=cut + 8, headers=headers or None
    )
    first = 8 + int.from_bytes(published[3:7], "big")
    return head + published[first:]


@given(body=st.binary(max_size=200), cut=st.integers(1, 50), size=st.integers(1, 40))
def test_a_message_comes_back_whatever_the_cuts(body: bytes, cut: int, size: int) -> None:
    data = amqp.HEARTBEAT + delivered(7, body, message_id="a:1", cut=cut, n=3) + delivered(8, b"x")
    decoder = amqp.Decoder()
    found = [e for start in range(0, len(data), size) for e in decoder.feed(data[start : start + size])]
    assert found == [
        amqp.Delivery(7, True, "the.key", "a:1", {"n": 3}, body),
        amqp.Delivery(8, True, "the.key", "", {}, b"x"),
    ]


def test_confirms_and_other_methods() -> None:
    methods = [commands.Basic.Ack(5, True), commands.Basic.Nack(6, False), commands.Connection.Tune(1, 2, 3)]
    acked, refused, tune = amqp.Decoder().feed(b"".join(amqp.method(1, one) for one in methods))
    assert (acked, refused) == (amqp.Confirm(5, True, True), amqp.Confirm(6, False, False))
    assert isinstance(tune, commands.Connection.Tune)
    assert tune.frame_max == 2


@pytest.mark.parametrize(
    "data",
    [
        b"AMQP\x00\x00\x09\x01",
        b"\x01\x00\x01\x00\x00\x00\x01\x00\x00\x00",
        b"\x07\x00\x01\x00\x00\x00\x00\xce",
        b"\x01\x00\x01\xff\xff\xff\xff\x00",
        b"\x01\x00\x01\x00\x00\x00\x01\x00\xce",
        b"\x03\x00\x01\x00\x00\x00\x01x\xce",
    ],
)
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(amqp.ProtocolError):
        amqp.Decoder().feed(data)


def test_a_routing_key_has_its_bound() -> None:
    with pytest.raises((TypeError, ValueError), match="length"):
        amqp.publish(1, "e", "x" * 256, b"", message_id="1", frame_max=4096)
