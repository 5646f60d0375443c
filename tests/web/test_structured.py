"""Structured answers, tool calls and approvals on the page of one run, while they form.

The scripted model writes them slowly; what the page shows at the end is what `GET /v1/runs/{run}` has.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.web.house import DESK, PHONE, House, Page

import headrace
from headrace import events
from headrace.providers import base, scripted

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=window.hacked=1> </script> [[slot]] \x1b[31mred"


seen = threading.Event()
"""The page has shown what the tool says on its way."""


async def lookup(word: str, limit: int = 5) -> AsyncIterator[Any]:
    """Look a word up.

    Args:
        word: what to look for.
        limit: how many meanings at most.
    """
    yield {"word": word, "meanings": ["looking…"]}
    while not seen.is_set():
        await asyncio.sleep(0.01)
    yield {"word": word, "meanings": ["the water that drives a mill", HOSTILE]}


@headrace.tool(approval=True)
def delete(path: str) -> str:
    """Delete a file."""
    return f"{path} is gone"


def broken(number: int) -> int:
    """Never works."""
    raise headrace.ToolError(f"{number} is no number")


def script_for(request: base.ModelRequest, call: int = 0) -> list[Any]:
    """What the first question names; after a tool has answered, text."""
    question = next(m.text for m in request.messages if m.role == "user")
    if request.messages[-1].role == "tool":
        return [scripted.Say("That is **all**.", every=0.02)]
    match question.split()[0]:
        case "tools":
            return [
                scripted.Say("I look two words up."),
                scripted.Call(
                    "lookup", {"word": "headrace", "limit": 3}, pieces=scripted.by_size(4), every=0.05
                ),
                scripted.Call("lookup", {"word": "tailrace " * 6}, pieces=scripted.by_size(4), every=0.05),
                scripted.Call("broken", {"number": 13}),
            ]
        case "delete":
            return [scripted.Call("delete", {"path": "/tmp/notes.txt"})]
        case "fields":
            return list(fields())
        case "invoice":
            # the second customer has no status that there is: stopped there, and asked for again
            status = "paid" if any(m.role == "assistant" for m in request.messages) else "lost"
            value = {"customer": "Ada Lovelace", "rows": [{"name": "Oak wheel", "status": status}]}
            return [scripted.Say(json.dumps(value), pieces=scripted.by_size(4), every=0.03)]
        case "cut":
            half = '{"customer": "Ada Lovelace", "rows": [{"name": "Oak whe'
            return [scripted.Say(half, pieces=scripted.by_size(4)), scripted.Finish("length")]
        case "break":
            return [scripted.Say("It began with <b>these</b> words"), scripted.Drop()]
        case _:
            return [scripted.Say("Hello.")]


def fields() -> Iterator[Any]:
    """An invoice that grows, as a provider's structured mode writes it."""
    for path, words in (("/customer", "Ada Lovelace"), ("/address/city", "London"), ("/note", HOSTILE)):
        yield events.FieldStart(path=path)
        for index, word in enumerate(scripted.by_size(3)(words)):
            yield events.FieldDelta(path=path, delta=word, index=index)
            yield scripted.Pause(0.02)
        yield events.FieldEnd(path=path, value=words)
    for row, (name, price) in enumerate((("Oak wheel", 120.5), ("Iron axle", 80), ("Rope", 7))):
        for key, value in (("name", name), ("price", price), ("paid", row == 0)):
            yield events.FieldStart(path=f"/items/{row}/{key}")
            yield events.FieldEnd(path=f"/items/{row}/{key}", value=value)
            yield scripted.Pause(0.15)
    yield scripted.Say("", pieces=[])


HERE = "script:script"
INVOICE = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "status": {"enum": ["open", "paid"]}},
                "required": ["name", "status"],
            },
        },
    },
    "required": ["customer", "rows"],
}


@pytest.fixture(scope="module")
def house(built: None) -> Iterator[House]:
    with House(script_for, tools=[lookup, delete, broken]) as running:
        yield running


@pytest.fixture
def page(house: House, browser: Any) -> Iterator[Page]:
    context = browser.new_context(viewport=DESK, color_scheme="light", base_url=house.url)
    context.set_default_timeout(15_000)
    made = Page(house, context, context.new_page())
    yield made
    context.close()
    assert made.faults == []
    assert made.foreign == []


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.set()


def watch(page: Page, house: House, question: str, **more: Any) -> str:
    """Start a run and open its page."""
    run: str = house.post("/v1/runs", {"model": HERE, "input": question, **more})["run"]
    page.open(f"/?run={run}")
    return run


