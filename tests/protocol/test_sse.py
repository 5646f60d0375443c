"""Server-sent events: the rules of WHATWG HTML §9.2, any cut, and the bounds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.protocol import sse
from headrace.protocol.sse import SSE

FIELDS = (
    b"data",
    b"data:",
    b"data: ",
    b"event: e",
    b"event",
    b"id: 1",
    b"id",
    b"id: \0",
    b"retry: 5",
    b":hb",
)
ENDS = (b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n")
OTHERS = (b"x", b" ", b":", b"\xef\xbb\xbf", b"\xc3\xa9", b"\0")
WIRE_BYTES = st.lists(st.sampled_from((*FIELDS, *ENDS, *OTHERS)), max_size=40).map(b"".join)


def read(*pieces: bytes, limit: int = sse.MAX_EVENT_BYTES) -> list[SSE]:
    decoder = sse.Decoder(max_event_bytes=limit)
    return [event for piece in pieces for event in decoder.feed(piece)]


def state(pieces: list[bytes], limit: int) -> tuple[list[SSE], str, str | None, int | None, int, bool]:
    """Everything an observer can see of a decoder after these bytes."""
    decoder, out, failure = sse.Decoder(max_event_bytes=limit), [], ""
    try:
        for piece in pieces:
            out += decoder.feed(piece)
            decoder.feed(b"")
    except errors.ProviderError as error:
        failure = error.code
    pending = decoder.pending if not failure else False
    return out, failure, decoder.last_id, decoder.retry_ms, decoder.comments, pending


def plain(data: bytes) -> list[SSE]:
    """A second, slow reading of the rules, line by line, for the tests to compare with."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    out: list[SSE] = []
    lines, name, buffer, last = [], b"", b"", None
    *lines, _ = text.split(b"\n")
    for line in lines:
        if not line:
            if buffer:
                out.append(SSE(buffer[:-1], name.decode("utf-8", "replace"), last))
            name, buffer = b"", b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                buffer += value + b"\n"
            elif field == b"event":
                name = value
            elif field == b"id" and b"\0" not in value:
                last = value.decode("utf-8", "replace")
    return out


def test_the_usual_event() -> None:
    assert read(b"data: one\n\ndata: two\n\n") == [SSE(b"one"), SSE(b"two")]


