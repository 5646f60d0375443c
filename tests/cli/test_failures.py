from __future__ import annotations

import pytest

from headrace import errors
from headrace.cli import failures


def test_one_line_says_what_and_one_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    failures.report(errors.ProviderError("cannot\nconnect to \x1b[31mit", code="provider-unreachable"))
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()
    assert first == "error: provider-unreachable: cannot connect to ␛[31mit"
    assert second.startswith("  → headrace doctor")


def test_wrong_use_is_two_and_what_failed_is_one() -> None:
    assert failures.exit_code(errors.UsageError("x")) == 2
    assert failures.exit_code(errors.MissingExtra("local", "x")) == 2
    assert failures.exit_code(errors.UsageError("x", code="too-many")) == 1
    assert failures.exit_code(errors.ProviderError("x")) == 1
    assert failures.exit_code(errors.StoreError("x")) == 1


def test_advice_is_for_codes_that_there_are() -> None:
    assert set(failures._ADVICE) <= set(errors.CODES)
