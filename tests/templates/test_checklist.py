"""The checklist names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_line_has_its_test() -> None:
    lines = [line for line in (HERE / "checklist.md").read_text("utf-8").split("\n") if line.startswith("| ")]
    rows = [line for line in lines if not line.endswith("| test |")]
    assert len(rows) > 60
    for row in rows:
        found = re.search(r"`([\w./]+\.py)::(\w+)` \|$", row)
        assert found is not None, row
        tree = ast.parse((HERE / found[1]).read_text("utf-8"))
        names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert found[2] in names, row
