"""Error objects of OpenAI and compatible servers, as typed errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.providers import openai_errors


@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (401, {"message": "Incorrect API key", "code": "invalid_api_key"}, "auth-failed", False),
        (403, {"message": "no", "type": "permission_error"}, "auth-failed", False),
        (429, {"message": "slow", "code": "rate_limit_exceeded"}, "rate-limited", True),
        (429, {"message": "slow", "type": "tokens"}, "rate-limited", True),
        (
            429,
            {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"},
            "rate-limited",
            False,
        ),
        (404, {"message": "The model does not exist", "code": "model_not_found"}, "model-not-found", False),
        (404, {"message": "no such model", "type": "invalid_request_error"}, "model-not-found", False),
        (400, {"message": "too long", "code": "context_length_exceeded"}, "context-too-long", False),
        (
            400,
            {"message": "maximum context length is 8192 tokens", "type": "invalid_request_error"},
            "context-too-long",
            False,
        ),
        (
            400,
            {"message": "exceeds the available context size", "type": "exceed_context_size_error"},
            "context-too-long",
            False,
        ),
        (400, {"message": "bad", "type": "invalid_request_error", "code": None}, "bad-request", False),
        (400, {"message": "filtered", "code": "content_filter"}, "content-blocked", False),
        (500, {"message": "boom", "type": "server_error"}, "provider-error", True),
        (
            503,
            {"message": "Loading model", "type": "unavailable_error", "code": 503},
            "provider-overloaded",
            True,
        ),
        (529, {"message": "busy"}, "provider-overloaded", True),
        (418, {"message": "teapot"}, "bad-request", False),
        (599, {"message": "odd"}, "provider-error", True),
    ],
)
def test_bodies(status: int, error: dict[str, Any], code: str, retryable: bool) -> None:
    found = openai_errors.from_body(status, json.dumps({"error": error}).encode())
    assert found is not None
    assert (found.code, found.retryable, found.provider_status) == (code, retryable, status)
    assert error["message"] in found.message


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Not Found"},
        {"object": "error", "message": "no", "code": 404},
        [{"error": {"message": "no"}}],
        {"error": "no such thing"},
    ],
)
def test_other_shapes(body: Any) -> None:
    found = openai_errors.from_body(404, json.dumps(body).encode())
    assert found is not None
    assert found.code == "model-not-found"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"7", b"{}", b'{"error": 7}', b'{"error": {}}', b"\xff", b"[" * 99_999]
)
def test_no_error_object(body: bytes) -> None:
    assert openai_errors.from_body(500, body) is None


def test_what_a_program_may_want_is_in_the_details() -> None:
    found = openai_errors.from_object(
        {"message": "m", "code": "tool_use_failed", "failed_generation": "{", "x": 1}
    )
    assert found.details == {"code": "tool_use_failed", "failed_generation": "{"}
    assert found.retryable


def test_messages_that_are_no_text() -> None:
    assert "why" in openai_errors.from_object({"message": {"why": 1}}).message
    assert openai_errors.from_object({"message": None, "code": 500}).message == "no reason given"
    openai_errors.from_object({"message": "\ud83d"}).message.encode()
