"""The parsed template: one frozen dataclass a construct, each with the place it stands at. Values only.

`parser` makes these, `plan` looks at them, `run` walks them. No value of a run is ever parsed: what comes in or
is answered stays data. Next: `expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from headrace.templates.expressions import Expression
from headrace.templates.faults import Place

Targets: TypeAlias = "str | tuple[Targets, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Base of all constructs: from `place` up to `end`."""

    place: Place
    end: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Node):
    """Text as it is."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Show(Node):
    """`{{ expression }}`."""

    expression: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a slot or action: `key=value`, or a value alone (`key` None).

    Attributes:
        value: a literal; or an `Expression`; or a `Bare` word, which may name a variable.
    """

    place: Place
    key: str | None
    value: Any


@dataclass(frozen=True, slots=True)
class Bare:
    """An unquoted word; a variable's value where one of that name is in scope."""

    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot(Node):
    """`[[type:name|options]]`.

    Attributes:
        key: its name in the results.
        least, most: how many items, where it is a list (`listed`); `most` None is any number.
    """

    key: str
    type: str
    required: bool = False
    listed: bool = False
    least: int = 0
    most: int | None = None
    options: tuple[Option, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Node):
    """`[[@name:key|options]]`; `key` is None where the output has no name."""

    name: str
    key: str | None
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Node):
    """`{% if %}`: the body of the first condition that holds; a condition of None always does."""

    branches: tuple[tuple[Expression | None, tuple[Node, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class For(Node):
    """`{% for targets in items if test %}`."""

    targets: Targets
    items: Expression
    test: Expression | None
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Set(Node):
    """`{% set targets = expression %}`."""

    targets: Targets
    expression: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Role(Node):
    """`<user>` or `<assistant>`."""

    role: Literal["user", "assistant"]
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class System(Node):
    """`<system>` or `<header>`: holds from where it stands on."""

    kind: Literal["system", "header"]
    local: bool
    replace: bool
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together(Node):
    """`<together>`: its slots are asked at the same time."""

    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What stands between two checkpoints; `name` is that of the checkpoint that ends it."""

    index: int
    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole template.

    Attributes:
        file: its path, or `<template>`.
        flat: its text with the includes put in.
    """

    file: str
    segments: tuple[Segment, ...]
    flat: str
    files: tuple[str, ...] = field(default=())


def bodies(node: Node) -> Sequence[tuple[Node, ...]]:
    """The lists of nodes inside a node."""
    match node:
        case If(branches=branches):
            return [body for _, body in branches]
        case For(body=body, otherwise=otherwise):
            return [body, otherwise]
        case Role(body=body) | System(body=body) | Together(body=body):
            return [body]
        case _:
            return []


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """All nodes in the order of the text, those inside after those around."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from walk(body)


def names(targets: Targets) -> Iterator[str]:
    """The names that `targets` assigns to."""
    if isinstance(targets, str):
        yield targets
    else:
        for target in targets:
            yield from names(target)
