"""Early rejection: told the structure of a JSON text as it comes, says when it can no longer become a valid value.

A `Judge` is a schema made ready (`nodes`); `Judge.watch()` gives a `Watch` for one answer. Fed what the JSON machine
gives with `structure=True`, it holds for every place that is open the nodes that judge it. A node that is broken
breaks the one it stands in; of a union all members must break. When the root is broken there is a `Problem`.

It never refuses what could become valid: what a node does not know is left to the final check (`Shape.check`).
Repeated keys are taken as not coming: what the first one broke stays broken. Next: `reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace import events
from headrace.outputs import formats, nodes, prefixes, problems, structure
from headrace.outputs.problems import Problem
from headrace.protocol import json as machine
from headrace.protocol import json_tokens

_MOST = 64  # nodes at one place; past it the place is not judged
_NUMERIC = "-+.0123456789iI"
_ARTICLES = {
    "array": "an array", "boolean": "true or false", "integer": "an integer", "null": "null", "number": "a number",
    "object": "an object", "string": "a string",
}  # fmt: skip


def kind(value: Any) -> str:
    """The JSON type of a value; integers are numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list | tuple) else "object"


def article(name: str) -> str:
    """A JSON type in words: `an object`."""
    return _ARTICLES[name]


class _Judgement:
    """A node that judges one place of one answer; dead when it is broken."""

    __slots__ = ("dead", "group", "node", "parent")

    def __init__(self, node: nodes.Node, parent: _Judgement | None, group: _Group | None) -> None:
        self.node = node
        self.parent = parent  # what breaks with it
        self.group = group  # or the union it is a member of
        self.dead = False


class _Group:
    """The members of a union that are still possible."""

    __slots__ = ("alive", "owner", "reasons")

    def __init__(self, owner: _Judgement, alive: int) -> None:
        self.owner = owner
        self.alive = alive
        self.reasons: list[Problem] = []


class _Frame:
    """An object or array that is open."""

    __slots__ = ("count", "is_object", "judgements", "seen")

    def __init__(self, is_object: bool, judgements: list[_Judgement]) -> None:
        self.is_object = is_object
        self.judgements = judgements
        self.seen: set[str] = set()
        self.count = 0


_Check = Callable[[str], str | None]


class Judge:
    """A schema made ready for judging.

    Args:
        schema: JSON Schema 2020-12.
        lax: whether what reads the value turns scalars into others (as pydantic does "12" into 12): a scalar of
            the wrong type is then refused only where that cannot work.
    """

    def __init__(self, schema: Mapping[str, Any], *, lax: bool = False) -> None:
        self._schema = schema
        self._roots: dict[bool, nodes.Node] = {}
        self.lax = lax

    def watch(self, *, nulls: bool = False) -> Watch:
        """A watch for one answer; see `nodes.compile` for `nulls`."""
        return Watch(self._root(nulls), lax=self.lax)

    def check(self, value: Any, path: str = "") -> Problem | None:
        """What a complete value at `path` breaks, as far as the watch tells."""
        watch = Watch(self._root(False), lax=self.lax)
        watch.enter(path)
        return watch.problem or watch.take(list(structure.of_value(value, path)))

    def _root(self, nulls: bool) -> nodes.Node:
        if nulls not in self._roots:
            self._roots[nulls] = nodes.compile(self._schema, nulls=nulls)
        return self._roots[nulls]


