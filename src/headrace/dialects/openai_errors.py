"""Our error codes in OpenAI's words: `type` and `code` of the error object of their API.

Their clients choose the exception by HTTP status and show the rest. Next: `openai_chat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS: Mapping[str, tuple[str, str]] = {
    "unauthorized": ("authentication_error", "invalid_api_key"),
    "forbidden": ("permission_error", "forbidden"),
    "model-not-found": ("invalid_request_error", "model_not_found"),
    "context-too-long": ("invalid_request_error", "context_length_exceeded"),
    "content-blocked": ("invalid_request_error", "content_filter"),
    "rate-limited": ("rate_limit_error", "rate_limit_exceeded"),
    "too-many": ("rate_limit_error", "rate_limit_exceeded"),
}
_INVALID = frozenset({"bad-request", "too-large", "usage", "run-not-found", "retention-passed"})


def error_body(code: str, message: str, *, param: str | None = None) -> dict[str, Any]:
    """The body of an error: `{"error": {"message", "type", "param", "code"}}`."""
    kind, word = _WORDS.get(code) or (
        "invalid_request_error" if code in _INVALID else "server_error",
        code.replace("-", "_"),
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": word}}
