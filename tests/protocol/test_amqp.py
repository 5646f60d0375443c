"""AMQP frames both ways, in any cut."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.protocol import amqp


def delivered(tag: int, body: bytes, *, message_id: str = "", cut: int = 10, **headers: object) -> bytes:
    """What a broker sends for one message, its body in frames of `cut` bytes."""
    head = amqp.method(1, amqp.DELIVER, amqp.pack("sQBss", "ctag", tag, 1, "exchange", "the.key"))
    published = amqp.publish(
        1, "e", "k", body, message_id=message_id, frame_max=cut + 8, headers=headers or None
    )
    first = 7 + struct.unpack_from(">BHI", published)[2] + 1
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


def test_confirms_and_rare_methods() -> None:
    data = b"".join(
        [
            amqp.method(1, amqp.ACK, amqp.pack("QB", 5, 1)),
            amqp.method(1, amqp.NACK, amqp.pack("QB", 6, 0)),
            amqp.method(0, amqp.TUNE, amqp.pack("HIH", 1, 2, 3)),
        ]
    )
    assert amqp.Decoder().feed(data) == [
        amqp.Confirm(5, True, True),
        amqp.Confirm(6, False, False),
        amqp.Method(amqp.TUNE, amqp.pack("HIH", 1, 2, 3)),
    ]


def test_tables_there_and_back() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {"flag": True, "n": -5, "text": "日本", "inside": {"a": "b"}, "when": moment}
    found, end = amqp.table(packed := amqp.pack("t", fields))
    assert end == len(packed)
    assert found == {**fields, "when": int(moment.timestamp())}


def test_every_type_of_field_that_a_broker_may_send() -> None:
    def field(kind: bytes, value: bytes) -> bytes:
        return b"\x01k" + kind + value

    cases = {
        field(b"b", b"\xff"): -1, field(b"B", b"\xff"): 255, field(b"s", b"\xff\xff"): -1,
        field(b"u", b"\xff\xff"): 65535, field(b"I", b"\xff\xff\xff\xff"): -1,
        field(b"i", b"\x00\x00\x00\x02"): 2, field(b"f", struct.pack(">f", 0.5)): 0.5,
        field(b"d", struct.pack(">d", 0.25)): 0.25, field(b"V", b""): None,
        field(b"D", b"\x02\x00\x00\x00\x7d"): 1.25, field(b"x", b"\x00\x00\x00\x01z"): b"z",
        field(b"A", b"\x00\x00\x00\x04t\x01t\x00"): [True, False],
    }  # fmt: skip
    for packed, value in cases.items():
        assert amqp.table(struct.pack(">I", len(packed)) + packed)[0] == {"k": value}
    with pytest.raises(amqp.ProtocolError, match="unknown type"):
        amqp.table(struct.pack(">I", 3) + b"\x01k?")


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


def test_a_short_string_has_its_bound() -> None:
    with pytest.raises(ValueError, match="255"):
        amqp.pack("s", "x" * 256)