class Watch:
    """Judges one answer while it is written.

    Attributes:
        problem: why the text can no longer become a valid value; None while it can.
        busy: whether the string that is open has to be looked at as it grows.
    """

    __slots__ = ("_at", "_checks", "_frames", "_lax", "busy", "problem")

    def __init__(self, root: nodes.Node, *, lax: bool = False) -> None:
        self.problem: Problem | None = None
        self.busy = False
        self._lax = lax
        self._frames: list[_Frame] = []
        self._at: list[_Judgement] | None = []  # of the value that is read; None: not known yet, in an array
        self._checks: list[tuple[_Judgement, _Check]] = []
        self._expand(root, None, None, self._at, ())

    def take(self, batch: Sequence[Any]) -> Problem | None:
        """Take what the machine gave; return the problem, if there is one now."""
        for number, item in enumerate(batch):
            if self.problem is not None:
                break
            match item:
                case events.FieldDelta():
                    if self.busy:
                        self.grow(item.path, item.delta)
                case machine.Key():
                    self._key(item.path, item.key)
                case events.FieldStart():
                    after = batch[number + 1] if number + 1 < len(batch) else None
                    if type(after) is not events.FieldEnd or isinstance(after.value, str):
                        self._string(item.path)
                case events.FieldEnd():
                    if not isinstance(item.value, dict | list):
                        self._scalar(item.path, item.value)
                case machine.Begun():
                    self._begun(item.path, item.first)
                case machine.Opened():
                    self._open(item.path, item.value)
                case machine.Closed():
                    self._close(item.path, item.value)
        return self.problem

    def grow(self, path: str, delta: str) -> None:
        """The string that is open has grown."""
        for judgement, check in self._checks:
            if not judgement.dead and (wrong := check(delta)):
                self._break(judgement, path, wrong)

    def enter(self, path: str) -> None:
        """Go to a place without reading what stands before it, to judge the value there."""
        where = ""
        for step in json_tokens.steps(path):
            judged = self._place(where)
            # What stands there is not known; a number may be an index or a key.
            is_array = step.isdecimal() and not any(step in judgement.node.properties for judgement in judged)
            holder: list[_Judgement] = self._kept(judged, where, "array" if is_array else "object")
            frame = _Frame(not is_array, holder)
            self._frames.append(frame)
            where += json_tokens.pointer(step)
            if is_array:
                frame.count, self._at = int(step), None
            else:
                self._key(where, step)
            if self.problem is not None:
                return

    # --- the places -------------------------------------------------------------------------------------

    def _expand(
        self,
        node: nodes.Node,
        parent: _Judgement | None,
        group: _Group | None,
        out: list[_Judgement],
        active: tuple[nodes.Node, ...],
    ) -> None:
        """Put the node and all that judge the same place with it into `out`."""
        made = _Judgement(node, parent, group)
        out.append(made)
        if not node.every and not node.some:
            return
        active = (*active, node)
        for part in node.every:
            if part not in active and not part.open:
                self._expand(part, made, None, out, active)
        for members in node.some:
            if len(out) + len(members) > _MOST or any(part.open or part in active for part in members):
                continue  # one of them takes anything, as far as can be told here
            union = _Group(made, len(members))
            for part in members:
                self._expand(part, None, union, out, active)

    def _judge(self, parts: list[nodes.Node], parent: _Judgement, out: list[_Judgement]) -> None:
        for part in parts:
            if not part.open and len(out) < _MOST:
                self._expand(part, parent, None, out, ())

    def _place(self, path: str) -> list[_Judgement]:
        """What judges the value that begins here."""
        found = self._at
        if found is None:
            frame = self._frames[-1]
            index, frame.count = frame.count, frame.count + 1
            found = []
            for judgement in frame.judgements:
                if judgement.dead:
                    continue
                node = judgement.node
                if node.most is not None and index >= node.most:
                    holder = path.rpartition("/")[0]
                    self._break(judgement, holder, f"has more than {node.most} items")
                    continue
                self._judge(node.item(index), judgement, found)
        self._at = None
        return found

    def _key(self, path: str, key: str) -> None:
        frame = self._frames[-1]
        frame.seen.add(key)
        found: list[_Judgement] = []
        for judgement in frame.judgements:
            if judgement.dead:
                continue
            node = judgement.node
            inner = node.property(key)
            if inner:
                self._judge(inner, judgement, found)
            elif not node.extra:
                known = ", ".join(map(problems.shown, node.properties)) or "none"
                self._break(judgement, path, f"there is no such key; the keys are {known}")
        self._at = found

    def _kept(self, judged: list[_Judgement], path: str, given: str) -> list[_Judgement]:
        """Those of `judged` that take a value of this type; the others break."""
        kept = []
        for judgement in judged:
            node = judgement.node
            if node.never:
                self._break(judgement, path, "no value is allowed here")
            elif node.kinds is not None and given not in node.kinds and not self._coerces(node.kinds, given):
                wanted = " or ".join(
                    article("integer" if name == "number" and node.whole else name)
                    for name in sorted(node.kinds)
                )
                self._break(judgement, path, f"must be {wanted}, not {article(given)}")
            elif node.values is not None and not self._among(node.values, given):
                self._break(judgement, path, f"{_one_of(node.values)}, not {article(given)}")
            if not judgement.dead:
                kept.append(judgement)
        return kept

    def _coerces(self, kinds: frozenset[str], given: str) -> bool:
        if not self._lax or given in ("object", "array", "null"):
            return False
        return bool(kinds & {"number", "boolean"}) or "string" in kinds

    def _among(self, values: list[Any], given: str) -> bool:
        if any(kind(value) == given for value in values):
            return True
        scalar = given in ("number", "boolean", "string")
        return self._lax and scalar and any(kind(value) in ("number", "boolean") for value in values)

    # --- what comes -------------------------------------------------------------------------------------

    def _open(self, path: str, value: Any) -> None:
        given = "object" if isinstance(value, dict) else "array"
        self._frames.append(_Frame(given == "object", self._kept(self._place(path), path, given)))
        self._at = None

    def _close(self, path: str, value: Any) -> None:
        frame = self._frames.pop()
        self._at = None
        for judgement in frame.judgements:
            if judgement.dead:
                continue
            node = judgement.node
            if frame.is_object:
                missing = next((key for key in node.required if key not in frame.seen), None)
                if missing is not None:
                    self._break(judgement, path + json_tokens.pointer(missing), "is missing")
                    continue
            elif frame.count < node.least:
                self._break(judgement, path, f"has fewer than {node.least} items")
                continue
            if node.values is not None and not any(same(value, other) for other in node.values):
                self._break(judgement, path, _one_of(node.values))

    def _begun(self, path: str, first: str) -> None:
        if first in "tTfF":
            given = "boolean"
        elif first in _NUMERIC:
            given = "number"
        else:  # `null`, `None`, `undefined`; or `NaN`, which is a number
            return
        self._at = self._kept(self._place(path), path, given)

    def _string(self, path: str) -> None:
        self._at = self._kept(self._place(path), path, "string")
        checks: list[tuple[_Judgement, _Check]] = []
        for judgement in self._at:
            node = judgement.node
            if node.values is not None and all(isinstance(value, str) for value in node.values):
                checks.append((judgement, _Words(node.values)))
            if node.longest is not None:
                checks.append((judgement, _Length(node.longest)))
            if node.pattern is not None and node.pattern.start is not None:
                checks.append((judgement, _Match(node.pattern, node.pattern.start)))
        self._checks, self.busy = checks, bool(checks)

    def _scalar(self, path: str, value: Any) -> None:
        given = kind(value)
        judged = self._at
        if judged is None or not isinstance(value, str):
            judged = self._kept(self._place(path), path, given)
        self._at, self._checks, self.busy = None, [], False
        for judgement in judged:
            if not judgement.dead and (wrong := self._wrong(judgement.node, value, given)):
                self._break(judgement, path, wrong)

    def _wrong(self, node: nodes.Node, value: Any, given: str) -> str | None:
        """What a complete scalar of a type that is right breaks."""
        if node.kinds is not None and given not in node.kinds:
            return self._uncoercible(node, value)
        if node.values is not None and not any(same(value, other) for other in node.values):
            if self._lax and any(not isinstance(other, str) for other in node.values):
                return None
            return f"{_one_of(node.values)}, got {problems.shown(value)}"
        if isinstance(value, str):
            return self._wrong_text(node, value)
        if given == "number":
            return _wrong_number(node, value, self._lax)
        return None

    def _wrong_text(self, node: nodes.Node, value: str) -> str | None:
        size = len(value)
        if size < node.shortest:
            return f"must have at least {node.shortest} characters, got {problems.shown(value)}"
        if node.longest is not None and size > node.longest:
            return f"must have at most {node.longest} characters, has {size}"
        decided = node.pattern is not None and (not self._lax or node.pattern.start is not None)
        if decided and node.pattern is not None and not node.pattern.matches(value):
            return f"must match the pattern {node.pattern.source!r}, got {problems.shown(value)}"
        if node.format is not None and not self._lax:
            check = formats.CHECKS.get(node.format)
            if check is not None and not check(value):
                return f"must be a {node.format}, got {problems.shown(value)}"
        return None

    def _uncoercible(self, node: nodes.Node, value: Any) -> str | None:
        """Why a scalar of another type cannot become what is wanted; None when it may."""
        assert node.kinds is not None
        if isinstance(value, str) and node.kinds == {"number"} and not any(c.isdigit() for c in value):
            if value.strip().lower().lstrip("+-") not in ("nan", "inf", "infinity"):
                return (
                    f"must be {article('integer' if node.whole else 'number')}, got {problems.shown(value)}"
                )
        return None

    def _break(self, judgement: _Judgement, path: str, message: str) -> None:
        """A node is broken, and what breaks with it."""
        problem = Problem(path, message)
        at: _Judgement | None = judgement
        while at is not None and not at.dead:
            at.dead = True
            group = at.group
            if group is None:
                if at.parent is None:
                    self.problem = self.problem or problem
                at = at.parent
            else:
                group.reasons.append(problem)
                group.alive -= 1
                if group.alive:
                    return
                problem = _joined(group.reasons)
                at = group.owner


