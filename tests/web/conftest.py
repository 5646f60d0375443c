"""The browser, and whether there is a page to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.house import CHROMIUM, STATIC


@pytest.fixture(scope="session")
def built() -> None:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built: npm run build in web/ builds it")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    found = next((path for path in CHROMIUM if Path(path).is_file()), None)
    if found is None:
        pytest.skip(f"no Chromium at {', '.join(CHROMIUM)}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield launched
        launched.close()
