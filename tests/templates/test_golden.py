"""What is said of templates, word for word: faults with place, caret and advice; graph, flat and explain.

`HEADRACE_GOLDEN=write` writes the files anew, to be looked at before they are committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import headrace
from headrace.templates import faults

GOLDEN = Path(__file__).parent / "golden"
BROKEN = (GOLDEN / "broken.txt").read_text("utf-8").removesuffix("\n").split("\n--\n")


def same(name: str, found: str) -> None:
    path = GOLDEN / name
    if os.environ.get("HEADRACE_GOLDEN") == "write":
        path.write_text(found, "utf-8")
    assert found == path.read_text("utf-8")


def told(source: str, folder: Path) -> str:
    path = folder / "broken.hr.md"
    path.write_text(source, "utf-8")
    with pytest.raises(faults.TemplateError) as caught:
        headrace.Template(path)
    return str(caught.value).replace(str(folder), "").replace("/broken.hr.md", "broken.hr.md")


def test_broken_templates(tmp_path: Path) -> None:
    assert len(BROKEN) >= 30
    found = "".join(f"{source}\n--> {told(source, tmp_path)}\n\n" for source in BROKEN)
    same("broken.out.txt", found)


@pytest.mark.parametrize("source", BROKEN)
def test_every_fault_has_line_column_and_a_caret_under_it(source: str, tmp_path: Path) -> None:
    head, shown, caret = told(source, tmp_path).split("\n")[:3]
    _, line, column, message = head.split(":", 3)
    assert shown[2:] == source.split("\n")[int(line) - 1]
    assert caret[2:].replace("\t", " ") == " " * (int(column) - 1) + "^"
    assert len(message) > 15


@pytest.mark.parametrize("what", ["graph", "flat", "explain"])
def test_what_is_shown_without_a_model(what: str) -> None:
    template = headrace.Template(GOLDEN / "letter.hr.md")
    same(f"letter.{what}.txt", getattr(template, what)())
