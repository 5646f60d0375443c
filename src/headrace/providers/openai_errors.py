"""What the error objects of OpenAI and of servers compatible with it mean, as typed errors.

One object, `{"message", "type", "code", …}`, comes in error bodies and in the middle of streams, on Chat
Completions and on Responses alike. Vendors fill `type` and `code` as they like: words, numbers, nothing; so
both are looked up, then the message is searched for the few phrases that matter, then the status decides.
Next: `openai_chat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace import errors
from headrace.providers import base, common, loose_json

_CODES: Mapping[str, str] = {
    "invalid_api_key": "auth-failed",
    "authentication_error": "auth-failed",
    "permission_error": "auth-failed",
    "permission_denied": "auth-failed",
    "billing_hard_limit_reached": "auth-failed",
    "rate_limit_exceeded": "rate-limited",
    "rate_limit_error": "rate-limited",
    "insufficient_quota": "rate-limited",
    "model_not_found": "model-not-found",
    "model_not_available": "model-not-found",
    "context_length_exceeded": "context-too-long",
    "exceed_context_size_error": "context-too-long",
    "request_too_large": "context-too-long",
    "content_filter": "content-blocked",
    "content_policy_violation": "content-blocked",
    "image_content_policy_violation": "content-blocked",
    "bio_policy": "content-blocked",
    "misalignment_policy_violation": "content-blocked",
    "responsibleaipolicyviolation": "content-blocked",
    "overloaded_error": "provider-overloaded",
    "server_overloaded": "provider-overloaded",
    "engine_overloaded": "provider-overloaded",
    "service_unavailable": "provider-overloaded",
    "unavailable_error": "provider-overloaded",
    "timeout": "provider-timeout",
    "timeout_error": "provider-timeout",
    "vector_store_timeout": "provider-timeout",
    # The model wrote a tool call that its own server refused; drawn again it may be right.
    "tool_use_failed": "provider-error",
    "server_error": "provider-error",
    "internal_error": "provider-error",
    "internal_server_error": "provider-error",
    "api_error": "provider-error",
    "invalid_prompt": "bad-request",
    "invalid_request_error": "bad-request",
    "badrequesterror": "bad-request",
}
# Asking again does not fill an account.
_FINAL = frozenset(("insufficient_quota", "billing_hard_limit_reached"))
_KEPT = ("type", "code", "param", "failed_generation", "metadata", "n_prompt_tokens", "n_ctx")


def from_body(status: int, body: bytes) -> errors.ProviderError | None:
    """The typed error of a body that came with an error status; None where there is no error object in it."""
    try:
        raw = msgspec.json.decode(body)
    except loose_json.NOT_JSON:
        return None
    if isinstance(raw, list) and raw:
        raw = raw[0]
    if not isinstance(raw, dict):
        return None
    found = raw.get("error", raw)
    if not isinstance(found, str | dict):
        return None
    if isinstance(found, dict) and not any(key in found for key in ("message", "code", "type", "detail")):
        return None
    return from_object(found, status)


def from_object(found: Any, status: int | None = None) -> errors.ProviderError:
    """The typed error of an error object, or of a bare text in its place.

    Args:
        found: what stood under `error`.
        status: the HTTP status it came with; None in the middle of a stream, where the object's own
            `status_code` or numeric `code` stands in.
    """
    body: dict[str, Any] = found if isinstance(found, dict) else {"message": str(found)}
    message = body.get("message") or body.get("detail") or "no reason given"
    if not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    message = loose_json.clean(message)
    words = [str(body[key]).lower() for key in ("code", "type") if body.get(key) is not None]
    own = next((_number(body.get(key)) for key in ("status_code", "code") if _number(body.get(key))), None)
    code = next((_CODES[word] for word in words if word in _CODES), None)
    if code in (None, "bad-request") and common.too_long(message):
        code = "context-too-long"
    known_status = status or own
    if code is None or (code == "bad-request" and known_status in (401, 403, 404, 429)):
        code = base.status_error(known_status, "").code if known_status else "provider-error"
    shown = f" (HTTP {status})" if status else ""
    return errors.ProviderError(
        f"{message}{shown}",
        code=code,
        retryable=False if any(word in _FINAL for word in words) else None,
        details={key: body[key] for key in _KEPT if body.get(key) is not None},
        provider_status=known_status,
    )


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else None
