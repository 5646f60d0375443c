"""`examples/batch` runs as the documentation says, on the demo."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "batch"


def test_the_table_through_the_template(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "batch", str(FOLDER / "mood.hr.md"), "-m", "demo:fast", "-i",
         str(FOLDER / "reviews.csv"), "-o", str(tmp_path / "rated.csv"), "--keep", "--compare", "mood=label"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "rated.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["guest"] for row in found] == ["Ada", "Ben", "Cleo"]
    assert all(
        row["mood"] in ("happy", "sad", "neither") and row["reply"] and not row["error"] for row in found
    )
    assert "mood against label" in done.stderr
