"""The one place that knows all dialects: by the name that `?dialect=` has."""

from __future__ import annotations

from collections.abc import Mapping

from headrace import errors
from headrace.dialects import (
    ag_ui,
    ai_sdk,
    anthropic,
    base,
    ide,
    native,
    ollama,
    openai_chat,
    openai_responses,
    text,
    token,
)

_ALL = (
    native.NATIVE,
    text.TEXT,
    token.TOKEN,
    openai_chat.OPENAI_CHAT,
    openai_responses.OPENAI_RESPONSES,
    anthropic.ANTHROPIC,
    ollama.OLLAMA,
    ai_sdk.AI_SDK,
    ag_ui.AG_UI,
    ide.IDE,
)
DIALECTS: Mapping[str, base.Dialect] = {dialect.name: dialect for dialect in _ALL}


def get(name: str) -> base.Dialect:
    """The dialect of that name.

    Raises:
        errors.UsageError: `bad-request`, listing those there are.
    """
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise errors.UsageError(
            f"there is no dialect {name[:40]!r}; use one of {', '.join(DIALECTS)}", code="bad-request"
        )
    return dialect
