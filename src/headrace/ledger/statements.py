"""Reads SQL from files: named statements and numbered migrations, the same way for every store.

A file of statements has `-- name: NAME` before each and its reason after it; a folder of migrations has one
numbered file a step, and they only ever go forward. Not here: what a store does with them. Next: `queries`.
"""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

FOLDER = resources.files("headrace.ledger") / "sql"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(file: Traversable) -> dict[str, str]:
    """The statements of a file, by name and without their comments."""
    parts = _NAME.split(file.read_text("utf-8"))
    bodies = ("\n".join(line for line in b.splitlines() if not line.startswith("--")) for b in parts[2::2])
    return {name: body.strip() for name, body in zip(parts[1::2], bodies, strict=True)}


def migrations(folder: Traversable) -> list[tuple[int, str]]:
    """All migrations of a folder, as (version, SQL), in order."""
    files = [f for f in folder.iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name[:4]), f.read_text("utf-8")) for f in files)
