"""What the tests of providers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import settings


@pytest.fixture
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of a setting, and no headrace.toml."""
    for field in settings.Settings.model_fields:
        for variable in settings.variables_of(field):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
