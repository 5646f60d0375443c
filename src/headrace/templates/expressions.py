"""Jinja's expressions, parsed with the template, compiled when first used, and evaluated in a sandbox.

Only expressions are Jinja's here, in all their forms; what stands around them is ours, because a slot may stand
inside a loop and has to be asked before the text after it is known. A syntax error is a fault with its place.
`show` says how a value becomes text. Next: `parser`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headrace.templates import faults
from headrace.templates.faults import Place

LARGEST = 1_000_000
"""Characters, items or bits that one operator may make: a template from elsewhere cannot fill the memory."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        integers = isinstance(left, int) and isinstance(right, int)
        if operator == "**" and integers and left.bit_length() * right > LARGEST:
            raise jinja2.exceptions.SecurityError("the power is too large")
        if operator == "*" and any(
            isinstance(a, str | list | tuple) and isinstance(b, int) and len(a) * b > LARGEST
            for a, b in ((left, right), (right, left))
        ):
            raise jinja2.exceptions.SecurityError("the product is too long")
        return super().call_binop(context, operator, left, right)


_environment = _Environment(undefined=jinja2.ChainableUndefined)
_LONG = 500
"""Characters past which an expression is compiled at once: what cannot be compiled is a fault of the template."""
_BUILT_IN = frozenset(_environment.globals)


class _Code:
    """An expression as Jinja has it; compiled when it is first evaluated, for most of a template is parsed only.

    Attributes:
        uses: names of the variables it looks at.
    """

    __slots__ = ("_node", "_run", "uses")

    def __init__(self, node: Any) -> None:
        self._node = node
        self._run: Callable[[dict[str, Any]], Any] | None = None
        self.uses = frozenset(_names(node)) - _BUILT_IN
        for kind, known in ((nodes.Filter, _environment.filters), (nodes.Test, _environment.tests)):
            for found in (node, *node.find_all(kind)):
                if isinstance(found, kind) and found.name not in known:
                    what = kind.__name__.lower()
                    raise jinja2.TemplateAssertionError(f"there is no {what} {found.name!r}", 1)

    def value(self, scope: Mapping[str, Any]) -> Any:
        if self._run is None:
            self._run = self._compiled()
        return self._run(dict(scope))

    def check(self) -> None:
        """Compile it now."""
        self._run = self._compiled()

    def _compiled(self) -> Callable[[dict[str, Any]], Any]:
        body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), self._node, lineno=1)]
        code = _environment.from_string(nodes.Template(body, lineno=1))
        return jinja2.environment.TemplateExpression(code, undefined_to_none=True)


def _names(node: Any) -> Iterator[str]:
    for found in (node, *node.find_all(nodes.Name)):
        if isinstance(found, nodes.Name) and found.ctx == "load":
            yield found.name


class Expression:
    """An expression, and where it stands.

    Attributes:
        source: as it was written.
        uses: names of the variables it looks at.
    """

    __slots__ = ("_code", "place", "source", "uses")

    def __init__(self, source: str, place: Place, node: Any = None) -> None:
        self.source = source.strip()
        self.place = place
        try:
            self._code = _code(self.source) if node is None else _Code(node)
            if len(self.source) > _LONG:
                self._code.check()
        except jinja2.TemplateError as error:
            raise faults.at(place, f"the expression is wrong: {error.message or error}") from error
        except (RecursionError, MemoryError, SyntaxError) as error:  # Python's own limits on what is compiled
            raise faults.at(place, "the expression is nested too deeply") from error
        self.uses = self._code.uses

    def value(self, scope: Mapping[str, Any]) -> Any:
        """Evaluate; what is not defined is None.

        Raises:
            faults.TemplateError: it cannot be evaluated, or does what the sandbox refuses.
        """
        try:
            return self._code.value(scope)
        except (
            Exception
        ) as error:  # whatever Python raises inside somebody's expression is their fault's text
            raise faults.at(self.place, f"{{{{ {self.source} }}}}: {error}") from error


@lru_cache(4096)
def _code(source: str) -> _Code:
    """The expression of a `{{ … }}`; those that are written alike are one."""
    tree = _environment.parse("{{ " + source + " }}")
    output = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(output, nodes.Output) or len(output.nodes) != 1:
        raise jinja2.TemplateSyntaxError("there must be one between {{ and }}", 1)
    found = output.nodes[0]
    if isinstance(found, nodes.TemplateData):
        raise jinja2.TemplateSyntaxError("there is none between {{ and }}", 1)
    return _Code(found)


def parse_for(source: str, place: Place) -> tuple[Any, Expression, Expression | None]:
    """The parts of `for targets in items if test`: targets (a name, or a tuple of them), items, test."""
    tree = _statement("{% " + source + " %}{% endfor %}", place)
    if not isinstance(tree, nodes.For):
        raise faults.at(place, "write {% for NAME in LIST %}")
    if tree.recursive:
        raise faults.at(place, "a recursive loop is not supported; write the levels out")
    test = None if tree.test is None else Expression(source, place, tree.test)
    return _targets(tree.target, place), Expression(source, place, tree.iter), test


def parse_set(source: str, place: Place) -> tuple[Any, Expression]:
    """The parts of `set targets = expression`."""
    if "=" not in source:
        raise faults.at(place, "write {% set NAME = VALUE %}; the form with {% endset %} is not supported")
    tree = _statement("{% " + source + " %}", place)
    if not isinstance(tree, nodes.Assign):
        raise faults.at(place, "write {% set NAME = VALUE %}; the form with {% endset %} is not supported")
    return _targets(tree.target, place), Expression(source, place, tree.node)


def _statement(source: str, place: Place) -> nodes.Node:
    try:
        tree = _environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise faults.at(place, f"the tag is wrong: {error.message}") from error
    except RecursionError as error:
        raise faults.at(place, "the expression is nested too deeply") from error
    return tree.body[0]


def _targets(node: nodes.Node, place: Place) -> Any:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Tuple):
        return tuple(_targets(item, place) for item in node.items)
    raise faults.at(place, "a value can be given to names only")


def show(value: Any) -> str:
    """A value as text of a message: text as it is, None as nothing, lists and mappings as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return "\n".join(f"- {item}" for item in value)
        case list() | tuple() | dict():
            return json.dumps(plain(value), ensure_ascii=False, indent=2)
        case _ if hasattr(value, "model_dump"):
            return json.dumps(plain(value), ensure_ascii=False, indent=2)
        case _:
            found = plain(value)
            return found if isinstance(found, str) else str(found)


def plain(value: Any) -> Any:
    """A value as JSON has it: dates in ISO 8601, durations in seconds, models as objects, the rest as text."""
    import datetime as dt
    import decimal

    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case dt.timedelta():
            return value.total_seconds()
        case dt.date() | dt.time():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case _ if hasattr(value, "model_dump"):
            return value.model_dump(mode="json")
        case _:
            return str(value)
