"""Rows to files: CSV, Excel, JSON, JSON lines, Markdown; each file appears whole or not at all.

The suffix says the format. What is no text or number in a cell is its JSON. In Excel a text is a text, also where
it begins like a formula. Next: `journal`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace import errors
from headrace.templates.expressions import plain

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".xlsx": "xlsx", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".md": "markdown", ".markdown": "markdown",
}  # fmt: skip
EXCEL_CELL = 32_767
"""Characters that Excel takes in a cell."""
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def check(path: str | Path) -> str:
    """The format of an output.

    Raises:
        errors.UsageError: `bad-request`: the suffix is none of ours, or the folder is not there; `missing-extra`.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise errors.UsageError(
            f"{path}: what format? the suffixes are {', '.join(FORMATS)}", code="bad-request"
        )
    if not path.parent.is_dir():
        raise errors.UsageError(f"{path}: there is no folder {path.parent}", code="bad-request")
    if kind == "xlsx":
        try:
            import openpyxl  # noqa: F401
        except ImportError as error:
            raise errors.UsageError(
                "Excel files need the extra `batch`: pip install 'headrace[batch]'", code="missing-extra"
            ) from error
    return kind


def write(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write rows; the file is there when all of them are in it. Returns how many cells were too long for Excel.

    Raises:
        errors.UsageError: see `check`.
        errors.StoreError: it cannot be written.
    """
    kind = check(path)
    path = Path(path)
    cut = 0
    if kind == "xlsx":
        data, cut = _excel(rows)
    else:
        data = encode(kind, rows).encode("utf-8", "replace")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise errors.StoreError(
            f"{path} cannot be written: {error.strerror or error}", retryable=False
        ) from error
    return cut


def encode(kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as text: csv, tsv, json, jsonl or markdown."""
    if kind == "json":
        return json.dumps([plain(dict(row)) for row in rows], ensure_ascii=False, indent=2) + "\n"
    if kind == "jsonl":
        return "".join(json.dumps(plain(dict(row)), ensure_ascii=False) + "\n" for row in rows)
    names = columns(rows)
    if kind == "markdown":
        return _markdown(names, rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[cell(row.get(name)) for name in names] for row in rows])
    return out.getvalue()


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order they are met; `error` is the last."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return sorted(names, key=lambda name: name == "error")


def cell(value: Any) -> str | int | float:
    """A value as a cell has it."""
    found = plain(value)
    if found is None:
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str | int | float):
        return found
    return json.dumps(found, ensure_ascii=False)


def _markdown(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [names, ["---"] * len(names), *([str(cell(row.get(n))) for n in names] for row in rows)]
    return "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"\r\n|[\r\n]", "<br>", text)


def _excel(rows: Sequence[Mapping[str, Any]]) -> tuple[bytes, int]:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Results")
    cut = 0

    def made(value: Any) -> Any:
        nonlocal cut
        found = cell(value)
        if not isinstance(found, str):
            return found
        if len(found) > EXCEL_CELL:
            cut += 1
            found = found[: EXCEL_CELL - 1] + "…"
        one = openpyxl.cell.WriteOnlyCell(sheet, _ILLEGAL.sub("\ufffd", found))
        one.data_type = "s"  # a text that begins with `=` is a text
        return one

    names = columns(rows)
    sheet.append([made(name) for name in names])
    for row in rows:
        sheet.append([made(row.get(name)) for name in names])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue(), cut


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
