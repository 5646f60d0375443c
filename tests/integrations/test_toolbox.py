from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, settings
from headrace.integrations import toolbox

SHOP = '''
import headrace

@headrace.tool
def price(item: str) -> float:
    """What it costs."""
    return 2.5

@headrace.tool(approval=True)
def buy(item: str) -> str:
    """Buy it."""
    return f"bought {item}"

def plain(text: str) -> str:
    """Not marked."""
    return text

both = [price, plain]
number = 3
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shop_tools.py"
    path.write_text(SHOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_tools", raising=False)
    return path


async def names(*references: str, **chosen: Any) -> list[str]:
    async with toolbox.opened(references, settings.Settings(**chosen)) as tools:
        return [tool.name for tool in tools]


async def test_modules_and_names(shop: Path) -> None:
    assert await names("shop_tools") == ["price", "buy"]
    assert await names("shop_tools:plain") == ["plain"]
    assert await names("shop_tools:both") == ["price", "plain"]


async def test_files(shop: Path) -> None:
    assert await names(str(shop)) == ["price", "buy"]
    assert await names(f"{shop}:buy") == ["buy"]


async def test_none() -> None:
    assert await names() == []


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such_module", "No module named 'no_such_module'"),
        ("json", "json makes no tools: mark functions with @headrace.tool, or name one: json:NAME"),
        ("shop_tools:sell", "shop_tools has no 'sell'; its tools are buy, price"),
        ("shop_tools:number", "tools are functions"),
        ("nothing.py", "cannot be loaded: FileNotFoundError"),
        ("mcp:files", r"there is no MCP server 'files'; the settings have none: add a table \[mcp.files\]"),
    ],
)
async def test_what_there_is_not(shop: Path, reference: str, words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        await names(reference)


async def test_one_name_twice(shop: Path) -> None:
    with pytest.raises(errors.UsageError, match="two tools have the name 'buy'"):
        await names("shop_tools", f"{shop}:buy")


async def test_mcp_servers_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcp", reason="needs the extra mcp")
    program = str(Path(__file__).with_name("mcp_server.py"))
    table: dict[str, Any] = {
        "test": {"command": sys.executable, "args": [program], "env": {"A": "$SOME_KEY"}}
    }
    with pytest.raises(errors.UsageError, match="wants the environment variable SOME_KEY"):
        await names("mcp:test", mcp=table)
    monkeypatch.setenv("SOME_KEY", "x")
    assert "test__add" in await names("mcp:test", mcp=table)
    assert await names("mcp:test/add", "mcp:test/fails", mcp=table) == ["test__add", "test__fails"]
    table["test"]["tools"] = ["add"]
    assert await names("mcp:test", mcp=table) == ["test__add"]


def test_a_table_says_how_to_reach_it() -> None:
    with pytest.raises(errors.UsageError, match="needs a command or a url"):
        settings.load(mcp={"test": {}})
