"""Keys, hosts and sites, without a server."""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.server import access


def _headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]


def test_the_owner_is_a_hash_of_the_key() -> None:
    gate = access.Gate(["alpha", "beta"])
    alpha = gate.owner(_headers(authorization="Bearer alpha"))
    assert alpha == access.owner_of("alpha") != access.owner_of("beta")
    assert "alpha" not in alpha
    assert gate.owner(_headers(authorization="bearer  alpha ")) == alpha
    assert access.Gate().owner([]) == ""


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer alph", "Bearer alpha2", "Basic alpha", "Bearer \xe9"]
)
def test_a_wrong_key(value: str) -> None:
    with pytest.raises(errors.AccessError) as caught:
        access.Gate(["alpha"]).owner(_headers(authorization=value))
    assert caught.value.code == "unauthorized"
    assert "alph" not in caught.value.message.replace("alphabet", "")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:1",
        "LOCALHOST",
        "a.localhost:80",
        "127.0.0.1:8642",
        "[::1]:8642",
        "[::1]",
        "10.0.0.7",
    ],
)
def test_our_own_names(host: str) -> None:
    access.Gate().check_host(_headers(host=host))


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", "1"]
)
def test_other_names(host: str) -> None:
    with pytest.raises(errors.AccessError):
        access.Gate().check_host(_headers(host=host))
    access.Gate(hosts=["*"]).check_host(_headers(host=host))
    access.Gate(["key"]).check_host(_headers(host=host))


def test_sites() -> None:
    gate = access.Gate(origins=["https://app.example/"])
    for good in (
        _headers(host="localhost:1", origin="http://localhost:1"),
        _headers(host="localhost:1", origin="https://app.example"),
        _headers(host="localhost:1"),
        _headers(host="localhost:1", sec_fetch_site="same-origin"),
    ):
        gate.check_site(good)
    for bad in (
        _headers(host="localhost:1", origin="http://localhost:2"),
        _headers(host="localhost:1", origin="null"),
        _headers(host="localhost:1", origin=""),
        _headers(origin="http://localhost:1"),
        _headers(host="localhost:1", sec_fetch_site="cross-site"),
    ):
        with pytest.raises(errors.AccessError) as caught:
            gate.check_site(bad)
        assert caught.value.code == "forbidden"
        access.Gate(["key"]).check_site(bad)


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, inside: bool) -> None:
    assert access.is_loopback(host) is inside
