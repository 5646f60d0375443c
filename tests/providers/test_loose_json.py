"""JSON that is not quite right: what is read of it, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace import errors
from headrace.providers import loose_json


class Inner(msgspec.Struct):
    count: int | None = None
    text: str | None = None


class Outer(msgspec.Struct):
    name: str = ""
    flag: bool | None = None
    inner: Inner | None = None
    rows: list[Inner] | None = None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, Outer()),
        ({"name": 7, "flag": "true", "other": []}, Outer(name="7", flag=True)),
        ({"name": [], "inner": {"count": "3", "text": None}}, Outer(inner=Inner(count=3))),
        ({"inner": {"count": 2.0, "text": 2.5}}, Outer(inner=Inner(count=2, text="2.5"))),
        ({"inner": "odd", "rows": [{"text": "a"}, None, 7]}, Outer(rows=[Inner(text="a")])),
        ({"name": "\ud83d"}, Outer(name="\ufffd")),
    ],
)
def test_what_can_be_read_is_read(body: dict[str, Any], expected: Outer) -> None:
    assert loose_json.convert(Outer, body) == expected


def test_pieces_of_a_character_are_joined() -> None:
    joined = loose_json.Joiner()
    texts = [
        loose_json.convert(Inner, {"text": piece}, joined, frozenset({"text"})).text
        for piece in ("a\ud83d", "\ude00")
    ]
    assert texts == ["a", "😀"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        (b'{"a":"x\ny"}', {"a": "x\ny"}),
        (b'{"a":1}', {"a": 1}),
    ],
)
def test_objects(payload: bytes, expected: Any) -> None:
    assert loose_json.read_object(payload) == expected


@pytest.mark.parametrize("payload", [b"", b"[1]", b"7", b"{", b'{"a":}', b"[" * 100_000])
def test_what_is_no_object_is_refused_with_its_beginning(payload: bytes) -> None:
    with pytest.raises(errors.ProviderError) as raised:
        loose_json.read_object(payload)
    assert raised.value.code == "provider-protocol"
    assert raised.value.details["start"] == payload[:200].decode()
