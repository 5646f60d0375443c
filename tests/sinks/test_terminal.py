"""The terminal sink: what it prints, and what it keeps away from a terminal."""

from __future__ import annotations

import io

from headrace.core.events import ErrorEvent, HeadraceEvent, StartEvent, TokenEvent
from headrace.sinks import TerminalSink


def printed(*events: HeadraceEvent, **options: object) -> str:
    out = io.StringIO()
    with TerminalSink(file=out, **options) as sink:  # type: ignore[arg-type]
        for event in events:
            sink.emit(event)
        assert sink.flush()
    return out.getvalue()


def token(text: str, index: int = 0, field: str = "answer") -> TokenEvent:
    return TokenEvent(token=text, token_index=index, field=field)


def test_a_line_a_token() -> None:
    assert printed(token("Machine"), token(" learning", 1)) == (
        '[TOKEN] answer: "Machine"\n[TOKEN] answer: " learning"\n'
    )


def test_text_of_other_scripts_and_newlines() -> None:
    assert printed(token("こ\n\u200d")) == '[TOKEN] answer: "こ\\n\u200d"\n'


def test_inline_text_is_one_paragraph_a_field() -> None:
    found = printed(
        token("a", 0, "reasoning"), token("b", 1, "reasoning"), token("c"), ErrorEvent(), inline=True
    )
    assert found == "reasoning: ab\nanswer: c\n[ERROR]\n"
    assert printed(token("a"), inline=True) == "answer: a\n"


def test_no_control_character_gets_through() -> None:
    hostile = "\x1b[2J\x07\x9b1m\u202e"
    for inline in (True, False):
        found = printed(token(hostile), HeadraceEvent(event_type="own", data={"x": hostile}), inline=inline)
        assert not set(found) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_own_events_are_shown_and_the_rest_only_when_asked() -> None:
    own = HeadraceEvent(event_type="token.summary", data={"total_tokens": 3})
    start = StartEvent(operation="forward")
    assert printed(own, start) == "[TOKEN.SUMMARY] total_tokens=3\n"
    assert printed(start, verbose=True) == "[START] forward\n"


def test_colours_only_where_asked_or_on_a_terminal() -> None:
    assert "\x1b" not in printed(token("a"))
    assert printed(token("a"), colour=True).startswith("\x1b[36m[TOKEN]")
