from __future__ import annotations

import inspect

import msgspec
import pytest
from tests.ledger import conformance

from headrace import errors
from headrace.ledger import base, memory, sqlite


@pytest.mark.parametrize("store", [memory.MemoryLedger, sqlite.SqliteLedger])
def test_a_store_has_the_port_and_nothing_else(store: type) -> None:
    def methods(kind: type) -> dict[str, str]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {n: str(inspect.signature(f)).replace("base.", "") for n, f in found if n[0] != "_"}

    assert methods(store) == methods(base.Ledger)


def test_values_go_through_json() -> None:
    record = conformance.record(metadata={"a": [1]}, idempotency_key="k")
    assert msgspec.json.decode(msgspec.json.encode(record), type=base.RunRecord) == record


def test_limits() -> None:
    base.check_limit(1)
    for limit in (0, -1):
        with pytest.raises(errors.UsageError, match="1 or more"):
            base.check_limit(limit)


def test_an_interruption_can_be_retried() -> None:
    outcome, meta, summary = base.interruption()
    assert outcome == meta["outcome"] == summary["outcome"] == "interrupted"
    assert summary["error"]["code"] in errors.CODES
    assert summary["error"]["retryable"] is True
