"""Errors in words: one line that says what, and one that says what to do.

    error: provider-unreachable: could not connect to http://127.0.0.1:11434
      → headrace doctor says what can be reached from here

Next: `local`.
"""

from __future__ import annotations

import sys

from headrace import errors
from headrace.cli import clean, out

DONE, FAILED, WRONG_USE, STOPPED = 0, 1, 2, 130
"""The exit codes."""

_DOCTOR = "headrace doctor says what can be reached from here, and what is wrong"
_ADVICE = {
    "provider-unreachable": _DOCTOR,
    "provider-timeout": "try again, or allow more time: HEADRACE_FIRST_CHUNK_TIMEOUT, HEADRACE_STALL_TIMEOUT,"
    " HEADRACE_TOTAL_TIMEOUT (seconds)",
    "provider-overloaded": "try again in a moment, or name another model with --fallback",
    "provider-error": "try again, or name another model with --fallback",
    "provider-protocol": "see which server answers there: headrace doctor",
    "stream-incomplete": "the answer is not complete; ask again",
    "rate-limited": "wait a moment, or name another model with --fallback",
    "auth-failed": "check the key; headrace models shows which variable each provider reads it from",
    "model-not-found": "headrace models lists what there is",
    "context-too-long": "send less text, or name a model with a longer context",
    "content-blocked": "the provider refused this text; say it in another way",
    "output-rejected": "ask again, or make the schema simpler",
    "deadline": "allow more time",
    "interrupted": "ask again",
    "run-not-found": "headrace runs lists the runs there are",
    "cursor-malformed": "give --after the seq of an event, or leave it out to begin at the first",
    "cursor-foreign": "give --after the seq of an event of this run",
    "cursor-ahead": "leave --after out to begin at the first event",
    "retention-passed": "the events of this run are gone; its result is in the ledger: headrace ledger show",
    "unauthorized": "give one of the server's keys with --key, or in HEADRACE_API_KEYS",
    "forbidden": "use the key that the run was started with",
    "too-many": "try again in a moment",
    "store-unavailable": "headrace doctor says what is wrong with the ledger",
}


def exit_code(error: errors.HeadraceError) -> int:
    """1 for what failed, 2 for what was asked wrongly."""
    return WRONG_USE if isinstance(error, errors.UsageError) and error.code != "too-many" else FAILED


def report(error: errors.HeadraceError) -> int:
    """Say what went wrong, on stderr; returns the exit code."""
    say(error.code, error.message)
    return exit_code(error)


def say(code: str, message: str, advice: str | None = None) -> None:
    """The lines of one error."""
    head = out.style(f"error: {code}:", "error", 2)
    print(f"{head} {clean.line(message)}", file=sys.stderr)
    advice = advice or _ADVICE.get(code)
    if advice:
        print(out.style(f"  → {advice}", "dim", 2), file=sys.stderr)
    sys.stderr.flush()
