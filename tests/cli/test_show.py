from __future__ import annotations

import pytest

from headrace import events
from headrace.cli import failures, show
from headrace.messages import Usage


def end(**fields: object) -> events.RunEnd:
    return events.RunEnd(**{"outcome": "completed", **fields})  # type: ignore[arg-type]


def test_the_footer_says_what_is_known() -> None:
    usage = Usage(input_tokens=1200, output_tokens=101, basis="reported")
    known = end(usage=usage, first_token_ms=212.4, elapsed_ms=2212.4, cost=0.00123, currency="USD")
    line = show.footer(known, "openai:m")
    assert line == "openai:m · 1,200 in, 101 out · first token 212 ms · 50 tokens/s · cost 0.00123 USD"


def test_an_estimate_is_marked() -> None:
    usage = Usage(input_tokens=12, output_tokens=101, basis="estimated")
    line = show.footer(
        end(usage=usage, first_token_ms=1500.0, elapsed_ms=3500.0, cost=0.5, currency="USD"), "m"
    )
    assert line == "m · ~12 in, ~101 out · first token 1.5 s · ~50 tokens/s · cost ~0.5 USD"


def test_the_unknown_is_never_zero() -> None:
    assert show.footer(end(), "m") == "m · — in, — out · first token — · — tokens/s · cost —"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, failures.DONE),
        ({"finish_reason": "length"}, failures.DONE),
        ({"outcome": "cancelled"}, failures.STOPPED),
        ({"outcome": "interrupted"}, failures.FAILED),
        (
            {"outcome": "failed", "error": events.ErrorInfo(code="provider-error", message="m")},
            failures.FAILED,
        ),
        ({"outcome": "failed", "error": events.ErrorInfo(code="usage", message="m")}, failures.WRONG_USE),
    ],
)
def test_the_exit_code_of_an_ending(fields: dict[str, object], code: int) -> None:
    assert show.ending(end(**fields)) == code