def test_data_on_several_lines_is_joined_with_line_feeds() -> None:
    assert read(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [SSE(b"YHOO\n+2\n10")]


def test_comments_are_counted_and_not_dispatched() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(b": test stream\n\n:\ndata: first\n\n") == [SSE(b"first")]
    assert decoder.comments == 2


def test_an_id_stays_until_it_is_changed_and_an_empty_one_clears_it() -> None:
    events = read(b"data: a\nid: 1\n\ndata: b\n\ndata: c\nid\n\n")
    assert events == [SSE(b"a", "", "1"), SSE(b"b", "", "1"), SSE(b"c", "", "")]


def test_an_id_counts_only_when_its_block_has_ended() -> None:
    decoder = sse.Decoder()
    decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert decoder.last_id == "1"
    assert decoder.feed(b"\n") == [SSE(b"b", "", "2")]
    assert decoder.last_id == "2"


def test_an_id_without_data_moves_the_cursor_and_dispatches_nothing() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(b"id: 9\n\n") == []
    assert decoder.last_id == "9"
    assert decoder.feed(b"data: x\n\n") == [SSE(b"x", "", "9")]


def test_an_id_with_nul_is_ignored() -> None:
    assert read(b"id: 1\n\nid: a\0b\ndata: x\n\n") == [SSE(b"x", "", "1")]


def test_one_space_after_the_colon_is_dropped() -> None:
    assert read(b"data:x\n\ndata: x\n\ndata:  x\n\n") == [SSE(b"x"), SSE(b"x"), SSE(b" x")]


def test_data_without_value_dispatches_an_empty_event() -> None:
    assert read(b"data\n\ndata\ndata\n\ndata:") == [SSE(b""), SSE(b"\n")]


def test_an_event_name_belongs_to_one_event() -> None:
    assert read(b"event: error\ndata: x\n\ndata: y\n\n") == [SSE(b"x", "error"), SSE(b"y")]


def test_an_event_name_without_data_is_forgotten() -> None:
    assert read(b"event: error\n\ndata: y\n\n") == [SSE(b"y")]


@pytest.mark.parametrize(
    ("value", "milliseconds"), [(b"5000", 5000), (b"x", None), (b"-1", None), (b"", None)]
)
def test_retry_is_digits_or_ignored(value: bytes, milliseconds: int | None) -> None:
    decoder = sse.Decoder()
    decoder.feed(b"retry: " + value + b"\n\n")
    assert decoder.retry_ms == milliseconds


def test_unknown_fields_are_ignored() -> None:
    assert read(b"datax: 1\nDATA: 2\nfoo\ndata: y\n\n") == [SSE(b"y")]


def test_the_byte_order_mark_is_dropped_once() -> None:
    assert read(b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n") == [SSE(b"x")]
    assert read(b"\xef", b"\xbb", b"\xbf", b"data: x\n\n") == [SSE(b"x")]


def test_an_unfinished_event_is_never_dispatched() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(b"data: x\n") == []
    assert decoder.pending
    decoder.feed(b"\n")
    assert not decoder.pending


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end(end: bytes) -> None:
    data = b"event: e" + end + b"data: 1" + end + b"data: 2" + end + end + b"data: 3" + end + end
    assert read(data) == [SSE(b"1\n2", "e"), SSE(b"3")]
    assert read(*(bytes([byte]) for byte in data)) == [SSE(b"1\n2", "e"), SSE(b"3")]


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    assert read(b"data: 1\r", b"\ndata: 2\r", b"\n\r", b"\n") == [SSE(b"1\n2")]


def test_characters_are_not_cut() -> None:
    assert read(*(bytes([byte]) for byte in "data: 😀é\n\n".encode())) == [SSE("😀é".encode())]


@settings(max_examples=300, deadline=None)
@given(data=WIRE_BYTES)
def test_the_events_are_those_of_the_plain_reading(data: bytes) -> None:
    assert read(data) == plain(data)


@settings(max_examples=300, deadline=None)
@example(data=b"\xef\xbb\xbf", cuts=[1], limit=8)
@given(data=WIRE_BYTES, cuts=st.lists(st.integers(0, 400), max_size=8), limit=st.sampled_from([8, 20, 1000]))
def test_any_cut_gives_the_same(data: bytes, cuts: list[int], limit: int) -> None:
    at = sorted({min(cut, len(data)) for cut in cuts})
    pieces = [data[a:b] for a, b in itertools.pairwise([0, *at, len(data)])]
    expected = state([data], limit)
    assert state(pieces, limit)[:2] == expected[:2]
    assert state([data[i : i + 1] for i in range(len(data))], limit)[:2] == expected[:2]
    if not expected[1]:
        assert state(pieces, limit) == expected


@pytest.mark.parametrize("size", [10_000_000])
def test_a_line_of_10_mb_is_refused_whole_and_in_pieces(size: int) -> None:
    line = b"data: " + b"x" * size
    for pieces in ([line], [line + b"\n\n"], [line[i : i + 65536] for i in range(0, len(line), 65536)]):
        with pytest.raises(errors.ProviderError) as raised:
            read(*pieces)
        assert raised.value.code == "provider-protocol"
        assert not raised.value.retryable


def test_what_is_kept_of_a_refused_line_is_bounded() -> None:
    decoder = sse.Decoder(max_event_bytes=100)
    for _ in range(10):
        decoder.feed(b"x" * 10)
    assert decoder.pending
    with pytest.raises(errors.ProviderError):
        decoder.feed(b"x")
    assert not decoder.pending


def test_the_data_of_one_event_is_bounded_over_its_lines() -> None:
    with pytest.raises(errors.ProviderError):
        read(*[b"data: 12345678\n"] * 20, limit=100)


def test_events_before_a_refused_line_come_first() -> None:
    decoder = sse.Decoder(max_event_bytes=20)
    assert decoder.feed(b"data: a\n\ndata: " + b"x" * 30 + b"\n\n") == [SSE(b"a")]
    with pytest.raises(errors.ProviderError):
        decoder.feed(b"")
    with pytest.raises(errors.ProviderError):
        decoder.feed(b"data: b\n\n")


@settings(max_examples=200, deadline=None)
@given(
    data=st.text(alphabet=st.sampled_from("ab\n\r é:")).map(str.encode),
    id=st.none() | st.text(alphabet="r._19", max_size=5),
    event=st.none() | st.text(alphabet="e-", min_size=1, max_size=5),
)
def test_a_frame_reads_back(data: bytes, id: str | None, event: str | None) -> None:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert read(sse.frame(data, id=id, event=event)) == [SSE(lines, event or "", id)]


@pytest.mark.parametrize(
    "options", [{"id": "a\nb"}, {"id": "a\0"}, {"id": "a\r"}, {"event": "a\nb"}, {"event": "\r"}]
)
def test_a_frame_cannot_be_broken_out_of(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        sse.frame(b"x", **options)


def test_heartbeats_and_retry_are_read_as_such() -> None:
    decoder = sse.Decoder()
    assert decoder.feed(sse.HEARTBEAT + sse.retry(1500)) == []
    assert (decoder.comments, decoder.retry_ms) == (1, 1500)
