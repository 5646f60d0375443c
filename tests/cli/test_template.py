"""`headrace template`: run, check, graph, flat, explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def letter(headrace: Any) -> str:
    home: Path = headrace.home
    (home / "who.md").write_text("Hello {{ name }}.\n")
    (home / "letter.hr.md").write_text('<include src="who.md"/>\n[[a]]\n<checkpoint>\n{{ a }} [[b]]\n')
    return "letter.hr.md"


def test_run(headrace: Any, letter: str) -> None:
    done = headrace("template", "run", letter, "-m", "demo", "--param", "name=Ada")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["a", "b"]
    assert "Hello Ada." in found["a"]


def test_run_as_events(headrace: Any, letter: str) -> None:
    done = headrace("template", "run", letter, "-m", "demo", "--json", "--stop-at", "a", "--no-cache")
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[0]["kind"] == "template"
    assert [event["name"] for event in found if event["type"] == "span-start"] == ["a"]
    assert found[-1]["result"]["early_termination"] is True
    shown = "".join(event["delta"] for event in found if event["type"] == "text-delta")
    assert shown == found[-1]["result"]["values"]["a"]


def test_answers_kept_in_a_file(headrace: Any, letter: str) -> None:
    arguments = (
        "template",
        "run",
        letter,
        "-m",
        "demo",
        "--json",
        "--stop-at",
        "a",
        "--cache-file",
        "kept.db",
    )
    ends = []
    for _ in range(2):
        lines = headrace(*arguments).stdout.splitlines()
        ends += [event for line in lines if (event := json.loads(line))["type"] == "span-end"]
    assert [end.get("cached", False) for end in ends] == [False, True]


def test_strict_says_where_before_anything_is_asked(headrace: Any, letter: str) -> None:
    done = headrace("template", "run", letter, "-m", "demo", "--strict")
    assert done.returncode == 2
    assert "who.md:1:7: the variable 'name' has no value" in done.stderr
    assert done.stdout == ""


def test_check(headrace: Any, letter: str) -> None:
    done = headrace("template", "check", letter, "--json")
    found = json.loads(done.stdout)
    assert [slot["name"] for slot in found["slots"]] == ["a", "b"]
    assert [one["name"] for one in found["variables"]] == ["name"]
    assert (found["ok"], found["waves"]) == (True, [[0], [1]])
    (headrace.home / "bad.hr.md").write_text("one\n  [[pick:m|x,y|z]] [[inr:n]]\n")
    done = headrace("template", "check", "bad.hr.md")
    assert done.returncode == 2
    assert done.stderr.startswith("bad.hr.md:2:")
    assert "^" in done.stderr.splitlines()[2]


def test_check_as_json_says_what_is_wrong_too(headrace: Any) -> None:
    (headrace.home / "bad.hr.md").write_text("one [[txet:n]]\n")
    done = headrace("template", "check", "bad.hr.md", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["slots"]) == (2, False, [])
    assert [(e["line"], e["column"]) for e in found["errors"]] == [(1, 5)]


def test_a_terminal_shows_slots_as_they_stream(headrace: Any) -> None:
    (headrace.home / "t.hr.md").write_text(
        "Say a word. [[a|max_tokens=20]]<checkpoint/>{{ a }} [[pick:p|red,blue]]"
    )
    with headrace.terminal("template", "run", "t.hr.md", "-m", "demo:fast") as tty:
        seen = tty.until('"a"')
        assert tty.end() == 0
    assert "a: " in seen
    assert "p: " in seen
    assert tty.seen.index("a: ") < tty.seen.index("p: ") < tty.seen.index('"p"')
    assert "\x1b[2J" not in tty.seen


def test_a_terminal_cannot_be_steered_by_an_answer(headrace: Any) -> None:
    (headrace.home / "t.hr.md").write_text("[[@set|x={{ evil }}]]{{ x }} [[a]]")
    with headrace.terminal(
        "template", "run", "t.hr.md", "-m", "demo:fast", "--param", "evil=\x1b]0;owned\x07"
    ) as tty:
        assert tty.end() == 0
    assert "\x1b]0;owned" not in tty.seen


def test_no_stream_shows_no_tokens(headrace: Any, letter: str) -> None:
    with headrace.terminal("template", "run", letter, "-m", "demo:fast", "--no-stream") as tty:
        assert tty.end() == 0
    assert "a: " not in tty.seen.partition("{")[0]


def test_the_cache_is_cleared(headrace: Any, letter: str) -> None:
    assert headrace("template", "run", letter, "-m", "demo:fast", "--cache-file", "kept.db").returncode == 0
    done = headrace("template", "cache", "clear", "kept.db")
    assert (done.returncode, "2 answers forgotten" in done.stderr) == (0, True)
    assert headrace("template", "cache", "clear", "nothing.db").returncode == 2


def test_graph_flat_and_explain(headrace: Any, letter: str) -> None:
    assert headrace("template", "graph", letter).stdout.startswith("flowchart TD\n")
    assert headrace("template", "flat", letter).stdout.startswith("Hello {{ name }}.\n")
    assert "Inputs: name" in headrace("template", "explain", letter).stdout


def test_wrong_use(headrace: Any) -> None:
    assert headrace("template", "run", "nowhere.hr.md").returncode == 2
    (headrace.home / "a.hr.md").write_text("[[a]]")
    assert headrace("template", "run", "a.hr.md", "--param", "x").returncode == 2
