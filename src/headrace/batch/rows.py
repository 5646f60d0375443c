"""Rows from files: CSV, Excel, JSON, JSON lines, and texts; globs and stdin. Files to values, nothing more.

A row is a mapping of column to value. A text file is one row with the columns `file` and `text`. What stands in a
cell is data; nothing here or later reads it as anything else. Next: `sheets`, the way out.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace import errors

Row = dict[str, Any]

MAX_ROWS = 1_000_000
MAX_CELL = 16 * 1024 * 1024
STDIN = "-"
_DELIMITERS = ",;\t|"
_SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".xlsx": "xlsx", ".xlsm": "xlsx", ".json": "json", ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # fmt: skip
FORMATS = ("csv", "xlsx", "json", "jsonl", "text")


def read(sources: Sequence[str], stdin: Callable[[], bytes] | None = None) -> list[Row]:
    """The rows of all sources, in their order.

    Args:
        sources: paths, globs (`letters/*.txt`), `-` for stdin; `FORMAT:` before one says what it is, for a name
            without a suffix that tells (`csv:-`). The formats are csv, xlsx, json, jsonl and text.
        stdin: reads stdin; default: the process's own.

    Raises:
        errors.UsageError: `bad-request`: a source is not there or cannot be read as what it is; `too-large`: there
            are more than a million rows; `missing-extra`: an Excel file without the extra `batch`.
    """
    found: list[Row] = []
    for source in sources:
        for row in _source(source, stdin or sys.stdin.buffer.read):
            if len(found) >= MAX_ROWS:
                raise errors.UsageError(f"there are more than {MAX_ROWS:,} rows", code="too-large")
            found.append(row)
    return found


def _source(source: str, stdin: Callable[[], bytes]) -> Iterator[Row]:
    kind, mark, name = source.partition(":")
    if not mark or kind not in FORMATS:
        kind, name = "", source
    if name == STDIN:
        yield from _decoded(kind, stdin(), "stdin")
        return
    paths = [Path(name)]
    if not paths[0].exists() and any(sign in name for sign in "*?["):
        paths = sorted(path for path in map(Path, glob.glob(name, recursive=True)) if path.is_file())
        if not paths:
            raise _wrong(name, "no file fits")
    for path in paths:
        here = kind or _SUFFIXES.get(path.suffix.lower(), "text")
        try:
            if here == "xlsx":
                yield from excel(path)
            else:
                yield from _decoded(here, path.read_bytes(), str(path))
        except OSError as error:
            raise _wrong(str(path), f"it cannot be read: {error.strerror or error}") from error


def _decoded(kind: str, data: bytes, where: str) -> Iterable[Row]:
    if kind == "xlsx":
        return excel(io.BytesIO(data), where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(where, f"it is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if not kind:  # stdin: what it looks like
        start = text.lstrip()[:1]
        kind = "json" if start == "[" else "jsonl" if start == "{" else "csv"
    if kind == "csv":
        return table(text, where)
    if kind == "json":
        return objects(text, where)
    if kind == "jsonl":
        return lines(text, where)
    return [{"file": where, "text": text}]


def table(text: str, where: str) -> Iterator[Row]:
    """The rows of CSV (RFC 4180): the first line names the columns; the separator is what it has most of."""
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = _columns(next(reader, []), where)
        for cells in reader:
            if not cells:
                continue
            if len(cells) > len(names):
                raise _wrong(where, f"line {reader.line_num} has {len(cells)} cells for {len(names)} columns")
            yield {**dict.fromkeys(names, ""), **dict(zip(names, cells, strict=False))}
    except csv.Error as error:
        raise _wrong(where, f"line {reader.line_num}: {error}") from error


def excel(file: Path | io.BytesIO, where: str = "") -> Iterator[Row]:
    """The rows of the first sheet; numbers and dates as they are, formulas as the values they had."""
    try:
        import openpyxl
    except ImportError as error:
        raise errors.UsageError(
            "Excel files need the extra `batch`: pip install 'headrace[batch]'", code="missing-extra"
        ) from error
    from zipfile import BadZipFile

    where = where or str(file)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except (BadZipFile, KeyError, ValueError) as error:
        raise _wrong(where, f"it is not an Excel file: {error}") from error
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        head = list(next(rows, ()))
        while head and head[-1] is None:
            head.pop()
        names = _columns(["" if cell is None else str(cell) for cell in head], where)
        for cells in rows:
            if any(cell is not None for cell in cells):
                yield {name: "" if cell is None else cell for name, cell in zip(names, cells, strict=False)}
    finally:
        book.close()


def objects(text: str, where: str) -> Iterator[Row]:
    """The rows of a JSON document: a list of objects (or of values, each the column `text`), or one object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(where, f"it is not JSON: {error}") from error
    for number, item in enumerate(found if isinstance(found, list) else [found], 1):
        yield _object(item, where, f"item {number}")


def lines(text: str, where: str) -> Iterator[Row]:
    """The rows of JSON lines: one value a line."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _object(json.loads(line), where, f"line {number}")
        except (ValueError, RecursionError) as error:
            raise _wrong(where, f"line {number} is not JSON: {error}") from error


def _object(item: Any, where: str, place: str) -> Row:
    if isinstance(item, dict):
        return {str(name): value for name, value in item.items()}
    if isinstance(item, list):
        raise _wrong(where, f"{place} is a list; a row must be an object")
    return {"text": item}


def _columns(names: Sequence[str], where: str) -> list[str]:
    found = [name.strip() for name in names]
    if not any(found):
        raise _wrong(where, "there is no first line that names the columns")
    for number, name in enumerate(found, 1):
        if not name:
            raise _wrong(where, f"column {number} has no name")
        if name in found[: number - 1]:
            raise _wrong(where, f"there are two columns {name!r}")
    return found


def variables(row: Mapping[str, Any]) -> Row:
    """A row as a template sees it: a column whose name is no name of a variable has another that is one.

    `First name` is also `First_name`, unless there is such a column.
    """
    found = dict(row)
    for name, value in row.items():
        if not name.isidentifier():
            other = "".join(char if char.isalnum() or char == "_" else "_" for char in name)
            found.setdefault(f"_{other}" if other[:1].isdigit() else other, value)
    return found


def _wrong(where: str, what: str) -> errors.UsageError:
    return errors.UsageError(f"{where}: {what}", code="bad-request")
