from __future__ import annotations

from typing import Any

from headrace.memory import graph

HISTORY: list[Any] = [
    ("completed", "How do plants drink water?", "Through their roots."),  # n1, n2
    ("commitment", "water the plants", {"turn": 2}),  # n3
    ("commitment-closed", "done", {"commitment": "c3"}),  # n4
    ("reflection", "I was brief, see [n1] and [n99]", {"turn": 2}),  # n5
    ("cancelled", "And the weather?", ""),  # n6, n7
]


def test_nodes_and_edges(written: Any) -> None:
    made = graph.rebuild(written(HISTORY))
    assert [(node.id, node.kind) for node in made.nodes.values()] == [
        ("n1", "user"),
        ("n2", "response"),
        ("n3", "commitment"),
        ("n4", "event"),
        ("n5", "reflection"),
        ("n6", "user"),
        ("n7", "event"),
    ]
    assert [(edge.source, edge.kind, edge.target) for edge in made.edges] == [
        ("n2", "replies_to", "n1"),
        ("n2", "commits_to", "n3"),
        ("n4", "closes", "n3"),
        ("n5", "reflects_on", "n2"),
        ("n5", "references", "n1"),
        ("n7", "replies_to", "n6"),
    ]


def test_a_slice_is_what_shares_most_words_then_what_is_linked(written: Any) -> None:
    made = graph.rebuild(written(HISTORY))
    assert [node.id for node in made.slice("water for plants")] == ["n3", "n1", "n4", "n2", "n5"]
    assert [node.id for node in made.slice("water for plants", limit=2)] == ["n3", "n1"]
    assert made.slice("a of to") == []


def test_the_difference_of_two(written: Any) -> None:
    facts = written(HISTORY)
    changed = graph.diff(graph.rebuild(facts[:3]), graph.rebuild(facts[:4]))
    assert changed == {
        "from": 3,
        "to": 4,
        "nodes": ["n4"],
        "edges": [{"source": "n4", "kind": "closes", "target": "n3"}],
    }


def test_a_page_at_a_time_has_every_node_and_edge_once(written: Any) -> None:
    made = graph.rebuild(written(HISTORY))
    nodes, edges, after = [], [], 0
    while page := made.json(after=after, limit=2)["nodes"]:
        nodes += page
        edges += made.json(after=after, limit=2)["edges"]
        after = page[-1]["seq"]
    whole = made.json()
    assert nodes == whole["nodes"]
    assert sorted(map(str, edges)) == sorted(map(str, whole["edges"]))
