"""The built packages are whole: the wheel serves the page, the sdist has it, and the hook says what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest

from headrace.testing.server import Server

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "src/headrace/server/static"
PAGE = "headrace/server/static/index.html"

pytest.importorskip("hatchling", reason="hatchling is not installed (dependency group `test`)")


def hatchling(
    target: str, folder: Path, *, root: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def built() -> None:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built (./scripts/setup builds it)")


def test_the_wheel_serves_the_page(built: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = hatchling("wheel", tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for name in (PAGE, "headrace/py.typed", "headrace/ledger/sql/schema.sql"):
        assert name in names
    assert not [name for name in names if name.startswith(("tests", "web", "docs", "benchmarks"))]
    outside = [path for path in sys.path if Path(path or ".").resolve() not in (ROOT, ROOT / "src")]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *outside])
    with Server() as server:
        page = urllib.request.urlopen(server.url, timeout=10).read().decode()
        (script,) = re.findall(r'src="\./(assets/[^"]+\.js)"', page)
        assert len(urllib.request.urlopen(f"{server.url}/{script}", timeout=10).read()) > 10_000
        proc = Path(f"/proc/{server.pid}/environ")
        if proc.exists():
            assert str(tmp_path / "site").encode() in proc.read_bytes()


def test_the_sdist_has_the_page_and_its_source(built: None, tmp_path: Path) -> None:
    done = hatchling("sdist", tmp_path)
    assert done.returncode == 0, done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        f"src/{PAGE}",
        "web/package.json",
        "hatch_build.py",
        "tests/conftest.py",
        "docs/index.md",
        "LICENSE",
    ):
        assert name in names
    assert not [name for name in names if "node_modules" in name or name.startswith(".ci")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout without a built page as the hook looks at."""
    root = tmp_path / "checkout"
    package = root / "src/headrace"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    return root


def test_without_page_and_node_it_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    done = hatchling("wheel", tmp_path / "dist", root=checkout, PATH=str(tmp_path))
    assert done.returncode != 0
    assert "there is no node" in done.stderr + done.stdout
    assert "HEADRACE_SKIP_WEB=1" in done.stderr + done.stdout


def test_the_page_can_be_left_out(checkout: Path, tmp_path: Path) -> None:
    done = hatchling("wheel", tmp_path / "dist", root=checkout, PATH=str(tmp_path), HEADRACE_SKIP_WEB="1")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert PAGE not in zipfile.ZipFile(wheel).namelist()
