"""Schemas made ready for judging."""

from __future__ import annotations

from headrace.outputs import nodes, typed


def test_references_are_loops() -> None:
    tree = {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}}},
    }
    node = nodes.compile(tree)
    assert node.properties["a"] is node
    assert nodes.compile({"$ref": "#"}) is nodes.OPEN
    assert nodes.compile({"$ref": "#/$defs/none"}) is nodes.OPEN
    with_company = nodes.compile({"$ref": "#/$defs/n", "minimum": 1, "$defs": {"n": {"type": "integer"}}})
    assert with_company.lowest == 1
    assert with_company.every[0].whole


def test_what_is_left_open() -> None:
    assert nodes.compile({"type": "integer", typed.LOOSE: True}) is nodes.OPEN
    node = nodes.compile({"properties": {"a": True, "b": False}})
    assert node.properties["a"].open
    assert node.properties["b"].never


def test_null_for_a_key_that_is_left_out() -> None:
    schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["b"]}
    node = nodes.compile(schema, nulls=True)
    assert [len(members) for members in node.properties["a"].some] == [2]
    assert node.properties["b"].some == []


def test_what_is_taken_whatever_it_is() -> None:
    def free(schema: dict[str, object]) -> set[str]:
        return set(nodes.compile(schema).free)

    assert free({"type": "string"}) == {"string"}
    assert free({"type": "string", "maxLength": 3}) == set()
    assert free({"type": "string", "format": "date"}) == set()
    assert free({"type": "string", "format": "color"}) == {"string"}
    assert free({"type": "integer"}) == {"integer"}
    assert free({"type": ["number", "null"]}) == {"number", "integer", "null"}
    assert free({"maximum": 3}) == {"string", "boolean", "null"}
    assert free({"enum": [1]}) == set()
    assert free({"anyOf": [{"type": "string"}]}) == set()


def test_lookup() -> None:
    root = {"$defs": {"a/b": {"type": "null"}, "c d": [{"type": "string"}]}}
    assert nodes.lookup(root, "#") is root
    assert nodes.lookup(root, "#/$defs/a~1b") == {"type": "null"}
    assert nodes.lookup(root, "#/$defs/c%20d/0") == {"type": "string"}
    assert nodes.lookup(root, "#/$defs/none") is True
    assert nodes.lookup(root, "other.json") is True
