"""Turns: what is written, when, and what the next one sees."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import errors, messages, settings
from headrace.ledger import open_ledger
from headrace.ledger.memory import MemoryLedger
from headrace.memory import shelf, views
from headrace.memory.runtime import Runtime
from headrace.providers.base import Capabilities
from headrace.providers.callable import DummyChat
from headrace.providers.registry import Registry
from headrace.providers.scripted import Call, Drop, Finish, Hang, Pause, Say, Scripted
from headrace.runlog.memory import MemoryRunLog
from headrace.runs import api
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
TEXT = "Lines\n\n```python\nprint('x')\n```\n\r\n\ttabs, 🌊👩‍👩‍👧 and é\n\n"


def kinds(facts: Any) -> list[str]:
    return [fact.kind for fact in facts]


# the document's own snippets


def test_the_documents_snippets() -> None:
    with headrace.Runtime(DummyChat("Once upon a time.\n\nThe end.", delay=0.01)) as runtime:
        result = runtime.handle_user_stream("Hello")
        assert hasattr(result, "__iter__")
        tokens = list(result)
        assert len(tokens) > 1
        assert "".join(tokens) == "Once upon a time.\n\nThe end."
        assert kinds(runtime.wait(runtime.facts())) == ["user", "response"]
        assert hasattr(runtime.chat, "generate_stream")


def test_an_adapter_without_streaming_gives_one_piece() -> None:
    class Blocking:
        def generate(self, messages: Any, **options: Any) -> str:
            return "All at once."

    class Refusing(Blocking):
        def generate_stream(self, messages: Any, **options: Any) -> Iterator[str]:
            raise NotImplementedError

    for adapter in (Blocking(), Refusing()):
        with Runtime(adapter) as runtime:
            assert list(runtime.handle_user_stream("Hello")) == ["All at once."]


def test_streamed_blocking_and_asynchronous_turns_write_the_same_facts() -> None:
    def streamed(runtime: Runtime) -> str:
        return "".join(runtime.handle_user_stream("Hello"))

    def blocking(runtime: Runtime) -> str:
        return runtime.handle_user("Hello")

    def asynchronous(runtime: Runtime) -> str:
        return runtime.wait(collected(runtime))

    async def collected(runtime: Runtime) -> str:
        return "".join([piece async for piece in runtime.stream("Hello")])

    seen = []
    for way in (streamed, blocking, asynchronous):
        with Runtime(DummyChat(TEXT)) as runtime:
            assert way(runtime) == TEXT
            seen.append([(f.kind, f.content, f.meta, f.hash) for f in runtime.wait(runtime.facts())])
    assert seen[0] == seen[1] == seen[2]


async def test_the_response_is_what_was_streamed_byte_for_byte() -> None:
    async with Runtime(DummyChat(TEXT)) as runtime:
        shown = "".join([piece async for piece in runtime.stream("Hello\n\n🌊")])
        asked, response = await runtime.facts()
        assert asked.content == "Hello\n\n🌊"
        assert response.content.encode() == shown.encode() == TEXT.encode()


# when a fact is written


async def test_the_users_fact_is_there_before_the_provider_is_called() -> None:
    ledger = MemoryLedger()
    seen: list[list[str]] = []

    class Looks:
        async def generate(self, messages: Any, **options: Any) -> str:
            seen.append(kinds(await ledger.facts("main")))
            return "Yes."

    async with Runtime(Looks(), ledger) as runtime:
        await runtime.ask("Are you there?")
    assert seen == [["user"]]


async def test_after_the_first_token_another_process_sees_the_user_and_no_response(tmp_path: Path) -> None:
    path = tmp_path / "chat.sqlite"
    gate = asyncio.Event()
    provider = Scripted(["First", Pause(1), Say(" last")], sleep=lambda s: gate.wait())
    program = (
        "import sqlite3, sys, json; c = sqlite3.connect(sys.argv[1]);"
        "print(json.dumps(c.execute('SELECT kind, content FROM ledger ORDER BY seq').fetchall()))"
    )
    async with Runtime(provider, f"sqlite:///{path}") as runtime:
        turn = await runtime.begin("Hello")
        assert await turn.next() == ["First"]
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, str(path)], capture_output=True, check=True
        )
        assert json.loads(done.stdout) == [["user", "Hello"]]
        gate.set()
        assert "".join([piece async for piece in turn]) == " last"
        await turn.close()
        assert kinds(await runtime.facts()) == ["user", "response"]


async def test_a_reader_that_stops_early_ends_the_turn_as_cancelled() -> None:
    provider = Scripted(["First", Pause(1), Say("never")], sleep=lambda s: asyncio.sleep(3600))
    async with Runtime(provider) as runtime:
        pieces = runtime.stream("Hello")
        assert await anext(pieces) == "First"
        await pieces.aclose()  # type: ignore[attr-defined]
        asked, ending = await runtime.facts()
        assert (asked.kind, ending.kind, ending.content) == ("user", "generation-ended", "")
        assert ending.meta["outcome"] == "cancelled"
        assert provider.calls[0].closed_early
        (trace,) = await runtime.traces()
        assert [s["step"] for s in trace["steps"]] == ["user", "context", "generate", "generation-ended"]


def test_a_blocking_reader_that_stops_early() -> None:
    provider = Scripted(["First", Pause(1), Say("never")], sleep=lambda s: asyncio.sleep(3600))
    with Runtime(provider) as runtime:
        for _ in runtime.handle_user_stream("Hello"):
            break
        unread = runtime.handle_user_stream("Hello?")
        next(unread)
        unread.close()  # type: ignore[attr-defined]
        endings = [f.meta["outcome"] for f in runtime.wait(runtime.facts()) if f.kind != "user"]
        assert endings == ["cancelled", "cancelled"]


async def test_a_turn_that_is_given_up_while_it_starts_has_an_ending() -> None:
    class Slow(MemoryLedger):
        async def begin(self, *given: Any) -> Any:
            fact = await super().begin(*given)
            began.set()
            await go_on.wait()
            return fact

    began, go_on = asyncio.Event(), asyncio.Event()
    ledger = Slow()
    async with Runtime(Scripted([Hang()]), ledger) as runtime:
        starting = asyncio.create_task(runtime.begin("Hello"))
        await began.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        go_on.set()
    assert kinds(await ledger.facts("main")) == ["user", "generation-ended"]


async def test_a_turn_that_fails_keeps_no_partial_text() -> None:
    async with Runtime(Scripted(["half an", Drop()])) as runtime:
        turn = await runtime.begin("Hello")
        assert "".join(await turn.next() or []) == "half an"
        with pytest.raises(errors.ProviderError):
            await turn.next()
        ending = (await runtime.facts())[-1]
        assert (ending.kind, ending.content, ending.meta["reason"]) == (
            "generation-ended",
            "",
            "stream-incomplete",
        )


# continuation


@pytest.mark.parametrize("prefill", [True, False])
async def test_a_reply_that_ends_with_length_goes_on_in_the_same_stream(prefill: bool) -> None:
    provider = Scripted(
        [["One, ", Finish("length")], ["two, ", Finish("length")], ["three."]],
        capabilities=Capabilities(prefill=False),
    )
    if prefill:
        said = ("One, ", "One, two, ", "One, two, three.")
        scripts = [[text, Finish("length" if n < 2 else "stop")] for n, text in enumerate(said)]
        provider = Scripted(scripts)
    async with Runtime(provider) as runtime:
        assert "".join([p async for p in runtime.stream("Count")]) == "One, two, three."
        facts = await runtime.facts()
        assert kinds(facts) == ["user", "response"]
        assert facts[1].content == "One, two, three."
        assert facts[1].meta["finish_reason"] == "stop"
        assert facts[1].meta["parts"] == [
            {"characters": 5, "finish_reason": "length"},
            {"characters": 5, "finish_reason": "length"},
            {"characters": 6, "finish_reason": "stop"},
        ]
    asked = provider.requests[2]
    if prefill:
        assert asked.prefill == "One, two, "
    else:
        assert [m.text for m in asked.messages[-2:-1]] == ["One, two, "]
        assert asked.messages[-1].role == "user"


async def test_it_goes_on_at_most_so_often() -> None:
    provider = Scripted([["a", Finish("length")]] * 9, capabilities=Capabilities(prefill=False))
    async with Runtime(provider) as runtime:
        assert await runtime.ask("Go on for ever") == "aaa"
        assert (await runtime.facts())[-1].meta["finish_reason"] == "length"
    assert len(provider.calls) == 3


# the follow-up

MARKED = """Gladly.
COMMIT: water the plants
TRAIT: openness +0.02
CLAIM: weather={"city": "Oslo"}
REFLECT: I like plants
Done."""


async def test_markers_become_facts_and_the_next_turn_sees_them() -> None:
    provider = Scripted([[MARKED], ["CLOSE: water the plants"], ["Fine."]])
    async with Runtime(provider, consistency="strict", teach=True) as runtime:
        await runtime.ask("Will you look after the plants?")
        await runtime.ask("Have you?")
        state = (await runtime.views()).mirror
        assert state.open  # its closing is in the response, and not yet a fact
        await runtime.settle()
        facts = await runtime.facts()
        assert kinds(facts) == [
            *("user", "response", "commitment", "trait", "claim", "reflection"),
            *("user", "response", "commitment-closed"),
        ]
        assert facts[2].meta == {"turn": 2}
        assert facts[8].meta == {"turn": 8, "commitment": "c3"}
        assert [(made.id, made.closed) for made in (await runtime.views()).mirror.closed] == [("c3", 9)]
        told = provider.requests[1].messages[0].text
        assert "- c3: water the plants" in told
        assert "- I like plants" in told
        assert "openness 0.52" in told
        edges = {(e.source, e.kind, e.target) for e in (await runtime.views()).graph.edges}
        assert edges == {
            ("n2", "replies_to", "n1"),
            ("n2", "commits_to", "n3"),
            ("n6", "reflects_on", "n2"),
            ("n8", "replies_to", "n7"),
            ("n9", "closes", "n3"),
        }
        first, _ = await runtime.traces()
        assert [step["step"] for step in first["steps"]] == ["user", "context", "generate", "response"]
        assert len(first["durations_ms"]) == 2


async def test_marker_lines_are_hidden_and_kept() -> None:
    async with Runtime(DummyChat(MARKED), hide_markers=True) as runtime:
        assert "".join([p async for p in runtime.stream("Hello")]) == "Gladly.\nDone."
        assert (await runtime.facts())[1].content == MARKED


async def test_the_first_token_does_not_wait_for_the_follow_up_unless_that_is_asked_for() -> None:
    class Slow(MemoryLedger):
        def __init__(self) -> None:
            super().__init__()
            self.held, self.go_on = asyncio.Event(), asyncio.Event()

        async def append(self, *given: Any, **more: Any) -> Any:
            self.held.set()
            await self.go_on.wait()
            return await super().append(*given, **more)

    for strict in (False, True):
        ledger = Slow()
        provider = Scripted([["COMMIT: a"], ["b"]])
        consistency: Any = "strict" if strict else "eventual"
        async with Runtime(provider, ledger, consistency=consistency) as runtime:
            await runtime.ask("one")
            await ledger.held.wait()
            second = asyncio.create_task(runtime.ask("two"))
            if strict:
                await asyncio.sleep(0)
                assert len(provider.calls) == 1
                ledger.go_on.set()
            assert await second == "b"
            told = provider.requests[1].messages[0].text
            assert ("c3: a" in told) is strict
            ledger.go_on.set()


async def test_what_a_crash_left_undone_is_done_at_the_next_start(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    async with Runtime(DummyChat(MARKED), ledger) as runtime:
        await runtime.ask("Hello")
    whole_ledger = await ledger.facts("main")
    cut = MemoryLedger()
    async with Runtime(DummyChat(MARKED), cut) as runtime:
        runtime._follow_up = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
        await runtime.ask("Hello")
    assert kinds(await cut.facts("main")) == ["user", "response"]
    async with Runtime(DummyChat(), cut) as runtime:
        await runtime.views()
        await runtime.settle()
    assert [f.hash for f in await cut.facts("main")] == [f.hash for f in whole_ledger]


async def test_reflections_stream_and_only_whole_ones_are_kept() -> None:
    provider = Scripted([["Hi."], ["I was ", "short."], ["I", Drop()]])
    async with Runtime(provider) as runtime:
        await runtime.ask("Hello")
        turn = await runtime.reflect()
        assert "".join([piece async for piece in turn]) == "I was short."
        fact = (await runtime.facts())[-1]
        assert (fact.kind, fact.content, fact.meta["turn"]) == ("reflection", "I was short.", 2)
        with pytest.raises(errors.ProviderError):
            await (await runtime.reflect()).result()
        assert kinds(await runtime.facts()) == ["user", "response", "reflection"]


def test_reflections_from_blocking_code() -> None:
    with Runtime(DummyChat("I listen.")) as runtime:
        assert "".join(runtime.reflect_stream()) == "I listen."
        assert kinds(runtime.wait(runtime.facts())) == ["reflection"]


async def test_what_is_told_is_remembered() -> None:
    provider = Scripted("Yes.")
    async with Runtime(provider) as runtime:
        await runtime.remember("identity", "Brook")
        await runtime.remember("directive", "Answer in one word.")
        await runtime.ask("Ready?")
        told = provider.requests[0].messages[0].text
        assert "Your name is Brook." in told
        assert "- Answer in one word." in told
        with pytest.raises(errors.UsageError, match="not 'user'"):
            await runtime.remember("user", "x")


# determinism, cost, and more than one at a time


async def test_two_runs_give_identical_hashes() -> None:
    seen = []
    for _ in range(2):
        ledger = MemoryLedger()
        async with Runtime(DummyChat(), ledger, consistency="strict") as runtime:
            for text in (
                "Hello",
                "COMMIT: water the plants",
                "And the plants?",
                "CLOSE: c5",
                "TRAIT: openness +0.01",
            ):
                await runtime.ask(text)
            await runtime.settle()
            assert (await runtime.views()).digest() == (await views.rebuild(ledger, "main")).digest()
        facts = await ledger.facts("main")
        seen.append(([f.hash for f in facts], views.of_facts(facts).digests()))
    assert seen[0] == seen[1]
    assert len(seen[0][0]) == 13


async def test_the_same_context_is_built_once() -> None:
    async with Runtime(DummyChat()) as runtime:
        first = await runtime.context("Hello")
        assert await runtime.context("Hello") is first
        assert (runtime.cache.hits, runtime.cache.misses) == (1, 1)
        await runtime.ask("Hello")
        assert runtime.cache.hits == 2
        assert (await runtime.context("Hello")).seq == 2


async def test_a_turn_reads_only_what_is_new() -> None:
    class Counting(MemoryLedger):
        read = 0

        async def facts(self, *given: Any, **more: Any) -> Any:
            found = await super().facts(*given, **more)
            self.read += len(found)
            return found

    ledger = Counting()
    async with Runtime(DummyChat("x"), ledger) as runtime:
        costs = []
        for number in range(60):
            before = ledger.read
            await runtime.ask(f"turn {number}")
            await runtime.settle()
            costs.append(ledger.read - before)
    assert set(costs) == {2}


async def test_another_processes_facts_are_in_the_next_context() -> None:
    ledger = MemoryLedger()
    provider = Scripted("Yes.")
    async with Runtime(provider, ledger) as one, Runtime(DummyChat("Elsewhere."), ledger) as other:
        await one.ask("first")
        await other.ask("second")
        await one.ask("third")
        said = [m.text for m in provider.requests[1].messages]
        assert said[1:] == ["first", "Yes.", "second", "Elsewhere.", "third"]


def test_where_it_can_be_used() -> None:
    async def inside() -> None:
        async with Runtime(DummyChat()) as runtime:
            await runtime.ask("Hello")
            with pytest.raises(errors.UsageError, match="await the async twin"):
                runtime.handle_user("Hello")
            found: list[str] = []
            thread = threading.Thread(
                target=lambda: found.extend(runtime.handle_user_stream("From a thread"))
            )
            thread.start()
            await asyncio.to_thread(thread.join)
            assert "From a thread" in "".join(found)

    asyncio.run(inside())
    with Runtime(DummyChat()) as runtime:
        runtime.handle_user("Hello")
        with pytest.raises(errors.UsageError, match="belongs to the event loop"):
            asyncio.run(runtime.ask("Hello"))
    with pytest.raises(errors.UsageError, match="no option 'temprature'"):
        Runtime(DummyChat(), temprature=1)


# long conversations


async def test_a_long_conversation_is_read_once_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE", 20)
    monkeypatch.setattr(shelf, "BULK", 60)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'chat.sqlite'}")
    for number in range(130):
        await ledger.append("main", "event", f"thing number {number}", {}, id=str(number))
    pages, take = [], views._take

    def counted(kept: views.Views, facts: list[Any]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        pages.append(facts[0].seq)
        take(kept, facts)

    monkeypatch.setattr(views, "_take", counted)
    async with Runtime(DummyChat("Here."), ledger) as runtime:
        given_up = asyncio.create_task(runtime.views())
        while not pages:
            await asyncio.sleep(0)
        given_up.cancel()
        found, told, _ = await asyncio.gather(runtime.views(), runtime.context("thing"), runtime.ask("Hello"))
        assert pages == [1, 21, 41, 61, 81, 101]
        assert found.graph.since == 120  # most of it is kept
        assert runtime.progress is None
        assert [f.seq for f in (await runtime.views()).recent] == [131, 132]
        assert found is await runtime.views()
        assert told.seq in (130, 131, 132)
        monkeypatch.undo()
        assert (await runtime.views()).digest() == (await views.rebuild(ledger, "main")).digest()
    await ledger.close()


async def test_closing_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = asyncio.Event()

    async def never(*args: Any, **more: Any) -> None:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(views, "read", never)
    runtime = Runtime(DummyChat("Here."), f"sqlite:///{tmp_path / 'chat.sqlite'}")
    asking = asyncio.create_task(runtime.ask("Hello"))
    await reading.wait()
    await runtime.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_reading_that_failed_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read, failures = views.read, [errors.StoreError("gone for a moment")]

    async def once(*args: Any, **more: Any) -> None:
        if failures:
            raise failures.pop()
        await read(*args, **more)

    monkeypatch.setattr(views, "read", once)
    async with Runtime(DummyChat("Here.")) as runtime:
        with pytest.raises(errors.StoreError):
            await runtime.ask("Hello")
        assert await runtime.ask("Hello") == "Here."


# tools


async def test_turns_run_tools_and_go_on_after_them() -> None:
    def lookup(word: str) -> str:
        """Looks a word up."""
        return f"{word} is a channel"

    script = [
        [Say("Let me look. "), Call("lookup", {"word": "headrace"})],
        [Say("It is"), Finish("length")],
        [Say(" a channel.\nCOMMIT: tell more")],
        ["I shall."],
    ]
    provider = Scripted(script)
    async with Runtime(provider, consistency="strict", tools=[lookup]) as runtime:
        shown = [token async for token in runtime.stream("What is a headrace?")]
        assert await runtime.ask("And?") == "I shall."
        facts = await runtime.facts()
        assert kinds(facts) == ["user", "response", "commitment", "user", "response"]
        assert facts[1].content == "".join(shown) == "Let me look. It is a channel.\nCOMMIT: tell more"
        assert facts[1].meta["trace"][1] == {
            "step": "generate", "tools": ["lookup"], "characters": 5, "finish_reason": "length",
        }  # fmt: skip
        asked = provider.requests[2].messages
        assert any("headrace is a channel" in str(m.parts) for m in asked)  # the continuation knows it still
        assert (await runtime.ledger.verify()).ok


async def test_a_turn_of_tool_results_is_recorded_as_such() -> None:
    """What the caller's own tools said is no second question of the user's."""
    ledger = MemoryLedger()
    engine = Engine(Registry(settings.Settings()), MemoryRunLog(), ledger)
    call = messages.ToolCall(id="call_1", name="weather", arguments='{"city":"Oslo"}')
    said = messages.ToolResult(call="call_1", content="rain", name="weather")
    thread = (
        messages.user("Weather?"),
        messages.Message("assistant", (call,)),
        messages.Message("tool", (said,)),
    )
    for model, asked in ((Scripted([[Call("weather")]]), thread[:1]), (Scripted("Rain."), thread)):
        spec = RunSpec(model="m", messages=asked, conversation="c")
        active = await engine.start(spec, models=api.WithObject(model, "m", engine.models))
        await active.ended.wait()
    facts = await ledger.facts("c")
    assert [(f.kind, f.content) for f in facts] == [
        ("user", "Weather?"), ("response", ""), ("user", ""), ("response", "Rain."),
    ]  # fmt: skip
    assert facts[2].meta["tool_results"] == [
        {"type": "tool-result", "call": "call_1", "content": "rain", "name": "weather"}
    ]
    assert "tool_results" not in facts[0].meta
    provider = Scripted("Yes.")
    async with Runtime(provider, ledger, conversation="c") as runtime:
        await runtime.ask("Sure?")
    told = [(m.role, m.text) for m in provider.requests[0].messages if m.role != "system"]
    assert told == [("user", "Weather?"), ("assistant", "Rain."), ("user", "Sure?")]
    assert (await ledger.verify()).ok
    await engine.close()


# processes

CHILD = """
import asyncio, sys, headrace
from headrace.providers.callable import DummyChat

