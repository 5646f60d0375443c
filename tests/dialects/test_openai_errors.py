"""Our codes in OpenAI's words."""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.dialects.openai_errors import error_body


@pytest.mark.parametrize("code", sorted(errors.CODES))
def test_every_code_has_a_body(code: str) -> None:
    body = error_body(code, "why", param="model")["error"]
    assert body["message"] == "why"
    assert body["param"] == "model"
    assert body["type"].endswith("_error")
    assert "-" not in body["code"]


def test_the_words_their_clients_know() -> None:
    assert error_body("model-not-found", "")["error"]["code"] == "model_not_found"
    assert error_body("context-too-long", "")["error"]["code"] == "context_length_exceeded"
    assert error_body("rate-limited", "")["error"]["type"] == "rate_limit_error"
    assert error_body("unauthorized", "")["error"]["code"] == "invalid_api_key"
