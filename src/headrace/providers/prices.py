"""What an answer cost, from the offline table of `genai-prices`; unknown stays unknown, never 0.

A price is given only where the provider is one whose prices are in the table, the model is in it too, and
both input and output tokens are known. A server of one's own under `[providers.NAME]` has no price; nor has
an OpenAI-compatible one behind `OPENAI_BASE_URL`, unless its model has the name of one of OpenAI's. No
network: the table is the one that was installed. Next: `registry`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from headrace.messages import Usage

# Our names of providers to the table's.
_VENDORS = {
    "openai": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "openrouter": "openrouter",
    "groq": "groq",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "together": "together",
    "fireworks": "fireworks",
    "xai": "x-ai",
    "cerebras": "cerebras",
}


def cost(provider: str, model: str, usage: Usage, at: datetime | None = None) -> tuple[Decimal, str] | None:
    """What the tokens cost, and the currency (ISO 4217); None where it is not known.

    Args:
        provider: our name of it. For `litellm` the model's own prefix says who it is.
        model: as the provider knows it.
        usage: a cost that the provider reported itself is taken as it is.
        at: when the call was made; prices change. Default: now.
    """
    if usage.cost is not None and usage.currency:
        return Decimal(str(usage.cost)), usage.currency
    if provider == "litellm" and "/" in model:
        provider, model = model.split("/", 1)
    vendor = _VENDORS.get(provider)
    if vendor is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    import genai_prices

    spent = genai_prices.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    if usage.cached_tokens:
        spent.cache_read_tokens = usage.cached_tokens
    try:
        found = genai_prices.calc_price(
            spent, model, provider_id=vendor, genai_request_timestamp=at or datetime.now(UTC)
        )
    except (LookupError, ValueError):  # no such model, or counts that contradict each other
        return None
    price = found.model_price
    if price.input_mtok is None or price.output_mtok is None:
        return None
    return found.total_price, "USD"


def priced(provider: str, model: str, usage: Usage) -> Usage:
    """The usage with what it costs now, or as it is where that is not known."""
    found = cost(provider, model, usage)
    if found is None:
        return usage
    return msgspec.structs.replace(usage, cost=float(found[0]), currency=found[1])
