"""Tools by reference, as a command line or a setting names them.

    async with toolbox.opened(["shop.tools:price", "mine.py", "mcp:files"], chosen) as tools: ...

| reference | is |
|---|---|
| `module:name` | that function, `Tool`, or list of them |
| `module`, `file.py` | every `Tool` that is made in it (`@headrace.tool`) |
| `file.py:name` | as `module:name` |
| `mcp:NAME`, `mcp:NAME/tool` | all tools of an MCP server of the settings, or one |

Importing a module runs it: references come from the person who starts the program, never from a request.
Next: `mcp`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace import errors, settings
from headrace.runs.tools import Tool, as_tools


@contextlib.asynccontextmanager
async def opened(references: Sequence[str], chosen: settings.Settings) -> AsyncIterator[tuple[Tool, ...]]:
    """The tools that references name, for the length of the block; MCP servers live as long.

    Raises:
        errors.UsageError: there is no such module, name or server, or two tools have one name.
        errors.RunError: an MCP server cannot be reached.
        errors.MissingExtra: `mcp` is not installed.
    """
    async with contextlib.AsyncExitStack() as stack:
        found: list[Any] = []
        servers: dict[str, list[str] | None] = {}
        for reference in references:
            if reference.startswith("mcp:"):
                name, _, tool = reference.removeprefix("mcp:").partition("/")
                wanted = servers.setdefault(name, [])
                if not tool:
                    servers[name] = None
                elif wanted is not None:
                    wanted.append(tool)
            else:
                found += load(reference)
        for name, only in servers.items():
            found += await stack.enter_async_context(_served(name, only, chosen))
        yield tuple(tool for tool in as_tools(found) if isinstance(tool, Tool))


def load(reference: str) -> list[Tool]:
    """The tools of a module or a file.

    Raises:
        errors.UsageError: it cannot be imported, or has no such tool.
    """
    place, colon, name = reference.rpartition(":")
    if not colon or place == "" or "/" in name or "\\" in name:  # `C:\\tools.py` has a colon of its own
        place, name = reference, ""
    module = _module(place)
    if not name:
        made = [value for value in vars(module).values() if isinstance(value, Tool)]
        if not made:
            raise errors.UsageError(
                f"{place} makes no tools: mark functions with @headrace.tool, or name one: {place}:NAME"
            )
        return made
    if not hasattr(module, name):
        there = sorted(key for key, value in vars(module).items() if isinstance(value, Tool))
        raise errors.UsageError(f"{place} has no {name!r}; its tools are {', '.join(there) or 'none'}")
    value = getattr(module, name)
    several = isinstance(value, Iterable) and not callable(value)
    return [tool for tool in as_tools(value if several else [value]) if isinstance(tool, Tool)]


def _module(place: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            path = Path(place)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)  # annotations are looked up there
            spec.loader.exec_module(module)
            return module
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(place)
    except errors.HeadraceError:
        raise
    except Exception as error:
        raise errors.UsageError(
            f"the tools of {place!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


@contextlib.asynccontextmanager
async def _served(
    name: str, only: Sequence[str] | None, chosen: settings.Settings
) -> AsyncIterator[tuple[Tool, ...]]:
    config = chosen.mcp.get(name)
    if config is None:
        raise errors.UsageError(
            f"there is no MCP server {name!r}; the settings have {', '.join(sorted(chosen.mcp)) or 'none'}:"
            f" add a table [mcp.{name}] to {settings.FILE_NAME}"
        )
    from headrace.integrations import mcp

    async with mcp.Server(
        name,
        command=config.command,
        arguments=config.args,
        url=config.url,
        environment={key: _filled(name, value, chosen) for key, value in config.env.items()},
        headers={key: _filled(name, value, chosen) for key, value in config.headers.items()},
        folder=config.cwd,
        only=only if only is not None else config.tools,
        approval=config.approval,
        timeout=config.timeout,
    ) as server:
        yield server.tools


def _filled(server: str, value: str, chosen: settings.Settings) -> str:
    if not value.startswith("$"):
        return value
    found = chosen.variable(value[1:])
    if found is None:
        raise errors.UsageError(
            f"[mcp.{server}] wants the environment variable {value[1:]}, which is not set"
        )
    return found.get_secret_value()
