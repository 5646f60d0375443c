from __future__ import annotations

import json
from typing import Any


def test_a_conversation_from_a_pipe(headrace: Any) -> None:
    script = "Hello\nfirst \\\nsecond\n/save talk.json\n/save talk.md\n/quit\nnot read\n"
    done = headrace("chat", "-m", "demo:fast", stdin=script)
    assert done.returncode == 0, done.stderr
    assert "You said: `Hello`" in done.stdout
    assert "You said: `first second`" in done.stdout
    assert "not read" not in done.stdout
    talk = json.loads((headrace.home / "talk.json").read_text())
    assert [turn["role"] for turn in talk] == ["user", "assistant"] * 2
    assert talk[2]["content"] == "first \nsecond"
    assert (headrace.home / "talk.md").read_text().startswith("**user:**\n\nHello\n")


def test_retry_model_and_clear(headrace: Any) -> None:
    script = "Hello\n/retry\n/model demo:fast\n/save one.json\n/clear\n/save two.json\n"
    done = headrace("chat", "-m", "demo:fast", stdin=script)
    assert done.returncode == 0
    assert done.stdout.count("You said: `Hello`") == 2
    assert len(json.loads((headrace.home / "one.json").read_text())) == 2
    assert json.loads((headrace.home / "two.json").read_text()) == []


def test_what_goes_wrong_is_said_and_the_chat_goes_on(headrace: Any) -> None:
    script = "/nonsense\n/model nope:x\n/save\n/save missing/talk.json\nHello\n"
    done = headrace("chat", "-m", "demo:fast", stdin=script)
    assert done.returncode == 1
    assert "You said: `Hello`" in done.stdout
    assert done.stderr.count("error: usage: ") == 4
    assert "Traceback" not in done.stderr


def test_a_model_that_fails_is_asked_again_by_retry(headrace: Any) -> None:
    script = "Hello\n/model demo:fast\n/retry\n"
    done = headrace("chat", "-m", "openai:gpt-4o-mini", stdin=script)
    assert "error: auth-failed: " in done.stderr
    assert "You said: `Hello`" in done.stdout


def test_on_a_terminal(headrace: Any) -> None:
    """Ctrl-C stops the answer, not the chat; Ctrl-D ends it."""
    with headrace.terminal("chat", "-m", "demo") as tty:
        tty.until("› ")
        tty.type("long\n")
        tty.until("A long answer")
        tty.type("\x03")
        tty.until("stopped")
        tty.until("› ")
        # an interrupt between two reads of the line editor waits for the next one
        tty.until("(Ctrl-D or /quit ends the chat)", typing="\x03")
        tty.until("› ")
        tty.type("/help\n")
        tty.until("/retry")
        tty.until("› ")
        tty.type("\x04")
        assert tty.end() == 0
    assert "Traceback" not in tty.seen
