from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from headrace import messages
from headrace.cli import blocks
from headrace.providers import base, demo
from headrace.providers.scripted import Say
from headrace.testing.playback import Response, ScriptedHTTP

_OURS = re.compile(r"\x1b\[(\?2026[hl]|[0-9;]*m|[0-9]*A|2K|J)")
_NASTY = (
    "\x1b[2J\x1b[31mred\x1b]0;title\x07 \x9b31m\x00 over\rwritten \u202e gnirts\n\n"
    "`\x1b[1mcode` &#27;[31m &#x9b;31m <b>bold</b> [red]markup[/red]\n\n"
    "```\n\x1b[5mblink\n```\n\n[link\x1b](http://x/\x1b[0m)\n\n| a\x1b[H | b |\n|---|---|\n| 1 | \x9b2J |\n"
)


def demo_text(prompt: str) -> str:
    request = base.ModelRequest(model="fast", messages=(messages.user(prompt),))
    return "".join(step.text for step in demo.answer(request) if isinstance(step, Say))


def test_the_answer_grows_in_place_and_stays(headrace: Any, screenful: Any) -> None:
    with headrace.terminal("ask", "-m", "demo:fast", "Hi", columns=70) as tty:
        assert tty.end() == 0
    screen = screenful(70)
    screen.feed(tty.seen.partition("\ndemo:fast · ")[0])
    expected = [line.rstrip() for line in blocks.render(demo_text("Hi"), 70, colours=False) if line.strip()]
    assert screen.text == expected
    footer = r"demo:fast · 1 in, \d+ out · first token \d+ ms · [\d,—]+ tokens/s · cost —"
    assert re.search(footer, tty.seen)


def test_a_paced_answer_ends_as_the_same_text(headrace: Any, screenful: Any) -> None:
    """Redrawn many times, in a window that is lower than its blocks."""
    with headrace.terminal("ask", "-m", "demo", "tool", columns=50, rows=8) as tty:
        assert "waiting for demo" in tty.until("waiting for demo")
        assert tty.end() == 0
    screen = screenful(50)
    screen.feed(tty.seen.partition("\ndemo · ")[0])
    expected = [line.rstrip() for line in blocks.render(demo_text("tool"), 50, colours=False) if line.strip()]
    assert screen.text == expected
    assert tty.seen.count("\x1b[?2026h") > 5


def test_reasoning_is_folded_unless_asked_for(headrace: Any, screenful: Any) -> None:
    for arguments, shown in (([], False), (["--reasoning"], True)):
        with headrace.terminal("ask", "-m", "demo:fast", *arguments, "think") as tty:
            assert tty.end() == 0
        screen = screenful(80)
        screen.feed(tty.seen)
        text = " ".join(screen.text)
        assert ("I am a script" in text) is shown
        assert ("· thought for" in text) is not shown


async def test_nothing_the_model_wrote_moves_the_cursor(
    headrace: Any, openai_chunks: Callable[..., list[bytes]]
) -> None:
    response = Response(headers={"Content-Type": "text/event-stream"}, pieces=openai_chunks(*_NASTY))
    async with ScriptedHTTP(response) as server:
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
        for arguments in ([], ["--no-markdown"]):
            with headrace.terminal("ask", "-m", "openai:m", *arguments, "Hi", **variables) as tty:
                assert await asyncio.to_thread(tty.end) == 0
            left = _OURS.sub("", tty.seen)
            assert [c for c in left if not c.isprintable() and c not in "\r\n"] == []
            assert "␛[2J" in left
            if arguments:
                assert "\x1b" not in tty.seen.partition("\n\x1b")[0]
        # the colours there are, are ours
        assert not set(re.findall(r"\x1b\[(5|31|2J)m", tty.seen))


def test_no_color(headrace: Any) -> None:
    with headrace.terminal("ask", "-m", "demo:fast", "structured", NO_COLOR="1") as tty:
        assert tty.end() == 0
    assert set(re.findall(r"\x1b\[[0-9;]*m", tty.seen)) <= {"\x1b[0m"}
    with headrace.terminal("ask", "-m", "demo:fast", "structured") as tty:
        assert tty.end() == 0
    assert "\x1b[1m" in tty.seen


def test_a_dumb_terminal_gets_plain_text(headrace: Any) -> None:
    with headrace.terminal("ask", "-m", "demo:fast", "Hi", TERM="dumb") as tty:
        assert tty.end() == 0
    assert "\x1b" not in tty.seen
    assert "## What you are looking at" in tty.seen


def test_ctrl_c_keeps_what_was_shown(headrace: Any, screenful: Any) -> None:
    with headrace.terminal("ask", "-m", "demo", "long") as tty:
        tty.until("built-in demo")
        tty.type("\x03")
        assert tty.end() == 130
    screen = screenful(80)
    screen.feed(tty.seen.replace("^C", ""))
    assert screen.text[0].lstrip("*").startswith("This is Headrace's built-in demo")
    assert screen.text[-1] == "stopped"
