"""Actions: Python in a template, without a model. The built-in ones, and how one registers one's own.

Those that read files or the network (`OUTSIDE`) are refused in a template that came over HTTP.

A function is called with the action's options as arguments, coerced to their annotations; it may be async. A
blocking one runs in a thread. What `@set`, `@break` and `@history` do to the run is done by `run`. Next: `run`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from headrace import errors
from headrace.templates import evidence as searching
from headrace.templates import faults
from headrace.templates.faults import Place

OnError = Literal["propagate", "empty", "default"]
OUTSIDE = frozenset({"fetch", "evidence", "markdownify"})
"""Those that read files or the network."""
FETCH_SECONDS = 20.0
MAX_FETCHED = 4 * 1024 * 1024
BUILT_IN = frozenset({"set", "break", "timestamp", "history"}) | OUTSIDE


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function.

    Args:
        call: sync or async.
        role: with which role its output joins the conversation; None keeps it out (its name still has it).
        on_error: `propagate` fails the run, `empty` gives "", `default` gives `default`.
    """

    call: Callable[..., Any]
    role: Literal["user", "assistant"] | None = "user"
    on_error: OnError = "propagate"
    default: Any = None

    async def run(self, name: str, place: Place, by_place: list[Any], by_name: Mapping[str, Any]) -> Any:
        """Call it.

        Raises:
            errors.TemplateError: the arguments do not fit.
            errors.RunError: `tool-failed`: it raised, and `on_error` is `propagate`.
        """
        import pydantic

        checked = pydantic.validate_call(config={"arbitrary_types_allowed": True})(self.call)
        try:
            if inspect.iscoroutinefunction(self.call):
                return await checked(*by_place, **by_name)
            value = await asyncio.to_thread(checked, *by_place, **by_name)
            return await value if inspect.isawaitable(value) else value
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise faults.at(place, f"@{name}: {where}: {first['msg']}") from error
        except Exception as error:  # somebody's function: what it raises is a result, by its own choice
            if self.on_error == "propagate":
                if isinstance(error, errors.HeadraceError):
                    raise
                raise errors.RunError(
                    f"{place}: @{name} failed: {type(error).__name__}: {error}", code="tool-failed"
                ) from error
            return "" if self.on_error == "empty" else self.default


def timestamp(pattern: str = "") -> str:
    """The time now, UTC: ISO 8601, or as `pattern` has it (`%Y-%m-%d`)."""
    now = datetime.now(UTC)
    return now.strftime(pattern) if pattern else now.isoformat(timespec="seconds")


def outside(folder: Path) -> dict[str, Function]:
    """The built-in actions that read files and the network.

    Args:
        folder: of the template; paths begin there.
    """

    def evidence(query: str, folder: str = ".", count: int = 3) -> str:
        """The passages of the text files in a folder that fit a question best, each with its file."""
        found = searching.index(base / folder).best(query, count)
        return "\n\n".join(f"[{passage.file}]\n{passage.text}" for passage in found)

    def markdown(html: str = "", file: str = "") -> str:
        """HTML, or an HTML file, as Markdown."""
        return markdownify((base / file).read_text("utf-8") if file else html)

    base = folder
    return {"fetch": Function(fetch), "evidence": Function(evidence), "markdownify": Function(markdown)}


async def fetch(url: str, markdown: bool = False, timeout: float = FETCH_SECONDS) -> str:
    """The text at an `http` or `https` URL.

    Args:
        markdown: HTML as Markdown.
        timeout: seconds for all of it.

    Raises:
        errors.UsageError: `bad-request`: another kind of URL; `too-large`.
        errors.RunError: `tool-failed`: it cannot be had.
    """
    import aiohttp

    if urlsplit(url).scheme not in ("http", "https"):
        raise errors.UsageError(f"{url[:200]!r} is not a http or https URL", code="bad-request")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
            session.get(url, max_redirects=5) as answer,
        ):
            if answer.status >= 400:
                raise errors.RunError(f"{url[:200]} answers {answer.status}", code="tool-failed")
            data = await answer.content.read(MAX_FETCHED + 1)
            while len(data) <= MAX_FETCHED and (more := await answer.content.read(MAX_FETCHED)):
                data += more
            text = data.decode(answer.charset or "utf-8", "replace")
    except (aiohttp.ClientError, TimeoutError, LookupError) as error:
        raise errors.RunError(f"{url[:200]}: {error or type(error).__name__}", code="tool-failed") from error
    if len(data) > MAX_FETCHED:
        raise errors.UsageError(f"{url[:200]} has more than {MAX_FETCHED:,} bytes", code="too-large")
    return await asyncio.to_thread(markdownify, text) if markdown else text


def markdownify(html: str) -> str:
    """HTML as Markdown.

    Raises:
        errors.UsageError: `missing-extra`.
    """
    try:
        import markdownify as library
    except ImportError as error:
        raise errors.UsageError(
            "@markdownify needs the extra `markdownify`: pip install 'headrace[markdownify]'",
            code="missing-extra",
        ) from error
    found: str = library.markdownify(html, heading_style="ATX", strip=["script", "style"])
    return found.strip()
