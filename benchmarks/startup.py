"""How long `import headrace` takes, in fresh processes beside the interpreter's own start. Next: `ledger_growth`."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import measure

IMPORT_MS = 50.0
_PROGRAM = (
    "import time; t = time.perf_counter(); import headrace{more}; print((time.perf_counter() - t) * 1e3)"
)


def run(*, quick: bool) -> Iterator[measure.Row]:
    """Measure; yields the row."""

    def took(more: str) -> float:
        command = [sys.executable, "-c", _PROGRAM.format(more=more)]
        return statistics.median(
            float(subprocess.check_output(command, env=measure.environment()))
            for _ in range(5 if quick else 15)
        )

    others: dict[str, float | str] = {"with headrace.stream and its engine": took("; headrace.stream")}
    yield measure.Row("import headrace", "ms", took(""), IMPORT_MS, others=others)
