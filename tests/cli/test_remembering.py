"""The chat with a ledger and a memory."""

from __future__ import annotations

import json
from typing import Any

URL = "sqlite:///chat.db"


def test_a_conversation_goes_on_where_it_ended(headrace: Any) -> None:
    talk = ("chat", "-m", "demo:fast", "-c", "garden", "--store", URL)
    done = headrace(*talk, stdin="Hello\n/save one.json\n/export facts.jsonl\n/verify\n")
    assert done.returncode == 0, done.stderr
    assert "You said: `Hello`" in done.stdout
    assert "good: 2 facts in 1 conversations" in done.stdout
    facts = [json.loads(line) for line in (headrace.home / "facts.jsonl").read_text().splitlines()]
    assert [fact["kind"] for fact in facts] == ["user", "response"]
    assert json.loads((headrace.home / "one.json").read_text())[1]["content"] == facts[1]["content"]

    done = headrace(*talk, "--system", "Be kind.", stdin="/context\n/retry\n/save two.json\n")
    assert done.returncode == 0, done.stderr
    assert "[system]\nBe kind." in done.stdout
    assert "[user]\nHello\n\n[assistant]\n" in done.stdout
    assert len(json.loads((headrace.home / "two.json").read_text())) == 4


def test_the_commands_that_look_into_the_memory(headrace: Any) -> None:
    script = "Hello there\n/metrics\n/graph hello\n/commitments\n/trace\n/reflect\n/graph\n/clear\n"
    done = headrace("chat", "-m", "demo:fast", "-c", "garden", "--store", URL, stdin=script)
    assert done.returncode == 1  # /clear is no command here
    assert "there is no command '/clear'" in done.stderr
    assert "IAS 1.000" in done.stdout
    assert "n1     user        Hello there\n" in done.stdout
    assert "n2 replies_to n1" in done.stdout
    assert "nothing has been promised" in done.stderr
    assert "  2 context {" in done.stdout
    assert "n3     reflection " in done.stdout
    assert "n3 reflects_on n2" in done.stdout
    replayed = headrace("ledger", "replay", "garden", "--store", URL)
    assert replayed.stdout.startswith("garden: 3 facts\n")


def test_the_same_ledger_shows_the_same_context(headrace: Any) -> None:
    shown = []
    for name in ("one", "two"):
        talk = (
            "chat",
            "-m",
            "demo:fast",
            "-c",
            "garden",
            "--store",
            f"sqlite:///{name}.db",
            "--show-context",
        )
        done = headrace(*talk, stdin="Hello\nAnd now?\n")
        assert done.returncode == 0, done.stderr
        shown.append(done.stderr)
    assert shown[0] == shown[1]
    assert "[user]\nAnd now?" in shown[0]


def test_what_goes_with_a_conversation(headrace: Any) -> None:
    done = headrace("chat", "-m", "demo:fast", "--show-context", stdin="Hello\n")
    assert done.returncode == 2
    assert "--conversation" in done.stderr
    done = headrace("chat", "-m", "demo:fast", "-c", "x", "--store", "nonsense", stdin="Hello\n")
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stopped_answer_is_recorded_as_such(headrace: Any) -> None:
    with headrace.terminal("chat", "-m", "demo", "-c", "garden", "--store", URL) as tty:
        tty.until("› ")
        tty.type("long\n")
        tty.until("A long answer")
        tty.type("\x03")
        tty.until("stopped")
        tty.until("› ")
        tty.type("/trace\n")
        tty.until("cancelled")
        tty.until("› ")
        tty.type("/quit\n")
        assert tty.end() == 0
    assert "Traceback" not in tty.seen
    done = headrace("ledger", "show", "garden", "--store", URL)
    assert "generation-ended (cancelled)" in done.stdout


def test_a_recorded_chat_uses_tools(headrace: Any) -> None:
    (headrace.home / "mine.py").write_text(
        "import headrace\n\n\n@headrace.tool\ndef plants() -> str:\n"
        '    """How the plants are."""\n    return "thirsty"\n'
    )
    done = headrace(
        "chat", "-m", "demo:fast", "-c", "garden", "--store", URL, "--tool", "mine.py:plants", "--yes",
        stdin="How are they?\n/trace\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "thirsty" in done.stdout
    assert '"tools":["plants"]' in done.stdout
    shown = headrace("ledger", "show", "garden", "--store", URL).stdout
    assert "The tools have been called" in shown
    assert "good:" in headrace("ledger", "verify", "--store", URL).stdout
