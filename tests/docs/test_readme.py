"""The snippets of README.md and docs/ do what they say, against a real server with the demo model.

Every block of bash and Python is run, each in an empty folder of its own, with `headrace` on the path and a server
behind the page's address. A block that cannot run here has a comment before it, `<!-- not run: reason -->`. To save
time the model `demo` is played without its pace.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.testing.server import Server

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDRESS = "http://127.0.0.1:8642"

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n+)?^```(?P<kind>bash|python)\n(?P<code>.*?)^```$", re.M | re.S
)

_RUN = """
import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
if code.co_flags & inspect.CO_COROUTINE:
    asyncio.run(eval(code, {"__name__": "__main__"}))
else:
    exec(code, {"__name__": "__main__"})
"""


class Snippet(NamedTuple):
    """A block of a page, and why it is not run, if it is not."""

    where: str
    kind: str
    code: str
    reason: str | None


def snippets() -> list[Snippet]:
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("code"))
            where = f"{path.relative_to(ROOT)}:{line}"
            found.append(Snippet(where, match["kind"], match["code"], match["reason"]))
    return found


SNIPPETS = snippets()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db"


@pytest.fixture(scope="module")
def server(store: str) -> Iterator[Server]:
    with Server(store=store, environment={"HEADRACE_MODEL": "demo:fast"}) as running:
        yield running


@pytest.fixture
def headrace(tmp_path: Path) -> Path:
    """A folder with a program `headrace` in it, the one of this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "headrace"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headrace "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("snippet", [s for s in SNIPPETS if s.reason is None], ids=lambda s: s.where)
def test_a_snippet(snippet: Snippet, server: Server, store: str, headrace: Path, tmp_path: Path) -> None:
    code = snippet.code.replace(ADDRESS, server.url)
    code = re.sub(r'"demo"', '"demo:fast"', code).replace("-m demo ", "-m demo:fast ")
    folder = tmp_path / "work"
    folder.mkdir()
    file = folder / f"snippet.{'sh' if snippet.kind == 'bash' else 'py'}"
    file.write_text(code, encoding="utf-8")
    program = ["bash", "-eu"] if snippet.kind == "bash" else [sys.executable, "-c", _RUN]
    environment = {
        "PATH": f"{headrace}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONIOENCODING": "utf-8",
        "HEADRACE_URL": server.url,
        "HEADRACE_MODEL": "demo:fast",
        "HEADRACE_STORE": store,
    }
    done = subprocess.run(
        [*program, str(file)], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{snippet.code}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    if "curl" in snippet.code:
        assert '"error"' not in done.stdout
    assert done.stdout.strip() or "print" not in snippet.code


def test_python_that_is_not_run_is_python() -> None:
    for snippet in SNIPPETS:
        if snippet.kind == "python" and snippet.reason is not None:
            compile(snippet.code, snippet.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_most_snippets_run() -> None:
    left_out = [snippet for snippet in SNIPPETS if snippet.reason is not None]
    assert len(left_out) * 3 < len(SNIPPETS), [snippet.where for snippet in left_out]
