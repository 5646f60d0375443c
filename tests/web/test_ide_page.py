"""The page for procedures in a real browser, on a real server process with a real folder.

    browser ─► relay (which cuts) ─► `headrace serve --workspace` ─► a provider that is scripted and counted

The provider answers by the last thing it is told. Screenshots go to `test-results/screenshots/`.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import playback, relay
from headrace.testing.server import Server

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src/headrace/server/static"
SHOTS = ROOT / "test-results/screenshots"

STORY = """-- A story, checked by an editor, approved by a person.
input {
  topic = field.string{required = true, description = "What it is about"},
  tone = field.string{enum = {"dry", "warm"}, default = "warm"},
  length = field.integer{default = 3, min = 1, max = 9},
  careful = field.boolean{default = true},
  tags = field.array{items = field.string{}, description = "Words that must occur"},
}
output { story = field.string{required = true}, score = field.integer{required = true} }

local count = Tool {
  description = "Counts the words of a text.",
  input = { text = field.string{required = true} },
  function(given) return #given.text end,
}
storyteller = Agent { system_prompt = "Stories about {input.topic}.", tools = { count } }
editor = Agent { output = { score = field.integer{required = true} } }

local story = storyteller("Tell a story").text
Log.info("told", { characters = #story })
local score = editor("Judge it").output.score
local ok = Human.approve("Publish the story?")
if not ok then error("it was not approved") end
return { story = story, score = score }
"""
SLOW = 'slow = Agent {}\nreturn slow("long story").text\n'
ASKS = """
local name = Human.input("Your name?", { default = "Ada" })
local colour = Human.select("Which colour?", { options = { "red", "green" } })
local review = Human.review("Is this good?")
Human.notify("Thank you")
return { name = name, colour = colour, review = review.decision }
"""
WAITS = """first = Agent {}
local said = first("one word").text
local ok = Human.approve("Go on?")
return { said = said, ok = ok }
"""
WORDS = "The river ran past the old mill, and **nobody** counted the stones. "


def stream(*parts: tuple[str, Any], every: float = 0.02) -> playback.Response:
    """An answer of a Chat Completions server: texts and calls in pieces, then what it took."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        body = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o-mini", "created": 1}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**body, "choices": [choice]}).encode() + b"\n\n"

    pieces: list[tuple[float, bytes]] = [(0.3, chunk({"role": "assistant", "content": ""}))]
    finish = "stop"
    for kind, value in parts:
        if kind == "text":
            pieces += [(every, chunk({"content": word})) for word in re.findall(r"\S+\s*", value)]
        else:
            finish = "tool_calls"
            name, arguments = value
            call = {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            pieces.append((every, chunk({"tool_calls": [call]})))
            text = json.dumps(arguments)
            for at in range(0, len(text), 12):
                part = {"index": 0, "function": {"arguments": text[at : at + 12]}}
                pieces.append((every * 10, chunk({"tool_calls": [part]})))
    pieces.append((0, chunk({}, finish)))
    usage = {"prompt_tokens": 42, "completion_tokens": 23, "total_tokens": 65}
    last = {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-mini",
        "choices": [],
        "usage": usage,
    }
    pieces.append((0, b"data: " + json.dumps(last).encode() + b"\n\n"))
    pieces.append((0, b"data: [DONE]\n\n"))
    return playback.Response(headers={"Content-Type": "text/event-stream"}, pieces=pieces)


def answer(request: playback.Request) -> playback.Response:
    """What the last message asks for."""
    if not request.body:  # the list of models
        return playback.Response(body={"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})
    messages = request.json()["messages"]
    last = messages[-1]
    said = str(last["content"])
    if last["role"] == "tool":
        return stream(("text", WORDS * 3), every=0.05)
    if said == "Tell a story":
        return stream(
            ("text", "Let me see. "), ("call", ("count", {"text": "The river ran past the old mill"}))
        )
    if said == "Judge it":
        return stream(("text", '{"score": "7a"}'))
    if "does not fit" in said:
        return stream(("text", '{"score": 7}'))
    if said.startswith("the people"):
        about = "counted the stones by the old mill until the evening came and the river was quiet"
        people = [{"name": name, "age": 36, "about": about} for name in ("Ada", "Grace", "Edsger")]
        return stream(("text", json.dumps({"title": "Three at the river", "people": people})), every=0.05)
    if said == "long story":
        return stream(("text", WORDS * 20), every=0.05)
    return stream(("text", "Fine, then."))


class House:
    """Provider, server and relay, and the folder that is worked in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._store = f"sqlite:///{folder / 'ledger.db'}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.provider = playback.ScriptedHTTP(answer)

    def __enter__(self) -> House:
        self._thread.start()
        self.do(self.provider.__aenter__())
        environment = {
            "OPENAI_BASE_URL": f"{self.provider.url}/v1",
            "OPENAI_API_KEY": "k",
            "HEADRACE_MODEL": "openai:gpt-4o-mini",
        }
        arguments = ("--workspace", str(self.folder))
        self.server = Server(store=self._store, environment=environment, arguments=arguments).start()
        self.relay = relay.Relay(self.server.url, keep_alive=True)
        self.do(self.relay.__aenter__())
        self.url = self.relay.url
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self.relay.__aexit__(None, None, None))
        self.server.kill()
        self.do(self.provider.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def cut(self) -> None:
        """Reset every connection that the browser has."""
        self.do(self.relay.break_now())

    @property
    def calls(self) -> int:
        """How often the model was asked."""
        return sum(1 for request in self.provider.requests if request.body)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.server.url + path, timeout=10) as reply:
            return json.load(reply)

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/v1/runs")["runs"]
        return found

    def ended(self, run: str) -> dict[str, Any]:
        for _ in range(200):
            info: dict[str, Any] = self.get(f"/v1/runs/{run}")
            if info["status"] == "ended":
                return info
            time.sleep(0.05)
        pytest.fail(f"{run} has not ended")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built: npm run build in web/ builds it")
    with House(tmp_path_factory.mktemp("ide")) as made:
        yield made


@pytest.fixture
def files(house: House) -> House:
    """The folder as each test finds it."""
    (house.folder / "drafts").mkdir(exist_ok=True)
    for name, text in (
        ("story.tac", STORY),
        ("slow.tac", SLOW),
        ("asks.tac", ASKS),
        ("waits.tac", WAITS),
        ("drafts/idea.lua", "return 1\n"),
        ("notes.md", "# Notes\n"),
        (".env", "SECRET=1\n"),
    ):
        (house.folder / name).write_text(text)
    return house


class Ide:
    """What a person does with the page."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.run = tab.get_by_role("region", name="Run", exact=True)
        self.turns = tab.get_by_role("article")

    def open(self, path: str) -> None:
        self.tab.goto(f"/#/procedures/{path}")
        self.tab.locator(".cm-content").wait_for()

    def button(self, name: str) -> Any:
        return self.tab.get_by_role("button", name=name, exact=True)

    def start(self) -> None:
        self.tab.get_by_text("No errors.").wait_for()
        self.button("Run").click()

    def asked(self, question: str) -> None:
        """Wait until the program asks."""
        self.tab.get_by_role("region", name="The program asks you").get_by_text(question).wait_for()

    def result(self) -> Any:
        box = self.tab.get_by_role("region", name="Result")
        box.wait_for()
        return box

    def named(self) -> str:
        """The run that the address names."""
        self.tab.wait_for_url(re.compile(r"run=run_"))
        return str(re.search(r"run=(run_\w+)", self.tab.url)[1])  # type: ignore[index]

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.tab.wait_for_timeout(250)  # for colours and transitions: nothing is asserted on it
        self.tab.screenshot(path=SHOTS / f"{name}.png")


@pytest.fixture
def opened(files: House, browser: Any) -> Iterator[Callable[..., Ide]]:
    """Makes pages in browser profiles of their own; the test fails when a page itself had an error."""
    contexts, faults = [], []

    def make(**options: Any) -> Ide:
        options = {"viewport": {"width": 1400, "height": 900}, "color_scheme": "light", **options}
        context = browser.new_context(base_url=files.url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: faults.append(str(error)))
        return Ide(tab)

    yield make
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def ide(opened: Callable[..., Ide]) -> Ide:
    return opened()


def test_open_edit_and_errors_in_place(ide: Ide, files: House) -> None:
    tab = ide.tab
    tab.goto("/#/procedures")
    tree = tab.get_by_role("region", name="Files")
    tree.get_by_role("button", name="story.tac").wait_for()
    shown = tree.locator(".file-row").all_inner_texts()
    assert shown == ["drafts", "idea.lua", "asks.tac", "notes.md", "slow.tac", "story.tac", "waits.tac"]
    ide.shot("ide-empty")
    tree.get_by_role("button", name="story.tac").click()
    text = tab.locator(".cm-content")
    text.get_by_text("A story, checked by an editor").wait_for()
    assert tab.locator(".cm-content .tok-keyword").count() > 3, "Lua has its colours"
    tab.get_by_text("No errors. Agents: storyteller, editor · Tools: count").wait_for()

    text.click()
    tab.keyboard.press("Control+Home")
    tab.keyboard.type("local x = = 2")
    tab.keyboard.press("Enter")
    tab.locator(".cm-error-note", has_text="unexpected symbol near '='").wait_for()
    assert tab.locator(".cm-told").inner_text() == "="
    assert ide.button("Run").is_disabled()
    tab.get_by_role("textbox", name="topic").wait_for()  # an error in the text does not take the form away
    ide.shot("ide-error")

    for _ in range(len("local x = = 2\n")):
        tab.keyboard.press("Backspace")
    tab.keyboard.press("Control+End")
    tab.keyboard.type("-- the end")
    tab.get_by_text("No errors.").wait_for()
    assert (files.folder / "story.tac").read_text() == STORY
    ide.button("Save").click()
    tab.locator("button:has-text('Save'):disabled").wait_for()
    assert (files.folder / "story.tac").read_text() == STORY + "-- the end"


def test_nobodys_change_is_lost(ide: Ide, files: House) -> None:
    ide.open("drafts/idea.lua")
    ide.tab.locator(".cm-content").get_by_text("return 1").click()
    ide.tab.keyboard.press("Control+End")
    ide.tab.keyboard.type("-- mine")
    (files.folder / "drafts/idea.lua").write_text("return 'theirs'\n")
    ide.button("Save").click()
    ide.tab.get_by_text("Somebody else has changed this file").wait_for()
    assert (files.folder / "drafts/idea.lua").read_text() == "return 'theirs'\n"
    ide.tab.get_by_role("button", name="Load theirs").click()
    ide.tab.locator(".cm-content").get_by_text("theirs").wait_for()


def test_a_new_program(ide: Ide, files: House) -> None:
    ide.tab.goto("/#/procedures")
    ide.button("New program").click()
    ide.tab.get_by_label("Name of the new program").fill("fresh")
    ide.tab.keyboard.press("Enter")
    ide.tab.get_by_text("No errors. Agents: writer").wait_for()
    assert (files.folder / "fresh.tac").is_file()
    (files.folder / "fresh.tac").unlink()


def test_run_from_the_form_to_the_result(ide: Ide, files: House) -> None:
    tab = ide.tab
    ide.open("story.tac")
    form = tab.get_by_role("form", name="Inputs")
    form.get_by_role("textbox", name="topic").wait_for()
    assert form.get_by_label("tone").input_value() == "warm"
    assert form.get_by_label("tone").locator("option").all_inner_texts() == ["—", "dry", "warm"]
    assert form.get_by_label("length").input_value() == "3"
    assert form.get_by_label("careful").is_checked()
    ide.start()
    form.get_by_text("This is needed.").wait_for()
    form.get_by_role("textbox", name="topic").fill("rivers")
    form.get_by_label("length").fill("2.5")
    form.get_by_text("This must be a whole number.").wait_for()
    form.get_by_label("length").fill("12")
    form.get_by_text("At most 9.").wait_for()
    form.get_by_label("length").fill("4")
    form.get_by_label("tags").fill("no list")
    form.get_by_text("This is no JSON.").wait_for()
    form.get_by_label("tags").fill('["mill"]')
    calls = files.calls
    ide.button("Run").click()

    teller = tab.get_by_role("article", name="Turn of storyteller")
    teller.get_by_text("Waiting for the first word").wait_for()
    ide.shot("ide-waiting")
    teller.locator(".tool .tool-state:has-text('writing')").wait_for()
    forming = teller.locator(".tool .fold-body").inner_text()
    assert "old mill" not in forming, "the arguments are seen while they form"
    teller.locator(".tool .tool-state:has-text('done')").wait_for()
    teller.get_by_text("The river ran").first.wait_for()
    assert teller.get_attribute("data-state") == "streaming"
    ide.shot("ide-streaming")

    editor = tab.get_by_role("article", name="Turn of editor")
    refused = editor.locator(".refused")
    refused.wait_for()
    assert refused.locator("del").inner_text() == '{"score": "7a"}'
    assert "output.score must be an integer" in refused.inner_text()
    assert "Asked again" in refused.inner_text()
    ide.asked("Publish the story?")
    assert teller.get_attribute("data-state") == "done", "a turn never overwrites another"
    figures = editor.locator(".figures").inner_text()
    assert re.search(r"Cost\s+\$0\.0", figures), figures
    # What was stopped on its way has no figure of the provider's: that part is estimated, and said to be.
    assert re.search(r"Tokens\s+~\d+ in, ~\d+ out", figures), figures
    assert editor.locator(".turn-form dt").inner_text() == "score"
    assert editor.locator(".turn-form dd").inner_text() == "7"
    assert re.search(r"Duration\s+[\d.]+ m?s", figures)
    assert re.search(r"First token\s+\d+ ms", figures)
    told = teller.locator(".figures").inner_text()
    assert re.search(r"Tokens\s+84 in, 46 out", told), told
    assert tab.get_by_text('told {"characters":').is_visible()
    ide.shot("ide-approval")
    ide.button("Approve").click()

    box = ide.result()
    assert "The river ran past the old mill" in box.inner_text()
    run = ide.named()
    info = files.ended(run)
    assert info["result"] == {"story": (WORDS * 3), "score": 7}
    assert ide.turns.count() == 2
    assert tab.get_by_text("Answered: Approve").is_visible()
    assert files.calls - calls == 4
    assert tab.locator(".past-run").first.inner_text().count("completed") == 1
    tab.locator(".ide-run .scroller").evaluate("element => { element.scrollTop = element.scrollHeight; }")
    ide.shot("ide-result")


def test_an_answer_with_an_output_is_a_form_that_grows(ide: Ide, files: House) -> None:
    (files.folder / "form.tac").write_text(
        """people = Agent { output = {
  title = field.string{required = true},
  people = field.array{required = true, items = field.object{properties = {
    name = field.string{required = true}, age = field.integer{required = true}, about = field.string{} } } },
} }
return people("the people").output
"""
    )
    ide.open("form.tac")
    ide.start()
    turn = ide.tab.get_by_role("article", name="Turn of people")
    turn.locator(".turn-form").wait_for()
    assert turn.get_attribute("data-state") == "streaming"
    turn.locator(".turn-form [data-open=true]").first.wait_for()  # a field is being written
    assert "{" not in turn.locator(".turn-form").inner_text(), "a form, not its JSON"
    turn.get_by_role("cell", name="Grace").wait_for()
    assert turn.get_attribute("data-state") == "streaming"
    ide.shot("ide-form-growing")
    ide.result()
    assert turn.get_attribute("data-state") == "done"
    turn.get_by_text("As the model wrote it").click()
    turn.locator("pre", has_text='"title"').wait_for()
    ide.shot("ide-form")
    (files.folder / "form.tac").unlink()


def test_looks_dark_and_narrow(opened: Callable[..., Ide], files: House) -> None:
    (files.folder / "quick.tac").write_text('quick = Agent {}\nreturn { said = quick("hello").text }\n')
    dark = opened(color_scheme="dark")
    dark.open("quick.tac")
    dark.start()
    dark.result()
    run = dark.named()
    dark.shot("ide-dark")
    narrow = opened(viewport={"width": 390, "height": 844}, has_touch=True)
    narrow.tab.goto(f"/#/procedures/quick.tac?run={run}")
    narrow.tab.get_by_role("tab", name="Program").wait_for()
    narrow.tab.locator(".cm-content").wait_for()
    narrow.shot("ide-narrow-program")
    narrow.tab.get_by_role("tab", name="Run").click()
    narrow.result()
    narrow.shot("ide-narrow-run")
    narrow.tab.get_by_role("tab", name="Files").click()
    narrow.tab.get_by_role("button", name="quick.tac").wait_for()
    narrow.shot("ide-narrow-files")
    assert narrow.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    (files.folder / "quick.tac").unlink()


def test_stop(ide: Ide, files: House) -> None:
    ide.open("slow.tac")
    ide.start()
    turn = ide.tab.get_by_role("article", name="Turn of slow")
    turn.get_by_text("counted the stones").first.wait_for()
    ide.button("Stop").click()
    ide.tab.get_by_text("Stopped", exact=True).wait_for()
    assert files.ended(ide.named())["outcome"] == "cancelled"
    assert "counted the stones" in turn.inner_text(), "what was said stays"
    ide.button("Run").wait_for()


def test_questions_are_answered_where_they_stand(ide: Ide, files: House) -> None:
    ide.open("asks.tac")
    ide.start()
    tab = ide.tab
    ide.asked("Your name?")
    assert tab.get_by_label("Your answer").input_value() == "Ada"
    tab.get_by_label("Your answer").fill("Grace")
    ide.button("Answer").click()
    ide.button("green").click()
    ide.asked("Is this good?")
    ide.shot("ide-questions")
    tab.get_by_label("Your version").fill("better so")
    ide.button("Send my version").click()
    ide.result()
    assert files.ended(ide.named())["result"] == {"name": "Grace", "colour": "green", "review": "edit"}
    tab.get_by_text("Thank you", exact=True).wait_for()
    tab.get_by_text("Answered: edit").wait_for()


def test_a_cut_connection_and_a_reload_come_back_to_the_same_run(ide: Ide, files: House) -> None:
    runs, calls = len(files.runs()), files.calls
    ide.open("slow.tac")
    ide.start()
    turn = ide.tab.get_by_role("article", name="Turn of slow")
    turn.get_by_text("counted the stones").first.wait_for()
    for _ in range(3):
        files.cut()
        before = len(turn.inner_text())
        ide.tab.wait_for_function(
            "length => document.querySelector('.turn').innerText.length > length + 80", arg=before
        )
    ide.tab.reload()
    ide.tab.get_by_text("counted the stones").first.wait_for()
    ide.result()
    info = files.ended(ide.named())
    assert info["result"] == WORDS * 20
    shown = ide.tab.get_by_role("article", name="Turn of slow").locator(".md").inner_text()
    assert re.sub(r"\s+", " ", shown) == re.sub(r"\s+", " ", (WORDS * 20).replace("**", "")).strip()
    assert len(files.runs()) - runs == 1, "the program was started once"
    assert files.calls - calls == 1


def test_an_event_source_comes_back_to_the_same_run(ide: Ide, files: House) -> None:
    runs, calls = len(files.runs()), files.calls
    ide.tab.goto("/#/procedures")
    ide.tab.evaluate(
        """() => {
          window.seen = []; window.opened = 0;
          const source = new EventSource("/api/run/stream?path=slow.tac");
          source.onopen = () => { window.opened += 1; };
          source.onmessage = (event) => window.seen.push(JSON.parse(event.data));
          source.onerror = () => { if (source.readyState === 2) window.over = true; };
        }"""
    )
    for chunks in (5, 40, 120):
        ide.tab.wait_for_function(
            "count => seen.filter((event) => event.event_type === 'agent_stream_chunk').length >= count",
            arg=chunks,
        )
        files.cut()
    ide.tab.wait_for_function("() => window.over === true")
    seen = ide.tab.evaluate("seen")
    assert ide.tab.evaluate("opened") >= 4
    kinds = [event["event_type"] for event in seen]
    assert kinds.count("execution") == 2
    assert kinds[-1] == "execution"
    assert seen[-1]["lifecycle_stage"] == "complete"
    chunks = [event for event in seen if event["event_type"] == "agent_stream_chunk"]
    assert "".join(chunk["chunk_text"] for chunk in chunks) == WORDS * 20
    assert len(files.runs()) - runs == 1, "the program was started once"
    assert files.calls - calls == 1


def test_history_and_questions_outlive_the_server(opened: Callable[..., Ide], files: House) -> None:
    ide = opened()
    ide.open("waits.tac")
    ide.start()
    ide.asked("Go on?")
    run = ide.named()
    calls = files.calls
    files.server.kill()
    files.server.start()
    later = opened()
    later.tab.goto(f"/#/procedures/waits.tac?run={run}")
    later.tab.get_by_text("The server stopped in the middle of this").wait_for()
    later.shot("ide-after-restart")
    turn = later.tab.get_by_role("article", name="Turn of first")
    assert "Fine, then." in turn.inner_text()
    assert re.search(r"Tokens\s+42 in, 23 out", turn.inner_text())
    later.shot("ide-after-restart")
    later.button("Approve").click()
    later.tab.wait_for_url(lambda url: "run=run_" in url and run not in url)
    box = later.tab.locator(".ending[data-outcome=completed]")
    box.wait_for()
    assert files.ended(later.named())["result"] == {"said": "Fine, then.", "ok": True}
    assert later.tab.get_by_text("from before").is_visible()
    assert files.calls == calls, "nothing was asked twice"

    files.server.kill()
    files.server.start()
    again = opened()
    again.tab.goto("/#/procedures/waits.tac")
    again.tab.locator(".past-run").first.click()
    again.result()
    text = again.tab.get_by_role("article", name="Turn of first").inner_text()
    assert "Fine, then." in text
    assert again.tab.get_by_text("Answered: Approve").is_visible()
    again.shot("ide-history")


def test_a_failure_says_failed_and_where(ide: Ide, files: House) -> None:
    (files.folder / "fails.tac").write_text('Log.info("on the way")\nerror("no luck")\n')
    ide.open("fails.tac")
    ide.start()
    box = ide.result()
    assert box.get_attribute("data-outcome") == "failed"
    assert "no luck" in box.inner_text()
    box.get_by_role("button", name="Go to line 2").click()
    assert "no luck" in ide.tab.locator(".cm-error-note").inner_text()
    ide.shot("ide-failed")
    (files.folder / "fails.tac").write_text('Log.info("on the way")\nreturn 1\n')
    ide.tab.reload()
    ide.result()
    ide.tab.get_by_role("button", name="Go on from here").click()
    ide.tab.locator(".ending[data-outcome=completed]").wait_for()
    (files.folder / "fails.tac").unlink()
