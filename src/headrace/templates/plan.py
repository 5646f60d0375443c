"""What a template will do, found out without running it: slots, variables, what waits for what. Pure.

`plan` checks types, options and actions, and finds for every segment which earlier ones it needs: those that
define a name it uses in its text, its options, or the system and header text that holds in it. `graph` and
`explain` show it. Next: `actions`, then `run`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.templates import faults, options, syntax
from headrace.templates.expressions import Expression
from headrace.templates.faults import Fault, Place
from headrace.templates.models import Types
from headrace.templates.types import SlotType


@dataclass(slots=True)
class SegmentPlan:
    """One segment.

    Attributes:
        systems: system and header text of earlier segments that holds here.
        uses: names it looks at.
        defines: names it gives values to.
        needs: indexes of the segments it waits for.
        breaks: whether it may end the run.
    """

    segment: syntax.Segment
    systems: tuple[syntax.System, ...]
    uses: set[str] = field(default_factory=set)
    defines: set[str] = field(default_factory=set)
    needs: set[int] = field(default_factory=set)
    breaks: bool = False

    @property
    def slots(self) -> list[syntax.Slot]:
        """Its slots, in order."""
        return [node for node in syntax.walk(self.segment.nodes) if isinstance(node, syntax.Slot)]


@dataclass(slots=True)
class Plan:
    """A checked template.

    Attributes:
        variables: what it wants from outside, and where first.
        types: the type of each slot, by the type's name.
        wanted: words in options that must be variables; what is wrong where they are not.
        given: names that the template itself gives values to.
    """

    document: syntax.Document
    segments: list[SegmentPlan]
    variables: dict[str, Place]
    types: dict[str, SlotType]
    wanted: list[options.Wanted] = field(default_factory=list)
    given: set[str] = field(default_factory=set)

    @property
    def slots(self) -> list[syntax.Slot]:
        """All slots, in order."""
        return [slot for segment in self.segments for slot in segment.slots]

    @property
    def waves(self) -> list[list[int]]:
        """The segments that can run at the same time, wave by wave."""
        level: dict[int, int] = {}
        for index, segment in enumerate(self.segments):
            level[index] = 1 + max((level[need] for need in segment.needs), default=-1)
        return [[i for i in level if level[i] == wave] for wave in range(max(level.values(), default=-1) + 1)]

    def unknown(self, inputs: Mapping[str, Any]) -> list[Fault]:
        """Options that cannot fit with these inputs: their words are no variables, or the values are wrong."""
        found = [one.fault for one in self.wanted if one.name not in inputs]
        for slot in self.slots:
            names = options.uses(slot.options)
            if names & inputs.keys() and not names & self.given:  # nothing of it is known later only
                try:
                    self.types[slot.type].options(slot, inputs)
                except faults.TemplateError as error:
                    found.extend(error.faults)
        return found

    def missing(self, inputs: Mapping[str, Any]) -> list[Fault]:
        """Variables that are not among the inputs."""
        answered = {slot.key: slot.place for slot in self.slots}
        found = []
        for name, place in self.variables.items():
            if name in inputs:
                continue
            if name in answered:
                found.append(
                    Fault(place, f"{name!r} is used before it is answered, in line {answered[name].line}")
                )
            else:
                found.append(Fault(place, f"the variable {name!r} has no value{faults.meant(name, inputs)}"))
        return found


def plan(
    document: syntax.Document,
    types: Types,
    actions: Collection[str],
    *,
    refused: Collection[str] = (),
    found: Sequence[Fault] = (),
) -> Plan:
    """Check a parsed template and find its order.

    Args:
        actions: the names of all actions there are.
        refused: those of them that cannot be used here.
        found: what the parser found to be wrong; told together with what is found here.

    Raises:
        faults.TemplateError: unknown types or actions, wrong options.
    """
    wrong = list(found)
    known: dict[str, SlotType] = {}
    wanted: list[options.Wanted] = []
    for segment in document.segments:
        for node in syntax.walk(segment.nodes):
            try:
                if isinstance(node, syntax.Slot):
                    kind = known[node.type] = known.get(node.type) or types.get(node.type, node.place)
                    wanted.extend(_check(node, kind))
                elif isinstance(node, syntax.Action) and node.name not in actions:
                    raise faults.at(
                        node.place,
                        f"there is no action @{node.name}"
                        + (
                            faults.meant(node.name, actions)
                            or f"; there are {', '.join('@' + name for name in sorted(actions))}"
                        ),
                    )
                elif isinstance(node, syntax.Action) and node.name in refused:
                    raise faults.at(
                        node.place,
                        f"@{node.name} reads files or the network, and a template from here cannot",
                    )
                elif isinstance(node, syntax.Together) and not found:  # which may be an open tag's doing
                    for inner in syntax.walk(node.body):
                        if isinstance(inner, syntax.Action):
                            raise faults.at(inner.place, "an action cannot stand inside <together>")
            except faults.TemplateError as error:
                wrong.extend(error.faults)
    if wrong:
        raise faults.TemplateError(wrong)
    planned = _order(document, known)
    planned.given = set().union(*(segment.defines for segment in planned.segments), _bound(document))
    planned.wanted = [one for one in wanted if one.name not in planned.given]
    for one in planned.wanted:
        planned.variables.setdefault(one.name, one.fault.place)
    return planned


def _bound(document: syntax.Document) -> set[str]:
    """Names that loops bind."""
    nodes = (node for segment in document.segments for node in syntax.walk(segment.nodes))
    return {name for node in nodes if isinstance(node, syntax.For) for name in syntax.names(node.targets)}


def _check(slot: syntax.Slot, kind: SlotType) -> list[options.Wanted]:
    try:
        return kind.options(slot, None).wanted
    except faults.TemplateError as error:
        positional = [o for o in slot.options if o.key is None and isinstance(o.value, syntax.Bare)]
        if slot.type == "text" and slot.key == "pick" and positional:
            advice = (
                f"a slot named 'pick'; to have a choice made, write [[pick:|{positional[0].value.word},…]]"
            )
            raise faults.at(slot.place, f"[[pick|…]] is {advice}") from error
        raise


def _order(document: syntax.Document, types: dict[str, SlotType]) -> Plan:
    segments: list[SegmentPlan] = []
    variables: dict[str, Place] = {}
    defined: set[str] = set()
    systems: tuple[syntax.System, ...] = ()
    for segment in document.segments:
        here = SegmentPlan(segment=segment, systems=systems)
        for system in systems:  # used again here, and by now more is known
            for use, _, _ in _uses(system.body, set(), set()):
                here.uses.add(use)
        for name, place, certain in _uses(segment.nodes, set(), here.defines):
            here.uses.add(name)
            if certain and name not in defined and name not in here.defines:
                variables.setdefault(name, place)
        # `here.defines` grows as the walk goes on, so a use before the definition was caught above
        for index, earlier in enumerate(segments):
            if earlier.breaks or earlier.defines & here.uses:
                here.needs.add(index)
        here.breaks = any(
            isinstance(node, syntax.Action) and node.name == "break" for node in syntax.walk(segment.nodes)
        )
        defined |= here.defines
        for node in segment.nodes:
            if isinstance(node, syntax.System) and not node.local:
                systems = carried(systems, node)
        segments.append(here)
    return Plan(document=document, segments=segments, variables=variables, types=types)


def carried(systems: Sequence[syntax.System], node: syntax.System) -> tuple[syntax.System, ...]:
    """The system and header text that holds once `node` has been met."""
    kept = [s for s in systems if not (node.replace and s.kind == node.kind)]
    return (*kept, node)


def _uses(
    nodes: Sequence[syntax.Node], bound: set[str], defines: set[str]
) -> Iterator[tuple[str, Place, bool]]:
    """Names used: name, place, and whether it surely is a variable (a bare word may just be a word).

    Args:
        bound: names that loops around have bound.
        defines: filled with the names that are given values, as the walk meets them.
    """
    for node in nodes:
        match node:
            case syntax.Show(expression=expression):
                yield from _of(expression, bound)
            case syntax.Set(targets=targets, expression=expression):
                yield from _of(expression, bound)
                defines.update(syntax.names(targets))
            case syntax.Slot() | syntax.Action():
                for option in node.options:
                    certain = isinstance(option.value, Expression)
                    for name in options.uses([option]):
                        if name not in bound:
                            yield name, option.place, certain
                if isinstance(node, syntax.Action) and node.name == "set":
                    defines.update(option.key for option in node.options if option.key is not None)
                if node.key is not None:
                    defines.add(node.key)
            case syntax.If(branches=branches):
                for condition, body in branches:
                    if condition is not None:
                        yield from _of(condition, bound)
                    yield from _uses(body, bound, defines)
            case syntax.For():
                yield from _of(node.items, bound)
                inner = bound | set(syntax.names(node.targets)) | {"loop"}
                if node.test is not None:
                    yield from _of(node.test, inner)
                yield from _uses(node.body, inner, defines)
                yield from _uses(node.otherwise, bound, defines)
            case syntax.Together(body=body):
                later: set[str] = set()
                for name, place, certain in _uses(body, bound, later):
                    yield name, place, certain
                defines.update(later)
            case syntax.Role(body=body) | syntax.System(body=body):
                yield from _uses(body, bound, defines)
            case _:
                pass


def _of(expression: Expression, bound: set[str]) -> Iterator[tuple[str, Place, bool]]:
    for name in sorted(expression.uses):
        if name not in bound:
            yield name, expression.place, True


# what can be shown without a model


def graph(planned: Plan) -> str:
    """A Mermaid flow chart: variables, segments with their slots, and what waits for what."""
    lines = ["flowchart TD"]
    for number, name in enumerate(planned.variables):
        lines.append(f'  v{number}(["{_label(name)}"])')
    for index, segment in enumerate(planned.segments):
        title = segment.segment.name or f"Segment {index + 1}"
        rows = [_label(title), *(f"{_label(slot.key)}: {_label(slot.type)}" for slot in segment.slots)]
        lines.append(f'  s{index}["{"<br/>".join(rows)}"]')
    for number, name in enumerate(planned.variables):
        for index, segment in enumerate(planned.segments):
            if name in segment.uses:
                lines.append(f"  v{number} --> s{index}")
    for index, segment in enumerate(planned.segments):
        for need in sorted(segment.needs):
            names = sorted(planned.segments[need].defines & segment.uses)
            label = f"|{_label(', '.join(names))}|" if names else ""
            lines.append(f"  s{need} -->{label} s{index}")
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("|", "&#124;")


def explain(planned: Plan) -> str:
    """What will be sent and asked when: the messages with their roles as they are written, and the slots."""
    lines: list[str] = []
    if planned.variables:
        lines.append(f"Inputs: {', '.join(planned.variables)}")
    for number, wave in enumerate(planned.waves, 1):
        lines.append(
            f"{number}. " + ("at the same time:" if len(wave) > 1 else "then:" if number > 1 else "first:")
        )
        for index in wave:
            segment = planned.segments[index]
            title = segment.segment.name or f"segment {index + 1}"
            needs = [planned.segments[n].segment.name or f"segment {n + 1}" for n in sorted(segment.needs)]
            lines.append(f"   {title}" + (f", after {', '.join(needs)}" if needs else ""))
            told = _Told(planned)
            told.nodes([*segment.systems, *segment.segment.nodes], "user")
            told.said()
            lines.extend(told.lines)
    return "\n".join(lines) + "\n"


class _Told:
    """A walk through a segment that writes down what it would send."""

    def __init__(self, planned: Plan) -> None:
        self.lines: list[str] = []
        self._planned = planned
        self._role = "user"
        self._text = ""

    def nodes(self, nodes: Sequence[syntax.Node], role: str) -> None:
        """Write down nodes in order."""
        for node in nodes:
            self._node(node, role)

    def said(self) -> None:
        """Write down the text so far as a message."""
        lines = [line for line in self._text.strip().splitlines() if line.strip()]
        for number, line in enumerate(lines):
            head = f"{self._role}: " if not number else " " * (len(self._role) + 2)
            self.lines.append(f"     {head}{line}".rstrip())
        self._text = ""

    def _line(self, text: str) -> None:
        """A line of our own, between messages."""
        self.said()
        self.lines.append(f"     {text}")

    def _add(self, role: str, text: str) -> None:
        if role != self._role:
            self.said()
            self._role = role
        self._text += text

    def _node(self, node: syntax.Node, role: str) -> None:
        match node:
            case syntax.Text(text=text):
                self._add(role, text)
            case syntax.Show(expression=expression):
                self._add(role, f"{{{{ {expression.source} }}}}")
            case syntax.Slot():
                self._line(f"→ {self._slot(node)}")
            case syntax.Action(name=name, key=key):
                self._line(f"[[@{name}{f':{key}' if key else ''}]]")
            case syntax.If(branches=branches):
                for number, (condition, body) in enumerate(branches):
                    word = "if" if not number else "elif" if condition is not None else "else"
                    self._line(f"{{% {word}{f' {condition.source}' if condition else ''} %}}")
                    self.nodes(body, role)
                self._line("{% endif %}")
            case syntax.For(items=items, body=body, otherwise=otherwise):
                self._line(f"{{% {items.source} %}}")
                self.nodes(body, role)
                if otherwise:
                    self._line("{% else %}")
                    self.nodes(otherwise, role)
                self._line("{% endfor %}")
            case syntax.Role(role=inner, body=body):
                self.said()
                self.nodes(body, inner)
                self.said()
            case syntax.System(kind=kind, body=body):
                self.said()
                self.nodes(body, kind)
                self.said()
            case syntax.Together(body=body):
                self._line("<together>: each slot without the others")
                self.nodes(body, role)
                self._line("</together>: from here on with all of them")
            case _:
                pass

    def _slot(self, slot: syntax.Slot) -> str:
        kind = self._planned.types[slot.type]
        how = "streams" if kind.streams and not slot.listed else "comes whole"
        if kind.fields or slot.listed:
            how = "comes field by field"
        listed = " list" if slot.listed else ""
        must = ", required" if slot.required else ""
        own = "".join(f", {o.key} {_option(o)}" for o in slot.options if o.key in ("model", "temperature"))
        plain = "" if ", temperature " in own else f", temperature {kind.temperature:g}"
        return f"{slot.key}: {slot.type}{listed}{must} ({how}{plain}{own})"


def _option(option: syntax.Option) -> str:
    match option.value:
        case Expression(source=source):
            return f"{{{{ {source} }}}}"
        case syntax.Bare(word=word):
            return word
        case value:
            return str(value)
