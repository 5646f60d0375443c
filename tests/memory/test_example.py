"""The example runs, and keeps its promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_example(tmp_path: Path) -> None:
    path = ROOT / "examples" / "chat_memory.py"
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "They are watered.\n" in done.stdout
    assert "CLOSE" not in done.stdout
    assert "It, looking back: I promise little and keep it.\n" in done.stdout
    assert "kept: water the plants (c3, closed by fact 6)" in done.stdout
