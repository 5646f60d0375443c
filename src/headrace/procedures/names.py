"""Names that a program uses and nothing sets, found without running it. Pure.

A program's globals are known (`GLOBALS`, as `prelude.lua` makes them), and reading one that is not there is an error
when it happens. This finds it before: a name that stands for a variable somewhere, and is set, declared or a
parameter nowhere. Where is not looked at, so nothing right is ever named wrong; a name that is set in another place
than it is used in is missed. Next: `host`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

GLOBALS = frozenset((
    "_G", "_VERSION", "Agent", "File", "Human", "Json", "Log", "Mocks", "Procedure", "Retry", "Sleep",
    "Specification", "Step", "Tool", "agent", "assert", "coroutine", "error", "field", "getmetatable",
    "input", "ipairs", "math", "next", "output", "pairs", "params", "pcall", "print", "procedure",
    "rawequal", "rawget", "rawlen", "rawset", "require", "select", "self", "setmetatable", "state",
    "string", "table", "tonumber", "tool", "tostring", "type", "utf8", "xpcall",
))  # fmt: skip
_WORDS = frozenset((
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
))  # fmt: skip
_MOST = 64  # names in one list that is set
_MAKERS = frozenset(("Agent", "agent", "Tool", "tool", "Procedure", "procedure"))
_TOKEN = re.compile(
    r"""--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*|\[(?P<s>=*)\[(?P<long>.*?)\](?P=s)\]
    |"(?P<double>(?:\\.|[^"\\\n])*)"|'(?P<single>(?:\\.|[^'\\\n])*)'
    |(?P<name>[A-Za-z_]\w*)|(?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)|(?P<mark>::|\.\.\.?|[=~<>]=|\S)""",
    re.S | re.X,
)


def unset(program: str) -> list[tuple[int, str]]:
    """Each such name once, with the line of its first use; none where the program takes its globals in hand."""
    used: dict[str, int] = {}
    known: set[str] = set(GLOBALS)
    tokens = list(_tokens(program))
    declares = False  # in the names after `local` or `for`, or the parameters of a function
    for at, (kind, text, line) in enumerate(tokens):
        before = tokens[at - 1][1] if at and tokens[at - 1][0] != "text" else ""
        after = tokens[at + 1] if at + 1 < len(tokens) else ("mark", "", line)
        if kind == "text":
            maker = tokens[at - 2][1] if before == "(" and at > 1 else before
            if maker in _MAKERS:
                known.add(text)
            continue
        if kind == "mark" or text in _WORDS:
            if text in ("local", "for", "function"):
                declares = True
            elif declares and text not in (",", "(", "<", ">", "...", ".", ":"):
                declares = False
            continue
        if text in ("_G", "_ENV") and (text == "_ENV" or before in ("(", ",", "=") or after[1] in ("[", "=")):
            return []
        if before in (".", ":", "::", "goto"):
            continue
        if declares or after[:2] == ("mark", "=") or _assigned(tokens, at):
            known.add(text)
        else:
            used.setdefault(text, line)
    return [(line, name) for name, line in used.items() if name not in known]


def _assigned(tokens: list[tuple[str, str, int]], at: int) -> bool:
    """Whether a list of names begins or goes on here that an `=` ends: `a, b = 1, 2`."""
    end = min(len(tokens), at + 2 * _MOST)
    while at + 2 < end and tokens[at + 1][1] == "," and tokens[at + 2][0] == "name":
        at += 2
    return at + 1 < len(tokens) and tokens[at + 1][:2] == ("mark", "=")


def _tokens(program: str) -> Iterator[tuple[str, str, int]]:
    """Kind (`name`, `text` or `mark`), text and line of each."""
    line, last = 1, 0
    for found in _TOKEN.finditer(program):
        line += program.count("\n", last, found.start())
        last = found.start()
        kind = found.lastgroup
        if kind in ("long", "double", "single"):
            yield "text", found[kind], line
        elif kind == "name" or kind == "mark":
            yield kind, found[0], line
        elif kind == "number":
            yield "mark", "0", line
