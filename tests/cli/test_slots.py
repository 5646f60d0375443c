"""Slots side by side on a terminal: what is drawn while they grow, what stays when they are done."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from headrace import events
from headrace.cli import slots


def made(partial: Any = lambda span: None, height: int = 12) -> tuple[slots.Slots, io.StringIO]:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, no_color=True, width=40, height=height)
    return slots.Slots(partial, console), screen


def head(name: str) -> str:
    return f"\x1b[2m{name}: \x1b[0m"


def opened(*names: str) -> list[events.Event]:
    return [
        events.SpanStart(span=name, kind="slot", name=name, attributes={"segment": n})
        for n, name in enumerate(names)
    ]


def said(span: str, text: str) -> events.Event:
    return events.TextDelta(block=f"b-{span}", delta=text, span=span)


def test_open_slots_stand_beside_each_other_and_finished_ones_stay() -> None:
    shown, screen = made()
    shown.batch([*opened("a", "b"), said("a", "one "), said("b", "two"), said("a", "three")])
    assert shown._drawn().plain == "a: one three\nb: two"
    shown.batch([events.SpanEnd(span="b", outcome="completed", value="two")])
    assert shown._drawn().plain == "a: one three"
    assert screen.getvalue() == f"{head('b')}two\n"


def test_a_long_slot_shows_its_end_and_is_printed_whole() -> None:
    shown, screen = made(height=8)
    text = "".join(f"line {n}\n" for n in range(2000))
    shown.batch([*opened("a"), *(said("a", line) for line in text.splitlines(keepends=True))])
    assert shown._drawn().plain.splitlines() == ["a: …", *(f"line {n}" for n in range(1996, 2000))]
    shown.batch([events.SpanEnd(span="a", outcome="completed", value=text)])
    assert screen.getvalue() == head("a") + text


def test_fields_so_far_and_what_is_taken_back() -> None:
    value: dict[str, Any] = {"name": "Ad"}
    shown, _ = made(lambda span: value if span == "r" else None)
    shown.batch([*opened("a", "r", "n"), said("a", "wrong")])
    assert shown._drawn().plain == 'a: wrong\nr: {"name": "Ad"}\nn: …'
    shown.batch([events.OutputReset(blocks=["b-a"], reason="validation", span="a"), said("a", "right")])
    assert shown._drawn().plain.splitlines()[0] == "a (again): right"


def test_an_answer_steers_nothing() -> None:
    shown, screen = made()
    shown.batch([*opened("a"), said("a", "\x1b[2J[bold]x[/bold]")])
    assert shown._drawn().plain == "a: ␛[2J[bold]x[/bold]"
    shown.batch([events.SpanEnd(span="a", outcome="completed", value="\x1b[2J[bold]x")])
    assert screen.getvalue() == f"{head('a')}␛[2J[bold]x\n"
