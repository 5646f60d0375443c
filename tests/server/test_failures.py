"""Errors as HTTP."""

from __future__ import annotations

import json

from headrace import errors
from headrace.server import failures


def test_the_shape() -> None:
    error = errors.UsageError("no", code="too-many", details={"limit": 3})
    assert json.loads(failures.body(error)) == {
        "error": {"code": "too-many", "message": "no", "details": {"limit": 3}}
    }
    assert (b"retry-after", b"1") in failures.headers(error)
    assert failures.response(error).status_code == 429
    assert failures.response(error, status=418).status_code == 418


def test_an_error_that_json_cannot_say_is_still_told() -> None:
    error = errors.UsageError("lone \ud800", code="bad-request", details={"x": object()})
    assert json.loads(failures.body(error))["error"]["code"] == "bad-request"
