"""`headrace chat` in a real terminal, driven through tmux as a person would: stream, Ctrl-C, slash commands.

What the screen showed is kept as text in `test-results/terminal-chat.txt`.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ledger import open_ledger

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds; a bound on hanging, not a measure


class Terminal:
    """A terminal of its own, with a shell-less program in it.

    Attributes:
        record: what was typed, and the screen after it.
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._socket = f"headrace-{uuid.uuid4().hex[:8]}"
        self.record: list[str] = []
        line = "exec env " + " ".join(shlex.quote(f"{k}={v}") for k, v in environment.items())
        line += " " + shlex.join(command)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", "-c", str(folder), line)

    def _tmux(self, *arguments: str) -> str:
        given = {key: value for key, value in os.environ.items() if key != "TMUX"}
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments], capture_output=True, text=True, check=True, env=given
        )
        return done.stdout

    def screen(self) -> str:
        """All that has been shown, scrolled away or not."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-2000")

    def type(self, text: str) -> None:
        """Type a line and Enter."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key, such as C-c."""
        self._tmux("send-keys", key)

    def until(self, *wanted: str, times: int = 1) -> str:
        """Wait until each text is on the screen, at least so often; the screen."""
        end = time.monotonic() + PATIENCE
        while True:
            shown = self.screen()
            if all(shown.count(text) >= times for text in wanted):
                return shown
            assert time.monotonic() < end, f"{wanted!r} did not come:\n{shown}"
            time.sleep(0.05)

    def keep(self, step: str) -> None:
        """Note the screen after a step."""
        self.record.append(f"=== {step}\n\n{self.screen().strip()}\n")

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path), "LANG": "C.UTF-8",
        "TERM": "screen-256color", "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
        "HEADRACE_STORE": f"sqlite:///{tmp_path}/chat.sqlite",
    }  # fmt: skip
    command = [sys.executable, "-m", "headrace", "chat", "-m", "demo", "--conversation", "garden"]
    made = Terminal(command, environment, tmp_path)
    yield made
    made.close()


async def test_a_session(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until("demo")
    terminal.type("Hello there")
    first = terminal.until("built-in demo")  # it streams: the first words are there, the prompt is not
    terminal.press("C-c")
    terminal.until("stopped")
    terminal.keep("Ctrl-C in the middle of a reply stops the reply, not the program")
    assert "Hello there" in first
    for command, shown in (
        ("/help", "/commitments"),
        ("/metrics", "IAS"),
        ("/commitments", "nothing has been promised"),
        ("/trace", "generation-ended"),
        ("/graph", "n1"),
        ("/context water", "[user]"),
        ("/verify", "good: 2 facts"),
    ):
        terminal.type(command)
        terminal.until(shown)
        terminal.keep(command)
    terminal.type(f"/export {tmp_path}/facts.jsonl")
    terminal.until("2 facts are in")
    terminal.type("/model demo:fast")
    terminal.type("And now, whole")
    terminal.until("And now, whole")
    ledger = open_ledger(f"sqlite:///{tmp_path}/chat.sqlite")
    end = time.monotonic() + PATIENCE
    while len(facts := await ledger.facts("garden")) < 4:
        assert time.monotonic() < end, terminal.screen()
        await asyncio.sleep(0.05)
    terminal.keep("a whole reply")
    terminal.type("/quit")
    assert [fact.kind for fact in facts[:4]] == ["user", "generation-ended", "user", "response"]
    assert (facts[1].content, facts[1].meta["outcome"]) == ("", "cancelled")
    assert (await ledger.verify()).ok
    await ledger.close()
    assert (tmp_path / "facts.jsonl").read_text(encoding="utf-8").count("\n") == 2
    results = ROOT / "test-results"
    results.mkdir(exist_ok=True)
    (results / "terminal-chat.txt").write_text("\n".join(terminal.record), encoding="utf-8")
