"""The error tree and the one list of codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import errors

CONTRACT = """
provider-unreachable provider-timeout provider-overloaded provider-error provider-protocol stream-incomplete
rate-limited auth-failed bad-request model-not-found context-too-long content-blocked output-rejected
tool-failed deadline interrupted run-not-found cursor-malformed cursor-foreign cursor-ahead retention-passed
unauthorized forbidden too-large too-many template-error procedure-error store-unavailable usage missing-extra
"""


def test_every_code_of_the_contract_is_there() -> None:
    assert set(CONTRACT.split()) == set(errors.CODES)


def test_the_list_is_the_published_one(shared: Path) -> None:
    text = (shared / "contract.md").read_text(encoding="utf-8")
    told = text[text.index("Error codes (one list") : text.index("## 2. HTTP")]
    words = set(re.findall(r"`([a-z-]+)`", told)) - {"run-end", "retryable"}
    assert words == set(errors.CODES)


@pytest.mark.parametrize("code", errors.CODES)
def test_an_error_read_from_a_wire_is_of_its_family(code: str) -> None:
    error = errors.error_for(code, "It broke.", details={"n": 1})
    assert (error.code, error.message, str(error)) == (code, "It broke.", "It broke.")
    assert (error.retryable, error.status) == errors.CODES[code]
    assert error.to_json() == {"code": code, "message": "It broke.", "details": {"n": 1}}
    assert errors.error_for(code, "x", retryable=not error.retryable).retryable is not error.retryable
    families = {
        errors.ProviderError: "provider- stream- rate- auth- model- context- content-",
        errors.ReadError: "run- cursor- retention-",
        errors.RunError: "output- tool- deadline interrupted",
        errors.StoreError: "store-",
        errors.AccessError: "unauthorized forbidden",
    }
    expected = next(
        (family for family, heads in families.items() if code.startswith(tuple(heads.split()))),
        errors.UsageError,
    )
    assert type(error) is expected


def test_a_code_from_a_newer_server_is_told_as_a_provider_error() -> None:
    error = errors.error_for("something-new", "x")
    assert type(error) is errors.HeadraceError
    assert error.code == "provider-error"


def test_defaults_of_the_classes() -> None:
    assert errors.HeadraceError("x").code == "usage"
    assert errors.UsageError("x").code == "usage"
    assert errors.AccessError("x").status == 401
    assert errors.ReadError("x").status == 404
    assert errors.ProviderError("x").retryable
    assert errors.RunError("x").code == "interrupted"
    assert errors.StoreError("x").status == 503
    assert repr(errors.UsageError("x")) == "UsageError('usage', 'x')"
    assert all(
        issubclass(getattr(errors, name), Exception) for name in errors.__all__ if name.endswith("Error")
    )


def test_provider_error_keeps_what_the_provider_said() -> None:
    error = errors.ProviderError("x", code="rate-limited", provider_status=429, retry_after=3.5)
    assert (error.provider_status, error.retry_after, error.retryable) == (429, 3.5, True)


def test_missing_extra_says_how_to_install_it() -> None:
    error = errors.MissingExtra("local", "The local model")
    assert "pip install 'headrace[local]'" in error.message
    assert error.code == "missing-extra"
    assert error.details == {"extra": "local"}
    assert isinstance(error, errors.UsageError)


def test_details_are_a_copy() -> None:
    details = {"n": 1}
    error = errors.UsageError("x", details=details)
    details["n"] = 2
    assert error.details == {"n": 1}
