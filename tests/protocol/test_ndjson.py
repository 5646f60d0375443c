"""Newline-delimited JSON: lines, any cut, and the bound."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.protocol import ndjson

BYTES = st.lists(
    st.sampled_from(
        [b'{"a":1}', b"\n", b"\n", b"\r\n", b"\r", b" ", b"\t", b"x", "é".encode(), b"xxxxxxxxxxxx"]
    ),
    max_size=30,
).map(b"".join)


def read(pieces: list[bytes], limit: int = ndjson.MAX_LINE_BYTES) -> tuple[list[bytes], str]:
    decoder, out = ndjson.Decoder(max_line_bytes=limit), []
    try:
        for piece in pieces:
            out += decoder.feed(piece)
        out += decoder.close()
    except errors.ProviderError as error:
        return out, error.code
    return out, ""


def test_lines() -> None:
    assert read([b'{"a":1}\n{"b":2}\n']) == ([b'{"a":1}', b'{"b":2}'], "")


def test_crlf_and_blank_lines() -> None:
    assert read([b"1\r\n\r\n\n  \n2\r\n"]) == ([b"1", b"2"], "")


def test_the_last_line_may_lack_its_line_end() -> None:
    decoder = ndjson.Decoder()
    assert decoder.feed(b"1\n2") == [b"1"]
    assert decoder.close() == [b"2"]
    assert decoder.close() == []


def test_characters_are_not_cut() -> None:
    data = "😀\né\n".encode()
    assert read([bytes([byte]) for byte in data])[0] == ["😀".encode(), "é".encode()]


@settings(max_examples=300, deadline=None)
@given(data=BYTES)
def test_the_lines_are_those_of_a_plain_split(data: bytes) -> None:
    stripped = (line.strip(b" \t\r") for line in data.split(b"\n"))
    assert read([data])[0] == [line for line in stripped if line]


@settings(max_examples=300, deadline=None)
@given(data=BYTES, cuts=st.lists(st.integers(0, 300), max_size=8), limit=st.sampled_from([10, 1000]))
def test_any_cut_gives_the_same(data: bytes, cuts: list[int], limit: int) -> None:
    at = sorted({min(cut, len(data)) for cut in cuts})
    expected = read([data], limit)
    assert read([data[a:b] for a, b in itertools.pairwise([0, *at, len(data)])], limit) == expected
    assert read([data[i : i + 1] for i in range(len(data))], limit) == expected


def test_a_line_of_10_mb_is_refused_whole_and_in_pieces() -> None:
    line = b"x" * 10_000_000
    for pieces in ([line], [line + b"\n"], [line[i : i + 65536] for i in range(0, len(line), 65536)]):
        assert read(pieces) == ([], "provider-protocol")


def test_lines_before_a_refused_one_come_first() -> None:
    decoder = ndjson.Decoder(max_line_bytes=5)
    assert decoder.feed(b"1\n1234567\n2\n") == [b"1"]
    with pytest.raises(errors.ProviderError):
        decoder.feed(b"")
    with pytest.raises(errors.ProviderError):
        decoder.close()
