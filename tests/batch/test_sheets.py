from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from headrace import errors
from headrace.batch import rows, sheets

ROWS: list[dict[str, Any]] = [
    {"a": "x, \"y\"\nz", "error": None, "n": 2.5, "ok": True, "day": dt.date(2026, 5, 17), "many": [1, "b"]},
    {"a": "=1+1", "error": "gone", "n": None, "later": "| <b> \\"},
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_csv_can_be_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    assert sheets.write(path, ROWS) == 0
    first, second = rows.read([str(path)])
    assert list(first) == ["a", "n", "ok", "day", "many", "later", "error"]
    assert first == {
        "a": 'x, "y"\nz', "n": "2.5", "ok": "true", "day": "2026-05-17", "many": '[1, "b"]', "later": "", "error": "",
    }  # fmt: skip
    assert (second["a"], second["error"], second["n"]) == ("=1+1", "gone", "")
    assert next(csv.reader(path.open(), delimiter="," if suffix == ".csv" else "\t"))[-1] == "error"


def test_excel_has_texts_and_no_formulas(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path = tmp_path / "t.xlsx"
    long = "x" * 40_000
    assert sheets.write(path, [*ROWS, {"a": "\x00\x1b[31m", "n": 3, "later": long}]) == 1
    sheet = openpyxl.load_workbook(path).active
    cells = {c.value: c for row in sheet.iter_rows() for c in row}
    assert cells["=1+1"].data_type == "s"
    assert cells[2.5].data_type == "n"
    assert "\ufffd\ufffd[31m" in cells
    assert max(len(value) for value in cells if isinstance(value, str)) == sheets.EXCEL_CELL


def test_json_keeps_types(tmp_path: Path) -> None:
    sheets.write(tmp_path / "t.json", ROWS)
    sheets.write(tmp_path / "t.jsonl", ROWS)
    found = json.loads((tmp_path / "t.json").read_text())
    assert found[0]["many"] == [1, "b"]
    assert found[1]["n"] is None
    assert found == [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]


def test_markdown_is_one_table(tmp_path: Path) -> None:
    sheets.write(tmp_path / "t.md", ROWS)
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0] == "| a | n | ok | day | many | later | error |"
    assert 'x, "y"<br>z' in lines[2]
    assert "\\| &lt;b> \\\\" in lines[3]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.json"
    path.write_text("before")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sheets.os, "replace", broken)
    with pytest.raises(errors.StoreError, match="No space left"):
        sheets.write(path, ROWS)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_an_output(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"suffixes are \.csv"):
        sheets.check(tmp_path / "t.doc")
    with pytest.raises(errors.UsageError, match="no folder"):
        sheets.check(tmp_path / "nowhere" / "t.csv")
