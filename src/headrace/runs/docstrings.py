"""What a docstring says: its description, and a text for each parameter. Pure.

Three forms are read: Google's (`Args:`), NumPy's (`Parameters` underlined) and Sphinx's (`:param name:`). What
fits none of them is description. Next: `tools`, whose schemas have these words.
"""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Examples?|Notes?|Warnings?|See Also|References|"
    r"Attributes|Todo)\s*(:?)\s*$"
)
_PARAMETERS = frozenset({"Args", "Arguments", "Parameters", "Params"})
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(r":(\w+)\s*([^:]*):\s*(.*)$")


def parse(text: str | None) -> tuple[str, dict[str, str]]:
    """The description, and the descriptions of parameters by name.

    Args:
        text: a docstring as it is in the source, or None.
    """
    if not text or not text.strip():
        return "", {}
    lines = inspect.cleandoc(text).splitlines()
    about: list[str] = []
    found: dict[str, list[str]] = {}
    i = 0
    while i < len(lines):
        line = lines[i]
        section = _SECTION.match(line)
        underlined = i + 1 < len(lines) and bool(re.fullmatch(r"-{3,}\s*", lines[i + 1]))
        if section and (section[2] or underlined):
            body, i = _body(lines, i + (2 if underlined else 1), underlined)
            if section[1] in _PARAMETERS:
                (_numpy if underlined else _google)(body, found)
        elif sphinx := _SPHINX.match(line):
            words = [sphinx[3]]
            i += 1
            while i < len(lines) and lines[i][:1].isspace() and lines[i].strip():
                words.append(lines[i].strip())
                i += 1
            if sphinx[1] in ("param", "parameter", "arg", "argument") and sphinx[2].split():
                found[sphinx[2].split()[-1].lstrip("*")] = words
        else:
            about.append(line)
            i += 1
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(about)).strip()
    return description, {name: " ".join(" ".join(words).split()) for name, words in found.items()}


def _body(lines: list[str], start: int, underlined: bool) -> tuple[list[str], int]:
    """The lines of a section: to the next section, or to a line that is not indented."""
    end = start
    while end < len(lines):
        line = lines[end]
        if underlined:
            after = lines[end + 1] if end + 1 < len(lines) else ""
            if _SECTION.match(line) and re.fullmatch(r"-{3,}\s*", after):
                break
        elif line.strip() and not line[0].isspace():
            break
        end += 1
    return lines[start:end], end


def _google(body: list[str], found: dict[str, list[str]]) -> None:
    indent = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    words: list[str] = []
    for line in body:
        named = _GOOGLE.match(line.strip()) if len(line) - len(line.lstrip()) == indent else None
        if named:
            words = found[named[1]] = [named[2]]
        else:
            words.append(line.strip())


def _numpy(body: list[str], found: dict[str, list[str]]) -> None:
    words: list[str] = []
    for line in body:
        named = _NUMPY.match(line) if line.strip() and not line[0].isspace() else None
        if named:
            words = []
            for name in re.split(r"\s*,\s*", named[1]):
                found[name] = words
        else:
            words.append(line.strip())
