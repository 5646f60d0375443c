"""The one error tree, and the one list of error codes.

    HeadraceError               everything raised on purpose; has code, message, retryable, details
    ├── UsageError              wrong use on this side of the wire; the caller mends it
    │   └── MissingExtra        an optional dependency is not installed; the message has the install line
    ├── AccessError             no key, a wrong key, or somebody else's run
    ├── ReadError               a run or a cursor that cannot be read
    ├── ProviderError           the far side failed, refused, stalled or broke off
    ├── RunError                the run itself ended badly: output rejected, tool failed, deadline
    └── StoreError              a ledger or a run log cannot be reached or written

A code is a word that users rely on: it is the same in `run-end`, in HTTP bodies, on the command line
and in both clients. `CODES` says for each whether trying again can help, and which HTTP status it has.
Nothing may live here that knows about HTTP libraries, providers or stores. Next: `messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "CODES",
    "AccessError",
    "CodeInfo",
    "HeadraceError",
    "MissingExtra",
    "ProviderError",
    "ReadError",
    "RunError",
    "StoreError",
    "UsageError",
    "error_for",
]


class CodeInfo(NamedTuple):
    """What a code means: can the same request succeed later, and which HTTP status carries it."""

    retryable: bool
    status: int


CODES: Mapping[str, CodeInfo] = {
    # the provider
    "provider-unreachable": CodeInfo(True, 502),
    "provider-timeout": CodeInfo(True, 504),
    "provider-overloaded": CodeInfo(True, 503),
    "provider-error": CodeInfo(True, 502),
    "provider-protocol": CodeInfo(True, 502),
    "stream-incomplete": CodeInfo(True, 502),
    "rate-limited": CodeInfo(True, 429),
    "auth-failed": CodeInfo(False, 502),
    "model-not-found": CodeInfo(False, 404),
    "context-too-long": CodeInfo(False, 400),
    "content-blocked": CodeInfo(False, 422),
    # the run
    "output-rejected": CodeInfo(True, 422),
    "tool-failed": CodeInfo(False, 500),
    "deadline": CodeInfo(True, 504),
    "interrupted": CodeInfo(True, 503),
    # reading
    "run-not-found": CodeInfo(False, 404),
    "cursor-malformed": CodeInfo(False, 400),
    "cursor-foreign": CodeInfo(False, 403),
    "cursor-ahead": CodeInfo(False, 400),
    "retention-passed": CodeInfo(False, 410),
    # access
    "unauthorized": CodeInfo(False, 401),
    "forbidden": CodeInfo(False, 403),
    # use
    "bad-request": CodeInfo(False, 400),
    "too-large": CodeInfo(False, 413),
    "too-many": CodeInfo(True, 429),
    "template-error": CodeInfo(False, 422),
    "procedure-error": CodeInfo(False, 422),
    "usage": CodeInfo(False, 400),
    "missing-extra": CodeInfo(False, 501),
    # stores
    "store-unavailable": CodeInfo(True, 503),
}


class HeadraceError(Exception):
    """Base of every error raised on purpose.

    Args:
        code: one of `CODES`.
        message: what happened, where, and what to do, for a person.
        retryable: whether the same request can succeed later; default is the code's own.
        details: JSON values that a program may want (counts, limits, the provider's status).
    """

    default_code: ClassVar[str] = "usage"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        info = CODES[self.code]
        self.message = message
        self.retryable = info.retryable if retryable is None else retryable
        self.details: dict[str, Any] = dict(details or {})

    @property
    def status(self) -> int:
        """The HTTP status that carries this error."""
        return CODES[self.code].status

    def to_json(self) -> dict[str, Any]:
        """The shape that every JSON error body has under `"error"`."""
        return {"code": self.code, "message": self.message, "details": self.details}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r})"


class UsageError(HeadraceError):
    """The caller asked for something that cannot be done as asked."""

    default_code = "usage"


class MissingExtra(UsageError):
    """An optional dependency is missing.

    Args:
        extra: the extra of this package that brings it.
        what: what needs it, in a few words.
    """

    default_code = "missing-extra"

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(
            f"{what} needs the extra {extra!r}: pip install 'headrace[{extra}]'", details={"extra": extra}
        )


class AccessError(HeadraceError):
    """No key, a wrong key, or a run that belongs to another key."""

    default_code = "unauthorized"


class ReadError(HeadraceError):
    """A run or a cursor that cannot be read."""

    default_code = "run-not-found"


class ProviderError(HeadraceError):
    """The provider failed, refused, stalled or broke off.

    Args:
        provider_status: the HTTP status the provider answered with, when it answered.
        retry_after: seconds the provider asked us to wait, when it did.
    """

    default_code = "provider-error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        details: Mapping[str, Any] | None = None,
        provider_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable, details=details)
        self.provider_status = provider_status
        self.retry_after = retry_after


class RunError(HeadraceError):
    """The run ended badly for a reason of its own."""

    default_code = "interrupted"


class StoreError(HeadraceError):
    """A ledger or a run log cannot be reached or written."""

    default_code = "store-unavailable"


_FAMILY: Mapping[str, type[HeadraceError]] = {
    **dict.fromkeys(list(CODES)[:11], ProviderError),
    **dict.fromkeys(("output-rejected", "tool-failed", "deadline", "interrupted"), RunError),
    **dict.fromkeys(
        ("run-not-found", "cursor-malformed", "cursor-foreign", "cursor-ahead", "retention-passed"), ReadError
    ),
    "unauthorized": AccessError,
    "forbidden": AccessError,
    "store-unavailable": StoreError,
}


def error_for(
    code: str, message: str, *, retryable: bool | None = None, details: Mapping[str, Any] | None = None
) -> HeadraceError:
    """Build the error of the right family for a code read from a wire (unknown codes: `HeadraceError`)."""
    if code not in CODES:
        return HeadraceError(message, code="provider-error", retryable=retryable, details=details)
    return _FAMILY.get(code, UsageError)(message, code=code, retryable=retryable, details=details)
