"""Problems and the error that carries them."""

from __future__ import annotations

from headrace import errors
from headrace.outputs.problems import MOST, Problem, ShapeError, pointer, shown


def test_the_error_tells_all_but_not_too_much() -> None:
    found = [Problem(f"/rows/{n}", "is missing") for n in range(MOST + 3)]
    error = ShapeError(found, partial={"rows": []}, truncated=True, where="Invoice")
    assert isinstance(error, errors.RunError)
    assert error.code == "output-rejected"
    assert error.message.startswith(
        "the answer does not fit Invoice: /rows/0: is missing; /rows/1: is missing"
    )
    assert error.message.endswith("and 3 more")
    assert len(error.problems) == len(error.details["problems"]) == MOST
    assert error.details["truncated"] is True
    assert error.partial == {"rows": []}


def test_places_and_values_in_words() -> None:
    assert pointer(["a/b", 0, "~"]) == "/a~1b/0/~0"
    assert str(Problem("", "is empty")) == "the answer: is empty"
    assert shown("é") == '"é"'
    assert shown({"a": [1, None]}) == '{"a": [1, null]}'
    assert len(shown("x" * 500)) == 80
