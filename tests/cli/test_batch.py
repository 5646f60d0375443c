"""`headrace batch`: files in and out, failures, the limit, `kill -9`, Ctrl-C, and what a terminal shows."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.playback import Request, Response, ScriptedHTTP

PATIENCE = 60.0
BEGUN = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "It"}}]}\n\n'


FAULTS = {
    "refused": Response(401, {"error": {"message": "this row is refused", "type": "auth"}}),
    "down": Response(500, {"error": {"message": "we are down", "type": "server"}}),
    "reset": Response(pieces=[BEGUN], ending="reset"),
    "cut": Response(pieces=[BEGUN], ending="cut"),
    "short": Response(pieces=[BEGUN]),
    "stall": Response(pieces=[BEGUN], ending="hang"),
    "silent": Response(pieces=[], ending="hang"),
    "garbled": Response(pieces=[BEGUN, b'data: {"choices": [{"index": 0, "delta": {"con\n\n']),
    "sorry": Response(pieces=[BEGUN, b'data: {"error": {"message": "overloaded", "code": 500}}\n\n']),
}
"""Rows by their first word; with `busy` they are too many once, and are answered the second time."""
CODES = {
    "refused": "auth-failed",
    "down": "provider-error",
    "reset": "stream-incomplete",
    "cut": "stream-incomplete",
    "short": "stream-incomplete",
    "stall": "provider-timeout",
    "silent": "provider-timeout",
    "garbled": "provider-protocol",
    "sorry": "provider-error",
}


class Provider(ScriptedHTTP):
    """Answers with the row it was asked about; rows with a word of `FAULTS` get that, and `bad` ones are refused.

    Attributes:
        asked: requests by the text of their last message.
        answered: those whose answer went out whole.
        most: how many were being answered at the same time.
    """

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__(self._reply)
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.now = self.most = 0
        self.waited: list[tuple[Callable[[], bool], asyncio.Event]] = []
        self._pause = pause

    def _reply(self, request: Request) -> Response:
        text = request.json()["messages"][-1]["content"]
        word = text.split()[0]
        if word == "busy" and self.asked[text] == 1:
            return Response(429, {"error": {"message": "too many"}}, {"Retry-After": "0"})
        if word in FAULTS or "bad" in text:
            return FAULTS.get(word, FAULTS["refused"])
        frames = [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": f"re {text}"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
        ]
        data = [b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames] + [b"data: [DONE]\n\n"]
        return Response(pieces=[(self._pause, data[0]), b"".join(data[1:])])

    async def _answer(self, request: Request, reader: Any, writer: Any) -> bool:
        text = request.json()["messages"][-1]["content"]
        self.asked[text] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            going_on = await super()._answer(request, reader, writer)
            if going_on:
                self.answered[text] += 1
            return going_on
        finally:
            self.now -= 1
            for test, event in self.waited:
                if test():
                    event.set()

    async def until(self, test: Callable[[], bool]) -> None:
        event = asyncio.Event()
        self.waited.append((test, event))
        await asyncio.wait_for(event.wait(), PATIENCE)

    def variables(self) -> dict[str, str]:
        return {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": "sk-test"}


async def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    stdout, stderr = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    return process.returncode, stdout.decode(), stderr.decode()


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def make(home: Path, count: int, template: str = "{{ n }} [[a]]") -> set[int]:
    """Rows in `in.csv`, one in twenty of them bad; which those are."""
    bad = {n for n in range(count) if n % 20 == 7}
    lines = [f"{'bad' if n in bad else 'row'} {n}" for n in range(count)]
    (home / "in.csv").write_text("n\n" + "".join(f"{line}\n" for line in lines))
    (home / "t.hr.md").write_text(template)
    return bad


ARGUMENTS = ("batch", "t.hr.md", "-m", "openai:m", "-i", "in.csv", "-o", "out.csv", "--no-cache")


@pytest.mark.slow
async def test_a_thousand_rows_with_faults_of_all_kinds_killed_in_the_middle_and_resumed(
    headrace: Any,
) -> None:
    home: Path = headrace.home
    kinds = [*FAULTS, "busy"]
    faulty = {n: kinds[n // 20 % len(kinds)] for n in range(1000) if n % 20 == 7}  # 5 %
    bad = sorted(n for n, word in faulty.items() if word != "busy")
    (home / "in.csv").write_text("n\n" + "".join(f"{faulty.get(n, 'row')} {n}\n" for n in range(1000)))
    (home / "t.hr.md").write_text("{{ n }} <together>one [[a]] two [[b]]</together>")
    async with Provider() as provider:
        arguments = (*ARGUMENTS, "--concurrency", "16")
        waits = {"HEADRACE_FIRST_CHUNK_TIMEOUT": "1", "HEADRACE_STALL_TIMEOUT": "1"}
        variables = provider.variables() | waits
        process = headrace.start(*arguments, variables=variables)
        await provider.until(lambda: provider.answered.total() >= 800)
        process.send_signal(signal.SIGKILL)
        code, _, _ = await ended(process)
        assert code == -signal.SIGKILL
        assert not (home / "out.csv").exists()
        before = Counter(provider.asked)

        process = headrace.start(*arguments, variables=variables)
        code, _, stderr = await ended(process)
        assert (code, "--resume" in stderr) == (2, True)  # never by accident
        assert provider.asked == before

        process = headrace.start(*arguments, "--resume", variables=variables)
        code, _, stderr = await ended(process)
        assert code == 1, stderr
        found = table(home / "out.csv")
        assert [n for n, row in enumerate(found) if row["error"]] == bad
        for n, row in enumerate(found):
            word = faulty.get(n, "row")
            if n not in bad:
                assert (row["a"], row["b"]) == (f"re {word} {n}\n\none", f"re {word} {n}\n\ntwo")
            else:
                assert row["error"].startswith(f"{CODES[word]}: "), row
        # what had come back before the kill was not asked again; at most what was under way then was
        good = {text: count for text, count in provider.asked.items() if text.startswith("row")}
        twice = [text for text, count in good.items() if count > 1]
        assert len(good) == 2 * (1000 - len(faulty))
        assert len(twice) <= 16
        assert max(good.values()) <= 2
        assert provider.most <= 16
        assert f"{len(bad)} failed" in stderr
        assert "1,000/1,000 rows" in stderr
        assert (home / "out.csv.journal").exists()  # the rows that failed can be asked again


async def test_ctrl_c_stops_with_130_and_can_go_on(headrace: Any) -> None:
    home: Path = headrace.home
    make(home, 5, "{{ n }} [[a]] again {{ n }} [[b]]")
    async with Provider(pause=0.05) as provider:
        process = headrace.start(*ARGUMENTS, "--concurrency", "1", variables=provider.variables())
        await provider.until(lambda: provider.answered.total() >= 3)
        process.send_signal(signal.SIGINT)
        code, _, stderr = await ended(process)
        assert code == 130
        assert "--resume goes on" in stderr
        process = headrace.start(*ARGUMENTS, "--resume", variables=provider.variables())
        code, _, stderr = await ended(process)
        assert code == 0, stderr
        assert sum(count > 1 for count in provider.asked.values()) <= 1
        assert [row["b"] for row in table(home / "out.csv")] == [f"re again row {n}" for n in range(5)]
        assert not (home / "out.csv.journal").exists()


async def test_the_limit_holds_over_rows_segments_and_together(headrace: Any) -> None:
    home: Path = headrace.home
    make(
        home,
        25,
        "{{ n }} <together>1 [[a]] 2 [[b]] 3 [[c]]</together><checkpoint>x {{ n }} <together>[[d]] [[e]]</together>",
    )
    async with Provider(pause=0.002) as provider:
        process = headrace.start(*ARGUMENTS, "--concurrency", "4", variables=provider.variables())
        code, _, stderr = await ended(process)
        assert code == 1, stderr
        assert provider.most <= 4
        good = table(home / "out.csv")[0]
        assert good["a"] == "re row 0\n\n1"
        assert [row["error"] == "" for row in table(home / "out.csv")].count(False) == 1


async def test_every_row_failed(headrace: Any) -> None:
    (headrace.home / "in.csv").write_text("n,label\nbad 1,re bad 1\nbad 2,\n")
    (headrace.home / "t.hr.md").write_text("{{ n }} [[a]]")
    async with Provider() as provider:
        process = headrace.start(*ARGUMENTS, "--compare", "label", variables=provider.variables())
        code, _, stderr = await ended(process)
        assert code == 1
        assert "a against label: 0 of 1 correct, 1 failed" in stderr
        assert all(row["error"] for row in table(headrace.home / "out.csv"))


@pytest.fixture
def three(headrace: Any) -> Any:
    (headrace.home / "in.jsonl").write_text(
        '{"n": 1, "mood": "Happy"}\n{"n": 2, "mood": "sad"}\n{"n": 3, "mood": "happy"}\n'
    )
    (headrace.home / "t.hr.md").write_text("{{ n }} [[a]]")
    return headrace


def test_all_outputs_at_once(three: Any) -> None:
    outputs = ["a.csv", "b.json", "c.jsonl", "d.md", "e.xlsx"]
    done = three(
        "batch", "t.hr.md", "-m", "demo:fast", "-i", "in.jsonl", "--keep", *[x for o in outputs for x in ("-o", o)]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found = json.loads((three.home / "b.json").read_text())
    assert [list(row) for row in found] == [["n", "mood", "a", "error"]] * 3
    assert [row["a"] for row in table(three.home / "a.csv")] == [row["a"] for row in found]
    assert all((three.home / name).stat().st_size for name in outputs)
    assert "3 rows, 0 failed" in done.stderr


def test_without_an_output_rows_go_to_stdout(three: Any) -> None:
    done = three("batch", "t.hr.md", "-m", "demo:fast", "-i", "-", stdin='[{"n": 1}]')
    assert [sorted(json.loads(line)) for line in done.stdout.splitlines()] == [["a", "error"]]
    done = three("batch", "t.hr.md", "-m", "demo:fast", "-i", "in.jsonl", "--json", "--compare", "a=mood")
    *lines, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["row"] for line in lines) == [0, 1, 2]
    assert (last["rows"], last["compare"]["rows"], last["compare"]["correct"]) == (3, 3, 0)


def test_the_first_rows_and_a_projection(three: Any) -> None:
    done = three("batch", "t.hr.md", "-m", "demo:fast", "-i", "in.jsonl", "-o", "o.csv", "--head", "1")
    assert done.returncode == 0
    assert "the cost of all 3 rows" in done.stderr
    assert len(table(three.home / "o.csv")) == 1
    done = three("batch", "t.hr.md", "-m", "demo:fast", "-i", "in.jsonl", "-o", "o.csv", "--resume")
    assert done.returncode == 0, done.stderr
    assert len(table(three.home / "o.csv")) == 3
    assert not (three.home / "o.csv.journal").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there are no rows"),
        (("-i", "nothing.csv"), "cannot be read"),
        (("-i", "in.jsonl", "-o", "o.doc"), "suffixes"),
        (("-i", "in.jsonl", "--resume"), "without --output"),
        (("-i", "in.jsonl", "--compare", "label"), "no column 'label'"),
        (("-i", "in.jsonl", "--strict", "--param", "x"), "NAME=VALUE"),
    ],
)
def test_wrong_use(three: Any, arguments: tuple[str, ...], words: str) -> None:
    done = three("batch", "t.hr.md", "-m", "demo:fast", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_variable_that_no_row_has(three: Any) -> None:
    (three.home / "t.hr.md").write_text("{{ m }} [[a]]")
    arguments = ("batch", "t.hr.md", "-m", "demo:fast", "-i", "in.jsonl")
    assert "wants m, and no row has it; there are n, mood" in three(*arguments).stderr
    done = three(*arguments, "--strict")
    assert (done.returncode, done.stdout) == (2, "")
    assert three(*arguments, "--strict", "--param", "m=x").returncode == 0


def test_a_terminal_has_a_bar_with_cost_and_time_left(three: Any) -> None:
    arguments = ("batch", "t.hr.md", "-m", "demo", "-i", "in.jsonl", "-o", "o.csv", "--concurrency", "1")
    with three.terminal(*arguments, columns=120) as tty:
        seen = tty.until("1/3")
        seen += tty.until(" left")
        tty.type("\x03")
        seen += tty.until("--resume goes on")
        assert tty.end() == 130
    assert "0 failed" in seen
    assert "cost " in seen
    assert "stopped after 1 of 3 rows" in seen
