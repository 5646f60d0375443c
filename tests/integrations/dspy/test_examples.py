"""The five examples: as processes, against a server that answers whatever fields a prompt asks for."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


def environment(url: str) -> dict[str, str]:
    return {
        **os.environ,
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": url,
        "OPENAI_API_BASE": url,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONIOENCODING": "utf-8",
    }


def run(name: str, url: str) -> str:
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(
        command, env=environment(url), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(name: str, url: str) -> Iterator[str]:
    """An example that is a server; gives the address it prints."""
    command = [sys.executable, str(EXAMPLES / name), "openai/gpt-4o-mini", "0"]
    process = subprocess.Popen(
        command, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"(http|ws)://\S+", line)
        assert found, f"{line!r} {process.stderr.read() if process.poll() is not None else ''}"  # type: ignore[union-attr]
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_basic(writer: Any) -> None:
    out = run("token_streaming_basic.py", writer.url)
    tokens = re.findall(r'^\[TOKEN\] answer: (".*")$', out, re.M)
    assert "".join(map(json.loads, tokens)) == writer.text("answer")
    assert len(tokens) > 3
    assert "[[ ##" not in out


def test_chain_of_thought(writer: Any) -> None:
    out = run("token_streaming_cot.py", writer.url)
    assert f"reasoning: {writer.text('reasoning')}\n" in out
    assert f"answer: {writer.text('answer')}\n" in out
    assert out.endswith(f"-- {len(writer.text('reasoning'))} and {len(writer.text('answer'))} characters\n")


def test_several_predictors(writer: Any) -> None:
    out = run("token_streaming_multi.py", writer.url)
    assert "ann: module Pipeline\nann: trace clean\nann: predictor summarize\n" in out
    assert f"-- summary: {writer.text('summary')}\n-- answer: {writer.text('answer')}\n" in out


async def test_websocket_with_a_real_client(writer: Any) -> None:
    from websockets.asyncio.client import connect

    with serving("token_streaming_websocket.py", writer.url) as address:
        async with connect(address) as socket:
            for _ in range(2):
                await socket.send(json.dumps({"question": "Why?"}))
                seen = []
                while not seen or seen[-1]["type"] != "done":
                    seen.append(json.loads(await socket.recv()))
                for field in ("reasoning", "answer"):
                    tokens = [m for m in seen if m.get("field") == field]
                    assert "".join(m["token"] for m in tokens) == writer.text(field)
                    assert [m["index"] for m in tokens] == list(range(len(tokens)))
                assert seen[-1]["answer"] == writer.text("answer")


async def test_a_websocket_client_that_leaves_closes_the_models_connection(writer: Any) -> None:
    from websockets.asyncio.client import connect

    with serving("token_streaming_websocket.py", writer.url) as address:
        writer.slowly()
        async with connect(address) as socket:
            await socket.send(json.dumps({"question": "slow"}))
            await socket.recv()
            before = writer.server.closed_by_client
        until = time.monotonic() + 5
        while writer.server.closed_by_client == before and time.monotonic() < until:
            await asyncio.sleep(0.01)
        assert writer.server.closed_by_client == before + 1


@pytest.mark.browser
def test_the_page_in_a_real_browser(writer: Any) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next((path for path in CHROMIUM if Path(path).exists()), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with serving("token_streaming_ui.py", writer.url) as address, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(address)
            page.click("text=Ask")
            page.wait_for_function("document.getElementById('reasoning').textContent.length > 5")
            page.wait_for_function("document.getElementById('state').textContent === 'done'")
            assert page.text_content("#reasoning") == writer.text("reasoning")
            assert page.text_content("#answer") == writer.text("answer")
            assert page.get_attribute("#answer", "class") == "done"
            writer.slowly()
            page.fill("#question", "Slowly, please")
            page.click("text=Ask")
            page.wait_for_function("document.getElementById('state').textContent === 'streaming'")
            before = writer.server.closed_by_client
            page.click("#stop")
            until = time.monotonic() + 5
            while writer.server.closed_by_client == before and time.monotonic() < until:
                time.sleep(0.01)
            assert writer.server.closed_by_client == before + 1
            assert page.text_content("#state") == "stopped"
        finally:
            browser.close()