class _Words:
    """Whether one of some words can still come."""

    __slots__ = ("left", "read", "values")

    def __init__(self, values: list[str]) -> None:
        self.values = self.left = values
        self.read = ""

    def __call__(self, delta: str) -> str | None:
        size = len(self.read)
        self.read += delta
        self.left = [value for value in self.left if value.startswith(delta, size)]
        return None if self.left else f"{_one_of(self.values)}, not {problems.shown(self.read)[:-1]}…"


class _Length:
    """Whether a string is not too long yet."""

    __slots__ = ("left", "most")

    def __init__(self, most: int) -> None:
        self.most = self.left = most

    def __call__(self, delta: str) -> str | None:
        self.left -= len(delta)
        return f"must have at most {self.most} characters" if self.left < 0 else None


class _Match:
    """Whether a pattern can still match."""

    __slots__ = ("pattern", "place")

    def __init__(self, pattern: prefixes.Pattern, place: prefixes.Place) -> None:
        self.pattern = pattern
        self.place = place

    def __call__(self, delta: str) -> str | None:
        place = self.pattern.step(self.place, delta)
        if place is None:
            return f"must match the pattern {self.pattern.source!r}"
        self.place = place
        return None


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as JSON Schema says: 1 is 1.0, true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _wrong_number(node: nodes.Node, value: float, lax: bool) -> str | None:
    if node.whole and not isinstance(value, int) and not value.is_integer():
        return f"must be an integer, got {problems.shown(value)}"
    if node.highest is not None and value > node.highest:
        return f"must be at most {problems.shown(node.highest)}, got {problems.shown(value)}"
    if node.lowest is not None and value < node.lowest:
        return f"must be at least {problems.shown(node.lowest)}, got {problems.shown(value)}"
    if node.under is not None and value >= node.under:
        return f"must be less than {problems.shown(node.under)}, got {problems.shown(value)}"
    if node.over is not None and value <= node.over:
        return f"must be more than {problems.shown(node.over)}, got {problems.shown(value)}"
    step = node.multiple
    # Of a fraction, each library has its own idea of what is a multiple.
    if step is not None and isinstance(step, int) and isinstance(value, int) and value % step:
        return f"must be a multiple of {problems.shown(step)}, got {problems.shown(value)}"
    return None


def _one_of(values: Sequence[Any]) -> str:
    if len(values) == 1:
        return f"must be {problems.shown(values[0])}"
    return f"must be one of {', '.join(map(problems.shown, values[:20]))}{', …' if len(values) > 20 else ''}"


def _joined(reasons: Sequence[Problem]) -> Problem:
    """Why no member of a union fits: all reasons where they are of one place, else the one that came last."""
    path = reasons[-1].path
    words = list(dict.fromkeys(problem.message for problem in reasons if problem.path == path))
    if len(words) == 1 or any(problem.path != path for problem in reasons):
        return Problem(path, words[-1])
    return Problem(path, "; or ".join(words))
