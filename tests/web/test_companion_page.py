"""The companion's page in a real browser, on a real server with a ledger in a file.

The scripted model answers by the first word of the message; its replies carry marker lines. What the page shows is
compared with what the routes and the file have. Screenshots go to `test-results/screenshots/companion-*.png`.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.house import DESK, PHONE, House, Page

from headrace import errors
from headrace.providers import base, scripted

pytestmark = pytest.mark.browser

PROMISE = (
    "Gladly, Brook. I will look after the **plants**:\n\n- on Friday\n- with rain water\n\n"
    "COMMIT: water the plants on Friday\nCOMMIT: buy a longer hose\n"
    'CLAIM: weather={"city": "Oslo", "rain": true}\nTRAIT: openness +0.02\nTRAIT: conscientiousness +0.05\n'
    "That is all I promise.\n"
)
KEPT = (
    "The plants have their water, as I said in [n3].\n"
    "CLOSE: water the plants on Friday\n"
    "REFLECT: I keep what I promise\n"
)
LONG = "".join(f"Sentence {n} of a long story about the river. " for n in range(1, 41))
THOUGHT = "I promise often and keep what I can. I should ask before I buy a hose. " * 3
HOSTILE = (
    '<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2"> [click](javascript:window.hacked=3)\n'
    "COMMIT: <img src=x onerror='window.hacked=4'> \x1b[31mred\nTRAIT: openness +0.01\n"
)


def script_for(request: base.ModelRequest, call: int = 0) -> list[Any]:
    """What the last message asks for."""
    question = next(m.text for m in reversed(request.messages) if m.role == "user")
    match question.split()[0]:
        case "promise":
            return [scripted.Say(PROMISE, every=0.02)]
        case "slow":
            return [scripted.Say("Yes.\nTRAIT: openness +0.02\n" + LONG, every=0.006), scripted.Pause(1.0)]
        case "kept":
            return [scripted.Say(KEPT)]
        case "long":
            return [scripted.Say(LONG, every=0.01)]
        case "hang":
            return [scripted.Say("It began well and "), scripted.Hang()]
        case "hostile":
            return [scripted.Say(HOSTILE)]
        case "break":
            return [
                scripted.Fail(errors.ProviderError("529 from <b>upstream</b>", code="provider-overloaded"))
            ]
        case "hello":
            return [scripted.Say(f"Hello to {question}")]
        case _:  # to look back, in the words of the memory
            return [scripted.Say(THOUGHT, every=0.03)]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("companion") / "ledger.sqlite"


@pytest.fixture(scope="module")
def house(built: None, ledger: Path) -> Iterator[House]:
    with House(script_for, ledger=ledger) as running:
        yield running


@pytest.fixture
def page(house: House, browser: Any) -> Iterator[Page]:
    """An empty profile; the test fails when the page had an error, or called anybody but its server."""
    context = browser.new_context(viewport=DESK, color_scheme="light", base_url=house.url)
    context.set_default_timeout(10_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script("""localStorage.setItem("headrace:settings", '{"model": "script"}')""")
    made = Page(house, context, context.new_page())
    yield made
    context.close()
    assert made.faults == []
    assert made.foreign == []


@pytest.fixture(scope="module")
def garden(house: House) -> str:
    """A conversation of two turns, with all that is remembered of them."""
    talked(house, "garden", "promise to look after the plants", "kept your word about the plants?")
    return "garden"


def talked(house: House, conversation: str, *texts: str) -> None:
    """Say these, one after the other, and wait for the endings and what follows them."""
    for text in texts:
        body = {"input": text, "conversation": conversation, "memory": True, "model": "script"}
        before = facts(house, conversation)
        house.post("/v1/runs", body)
        more = {"promise": 7, "kept": 4}.get(text.split()[0], 2)
        reached(house, conversation, len(before) + more)


def reached(house: House, conversation: str, count: int) -> None:
    """Wait until the conversation has so many facts."""
    for _ in range(5_000):  # each look is a request, so this waits and does not spin
        if len(facts(house, conversation)) >= count:
            return
    pytest.fail(f"{conversation} never had {count} facts: {facts(house, conversation)}")


def facts(house: House, conversation: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = house.get(f"/v1/conversations/{conversation}/facts?limit=1000")["facts"]
    except OSError:  # 404: nothing of it yet
        return []
    return found


def runs_of(house: House, conversation: str) -> list[str]:
    return [run["run"] for run in house.runs() if run["conversation"] == conversation]


def mirrored(page: Page) -> str:
    """What the mirror at the side shows."""
    text: str = page.tab.get_by_role("complementary", name="Mirror").inner_text()
    return text


def tab(page: Page, name: str) -> None:
    page.tab.get_by_role("navigation", name="Parts of the conversation").get_by_text(name, exact=True).click()


def test_a_conversation_that_remembers(page: Page, house: House) -> None:
    page.open("/#/companion")
    page.words("What should we remember?")
    page.shot("companion-empty")
    page.ask("promise to look after the plants")
    page.tab.get_by_role("button", name="Stop").wait_for()
    page.words("That is all I promise.")
    answer = page.finished()
    page.tab.get_by_role("list", name="What is remembered of this").get_by_text(
        "buy a longer hose"
    ).wait_for()
    name = re.search(r"companion/(conv_\w+)", page.tab.url)
    assert name is not None
    written = facts(house, name[1])
    assert [fact["kind"] for fact in written[:4]] == ["user", "response", "commitment", "commitment"]
    assert written[1]["content"] == PROMISE
    assert "COMMIT" not in answer.inner_text()
    page.tab.get_by_role("complementary", name="Mirror").get_by_text("buy a longer hose").wait_for()
    page.tab.reload()
    page.words("That is all I promise.")
    assert "COMMIT" not in page.tab.get_by_role("article", name="Answer").inner_text()
    assert len(runs_of(house, name[1])) == 1
    page.tab.get_by_role("button", name="New conversation").click()
    page.words("What should we remember?")
    page.tab.get_by_role("link", name=re.compile("^promise to look after the plants")).first.click()
    page.words("That is all I promise.")


def test_memory_stands_still_while_a_reply_streams(page: Page, house: House) -> None:
    page.open("/#/companion/still")
    page.ask("hello you")
    page.finished()
    page.ask("slow and steady")
    page.words(re.compile("Sentence 5 of"))
    side = page.tab.get_by_role("complementary", name="Mirror")
    side.get_by_text("fact 3").wait_for()  # the message; the reply is none yet
    before, graph = mirrored(page), house.get("/v1/conversations/still/graph")
    page.words(re.compile("Sentence 20 of"))
    assert page.tab.get_by_role("button", name="Stop").is_visible()
    assert mirrored(page) == before
    assert "0.50" in before
    assert house.get("/v1/conversations/still/graph") == graph
    page.shot("companion-streaming")
    page.finished()
    side.get_by_text("fact 5").wait_for()
    assert "0.52" in mirrored(page)
    assert len(house.get("/v1/conversations/still/graph")["nodes"]) == 5


def test_stop_leaves_one_ending_and_no_text(page: Page, house: House) -> None:
    page.open("/#/companion/stopped")
    page.ask("hang on")
    page.words("It began well and")
    page.tab.get_by_role("button", name="Stop").click()
    page.words("Stopped.")
    page.tab.get_by_role("button", name="Send", exact=True).wait_for()
    ended = facts(house, "stopped")
    assert [fact["kind"] for fact in ended] == ["user", "generation-ended"]
    assert ended[1]["meta"]["outcome"] == "cancelled"
    assert "It began" not in ended[1]["content"]
    page.ask("hello again")
    page.words("Hello to hello again")
    page.finished()
    page.ask("break it")
    page.words("The provider is overloaded")
    assert page.tab.locator("b", has_text="upstream").count() == 0
    assert [fact["kind"] for fact in facts(house, "stopped")][-1] == "generation-ended"
    page.tab.reload()
    page.words("No answer: failed.")


def test_stop_before_the_server_has_answered(page: Page, house: House) -> None:
    held: list[Any] = []
    page.tab.route(
        re.compile("/v1/runs$"),
        lambda route: held.append(route) if route.request.method == "POST" else route.continue_(),
    )
    page.open("/#/companion/early")
    page.ask("hang on")
    page.tab.get_by_role("button", name="Stop").click()
    page.words("Stopping…")
    held[0].continue_()
    page.words(re.compile("^Stopped"))
    assert [fact["kind"] for fact in facts(house, "early")] == ["user", "generation-ended"]


def test_a_reload_in_the_middle_of_a_reply(page: Page, house: House) -> None:
    page.open("/#/companion/reloaded")
    page.ask("long story, please")
    page.words(re.compile("Sentence 3 of"))
    page.tab.reload()
    page.words(re.compile("Sentence 4 of"))
    page.tab.get_by_role("button", name="Stop").wait_for()
    page.tab.evaluate("sessionStorage.clear()")
    page.tab.reload()  # as from another browser: the ledger says which run answers
    page.words(re.compile("Sentence 40 of"))
    assert page.copied(page.finished()) == LONG
    assert len(runs_of(house, "reloaded")) == 1
    assert [fact["content"] for fact in facts(house, "reloaded")] == ["long story, please", LONG]


def test_a_message_whose_post_was_never_answered_is_one_run(page: Page, house: House) -> None:
    lost = []

    def lose(route: Any) -> None:
        lost.append(route.request.headers["idempotency-key"])
        if len(lost) == 1:
            route.fetch()  # it arrives, its answer does not
        else:
            route.continue_()

    page.tab.route(
        re.compile("/v1/runs$"),
        lambda route: lose(route) if route.request.method == "POST" else route.continue_(),
    )
    page.open("/#/companion/lost")
    page.ask("hello there")
    reached(house, "lost", 1)
    page.tab.reload()
    page.words("Hello to hello there")
    page.finished()
    assert len(lost) == 2
    assert len(set(lost)) == 1
    assert len(runs_of(house, "lost")) == 1


def test_the_ledger(page: Page, house: House, garden: str) -> None:
    written = facts(house, garden)
    page.open("/#/companion/garden/ledger")
    rows = page.tab.locator("table.facts tbody tr:not(.fact-whole)")
    rows.nth(len(written) - 1).wait_for()
    assert rows.count() == len(written)
    first = rows.last.inner_text()
    assert first.startswith("1")
    assert written[0]["hash"][:8] in first
    page.tab.get_by_label("Kind").select_option("commitment")
    page.words("2 of the last 2 facts of kind commitment")
    page.tab.get_by_label("Find in the text").fill("HOSE")
    page.words("1 of the last 2 facts")
    assert "buy a longer hose" in rows.inner_text()
    page.tab.get_by_label("Kind").select_option("")
    page.tab.get_by_label("Find in the text").fill("")
    page.tab.get_by_role("button", name="Fact 2", exact=True).click()
    assert page.tab.locator(".fact-whole pre").first.inner_text() == PROMISE.rstrip("\n") + "\n"
    page.words(written[1]["hash"])
    assert "fact=2" in page.tab.url
    page.tab.get_by_role("button", name="Verify", exact=True).click()
    page.words(re.compile("Intact: every hash of this conversation"))
    page.words(re.compile(f"{len(written)} facts"))
    page.shot("companion-ledger")


def test_a_damaged_ledger_is_named(browser: Any, built: None, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    with House(script_for, ledger=ledger) as house:
        talked(house, "harbour", "hello one", "hello two", "hello three")
        with contextlib.closing(sqlite3.connect(ledger)) as file, file:
            change = (
                "UPDATE ledger SET content = 'Hello tp hello one' WHERE conversation = 'harbour' AND seq = 2"
            )
            assert file.execute(change).rowcount == 1
            file.execute("DELETE FROM ledger WHERE conversation = 'harbour' AND seq = 6")
        context = browser.new_context(viewport=DESK, color_scheme="light", base_url=house.url)
        page = Page(house, context, context.new_page()).open("/#/companion/harbour/ledger")
        page.tab.get_by_role("button", name="Verify", exact=True).click()
        page.words(re.compile("Damaged: 2 problems in this conversation"))
        page.words("does not match its hash: the fact or its hash was changed")
        page.tab.get_by_role("button", name="Verify all").click()
        page.words(re.compile("Damaged: 2 problems in the whole ledger"))
        found = page.tab.locator(".verified")
        assert "fact 6" in found.inner_text()
        page.shot("companion-damaged")
        found.get_by_role("link", name="fact 2").click()
        page.tab.locator(".fact-whole").get_by_text("Hello tp hello one").wait_for()
        assert page.faults == []
        context.close()


def test_the_graph(page: Page, house: House, garden: str) -> None:
    graph = house.get("/v1/conversations/garden/graph")
    page.open("/#/companion/garden/graph")
    nodes = page.tab.locator(".memory-node")
    nodes.nth(len(graph["nodes"]) - 1).wait_for()
    assert nodes.count() == len(graph["nodes"])
    assert page.tab.locator(".memory-edge").count() == len(graph["edges"])
    kinds = {edge["kind"] for edge in graph["edges"]}
    assert kinds == {"replies_to", "commits_to", "closes", "reflects_on", "references"}
    place = nodes.first.get_attribute("transform")
    page.tab.locator("[data-node=n3]").click()
    shown = page.tab.get_by_role("complementary", name="The node")
    shown.get_by_text("water the plants on Friday").first.wait_for()
    assert "n2 commits to this" in shown.inner_text()
    page.shot("companion-graph")
    shown.get_by_role("link", name="n2").click()
    shown.get_by_text("COMMIT: buy a longer hose").wait_for()
    page.tab.get_by_label("Topic").fill("Friday water")
    page.tab.keyboard.press("Enter")
    page.words(re.compile("nodes near to this"))
    near = house.get("/v1/conversations/garden/graph?topic=Friday+water&limit=24")
    assert {node.get_attribute("data-node") for node in nodes.all()} == {node["id"] for node in near["nodes"]}
    page.tab.get_by_label("Topic").fill("")
    page.words(re.compile("After fact"))
    assert nodes.first.get_attribute("transform") == place  # it stands where it stood


def test_a_large_graph_is_shown_in_pages(page: Page, house: House) -> None:
    talked(house, "large", "hello")
    for n in range(1, 90):
        body = {"input": f"hello {n}", "conversation": "large", "memory": True, "model": "script"}
        house.post("/v1/runs", body)
    reached(house, "large", 180)
    page.open("/#/companion/large/graph")
    nodes = page.tab.locator(".memory-node")
    page.tab.locator("[data-node=n180]").wait_for()
    assert nodes.count() == 150
    page.tab.get_by_role("button", name="Earlier").click()
    page.tab.locator("[data-node=n1]").wait_for()
    assert nodes.count() <= 150
    page.tab.get_by_role("button", name="Later").click()
    page.tab.locator("[data-node=n180]").wait_for()
    tab(page, "Ledger")
    page.tab.get_by_role("button", name="Show earlier facts").click()
    page.tab.get_by_role("button", name="Fact 1", exact=True).wait_for()


def test_traces_commitments_and_metrics(page: Page, house: House, garden: str) -> None:
    last = house.get("/v1/conversations/garden/metrics")
    page.open("/#/companion/garden/traces")
    card = page.tab.get_by_role("article", name="Turn of fact 8")
    card.wait_for()
    assert [step.inner_text() for step in card.locator(".step-name").all()] == [
        *("user", "context", "generate", "response")
    ]
    assert card.locator(".step-bar i").count() == 2
    card.get_by_role("link", name="n3", exact=True).wait_for()
    page.shot("companion-traces")
    tab(page, "Commitments")
    page.tab.get_by_role("region", name="Open").get_by_text("buy a longer hose").wait_for()
    page.tab.get_by_role("region", name="Closed").get_by_text("water the plants on Friday").wait_for()
    page.shot("companion-commitments")
    tab(page, "Metrics")
    state = page.tab.get_by_role("region", name="State", exact=True)
    state.get_by_text(f"fact {last['seq']}").wait_for()
    assert f"{last['gas']:.2f}" in state.inner_text()
    page.tab.get_by_role("slider", name="State as of fact").fill("4")
    state.get_by_text("fact 4").wait_for()
    assert "2 open, 0 kept" in state.inner_text()
    page.tab.get_by_role("slider", name="Compared with fact").fill("3")
    changed = page.tab.get_by_role("region", name="What changed")
    changed.get_by_text("fact 3").wait_for()
    assert "c4" in changed.inner_text()
    assert "+1 nodes, +1 edges" in changed.inner_text()
    page.tab.get_by_role("slider", name="State as of fact").fill(str(last["seq"]))
    changed.get_by_text(f"fact {last['seq']}").wait_for()
    assert "c3" in changed.inner_text()
    page.shot("companion-metrics")
    tab(page, "Context")
    page.tab.get_by_label("What would be sent with this message?").fill("water for the plants")
    page.words("buy a longer hose")
    page.tab.locator(".part", has_text="user").get_by_text("water for the plants").first.wait_for()
    page.shot("companion-context")


def test_a_reflection_streams_and_is_remembered(page: Page, house: House) -> None:
    talked(house, "mused", "hello there")
    page.open("/#/companion/mused")
    page.words("Hello to hello there")
    page.tab.get_by_role("button", name="Reflect", exact=True).click()
    page.words("Reflecting…")
    page.words(re.compile("I promise often"))
    assert len(facts(house, "mused")) == 2
    page.tab.get_by_role("button", name="Stop").wait_for()
    page.tab.get_by_role("link", name="fact 3").first.wait_for()
    assert facts(house, "mused")[2]["kind"] == "reflection"
    assert facts(house, "mused")[2]["content"] == THOUGHT
    assert page.tab.locator(".beside").count() == 1
    page.shot("companion-reflection")


def test_hostile_text_is_text(page: Page, house: House) -> None:
    page.open("/#/companion/hostile")
    page.ask("hostile <b>you</b>")
    page.finished()
    page.tab.get_by_role("list", name="What is remembered of this").get_by_text("onerror").wait_for()
    for name in ("Ledger", "Graph", "Traces", "Commitments", "Metrics", "Context"):
        tab(page, name)
        page.tab.get_by_text(re.compile("hostile|onerror|fact 4")).first.wait_for()
    assert page.tab.evaluate("window.hacked") is None
    assert page.tab.locator(".companion img, .companion script, main b:has-text('you')").count() == 0
    tab(page, "Commitments")
    page.words(re.compile("␛"))


@pytest.mark.parametrize(("size", "look"), [("desk", "dark"), ("phone", "light"), ("phone", "dark")])
def test_on_a_phone_and_in_the_dark(house: House, browser: Any, garden: str, size: str, look: str) -> None:
    viewport = {"desk": DESK, "phone": PHONE}[size]
    context = browser.new_context(viewport=viewport, color_scheme=look, base_url=house.url)
    context.set_default_timeout(10_000)
    page = Page(house, context, context.new_page())
    parts = (
        ("", "That is all I promise."),
        ("ledger", "newest first"),
        ("graph?node=n3", "Replies"),
        ("traces", "generate"),
        ("metrics", "What changed"),
    )
    for part, words in parts if (size, look) == ("phone", "light") else parts[:5:2]:
        page.open(f"/#/companion/garden/{part}")
        page.tab.get_by_text(words).first.wait_for()
        assert page.too_wide() == []
        page.shot(f"companion-{size}-{look}-{part.split('?')[0] or 'chat'}")
    if (size, look) == ("phone", "light"):
        page.tab.get_by_role("button", name="Conversations").click()
        page.tab.get_by_role("link", name="garden").wait_for()
        page.shot(f"companion-{size}-{look}-list")
        page.tab.keyboard.press("Escape")
    assert page.faults == []
    context.close()
