"""Text, conditions and loops of a template with the values they have now. Pure.

What `run` walks and what stands in system and header text follow the same rules: those here. Next: `asking`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.templates import expressions, faults, syntax

Turns = Callable[[syntax.For, Mapping[str, Any]], list[dict[str, Any]]]
"""Gives the variables of each turn of a loop; a run counts them."""


def branch(node: syntax.If, scope: Mapping[str, Any]) -> Sequence[syntax.Node]:
    """The body whose condition holds."""
    for condition, body in node.branches:
        if condition is None or condition.value(scope):
            return body
    return ()


def each(node: syntax.For, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables of each turn of a loop, `loop` among them."""
    items = node.items.value(scope)
    turns: list[dict[str, Any]] = []
    try:
        found = [] if items is None else list(items)
    except TypeError as error:
        raise faults.at(node.place, f"{type(items).__name__} cannot be looped over") from error
    for item in found:
        bound: dict[str, Any] = {}
        assign(bound, node.targets, item, node)
        if node.test is None or node.test.value({**scope, **bound}):
            turns.append(bound)
    for number, bound in enumerate(turns):
        bound["loop"] = {
            "index": number + 1,
            "index0": number,
            "first": number == 0,
            "last": number + 1 == len(turns),
            "length": len(turns),
        }
    return turns


def assign(scope: dict[str, Any], targets: syntax.Targets, value: Any, node: syntax.Node) -> None:
    """Give a value to a name, or its items to names."""
    if isinstance(targets, str):
        scope[targets] = value
        return
    try:
        items = list(value)
    except TypeError as error:
        raise faults.at(node.place, f"{type(value).__name__} cannot be taken apart") from error
    if len(items) != len(targets):
        raise faults.at(node.place, f"there are {len(items)} values for {len(targets)} names")
    for target, item in zip(targets, items, strict=True):
        assign(scope, target, item, node)


def restore(scope: dict[str, Any], before: Mapping[str, Any], names: Sequence[str]) -> None:
    """Give loop variables the values they had before the loop."""
    for name in names:
        if name in before:
            scope[name] = before[name]
        else:
            scope.pop(name, None)


def render(nodes: Sequence[syntax.Node], scope: dict[str, Any], each: Turns) -> str:
    """Text without slots, as it is now; `each` gives the turns of a loop."""
    parts: list[str] = []
    for node in nodes:
        match node:
            case syntax.Text(text=text):
                parts.append(text)
            case syntax.Show(expression=expression):
                parts.append(expressions.show(expression.value(scope)))
            case syntax.If():
                parts.append(render(branch(node, scope), scope, each))
            case syntax.Set(targets=targets, expression=expression):
                assign(scope, targets, expression.value(scope), node)
            case syntax.For():
                turns = each(node, scope)
                parts.extend(render(node.body, {**scope, **bound}, each) for bound in turns)
                if not turns:
                    parts.append(render(node.otherwise, scope, each))
            case _:
                raise faults.at(node.place, "only text, expressions, conditions and loops can stand here")
    return "".join(parts)
