"""Rows of results, interleaved rounds, and the processes they run in.

A `Child` is a process that takes commands as JSON lines and answers each with one line. `interleaved` asks in
turn (A B C, A B C, …), `together` asks all at once, so that they share one window: what a wake-up costs depends
on what else the machine does. The first round of each warms up and does not count. `cpu_of` is the CPU
time of any process, in seconds to the microsecond. Next: `upstream`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Row:
    """One figure against its target.

    Attributes:
        ours, reference: in `unit`; the reference is what the target is a ratio of, None for an absolute one.
        target: the bound on `ours / reference`, or on `ours` where there is no reference.
        at_least: the target bounds `reference / ours` from below instead ("15 times less than …").
        others: further figures of the same kind, for the reader.
    """

    what: str
    unit: str
    ours: float
    target: float
    reference: float | None = None
    reference_name: str = ""
    at_least: bool = False
    others: dict[str, float | str] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """What the target bounds."""
        if self.reference is None:
            return self.ours
        return self.reference / self.ours if self.at_least else self.ours / self.reference

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        head = f"{'pass' if self.reached else 'MISS'}  {self.what}: {_number(self.ours)} {self.unit}"
        if self.reference is None:
            head += f" (target {sign} {_number(self.target)} {self.unit})"
        else:
            head += f"; {self.reference_name} {_number(self.reference)}; "
            how = "times less" if self.at_least else "x"
            head += f"{self.value:.2f} {how} (target {sign} {self.target:g})"
        for name, other in self.others.items():
            head += (
                f"\n        {name}: {other if isinstance(other, str) else _number(other) + ' ' + self.unit}"
            )
        return head


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


class Child:
    """A process that answers JSON lines; a context manager.

    Args:
        module: run with `python -m`.
        python: the interpreter; default this one.
        quiet: its stderr is dropped (servers log there).
    """

    def __init__(self, module: str, *arguments: str, python: str | None = None, quiet: bool = False) -> None:
        self._process = subprocess.Popen(
            [python or sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            cwd=ROOT,
            env=environment(),
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def hear(self) -> Any:
        """Its next line.

        Raises:
            RuntimeError: it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")
        return json.loads(line)

    def say(self, **command: Any) -> None:
        """Send a command without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def ask(self, **command: Any) -> Any:
        """Send a command and wait for its answer."""
        self.say(**command)
        return self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def environment() -> dict[str, str]:
    """The environment of children: this package and ours on the path, no settings of the user's, no look-ups."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "OPENAI_", "LITELLM_"))}
    ours = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    return {**keep, **ours}


def interleaved(rounds: int, asks: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """The answers of each, in rounds: all of them once, then all of them again. The first round is thrown away."""
    answers: dict[str, list[Any]] = {name: [] for name in asks}
    for number in range(rounds + 1):
        for name, ask in asks.items():
            answer = ask()
            if number:
                answers[name].append(answer)
    return answers


def together(rounds: int, children: Mapping[str, Child], **command: Any) -> dict[str, list[Any]]:
    """The answers of children that do the same in the same window, first one of them first, then another."""
    names = list(children)
    answers: dict[str, list[Any]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names:
            children[name].say(**command)
        for name in names:
            answer = children[name].hear()
            if number:
                answers[name].append(answer)
        names = names[1:] + names[:1]
    return answers


def median(answers: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(answer[key] for answer in answers)


def cpu_of(pid: int) -> float:
    """CPU seconds a process has used so far, all threads, user and system."""
    return time.clock_gettime((~pid) << 3 | 2)  # the clock id that clock_getcpuclockid(3) gives for a process


def memory_of(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
