"""The memory graph: facts as nodes, what links them as edges, and slices of it by topic.

    response  ─ replies_to ─►  user message          so does an ending without a response
    response  ─ commits_to ─►  commitment            closing event  ─ closes ─►  commitment
    reflection ─ reflects_on ─► response             any node  ─ references ─►  node written as [n12]

A node's id is `n` and the seq of its fact, so it is the same in every rebuild. A topic is words; a slice is the
nodes that share most of them, of equals those whose text is nearest (`embedding`), then the newest, then their
neighbours. Nodes hold the beginning of their text: the ledger has the rest. A fold: no clock, no ledger.

A graph may stand on an earlier part of itself that is kept elsewhere (`Base`, see `shelf`); then it holds only what
came since, and answers as if it held all. Next: `metrics`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from headrace.ledger import base
from headrace.memory import embedding, markers, mirror

LABEL = 160
"""Characters of a node's text."""
PER_WORD = 64
"""Nodes remembered for a word, the newest; and edges of a node that a slice looks along."""
OPEN = 1000
"""User messages remembered that wait for their ending, the newest."""
READ = 2000
"""Characters of a fact that are looked at for words and references."""

_LONGEST = 2 * PER_WORD  # a list is cut back when it is so long, not at every fact

NEAR = 16
"""Texts are compared of so many nodes more than a slice has."""

_ID = re.compile(r"n([1-9]\d{0,14})")
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


class Node(msgspec.Struct, frozen=True, gc=False):
    """A fact in the graph."""

    id: str
    kind: str
    seq: int
    label: str


class Edge(msgspec.Struct, frozen=True, gc=False):
    """A link from one node to another."""

    source: str
    kind: str
    target: str


class Base(Protocol):
    """The part of a graph up to fact `seq`, kept elsewhere. Seqs come oldest first, `PER_WORD` at most.

    Every method raises `errors.StoreError` when it cannot answer for exactly that part any more.
    """

    seq: int

    def words(self, words: Sequence[str]) -> dict[str, list[int]]:
        """The newest nodes with each of the words."""
        ...

    def beside(self, seqs: Sequence[int]) -> dict[int, list[int]]:
        """The newest links of each of the nodes."""
        ...

    def nodes(self, seqs: Sequence[int]) -> dict[int, Node]:
        """Nodes by the seq of their fact."""
        ...

    def page(self, after: int, limit: int) -> list[Node]:
        """Nodes in order."""
        ...

    def edges(self, after: int, until: int) -> list[Edge]:
        """Edges that came about with the facts after one and up to another."""
        ...


