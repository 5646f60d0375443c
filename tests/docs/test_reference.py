"""The reference pages are complete: what the code has, they name; and what they name, the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer.main
from prometheus_client.parser import text_string_to_metric_families

from headrace import dialects, errors, settings
from headrace.cli.app import app as program
from headrace.providers import presets
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec
from headrace.server import app as server
from headrace.server import bodies
from headrace.server.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", ROOT / "examples/README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made() -> server.App:
    chosen = settings.Settings()
    registry = Registry(chosen)
    return server.create_app(Engine(registry, MemoryRunLog()), chosen, registry)


def test_every_command() -> None:
    text = page("cli.md")
    group = typer.main.get_command(program)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"`headrace {name}" in text, name
        for below in getattr(command, "commands", {}):
            assert re.search(rf"headrace {name}\b[^\n]*\b{below}\b", text), f"{name} {below}"


def test_every_route(made: server.App) -> None:
    text = page("http.md")
    for path, operations in made.api.openapi()["paths"].items():
        for method in operations:
            assert f"`{method.upper()} {path.replace('{asked}', '{request}')}`" in text, f"{method} {path}"


def test_every_key_of_a_run() -> None:
    text = page("http.md")
    for name in set(bodies.RunBody.__struct_fields__) - {"template", "procedure"}:
        assert re.search(rf"[`\"]{name}[`\"]", text), name


def test_every_option_of_stream() -> None:
    text = page("python.md")
    for name in set(RunSpec.__struct_fields__) - {"model", "messages", "owner", "record"}:
        assert f"`{name}`" in text, name


def test_every_public_name() -> None:
    import headrace

    text = page("python.md")
    for name in set(headrace.__all__) - {"__version__"}:
        assert re.search(rf"`(headrace\.)?{name}`", text), name


def test_every_setting() -> None:
    text = page("operations.md") + page("providers.md")
    for field in set(settings.Settings.model_fields) - {"providers"}:
        for variable in settings.variables_of(field):
            assert f"`{variable}`" in text, variable


def test_every_error_code() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| (yes|no) \|", page("http.md"), re.M)
    told = {code: errors.CodeInfo(again == "yes", int(status)) for code, status, again in rows}
    assert told == dict(errors.CODES)


def test_every_dialect() -> None:
    table = page("http.md").partition("| dialect | is |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.M))
    assert named == set(dialects.DIALECTS)


def test_every_provider() -> None:
    named = set(re.findall(r"^\| `([a-z-]+)` \|", page("providers.md"), re.M))
    assert named >= {preset.name for preset in presets.PRESETS}
    assert named >= {known.name for known in Registry(settings.Settings()).known()}


def test_every_metric(made: server.App) -> None:
    exposition, _ = Metrics(made.service).text("")
    named = set(re.findall(r"headrace_\w+", page("operations.md")))
    names = set()
    for family in text_string_to_metric_families(exposition.decode()):
        if family.name.startswith("headrace_"):
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert named == names


def test_promises_name_tests_that_exist() -> None:
    text = page("promises.md")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        found = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in found, f"{path}::{name}"
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        assert "::test_" in section or "No proof" in section, section.splitlines()[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, (
                target
            )


def test_every_page_is_in_the_index() -> None:
    index = page("index.md")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "index.md" or f"({path.name})" in index, path.name