async def main():
    async with headrace.Runtime(DummyChat("COMMIT: x\\nyes"), sys.argv[1], conversation="shared") as runtime:
        for number in range(int(sys.argv[2])):
            await runtime.ask(f"turn {number}")

asyncio.run(main())
"""


async def test_four_processes_and_a_thousand_turns_on_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chat.sqlite'}"
    turns = 250
    open_ledger(url)
    children = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, url, str(turns), env=environment())
        for _ in range(4)
    ]
    assert [await child.wait() for child in children] == [0] * 4
    ledger = open_ledger(url)
    try:
        report = await ledger.verify()
        assert report.ok, report.problems[:3]
        rebuilt = await views.rebuild(ledger, "shared")
        assert rebuilt.mirror.counts == {"user": 4 * turns, "response": 4 * turns, "commitment": 4 * turns}
        assert not rebuilt.unfollowed
        assert report.open_runs == 0
    finally:
        await ledger.close()


KILLED = """
import sys, headrace
from headrace.providers.callable import DummyChat

runtime = headrace.Runtime(DummyChat("a long answer " * 50, delay=0.05), sys.argv[1])
for token in runtime.handle_user_stream("Hello"):
    print("token", flush=True)
"""


async def test_a_process_killed_in_the_middle_leaves_a_turn_that_is_closed_at_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chat.sqlite"
    url = f"sqlite:///{path}"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, url, stdout=asyncio.subprocess.PIPE, env=environment()
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"token\n"
    child.send_signal(signal.SIGKILL)
    await child.communicate()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT kind FROM ledger").fetchall() == [("user",)]
    connection.close()
    async with Runtime(DummyChat("Here."), url) as runtime:
        assert await runtime.ask("Again?") == "Here."
        facts = await runtime.facts()
        assert kinds(facts) == ["user", "generation-ended", "user", "response"]
        assert facts[1].meta["outcome"] == "interrupted"
        assert (await runtime.ledger.verify()).ok


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


# reflections by themselves


async def test_every_so_many_turns_the_follow_up_reflects() -> None:
    provider = Scripted(
        [["a"], ["b"], ["I was short."], ["c"], ["d"], ["I", Drop()], ["e"], ["f"], ["Better."]]
    )
    async with Runtime(provider, consistency="strict", reflect_every=2) as runtime:
        for text in "abcdef":
            await runtime.ask(text)
        await runtime.settle()
        reflections = [f.content for f in await runtime.facts() if f.kind == "reflection"]
        assert reflections == ["I was short.", "Better."]
        told = provider.requests[3].messages[0].text
        assert "- I was short." in told


async def test_a_turn_does_not_wait_for_a_reflection() -> None:
    provider = Scripted([["a"], ["I think", Pause(1), Say(" long.")], ["b"]], sleep=lambda s: gate.wait())
    gate = asyncio.Event()
    async with Runtime(provider, reflect_every=1) as runtime:
        await runtime.ask("one")
        while len(provider.calls) < 2:
            await asyncio.sleep(0)
        assert await runtime.ask("two") == "b"
        gate.set()
        await runtime.settle()
        assert "reflection" in kinds(await runtime.facts())


async def test_a_run_of_another_process_is_not_said_to_be_stopped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chat.sqlite'}"
    there, here = open_ledger(url), open_ledger(url)
    other = Engine(Registry(settings.Settings()), MemoryRunLog(), here)
    async with Runtime(Scripted([Say("a"), Hang()]), there) as runtime:
        turn = await runtime.begin("Hello")
        with pytest.raises(errors.ReadError, match="stop it where it was started"):
            await other.cancel(turn.run.id)
        await turn.close()
        assert (await other.cancel(turn.run.id)).outcome == "cancelled"
    await other.close()
    await there.close()
