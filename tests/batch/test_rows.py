from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from headrace import errors
from headrace.batch import rows


def read(*sources: str | Path, stdin: bytes = b"") -> list[rows.Row]:
    return rows.read([str(source) for source in sources], lambda: stdin)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_with_any_separator(tmp_path: Path, separator: str) -> None:
    text = f'a{separator} b \n1{separator}"x{separator} ""y""\nz"\n\n2{separator}\n3\n'
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read(tmp_path / "t.csv") == [
        {"a": "1", "b": f'x{separator} "y"\r\nz'},
        {"a": "2", "b": ""},
        {"a": "3", "b": ""},
    ]


def test_excel_keeps_numbers_and_dates(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["name", "size", "day", None])
    book.active.append(["x", 2.5, dt.datetime(2026, 5, 17), None])
    book.active.append([None, None, None, None])
    book.active.append(["y", None, None, None])
    book.save(tmp_path / "t.xlsx")
    first, second = read(tmp_path / "t.xlsx")
    assert first == {"name": "x", "size": 2.5, "day": dt.datetime(2026, 5, 17)}
    assert second == {"name": "y", "size": "", "day": ""}


def test_json_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}, "words", 3]')
    (tmp_path / "b.json").write_text('{"a": [1]}')
    (tmp_path / "c.jsonl").write_text('{"a": 1}\n\n{"a": "line\\u2028end"}\n')
    assert read(tmp_path / "a.json", tmp_path / "b.json") == [
        {"a": 1},
        {"text": "words"},
        {"text": 3},
        {"a": [1]},
    ]
    assert read(tmp_path / "c.jsonl") == [{"a": 1}, {"a": "line\u2028end"}]


def test_texts_and_globs(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(name)
    found = read(tmp_path / "*.txt", tmp_path / "c.md")
    assert [row["text"] for row in found] == ["a.txt", "b.txt", "c.md"]
    assert Path(found[0]["file"]).name == "a.txt"


@pytest.mark.parametrize(
    ("source", "data", "found"),
    [
        ("-", b'[{"a": 1}]', [{"a": 1}]),
        ("-", b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ("-", b"a,b\n1,2", [{"a": "1", "b": "2"}]),
        ("text:-", b"words", [{"file": "stdin", "text": "words"}]),
        ("jsonl:-", b'"x"', [{"text": "x"}]),
    ],
)
def test_stdin(source: str, data: bytes, found: list[rows.Row]) -> None:
    assert read(source, stdin=data) == found


def test_a_format_before_a_name(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a\n1\n")
    assert read(f"csv:{tmp_path / 'data'}") == [{"a": "1"}]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "a,a\n1,2", "two columns 'a'"),
        ("t.csv", "a,\n1,2", "column 2 has no name"),
        ("t.csv", "", "no first line"),
        ("t.csv", "a\n1,2", "line 2 has 2 cells for 1 columns"),
        ("t.csv", 'a\n"x', "line 2"),
        ("t.json", "{", "not JSON"),
        ("t.json", "[[1]]", "item 1 is a list"),
        ("t.jsonl", '{"a": 1}\nx', "line 2 is not JSON"),
        ("t.xlsx", "x", "not an Excel file"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.UsageError, match=words) as caught:
        read(tmp_path / name)
    assert name in caught.value.message


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="cannot be read"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(errors.UsageError, match="no file fits"):
        read(tmp_path / "*.csv")
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.UsageError, match="not UTF-8"):
        read(tmp_path / "t.txt")


def test_columns_that_are_no_names() -> None:
    found = rows.variables({"First name": 1, "a-b": 2, "a_b": 3, "2nd": 4})
    assert found == {"First name": 1, "First_name": 1, "a-b": 2, "a_b": 3, "2nd": 4, "_2nd": 4}


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 2)
    (tmp_path / "t.json").write_text(json.dumps([1, 2, 3]))
    with pytest.raises(errors.UsageError) as caught:
        read(tmp_path / "t.json")
    assert caught.value.code == "too-large"