class Graph:
    """Nodes and edges of a conversation.

    Args:
        base: what the graph stands on; None for a graph that holds all of itself.

    Attributes:
        seq: the last fact taken.
        nodes: those since the base, by id, in the order of their facts.
        edges: those since the base, in the order they came about.
        asked: open runs, to the node of their user message.
        words, links: seqs of the newest nodes with a word, and beside a node, since the base; at least the last
            `PER_WORD` of each.
    """

    def __init__(self, base: Base | None = None, vectors: embedding.Vectors | None = None) -> None:
        self.base = base
        self.vectors = vectors or embedding.Vectors()
        self.seq = base.seq if base else 0
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.asked: dict[str, str] = {}
        self.words: defaultdict[str, list[int]] = defaultdict(list)
        self.links: defaultdict[int, list[int]] = defaultdict(list)

    def stand_on(self, base: Base) -> None:
        """What it has is kept there from now on."""
        self.base, kept = base, base.seq
        self.nodes = {id: node for id, node in self.nodes.items() if node.seq > kept}
        self.edges = [edge for edge in self.edges if since(edge) > kept]
        self.words = _newer(self.words, kept)
        self.links = defaultdict(list)
        for edge in self.edges:
            self._beside(edge)

    @property
    def since(self) -> int:
        """The fact up to which the base has the graph."""
        return self.base.seq if self.base else 0

    def apply(self, fact: base.Fact) -> None:
        """Take the next fact."""
        self.seq = fact.seq
        id = node_id(fact.seq)
        self.nodes[id] = Node(id, _KINDS.get(fact.kind, "event"), fact.seq, _label(fact))
        seq, words = fact.seq, self.words
        for word in set(_WORD.findall(fact.content[:READ].casefold())):
            seqs = words[word]
            seqs.append(seq)
            if len(seqs) > _LONGEST:
                del seqs[:-PER_WORD]
        if fact.kind == base.USER:
            self.asked[fact.id.removesuffix(":user")] = id
            if len(self.asked) > OPEN:
                del self.asked[next(iter(self.asked))]
        elif fact.kind in base.ENDINGS:
            asked = self.asked.pop(fact.id.removesuffix(":end"), None)
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
        if "[n" in fact.content:
            for found in dict.fromkeys(_REFERENCE.findall(fact.content[:READ])):
                self._link(id, "references", node_id(int(found)))

    def _link(self, source: str, kind: str, target: str) -> None:
        ends = [int(found[1]) for id in (source, target) if (found := _ID.fullmatch(id))]
        if len(ends) == 2 and max(ends) <= self.seq and source != target:
            self.edges.append(Edge(source, kind, target))
            self._beside(self.edges[-1])

    def _beside(self, edge: Edge) -> None:
        ends = [int(edge.source[1:]), int(edge.target[1:])]
        for one, other in (ends, ends[::-1]):
            seqs = self.links[one]
            seqs.append(other)
            if len(seqs) > _LONGEST:
                del seqs[:-PER_WORD]

    def slice(self, text: str, limit: int = 8) -> list[Node]:
        """The nodes nearest to a topic; then what they are linked to.

        The work is bounded by the words of the topic, whatever the size of the graph.
        """
        words = topic(text)
        shared: dict[int, int] = {}
        for seqs in self._newest(self.words, words, self.base.words(words) if self.base else {}).values():
            for seq in dict.fromkeys(seqs):
                shared[seq] = shared.get(seq, 0) + 1
        first = sorted(shared, key=lambda seq: (-shared[seq], -seq))[: limit + NEAR]
        nodes = self._nodes(first)
        if len(first) > 1:
            about, of = self.vectors.of(text[:READ]), self.vectors.of
            near = {seq: embedding.similarity(about, of(node.label)) for seq, node in nodes.items()}
            first.sort(key=lambda seq: (-shared[seq], -near[seq], -seq))
        ranked = first[:limit]
        found = dict.fromkeys(ranked)
        if len(found) < limit:
            beside = self._newest(self.links, ranked, self.base.beside(ranked) if self.base else {})
            for seq in ranked:
                for other in sorted(set(beside[seq]), reverse=True):
                    if len(found) >= limit:
                        break
                    found.setdefault(other)
            nodes |= self._nodes([seq for seq in found if seq not in nodes])
        return [nodes[seq] for seq in found]

    def _newest(self, held: Any, keys: Sequence[Any], kept: dict[Any, list[int]]) -> dict[Any, list[int]]:
        """What the base has of each key and what came since, the newest of both."""
        return {key: [*kept.get(key, ()), *held.get(key, ())][-PER_WORD:] for key in keys}

    def _nodes(self, seqs: Sequence[int]) -> dict[int, Node]:
        found = {seq: self.nodes[node_id(seq)] for seq in seqs if seq > self.since}
        if self.base and (older := [seq for seq in seqs if seq <= self.since]):
            found |= self.base.nodes(older)
        return found

    def newest(self, limit: int) -> list[Node]:
        """The nodes of the last facts, in order."""
        return self.page(max(0, self.seq - limit), limit)

    def page(self, after: int, limit: int | None = None) -> list[Node]:
        """Nodes after a seq, in order, at most `limit`."""
        limit = self.seq - after if limit is None else limit
        found = self.base.page(after, limit) if self.base and after < self.since else []
        held = range(max(after, self.since) + 1, self.seq + 1)[: max(0, limit - len(found))]
        return [*found, *(self.nodes[node_id(seq)] for seq in held)]

    def between(self, after: int, until: int) -> list[Edge]:
        """Edges that came about with the facts after one and up to another."""
        found = self.base.edges(after, until) if self.base and after < self.since else []
        return [*found, *(edge for edge in self.edges if after < since(edge) <= until)]

    def json(self, *, after: int = 0, limit: int | None = None) -> dict[str, Any]:
        """Nodes after a seq, at most `limit`, and the edges between nodes up to the last of those."""
        nodes = self.page(after, limit)
        edges = self.between(after, nodes[-1].seq) if nodes else []
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
        "nodes": [node_id(seq) for seq in range(before.seq + 1, after.seq + 1)],
        "edges": msgspec.to_builtins(after.between(before.seq, after.seq)),
    }


def since(edge: Edge) -> int:
    """The seq of the fact with which an edge came about: the newer of its ends."""
    return max(int(edge.source[1:]), int(edge.target[1:]))


def _newer(words: dict[str, list[int]], kept: int) -> defaultdict[str, list[int]]:
    """What came after a fact."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for word, seqs in words.items():
        if seqs[-1] > kept:
            found[word] = [seq for seq in seqs if seq > kept]
    return found


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
