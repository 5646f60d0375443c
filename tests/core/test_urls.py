"""Options in the query of a URL."""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.core.urls import split


def test_known_options_are_taken_out_and_others_stay() -> None:
    url = "redis://h:1/0?size=5&ssl_cert_reqs=none&wait=0.5&name=a%20b&on=true&group=none"
    place, options = split(url, {"size": int, "wait": float, "name": str, "on": bool, "group": str})
    assert place == "redis://h:1/0?ssl_cert_reqs=none"
    assert options == {"size": 5, "wait": 0.5, "name": "a b", "on": True, "group": None}
    assert split("redis://h", {"size": int}) == ("redis://h", {})


@pytest.mark.parametrize(("url", "kind"), [("x:?a=b", int), ("x:?a=b", bool)])
def test_a_value_of_the_wrong_type(url: str, kind: type) -> None:
    with pytest.raises(errors.UsageError, match="a='b'"):
        split(url, {"a": kind})
