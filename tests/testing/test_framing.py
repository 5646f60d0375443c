"""However the bytes are cut, requests and responses come out the same."""

from __future__ import annotations

import pytest

from headrace.testing import playback
from headrace.testing.framing import CloseHeader, ResponseReader, chunk

REQUEST = b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody"
CLOSED = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
BINARY = b"\x16\x03raw"
EVENTS = [b"data: 1\n\n", b"data: 2\r\n\r\n", b"data: 3\r\r", b"data: rest"]


@pytest.mark.parametrize("size", [*range(1, 12), 1000])
@pytest.mark.parametrize(
    ("sent", "expected"), [(REQUEST, CLOSED), (UPGRADE, UPGRADE), (b"\x16\x03raw", b"\x16\x03raw")]
)
def test_a_request_asks_for_the_end_of_its_connection(sent: bytes, expected: bytes, size: int) -> None:
    header = CloseHeader()
    assert b"".join(header.feed(piece) for piece in playback.pieces(sent, size=size)) == expected


@pytest.mark.parametrize("size", [*range(1, 12), 1000])
@pytest.mark.parametrize("framed", [True, False])
def test_a_response_comes_apart_into_events(size: int, framed: bool) -> None:
    wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    body = b"".join(EVENTS)
    if framed:
        wire += b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(chunk, playback.pieces(body, size=5)))
        wire += b"0\r\n\r\n"
    else:
        wire += b"\r\n" + body
    reader = ResponseReader()
    found: list[bytes] = []
    for piece in [*playback.pieces(wire, size=size), b""]:
        reader.feed(piece)
        found += reader.take_events()
    assert found == EVENTS
    assert reader.complete
    expected = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert reader.head == expected


def test_a_body_that_breaks_off_is_not_complete() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc\ndef")
    assert reader.take_events() == [b"abc\n"]
    reader.feed(b"")
    assert reader.take_events() == [b"def"]
    assert not reader.complete
