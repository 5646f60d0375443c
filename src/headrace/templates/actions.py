"""Actions: Python in a template, without a model. The built-in ones, and how one registers one's own.

A function is called with the action's options as arguments, coerced to their annotations; it may be async. A
blocking one runs in a thread. What `@set`, `@break` and `@history` do to the run is done by `run`. Next: `run`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from headrace import errors
from headrace.templates import faults
from headrace.templates.faults import Place

OnError = Literal["propagate", "empty", "default"]
OUTSIDE = frozenset({"fetch", "evidence", "markdownify"})
"""Those that read files or the network."""
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
        except errors.HeadraceError:
            raise
        except Exception as error:  # somebody's function: what it raises is a result, by its own choice
            if self.on_error == "propagate":
                raise errors.RunError(
                    f"{place}: @{name} failed: {type(error).__name__}: {error}", code="tool-failed"
                ) from error
            return "" if self.on_error == "empty" else self.default


def timestamp(pattern: str = "") -> str:
    """The time now, UTC: ISO 8601, or as `pattern` has it (`%Y-%m-%d`)."""
    now = datetime.now(UTC)
    return now.strftime(pattern) if pattern else now.isoformat(timespec="seconds")
