"""Prices: known ones are right to the cent, unknown ones stay unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from headrace.messages import Usage
from headrace.providers import presets, prices

SPENT = Usage(input_tokens=1_000_000, output_tokens=1_000_000, basis="reported")
AT = datetime(2025, 6, 1, tzinfo=UTC)


def test_a_known_price() -> None:
    assert prices.cost("openai", "gpt-4o-mini", SPENT, AT) == (Decimal("0.75"), "USD")
    assert prices.cost("openai-responses", "gpt-4o-mini", SPENT, AT) == (Decimal("0.75"), "USD")
    assert prices.cost("litellm", "openai/gpt-4o-mini", SPENT, AT) == (Decimal("0.75"), "USD")


def test_cached_tokens_are_part_of_the_input_and_cheaper() -> None:
    cached = Usage(input_tokens=1_000_000, output_tokens=0, cached_tokens=1_000_000, basis="reported")
    assert prices.cost("openai", "gpt-4o-mini", cached, AT) == (Decimal("0.075"), "USD")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "tiny"),
        ("mine", "gpt-4o-mini"),
        ("demo", "demo"),
        ("scripted", "m"),
        ("local", "gpt-4o-mini.gguf"),
        ("ollama", "llama3.2"),
        ("vllm", "gpt-4o-mini"),
        ("litellm", "nobody/nothing"),
    ],
)
def test_an_unknown_price_is_none(provider: str, model: str) -> None:
    assert prices.cost(provider, model, SPENT, AT) is None
    assert prices.priced(provider, model, SPENT) == SPENT


@pytest.mark.parametrize(
    "usage",
    [
        Usage(basis="unknown"),
        Usage(output_tokens=5, basis="reported"),
        Usage(input_tokens=5, basis="reported"),
        Usage(input_tokens=5, output_tokens=1, cached_tokens=9, basis="reported"),
    ],
)
def test_counts_that_are_missing_or_wrong_have_no_price(usage: Usage) -> None:
    assert prices.cost("openai", "gpt-4o-mini", usage, AT) is None


def test_a_cost_the_provider_reported_is_taken() -> None:
    usage = Usage(input_tokens=1, output_tokens=1, cost=0.25, currency="EUR", basis="reported")
    assert prices.cost("openrouter", "any/thing", usage) == (Decimal("0.25"), "EUR")


def test_priced_adds_the_cost() -> None:
    usage = prices.priced("openai", "gpt-4o-mini", SPENT)
    assert usage.cost is not None
    assert usage.cost > 0
    assert usage.currency == "USD"
    assert usage.input_tokens == SPENT.input_tokens


def test_every_vendor_with_a_key_is_in_the_table() -> None:
    paid = {preset.name for preset in presets.PRESETS if preset.key_needed and preset.key_field}
    assert paid == set(prices._VENDORS)
    from genai_prices.data_snapshot import get_snapshot

    assert set(prices._VENDORS.values()) <= {provider.id for provider in get_snapshot().providers}
