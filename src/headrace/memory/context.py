"""What the model is told in a turn: identity, numbers, memory and the last messages, each within a budget.

A pure function of the views: the same facts, the same text and the same budgets give the same messages, byte for
byte. Budgets are characters; what does not fit is left out whole or cut with `…`. Nothing here reads the ledger,
so its size makes no difference. `Cache` remembers contexts by what they depend on. Next: `runtime`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headrace import messages
from headrace.ledger import base
from headrace.memory import views as views_module

TEACHING = """\
You can write these lines in a reply, each on a line of its own, outside code blocks. They are remembered.
COMMIT: what you promise
CLOSE: the id of a commitment that is done
CLAIM: type=json
REFLECT: a thought about your own conduct
TRAIT: openness +0.02"""
"""Tells a model of the markers; `Runtime(teach=True)` puts it into the context."""


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """Characters, unless named otherwise, that each part may take.

    Attributes:
        nodes: nodes of the memory graph, a count.
        commitments: open commitments, a count; each at most `commitment`, all at most `commitments_total`.
        reflections: the last ones, a count; each at most `reflection`, all at most `reflections_total`.
        recent: messages of the conversation, all together; `messages` is their count at most.
    """

    identity: int = 400
    directive: int = 120
    directives: int = 5
    metrics: int = 80
    nodes: int = 8
    node: int = 120
    graph: int = 800
    commitments: int = 5
    commitment: int = 80
    commitments_total: int = 400
    reflections: int = 3
    reflection: int = 120
    reflections_total: int = 600
    messages: int = 20
    recent: int = 12_000


class Built(msgspec.Struct, frozen=True):
    """A context.

    Attributes:
        seq: the fact up to which the views were.
        messages: what is sent, the user's text last.
        nodes: ids of the graph's nodes that are in it.
        parts: name and text of each part of the system message that is there.
    """

    seq: int
    messages: tuple[messages.Message, ...]
    nodes: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]

    @property
    def block(self) -> str:
        """The system message; empty when there is nothing to say."""
        first = self.messages[0]
        return first.text if first.role == "system" else ""

    @property
    def text(self) -> str:
        """The whole context as a person can read it."""
        return "\n\n".join(f"[{message.role}]\n{message.text}" for message in self.messages)


def build(
    views: views_module.Views,
    text: str,
    *,
    budgets: Budgets | None = None,
    system: str = "",
    teach: bool = False,
    without: int = 0,
) -> Built:
    """The context of a turn.

    Args:
        views: the state so far; not changed.
        text: what the user says.
        budgets: default `Budgets()`.
        system: instructions of the program's own; first, and outside the budgets.
        teach: whether the model is told of the markers.
        without: the fact of `text` itself, where it has been written before; left out.
    """
    budgets = budgets or Budgets()
    recent = _recent((fact for fact in views.recent if fact.content and fact.seq != without), budgets)
    said = {fact.seq for fact in recent} | ({without} if without else set())
    parts: list[tuple[str, str]] = []
    nodes: list[str] = []
    for name, lines in (
        ("system", [system] if system else []),
        ("markers", [TEACHING] if teach else []),
        ("identity", _identity(views, budgets)),
        ("metrics", _metrics(views, budgets)),
        ("commitments", _commitments(views, budgets)),
        ("reflections", _reflections(views, budgets)),
        ("memory", _slice(views, text, said, budgets, nodes)),
    ):
        if lines:
            parts.append((name, "\n".join(lines)))
    thread = [_message(fact) for fact in recent]
    if parts:
        thread.insert(0, messages.system("\n\n".join(part for _, part in parts)))
    return Built(views.seq, (*thread, messages.user(text)), tuple(nodes), tuple(parts))


def _identity(views: views_module.Views, budgets: Budgets) -> list[str]:
    state = views.mirror
    lines = []
    if state.name:
        lines.append(cut(f"Your name is {state.name}.", budgets.identity))
    if any(kind in state.counts for kind in ("trait", "identity")):
        lines.append("Traits: " + ", ".join(f"{name} {value:.2f}" for name, value in state.traits.items()))
    lines = fit(lines, budgets.identity, budgets.identity)
    directives = state.directives[-budgets.directives :] if budgets.directives else []
    return [*lines, *(f"- {cut(text, budgets.directive)}" for text in directives)]


def _metrics(views: views_module.Views, budgets: Budgets) -> list[str]:
    if not views.metrics.responses:
        return []
    line = f"IAS {views.metrics.ias:.2f}, GAS {views.metrics.gas:.2f}"
    return [line] if len(line) <= budgets.metrics else []


def _commitments(views: views_module.Views, budgets: Budgets) -> list[str]:
    newest = [made for made, _ in zip(reversed(views.mirror.open.values()), range(budgets.commitments))]  # noqa: B905
    lines = (f"{made.id}: {made.text}" for made in reversed(newest))
    return _titled("Open commitments:", fit(lines, budgets.commitment, budgets.commitments_total))


def _reflections(views: views_module.Views, budgets: Budgets) -> list[str]:
    last = views.mirror.reflections[-budgets.reflections :] if budgets.reflections else []
    lines = (found.text for found in last)
    return _titled("Reflections:", fit(lines, budgets.reflection, budgets.reflections_total))


def _slice(
    views: views_module.Views, text: str, said: set[int], budgets: Budgets, nodes: list[str]
) -> list[str]:
    """The graph's slice, without what is among the last messages anyway; notes which nodes it used."""
    found = views.graph.slice(text, budgets.nodes + len(said))
    found = [node for node in found if node.seq not in said][: budgets.nodes]
    lines = fit((f"[{node.id}] {node.kind}: {node.label}" for node in found), budgets.node, budgets.graph)
    nodes += [node.id for node in found[: len(lines)]]
    return _titled("From earlier:", lines)


def _recent(facts: Iterable[base.Fact], budgets: Budgets) -> list[base.Fact]:
    """The last messages that fit, whole, oldest first."""
    room = budgets.recent
    found: list[base.Fact] = []
    for fact in reversed(list(facts)):
        room -= len(fact.content)
        if room < 0 or len(found) == budgets.messages:
            break
        found.append(fact)
    return found[::-1]


def _message(fact: base.Fact) -> messages.Message:
    return messages.user(fact.content) if fact.kind == base.USER else messages.assistant(fact.content)


def _titled(title: str, lines: list[str]) -> list[str]:
    return [title, *(f"- {line}" for line in lines)] if lines else []


def fit(lines: Iterable[str], each: int, total: int) -> list[str]:
    """The lines, each cut to `each` characters, as many as `total` has room for."""
    kept: list[str] = []
    for line in lines:
        short = cut(line, each)
        total -= len(short)
        if total < 0:
            break
        kept.append(short)
    return kept


def cut(text: str, limit: int) -> str:
    """The text on one line, at most `limit` characters, with `…` where something is missing."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"[:limit]


class Cache:
    """Values by the key they depend on, the last used kept.

    Args:
        size: how many are kept.

    Attributes:
        hits, misses: how often a value was there, and was not.
    """

    def __init__(self, size: int = 16) -> None:
        self.hits = 0
        self.misses = 0
        self._size = size
        self._values: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Built]) -> Built:
        """The value, made when it is not there."""
        if key in self._values:
            self.hits += 1
            self._values.move_to_end(key)
        else:
            self.misses += 1
            self._values[key] = make()
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        found: Built = self._values[key]
        return found
