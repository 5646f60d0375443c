from __future__ import annotations

from typing import Any

import pytest

COMMANDS = [
    "serve", "ask", "chat", "tail", "runs", "cancel", "models", "models test", "doctor", "bench",
    "template", "template run", "template check", "template graph", "template flat", "template explain",
    "procedure", "procedure run", "procedure check", "procedure test",
    "ledger", "ledger verify", "ledger show", "ledger export",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(headrace: Any, command: str) -> None:
    done = headrace(*command.split(), "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert f"headrace {command.split()[0]}" in done.stdout.partition("Examples:")[2]


def test_help_names_every_command(headrace: Any) -> None:
    done = headrace("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command.split()[0]} " in done.stdout


def test_help_loads_nothing_heavy(headrace: Any) -> None:
    done = headrace("--help", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {
        "pydantic",
        "aiohttp",
        "fastapi",
        "uvicorn",
        "rich.console",
        "apsw",
        "headrace.settings",
    }


def test_the_version(headrace: Any) -> None:
    assert headrace("--version").stdout.startswith("headrace ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["ask", "--nonsense", "Hi"], "--nonsense"),
        (["ask", "--max-tokens", "0", "Hi"], "--max-tokens"),
        (["ask", "--failover", "maybe", "Hi"], "restart or continue"),
        (["tail"], "RUN"),
        (["serve", "--port", "http"], "--port"),
        (["serve", "--host", "0.0.0.0", "--port", "0"], "HEADRACE_API_KEYS"),
        (["serve", "--store", "nonsense://x", "--port", "0"], "nonsense"),
        (["ledger", "verify", "--store", "nonsense"], "nonsense"),
        (["runs", "--url", "ftp://x"], "http://"),
    ],
)
def test_wrong_use_is_two(headrace: Any, arguments: list[str], words: str) -> None:
    done = headrace(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: usage: ")
    assert words in first
    assert "Traceback" not in done.stderr


def test_a_bad_setting_is_named(headrace: Any) -> None:
    done = headrace("ask", "Hi", HEADRACE_STALL_TIMEOUT="soon")
    assert done.returncode == 2
    assert "HEADRACE_STALL_TIMEOUT" in done.stderr


def test_nothing_given_is_help_and_two(headrace: Any) -> None:
    done = headrace()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_debug_shows_the_traceback(headrace: Any) -> None:
    done = headrace("--debug", "runs", "--url", "ftp://x")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_closed_pipe_is_quiet(headrace: Any) -> None:
    for arguments in (["ask", "-m", "demo", "long"], ["ask", "-m", "demo", "--json", "long"]):
        process = headrace.start(*arguments)
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
        process.stderr.close()


def test_completion_works(headrace: Any) -> None:
    done = headrace(_HEADRACE_COMPLETE="complete_bash", COMP_WORDS="headrace mo", COMP_CWORD="1")
    assert done.stdout.split() == ["models"]