def test_tool_calls_fill_in_side_by_side(page: Page, house: House) -> None:
    run = watch(page, house, "tools please", tools=["lookup", "broken"])
    calls = page.tab.locator("details.tool")
    calls.nth(1).wait_for()
    assert calls.nth(1).get_attribute("data-state") == "writing"
    calls.nth(1).get_by_text("tailrace tail").wait_for()
    page.shot("tools-forming")
    page.words("Result so far")
    page.words("looking…")
    seen.set()
    page.words("That is all.")
    page.tab.locator('details.tool[data-state="failed"]').get_by_text("13 is no number").wait_for()
    assert calls.count() == 3
    first = calls.first
    assert first.get_attribute("data-state") == "done"
    assert "␛[31mred" in first.inner_text()
    assert page.tab.evaluate("window.hacked") is None
    page.words("completed")
    tops = [calls.nth(n).bounding_box()["y"] for n in (0, 1)]
    assert tops[0] == tops[1], "calls that were made together stand side by side"
    page.shot("tools-done")
    assert len(house.ended(run)["result"]["tool_calls"]) == 3


def test_a_person_is_asked(page: Page, house: House) -> None:
    run = watch(page, house, "delete it", tools=["delete"])
    page.tab.get_by_role("region", name="The run asks you").wait_for()
    page.shot("approval")
    page.tab.get_by_role("button", name=re.compile("Approve|Yes|Allow")).click()
    page.words("That is all.")
    assert house.ended(run)["result"]["tool_calls"][0]["value"] == "/tmp/notes.txt is gone"


def test_a_structured_answer_grows(page: Page, house: House) -> None:
    watch(page, house, "fields please")
    form = page.tab.get_by_role("region", name="Structured answer")
    form.get_by_text("Ada Lov").wait_for()
    page.shot("structured-forming")
    form.get_by_text("Rope").wait_for()
    assert form.get_by_role("columnheader").all_inner_texts() == ["name", "price", "paid"]
    page.words("completed")
    assert "␛[31mred" in form.inner_text()
    assert page.tab.evaluate("window.hacked") is None
    page.shot("structured-done")
    page.tab.emulate_media(color_scheme="dark")
    page.tab.set_viewport_size(PHONE)
    assert page.too_wide() == []
    page.shot("structured-phone-dark")


def test_a_structured_answer_that_was_turned_down_is_struck_out_and_replaced(
    page: Page, house: House
) -> None:
    run = watch(page, house, "invoice please", output_schema=INVOICE)
    gone = page.tab.locator("details.retracted")
    gone.wait_for()
    page.words("turned down while it was being written")
    form = page.tab.get_by_role("region", name="Structured answer")
    form.get_by_text("checked", exact=True).wait_for()
    assert "paid" in form.inner_text()
    assert "lost" not in form.inner_text()
    struck = gone.locator(".fold-body del").text_content() or ""
    assert "Ada Lovelace" in struck
    assert "lost" not in struck, "it was stopped at the first letters that no status begins with"
    gone.evaluate("e => { e.open = true }")
    assert (
        gone.locator(".fold-body del").evaluate("e => getComputedStyle(e).textDecorationLine")
        == "line-through"
    )
    page.shot("structured-retracted")
    assert house.ended(run)["result"]["output"]["rows"] == [{"name": "Oak wheel", "status": "paid"}]


def test_a_structured_answer_that_was_cut_off_says_so(page: Page, house: House) -> None:
    watch(page, house, "cut it", output_schema=INVOICE)
    form = page.tab.get_by_role("region", name="Structured answer")
    form.get_by_text("not checked").wait_for()
    cut = form.get_by_text("Oak whe")
    assert cut.get_attribute("data-open") == "true"
    assert "…" in cut.evaluate("e => getComputedStyle(e, '::after').content")
    page.words("cut off at the limit of tokens")
    page.shot("structured-cut")


def test_what_was_taken_back_is_struck_out(page: Page, house: House) -> None:
    run = watch(page, house, "break off", fallbacks=["demo:fast"], failover="restart")
    page.words("another one took over")
    gone = page.tab.locator("details.retracted")
    gone.wait_for()
    assert gone.locator("del").first.inner_text() == "It began with <b>these</b> words"
    page.words("completed")
    gone.evaluate("e => { e.open = true }")
    gone.scroll_into_view_if_needed()
    page.shot("retracted")
    assert "It began with" not in house.ended(run)["result"]["text"]
