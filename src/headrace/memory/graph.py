"""The memory graph: facts as nodes, what links them as edges, and slices of it by topic.

    response  ─ replies_to ─►  user message          so does an ending without a response
    response  ─ commits_to ─►  commitment            closing event  ─ closes ─►  commitment
    reflection ─ reflects_on ─► response             any node  ─ references ─►  node written as [n12]

A node's id is `n` and the seq of its fact, so it is the same in every rebuild. A topic is words; a slice is the
nodes that share most of them, newer first, then their neighbours. Nodes hold the beginning of their text: the
ledger has the rest. A fold: no clock, no ledger. Next: `metrics`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.ledger import base
from headrace.memory import markers, mirror

LABEL = 160
"""Characters of a node's text."""
PER_WORD = 64
"""Nodes remembered for a word, the newest; and edges of a node that a slice looks along."""
READ = 2000
"""Characters of a fact that are looked at for words and references."""

_WORD = re.compile(r"[^\W_]{4,40}")
_REFERENCE = re.compile(r"\[n(\d{1,15})\]")
_KINDS = {
    base.USER: "user",
    base.RESPONSE: "response",
    markers.COMMITMENT: "commitment",
    markers.REFLECTION: "reflection",
    markers.TRAIT: "identity",
    mirror.IDENTITY: "identity",
}


class Node(msgspec.Struct, frozen=True):
    """A fact in the graph."""

    id: str
    kind: str
    seq: int
    label: str


class Edge(msgspec.Struct, frozen=True):
    """A link from one node to another."""

    source: str
    kind: str
    target: str


class Graph:
    """Nodes and edges of a conversation.

    Attributes:
        seq: the last fact taken.
        nodes: by id, in the order of their facts.
        edges: in the order they came about.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self._asked: dict[str, str] = {}  # open runs, to the node of their user message
        self._words: dict[str, deque[str]] = {}
        self._beside: dict[str, deque[str]] = {}

    def apply(self, fact: base.Fact) -> None:
        """Take the next fact."""
        self.seq = fact.seq
        id = node_id(fact.seq)
        self.nodes[id] = Node(id, _KINDS.get(fact.kind, "event"), fact.seq, _label(fact))
        for word in topic(fact.content):
            self._words.setdefault(word, deque(maxlen=PER_WORD)).append(id)
        if fact.kind == base.USER:
            self._asked[fact.id.removesuffix(":user")] = id
        elif fact.kind in base.ENDINGS:
            asked = self._asked.pop(fact.id.removesuffix(":end"), None)
            if asked is not None:
                self._link(id, "replies_to", asked)
        turn = fact.meta.get("turn")
        of = node_id(turn) if isinstance(turn, int) else ""
        if fact.kind == markers.COMMITMENT:
            self._link(of, "commits_to", id)
        elif fact.kind == markers.REFLECTION:
            self._link(id, "reflects_on", of)
        elif fact.kind == markers.CLOSED:
            self._link(id, "closes", str(fact.meta.get("commitment", "")).replace("c", "n", 1))
        for seq in dict.fromkeys(_REFERENCE.findall(fact.content[:READ])):
            self._link(id, "references", node_id(int(seq)))

    def _link(self, source: str, kind: str, target: str) -> None:
        if source in self.nodes and target in self.nodes and source != target:
            self.edges.append(Edge(source, kind, target))
            self._beside.setdefault(source, deque(maxlen=PER_WORD)).append(target)
            self._beside.setdefault(target, deque(maxlen=PER_WORD)).append(source)

    def slice(self, text: str, limit: int = 8) -> list[Node]:
        """The nodes nearest to a topic: most words shared, then the newest; then what they are linked to.

        The work is bounded by the words of the topic, whatever the size of the graph.
        """
        shared: dict[str, int] = {}
        for word in topic(text):
            for id in dict.fromkeys(self._words.get(word, ())):
                shared[id] = shared.get(id, 0) + 1
        ranked = sorted(shared, key=lambda id: (-shared[id], -self.nodes[id].seq))[:limit]
        found = dict.fromkeys(ranked)
        for id in ranked:
            for other in sorted(set(self._beside.get(id, ())), key=lambda n: -self.nodes[n].seq):
                if len(found) >= limit:
                    break
                found.setdefault(other)
        return [self.nodes[id] for id in found]

    def json(self, *, after: int = 0, limit: int | None = None) -> dict[str, Any]:
        """Nodes after a seq, at most `limit`, and the edges between nodes up to the last of those."""
        nodes = [node for node in self.nodes.values() if node.seq > after][:limit]
        shown = {node.id for node in nodes}
        edges = [edge for edge in self.edges if edge.source in shown or edge.target in shown]
        last = nodes[-1].seq if nodes else after
        edges = [e for e in edges if max(self.nodes[e.source].seq, self.nodes[e.target].seq) <= last]
        return {"seq": self.seq, "nodes": msgspec.to_builtins(nodes), "edges": msgspec.to_builtins(edges)}


def rebuild(facts: Iterable[base.Fact]) -> Graph:
    """The graph of these facts, from the first on."""
    graph = Graph()
    for fact in facts:
        graph.apply(fact)
    return graph


def diff(before: Graph, after: Graph) -> dict[str, Any]:
    """Nodes and edges that a later state has and an earlier one has not; both only grow."""
    return {
        "from": before.seq,
        "to": after.seq,
        "nodes": [id for id in after.nodes if id not in before.nodes],
        "edges": msgspec.to_builtins(after.edges[len(before.edges) :]),
    }


def node_id(seq: int) -> str:
    """The id of a fact's node."""
    return f"n{seq}"


def topic(text: str) -> list[str]:
    """The words of a text that a topic is made of, each once, in order."""
    return list(dict.fromkeys(_WORD.findall(text[:READ].casefold())))


def _label(fact: base.Fact) -> str:
    text = fact.content
    if fact.kind == base.RESPONSE:
        text = markers.strip(text[: READ * 2]) or text
    return " ".join(text[: LABEL * 2].split())[:LABEL]
