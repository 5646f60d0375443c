from __future__ import annotations

from pathlib import Path

from headrace.ledger import statements


def test_statements_by_name_without_their_comments(tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("-- About.\n\n-- name: one\n-- Why.\nSELECT 1\nFROM a;\n\n-- name: two\nSELECT 2;\n")
    assert statements.load(file) == {"one": "SELECT 1\nFROM a;", "two": "SELECT 2;"}


def test_migrations_in_order(tmp_path: Path) -> None:
    for name in ("0010_b.sql", "0002_a.sql", "README"):
        (tmp_path / name).write_text(name)
    assert statements.migrations(tmp_path) == [(2, "0002_a.sql"), (10, "0010_b.sql")]
