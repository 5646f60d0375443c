"""The program as a person runs it: `python -m headrace` in a process of its own, in a home of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds; a bound on hanging, not a measure


class Program:
    """Runs the program.

    Attributes:
        environment: of every call; nothing of the person's own settings is in it.
        home: the working directory, and where data and settings go.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "headrace", *arguments]

    def __call__(
        self, *arguments: str, stdin: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with stdin, stdout and stderr as pipes."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | variables,
            cwd=self.home,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
            **given,
        )

    def start(self, *arguments: str, **given: Any) -> subprocess.Popen[bytes]:
        """Start it, with pipes; the caller ends it."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        environment = self.environment | given.pop("variables", {})
        return subprocess.Popen(self.command(*arguments), env=environment, cwd=self.home, **options | given)

    @contextlib.contextmanager
    def terminal(self, *arguments: str, columns: int = 80, rows: int = 24, **variables: str) -> Iterator[Tty]:
        """Run it on a terminal."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.environment | variables,
            cwd=self.home,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(follower)
        try:
            yield Tty(process, leader)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(leader)


class Tty:
    """The other side of a terminal that the program runs on."""

    def __init__(self, process: subprocess.Popen[bytes], leader: int) -> None:
        self.process = process
        self.seen = ""
        self._leader = leader
        self._bytes = b""
        self._place = 0

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def until(self, words: str | None = None, typing: str = "") -> str:
        """Read until these words have come (after what was waited for before), or to the end.

        `typing` is typed, again each time nothing has come for a while.
        """
        self.type(typing)
        begin, limit = self._place, time.monotonic() + PATIENCE
        while words is None or words not in self.seen[begin:]:
            if time.monotonic() > limit:
                raise AssertionError(f"{words!r} did not come; there was {self.seen!r}")
            if not select.select([self._leader], [], [], 0.5)[0]:
                self.type(typing)
                continue
            try:
                data = os.read(self._leader, 65536)
            except OSError:  # the program has closed its side
                data = b""
            if not data:
                if words is None:
                    break
                raise AssertionError(f"{words!r} did not come; the program ended after {self.seen!r}")
            self._bytes += data
            self.seen = self._bytes.decode("utf-8", "ignore")
        self._place = len(self.seen) if words is None else self.seen.index(words, begin) + len(words)
        return self.seen[begin : self._place]

    def end(self) -> int:
        """Read to the end; the exit code."""
        self.until()
        return self.process.wait(PATIENCE)


class Screenful:
    """A small terminal: enough of one to see what stays of lines that are redrawn in place."""

    _TOKEN = re.compile(r"\x1b\[(\?2026[hl]|[0-9;]*[A-Za-z])|[\r\n]|[^\x1b\r\n]+")

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        for found in self._TOKEN.finditer(text):
            token = found.group()
            if token == "\r":
                self.column = 0
            elif token == "\n":  # the terminal's driver makes it CR LF
                self._down()
                self.column = 0
            elif token.startswith("\x1b["):
                self._order(found.group(1))
            else:
                self._write(token)

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _order(self, order: str) -> None:
        if order.endswith("A"):
            self.row -= int(order[:-1] or 1)
            assert self.row >= 0, "the cursor left the top"
        elif order == "2K":
            self.lines[self.row] = ""
        elif order == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        else:
            assert order[-1] in "mhl", f"an order that is not ours: {order!r}"

    def _write(self, text: str) -> None:
        for character in text:
            if self.column == self.columns:
                self._down()
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    @property
    def text(self) -> list[str]:
        """What can be read, without blank lines."""
        return [line.rstrip() for line in self.lines if line.strip()]


def chunks(*texts: str, finish: str | None = "stop") -> list[bytes]:
    """The pieces of an answer on OpenAI's Chat Completions wire."""

    def piece(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"

    made = [piece({"role": "assistant", "content": text}) for text in texts]
    return [*made, piece({}, finish), b"data: [DONE]\n\n"] if finish else made


@pytest.fixture
def headrace(tmp_path: Path) -> Program:
    """The program, in an empty home."""
    return Program(tmp_path)


@pytest.fixture
def screenful() -> type[Screenful]:
    """A small terminal."""
    return Screenful


@pytest.fixture
def openai_chunks() -> Callable[..., list[bytes]]:
    """Makes an answer on OpenAI's wire."""
    return chunks


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, str]]:
    """A server for the session: the program in the server's home, told where it is; and its URL."""
    program = Program(tmp_path_factory.mktemp("served"))
    process = program.start("serve", "--port", "0", "--grace", "0")
    assert process.stderr is not None
    try:
        url = next(w for line in process.stderr for w in line.decode().split() if w.startswith("http://"))
        program.environment["HEADRACE_URL"] = url
        yield program, url
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
