"""The chat page in a real browser, on the real server, over a relay that can cut it off.

A house of four, in a thread of its own: engine, server, relay, and a scripted provider whose script is chosen
by the first word of the question. Everything is done by clicks and keys; what the page shows is compared with
what `GET /v1/runs/{run}` has. Screenshots go to `test-results/screenshots/`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.house import DESK, PHONE, ROOT, House, Page

from headrace import errors
from headrace.providers import base, scripted

pytestmark = pytest.mark.browser

STORY = "".join(f"Sentence {n} has **bold** words, `code` and Grüße 🌊.\n\n" for n in range(1, 81))
CODE = 'Here:\n\n```python\ndef flow():\n    return "all of it, in order"\n```\n\nThat is all.\n'
HOSTILE = (
    '<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2"> '
    "[click](javascript:window.hacked=3) ![pixel](http://127.0.0.1:9/pixel.png) "
    "[[slot]] \x1b[31mred\x1b[0m NUL:\x00: <|im_start|>system\n\n" + "x" * 1_000_000
)


def script_for(request: base.ModelRequest, call: int = 0) -> list[Any]:
    """The script that the last question names."""
    question = next(m.text for m in reversed(request.messages) if m.role == "user")
    match question.split()[0]:
        case "story":
            return [scripted.Say(STORY, every=0.005)]
        case "think":
            return [
                scripted.Think("First this, then that. " * 4, every=0.02),
                scripted.Say("It is **so**.", every=0.01),
            ]
        case "break":
            return [scripted.Say("It began well and", every=0.01), scripted.Drop()]
        case "overload":
            return [scripted.Fail(errors.ProviderError("529 from upstream", code="provider-overloaded"))]
        case "hostile":
            return [scripted.Say(HOSTILE, pieces=scripted.by_size(4096))]
        case "hang":
            return [scripted.Hang()]
        case _:
            return [scripted.Say(CODE, every=0.005)]


class Serving:
    """A server in a process of its own: `headrace serve`.

    Attributes:
        url, port: where it listens.
    """

    def __init__(self, ledger: Path, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "headrace",
                "serve",
                "--port",
                str(port),
                "--store",
                f"sqlite:///{ledger}",
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ledger.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HEADRACE_MODEL": "demo"},
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.url, self.port = found[0], int(found[1])
                break
        else:
            pytest.fail("`headrace serve` ended before it listened")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()  # or its pipe fills up

    def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def house(built: None) -> Iterator[House]:
    with House(script_for) as running:
        yield running


@pytest.fixture
def page(house: House, browser: Any) -> Iterator[Page]:
    """An empty page in a browser profile of its own; the test fails when the page itself had an error."""
    context = browser.new_context(viewport=DESK, color_scheme="light", base_url=house.url)
    context.set_default_timeout(15_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    made = Page(house, context, context.new_page())
    yield made
    context.close()
    assert made.faults == []


def test_first_look(page: Page) -> None:
    page.open()
    page.words("What would you like to know?")
    assert page.foreign == []
    page.shot("empty")
    page.tab.get_by_role("button", name="Dark look").click()
    assert page.tab.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    page.shot("empty-dark")
    page.tab.reload()
    page.words("What would you like to know?")
    assert page.tab.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_ask_and_stream(page: Page, house: House) -> None:
    page.open().choose("script")
    page.ask("code please")
    page.tab.get_by_role("button", name="Stop").wait_for()
    page.tab.locator("figure.code").wait_for()
    answer = page.finished()
    run = house.ended(house.runs()[0]["run"])
    assert page.copied(answer) == run["result"]["text"] == CODE
    assert answer.locator("figure.code pre").inner_text() == 'def flow():\n    return "all of it, in order"'
    answer.locator(".hljs-keyword").first.wait_for()
    figures = answer.locator(".figures").inner_text()
    assert re.search(r"[0-9] tokens", figures)
    assert "first" in figures
    assert "cost —" in figures, "an unknown cost is not zero"
    page.ask("code again")
    page.finished()
    sent = [(m.role, m.text) for m in house.provider.requests[-1].messages]
    assert sent == [("user", "code please"), ("assistant", CODE), ("user", "code again")]
    page.shot("answer")


def test_reload_in_the_middle_loses_nothing(page: Page, house: House) -> None:
    page.open().choose("script")
    before = len(house.runs())
    page.ask("story")
    page.words("Sentence 3 has")
    page.shot("streaming")
    page.tab.reload()
    page.words("Sentence 5 has")
    answer = page.finished()
    text = page.copied(answer)
    runs = house.runs()
    assert len(runs) == before + 1
    assert text == house.ended(runs[0]["run"])["result"]["text"] == STORY
    page.tab.reload()
    assert page.copied(page.finished()) == STORY


def test_lost_connections_lose_nothing(page: Page, house: House) -> None:
    page.open().choose("script")
    page.ask("story")
    page.words("Sentence 3 has")
    drawn = page.tab.locator(".md > p").first.element_handle()
    drawn.evaluate(
        """element => {
             window.drawnAgain = 0
             const all = { subtree: true, childList: true, characterData: true, attributes: true }
             new MutationObserver((changes) => { window.drawnAgain += changes.length }).observe(element, all)
           }"""
    )
    for sentence in (5, 20, 40):
        page.words(f"Sentence {sentence} has")
        house.cut()
    assert page.copied(page.finished()) == STORY
    assert drawn.evaluate("element => element.isConnected")
    assert page.tab.evaluate("window.drawnAgain") == 0, "a finished paragraph is drawn once"


def test_two_tabs_and_a_shared_run(page: Page, house: House) -> None:
    page.open().choose("script")
    page.ask("story")
    page.words("Sentence 2 has")
    run = house.runs()[0]["run"]
    # by keyboard: under a growing answer the button moves away from a mouse
    page.tab.get_by_role("button", name="Follow from elsewhere").last.press("Enter")
    page.words("headrace tail " + run)
    page.shot("follow")
    with page.context.expect_page() as opened:
        page.tab.locator(".follow-line a").click()
    watching = Page(house, page.context, opened.value)
    watching.words("live")
    second = Page(house, page.context, page.context.new_page()).open()
    second.tab.get_by_role("link", name="story").click()
    assert second.copied(second.finished()) == STORY
    assert page.copied(page.finished()) == STORY
    watching.words("completed")
    watching.shot("run")
    assert watching.copied(watching.tab.get_by_role("article", name="Answer")) == STORY
    assert house.runs()[0]["run"] == run


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop(page: Page, house: House, how: str) -> None:
    page.open().choose("script")
    page.ask("story")
    page.words("Sentence 2 has")
    if how == "button":
        page.tab.get_by_role("button", name="Stop").click()
    else:
        page.tab.keyboard.press("Escape")
    answer = page.finished()
    answer.get_by_text("Stopped").wait_for()
    run = house.ended(house.runs()[0]["run"])
    assert run["outcome"] == "cancelled"
    text = page.copied(answer)
    assert text
    assert STORY.startswith(text)
    page.shot(f"stopped-{how}")


def test_stop_before_the_first_word(page: Page, house: House) -> None:
    page.open().choose("script")
    page.ask("hang")
    page.words("Waiting for the first word")
    page.shot("waiting")
    page.tab.get_by_role("button", name="Stop").click()
    page.finished().get_by_text("Stopped before the first word").wait_for()
    assert house.ended(house.runs()[0]["run"])["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("question", "title"),
    [("break", "The answer broke off"), ("overload", "The provider is overloaded")],
)
def test_errors_in_words_and_again(page: Page, house: House, question: str, title: str) -> None:
    page.open().choose("script")
    page.ask(question)
    answer = page.finished()
    answer.get_by_role("heading", name=title).wait_for()
    page.shot(f"error-{question}")
    before = len(house.runs())
    answer.get_by_role("button", name="Try again").click()
    page.finished().get_by_role("heading", name=title).wait_for()
    assert len(house.runs()) == before + 1
    assert page.tab.get_by_role("article", name="Your message").count() == 1


def test_a_model_that_is_not_there(page: Page) -> None:
    page.open().choose("nobody:nothing")
    page.ask("anything")
    page.finished().locator(".problem").wait_for()
    page.shot("error-model")


def test_thoughts_are_folded_away(page: Page) -> None:
    page.open().choose("script")
    page.ask("think")
    answer = page.finished()
    thought = answer.get_by_text(re.compile("^Thought"))
    thought.wait_for()
    assert not answer.get_by_text("First this, then that.").is_visible()
    thought.click()
    answer.get_by_text("First this, then that.").wait_for()
    page.shot("thoughts")


def test_hostile_text_is_text(page: Page, house: House) -> None:
    page.open().choose("script")
    page.ask("hostile")
    answer = page.finished()
    assert page.tab.evaluate("window.hacked") is None
    assert page.foreign == [], "an answer must not be able to call home"
    assert answer.locator("script, img, iframe").count() == 0
    assert answer.locator("a[href^='javascript']").count() == 0
    first = answer.locator(".md > *").first.inner_text()
    for shown in (
        "<script>window.hacked = 1</script>",
        "[[slot]]",
        "␛[31mred",
        "NUL:␀:",
        "<|im_start|>system",
    ):
        assert shown in first
    assert answer.evaluate("element => element.textContent.split('x').length") > 1_000_000
    answer.get_by_text("click", exact=True).click()
    assert page.tab.evaluate("window.hacked") is None
    assert page.copied(answer) == house.ended(house.runs()[0]["run"])["result"]["text"]
    page.ask("code after it")
    assert page.copied(page.finished()) == CODE


def test_on_a_phone(page: Page) -> None:
    page.tab.set_viewport_size(PHONE)
    page.open().choose("script")
    assert page.too_wide() == []
    page.shot("phone-empty")
    page.ask("code on a phone")
    page.finished()
    assert page.too_wide() == []
    page.shot("phone-answer")
    page.tab.get_by_role("button", name="Conversations", exact=True).click()
    page.tab.get_by_role("link", name="code on a phone").wait_for()
    page.shot("phone-drawer")
    page.tab.keyboard.press("Escape")
    page.tab.get_by_role("link", name="code on a phone").wait_for(state="hidden")
    page.tab.get_by_role("button", name="Follow from elsewhere").click()
    page.words("Follow from elsewhere")
    assert page.too_wide() == []
    page.shot("phone-follow")


def test_scrolling_up_is_left_alone(page: Page) -> None:
    page.open().choose("script")
    page.ask("story")
    page.words("Sentence 25 has")  # which no longer fits: there is something to scroll away from
    page.tab.mouse.move(700, 400)
    page.tab.mouse.wheel(0, -4000)
    jump = page.tab.get_by_role("button", name="Jump to latest")
    jump.wait_for()
    top = page.tab.evaluate("document.querySelector('.scroller').scrollTop")
    page.tab.get_by_text("Sentence 45 has").wait_for(state="attached")
    assert page.tab.evaluate("document.querySelector('.scroller').scrollTop") == top
    jump.click()
    page.finished()
    jump.wait_for(state="hidden")
    left = page.tab.locator(".scroller").evaluate(
        "box => box.scrollHeight - box.scrollTop - box.clientHeight"
    )
    assert left < 50


def test_conversations_are_kept_renamed_and_deleted(page: Page) -> None:
    page.open().choose("script")
    page.ask("code one")
    page.finished()
    page.tab.get_by_role("button", name="New chat").first.click()
    page.ask("code two")
    page.finished()
    page.tab.reload()
    page.tab.get_by_role("link", name="code one").hover()
    page.tab.get_by_role("button", name="Rename code one").click()
    page.tab.get_by_label("New name").fill("The first")
    page.tab.keyboard.press("Enter")
    page.tab.get_by_role("link", name="The first").click()
    page.tab.get_by_text("code one").wait_for()
    page.tab.get_by_role("link", name="The first").hover()
    page.tab.get_by_role("button", name="Delete The first").click()
    page.tab.get_by_role("button", name="Delete", exact=True).click()
    page.words("What would you like to know?")
    page.tab.reload()
    page.tab.get_by_role("link", name="code two").wait_for()
    assert page.tab.get_by_role("link", name="The first").count() == 0


def test_a_server_that_wants_a_key(built: None, browser: Any) -> None:
    with House(script_for, api_keys=("a-key-for-the-test",)) as locked:
        context = browser.new_context(viewport=DESK, base_url=locked.url)
        page = Page(locked, context, context.new_page()).open()
        page.words("This server wants a key.")
        page.choose("script")
        page.ask("code for those who have the key")
        page.finished().get_by_role("heading", name="This server wants a key").wait_for()
        page.shot("error-key")
        page.tab.get_by_role("button", name="Open settings").first.click()
        page.tab.get_by_label("Server's API key").fill("a-key-for-the-test")
        page.shot("settings")
        page.tab.keyboard.press("Enter")
        page.tab.locator(".banner").wait_for(state="hidden")
        page.finished().get_by_role("button", name="Try again").click()
        page.words("That is all.")
        page.finished()
        assert page.faults == []
        context.close()


def test_the_server_dies_and_comes_back(built: None, browser: Any, tmp_path: Path) -> None:
    """`kill -9` in the middle of an answer: what was shown stays, the run is told to be interrupted."""
    first = Serving(tmp_path / "ledger.sqlite")
    context = browser.new_context(viewport=DESK, base_url=first.url)
    page = Page(None, context, context.new_page())
    try:
        page.open()
        page.ask("a long answer please")
        page.words("Long enough to stop")
        first.kill()
        page.words("Reconnecting")
        page.shot("reconnecting")
        second = Serving(tmp_path / "ledger.sqlite", port=first.port)
        try:
            answer = page.finished()
            answer.get_by_role("heading", name="The server stopped in the middle of this").wait_for()
            answer.get_by_text("Long enough to stop").wait_for()
            page.shot("interrupted")
            answer.get_by_role("button", name="Try again").click()
            page.tab.get_by_role("button", name="Stop").click()
            page.finished().get_by_text("Stopped").wait_for()
        finally:
            second.kill()
    finally:
        first.kill()
        context.close()
    assert page.faults == []


def test_by_keyboard_alone(page: Page) -> None:
    page.open().choose("script")
    page.tab.keyboard.press("Tab")
    message = page.tab.get_by_label("Message", exact=True)
    message.focus()
    page.tab.keyboard.type("code first line")
    page.tab.keyboard.press("Shift+Enter")
    page.tab.keyboard.type("second line")
    assert message.input_value() == "code first line\nsecond line"
    page.tab.keyboard.press("Enter")
    page.finished()
    reached = set()
    for _ in range(30):
        page.tab.keyboard.press("Tab")
        focused = page.tab.locator("*:focus:not(body)")
        if focused.count() == 0:  # the browser's own controls come after the page's
            continue
        name = (focused.get_attribute("aria-label") or focused.text_content() or "").strip()
        reached.add(name)
        outline = focused.evaluate("element => getComputedStyle(element).outlineStyle")
        assert outline != "none" or name == "Message", f"{name!r} does not show that it has the focus"
    assert {"Copy answer", "Ask again", "Follow from elsewhere", "Settings", "New chat"} <= reached
