"""House rules that a linter does not know: what may be committed, what every module has, how long a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src/headrace"
LONGEST = 600

# In pieces, so that this file is not what it looks for.
HOSTS = [".".join(parts) for parts in (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"),
    ("crates", "io"), ("rubygems", "org"), ("proxy", "golang", "org"), ("maven", "org"), ("jsr", "io"),
    ("jfrog", "io"), ("pkg", "dev"), ("ghcr", "io"), ("docker", "io"),
)]  # fmt: skip
PLACES = ["/" + name + "/" for name in ("work", "root", "opt")] + [
    "/" + "home" + "/[a-z]",
    "/" + "Users" + "/[A-Za-z]",
]
FORBIDDEN = re.compile("|".join([*map(re.escape, HOSTS), *(rf"(?<![\w.:*}}]){place}" for place in PLACES)]))
LOCKS = {"package-lock.json", "yarn.lock", "pnpm-lock.yaml", "uv.lock", "poetry.lock", "Pipfile.lock"}

# Modules that have no test file at their own path: what tests them instead. This list may only shrink.
TESTED_ELSEWHERE = {
    "__main__": "cli/test_app",
    "cli/local": "cli/test_ask",
    "cli/options": "cli/test_app",
    "cli/people": "cli/test_ask",
    "cli/procedure_show": "cli/test_procedure",
    "procedures/agents": "procedures/test_host",
    "procedures/api": "procedures/test_journal",
    "procedures/child": "procedures/test_sandbox",
    "procedures/files": "procedures/test_host",
    "procedures/people": "procedures/test_journal",
    "procedures/turns": "procedures/test_host",
    "runs/endings": "runs/test_engine",
    "providers/base": "providers/test_common",
    "runlog/base": "runlog/test_memory",
    "runs/handle": "runs/test_api",
    "runs/spec": "runs/test_engine",
    "runs/stats": "server/test_metrics",
    "runs/sync": "runs/test_api",
    "runs/writer": "runs/test_engine",
    "server/schema": "server/test_reference",
    "server/service": "server/test_runs",
    "templates/api": "templates/test_run",
    "templates/expressions": "templates/test_parser",
    "templates/faults": "templates/test_parser",
    "templates/options": "templates/test_types",
    "templates/scanner": "templates/test_parser",
    "templates/syntax": "templates/test_parser",
    "testing/bigram": "testing/test_engine",
    "testing/rabbitmq": "core/test_amqp",
    "testing/redis": "testing/test_programs",
    "testing/runs": "runs/test_engine",
    "testing/server": "e2e/test_server_process",
    "testing/wires": "providers/test_openai_chat",
}


def tracked() -> list[Path]:
    """What git has, or would have after `git add`; where there is no git, all files that look committed."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def modules() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.stat().st_size]


def test_nothing_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = FORBIDDEN.search(line)
            if match:
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found


def test_what_is_looked_for_would_be_found() -> None:
    for text in ("https://" + HOSTS[0] + "/simple", "see " + PLACES[0] + "x", '"' + "/" + "home/ada/x" + '"'):
        assert FORBIDDEN.search(text), text
    for text in ("a.work/b", "https://example.com/work/x", "{root}/work/x"):
        assert not FORBIDDEN.search(text), text


def test_no_lock_file_and_nothing_built() -> None:
    for path in tracked():
        assert path.name not in LOCKS, path
        assert not {"node_modules", "static", "__pycache__", "dist", ".venv"} & set(
            path.relative_to(ROOT).parts
        ), path


def test_every_module_says_what_it_is_for() -> None:
    for path in modules():
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert told.partition("\n")[0].strip(), path


def test_every_module_has_its_test_file() -> None:
    without = set()
    for path in modules():
        name = path.relative_to(SOURCE).with_suffix("")
        if name.name != "__init__" and not (ROOT / "tests" / name.parent / f"test_{name.name}.py").is_file():
            without.add(name.as_posix())
    assert without == set(TESTED_ELSEWHERE)
    for instead in TESTED_ELSEWHERE.values():
        assert (ROOT / "tests" / f"{instead}.py").is_file(), instead


def test_long_files_say_why() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > LONGEST:
            told = ast.get_docstring(ast.parse(text)) or ""
            assert re.search(r"\b(long|lines|one file|one thing|together)\b", told), (
                f"{path} does not say why it is long"
            )


def test_the_architecture_page_knows_the_tree() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    rooms |= {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__")}
    table = text.partition("## Rooms, low to high")[2].partition("\n## ")[0]
    assert rooms <= set(re.findall(r"`(\w+)/?`", table))
    table = text.partition("## To change X, open Y")[2].partition("\n## ")[0]
    opened = " ".join(row.split("|")[2] for row in table.splitlines() if row.startswith("|"))
    for named in re.findall(r"`([^`]+)`", opened):
        assert (SOURCE / named).exists() or (ROOT / named).exists(), named


def test_scripts_can_be_run_and_say_what_they_do() -> None:
    for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"]:
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.name != "lib.sh":
            assert path.stat().st_mode & 0o111, path
            assert lines[0] == "#!/usr/bin/env bash"
        assert next(line for line in lines if not line.startswith("#!")).startswith("# "), path
