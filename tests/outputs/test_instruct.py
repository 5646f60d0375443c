"""The words around a schema."""

from __future__ import annotations

from headrace.outputs import instruct
from headrace.outputs.problems import Problem


def test_the_schema_is_the_last_line() -> None:
    words = instruct.schema_words({"type": "array", "items": {"const": "é"}})
    first, last = words.split("\n")
    assert "only with JSON" in first
    assert last == 'JSON Schema: {"type":"array","items":{"const":"é"}}'


def test_asking_again() -> None:
    words = instruct.again_words([Problem("/a", "must be an integer"), Problem("", "is too long")])
    assert "- /a: must be an integer\n- the answer: is too long\n" in words
    assert "Write less" not in words
    assert words.endswith("put right.")
    assert instruct.again_words([Problem("", "x")], truncated=True).endswith(
        "Write less, so that it is complete."
    )


def test_not_all_problems_are_told() -> None:
    words = instruct.again_words([Problem(f"/{n}", "bad") for n in range(25)])
    assert words.count("bad") == instruct.MOST
    assert "- and 15 more" in words
