"""A house for browser tests: engine, server, relay and a scripted provider; and what a person does with a page."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.ledger.sqlite import SqliteLedger
from headrace.providers import base, scripted
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.server import app, runner
from headrace.settings import Settings
from headrace.testing import relay

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src/headrace/server/static"
SHOTS = ROOT / "test-results/screenshots"
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}

Script = Callable[[base.ModelRequest], Any]


class House:
    """Engine, server and relay in an event loop of their own.

    Args:
        script: what the model says to a request.
        tools: tools that are registered with the engine.
        ledger: a file for the facts; in memory without.
        settings: of the server.

    Attributes:
        url: where a browser finds the page, through the relay.
    """

    def __init__(
        self, script: Script, tools: Any = (), *, ledger: Path | None = None, **settings: Any
    ) -> None:
        self.url = ""
        self._ledger = ledger
        self._settings = settings
        self.provider = scripted.Scripted(script, "script", models=["script"])
        self._tools = tools
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="house", daemon=True)

    def __enter__(self) -> House:
        self._thread.start()
        self._ready.wait(20)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _live(self) -> None:
        registry = Registry(Settings(**self._settings) if self._settings else None)
        registry.register("script", self.provider)
        ledger = None if self._ledger is None else SqliteLedger(self._ledger, synchronous="normal")
        engine = Engine(registry, MemoryRunLog(), ledger)
        made = app.create_app(engine, registry.settings, registry, static=STATIC, tools=self._tools)
        try:
            async with (
                runner.listening(made) as server,
                relay.Relay(server.url, keep_alive=True) as self._relay,
            ):
                self.url = self._relay.url
                self._ready.set()
                await self._stop.wait()
        finally:
            await engine.close()
            await registry.close()

    def cut(self) -> None:
        """Reset every connection that a browser has."""
        asyncio.run_coroutine_threadsafe(self._relay.break_now(), self._loop).result(10)

    def get(self, path: str) -> Any:
        """A JSON answer of the server."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a body that is posted."""
        data = json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=10) as answer:
            return json.load(answer)

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        listed: list[dict[str, Any]] = self.get("/v1/runs")["runs"]
        return listed

    def ended(self, run: str) -> dict[str, Any]:
        """A run that has ended."""
        info: dict[str, Any] = self.get(f"/v1/runs/{run}")
        assert info["status"] == "ended", info
        return info


class Page:
    """What a person does with the page.

    Attributes:
        tab: Playwright's page.
        faults: errors that the page's scripts threw.
    """

    def __init__(self, house: House | None, context: Any, tab: Any) -> None:
        self.house = house
        self.context = context
        self.tab = tab
        self.faults: list[str] = []
        self.foreign: list[str] = []
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        tab.on("request", self._requested)

    def _requested(self, request: Any) -> None:
        if self.house is not None and not request.url.startswith((self.house.url, "data:")):
            self.foreign.append(request.url)

    def open(self, path: str = "/") -> Page:
        self.tab.goto(path)
        return self

    def choose(self, model: str) -> None:
        self.tab.get_by_role("button", name=re.compile("^Model:")).click()
        self.tab.get_by_label("Find or name a model").fill(model)
        self.tab.get_by_role("option").first.click()

    def ask(self, question: str) -> None:
        self.tab.get_by_label("Message", exact=True).fill(question)
        self.tab.keyboard.press("Enter")

    def words(self, text: str) -> None:
        """Wait until the page shows `text`."""
        self.tab.get_by_text(text).last.wait_for()

    def finished(self) -> Any:
        """Wait until no answer is being written; gives the last answer."""
        self.tab.get_by_role("button", name="Send", exact=True).wait_for()
        last = self.tab.get_by_role("article", name="Answer").last
        assert last.get_attribute("aria-busy") == "false"
        return last

    def copied(self, answer: Any) -> str:
        """The answer's text, by its copy button."""
        self.tab.bring_to_front()  # only the page in front may write to the clipboard
        answer.get_by_role("button", name="Copy answer").click()
        answer.get_by_role("button", name="Copied").first.wait_for()
        text: str = self.tab.evaluate("navigator.clipboard.readText()")
        return text

    def too_wide(self) -> list[str]:
        """Elements that stick out of the window and are not inside something that scrolls by itself."""
        found: list[str] = self.tab.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((element) => {
                 const box = element.getBoundingClientRect();
                 if (box.width === 0 || box.right <= innerWidth + 0.5 || box.left >= innerWidth) return false;
                 for (let up = element.parentElement; up; up = up.parentElement) {
                   if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX) && !up.matches("body, .scroller"))
                     return false;
                 }
                 return true;
               }).map((element) => `${element.tagName}.${element.className}`)"""
        )
        return found

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.tab.wait_for_timeout(250)  # for colours and transitions: nothing is asserted on it
        self.tab.screenshot(path=SHOTS / f"{name}.png")
