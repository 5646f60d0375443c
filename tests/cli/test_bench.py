from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.slow
def test_the_machine_and_the_figures(headrace: Any) -> None:
    done = headrace("bench", "--runs", "3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "Python" in found["machine"]
    for name in ("first_token_ms", "cpu_us_per_token", "late_ms", "server_events_per_s"):
        assert found[name] > 0


def test_another_model(headrace: Any) -> None:
    done = headrace("bench", "--model", "openai:m", "--runs", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: auth-failed: ")
