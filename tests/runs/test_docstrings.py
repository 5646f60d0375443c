"""Docstrings: three forms of parameters, and what is left is the description."""

from __future__ import annotations

import pytest

from headrace.runs import docstrings

GOOGLE = """Look it up.

    In a book: an old one.

    Args:
        word (str): what to look for,
            in English: or not.
        *limit: how many.

            At most.

    Returns:
        what was found
    """
NUMPY = """Look it up.

    In a book: an old one.

    Parameters
    ----------
    word : str, optional
        what to look for,
        in English: or not.
    limit
        how many.

        At most.

    Returns
    -------
    str
        what was found
    """
SPHINX = """Look it up.

    In a book: an old one.

    :param str word: what to look for,
        in English: or not.
    :param limit: how many. At most.
    :type limit: int
    :returns: what was found
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX])
def test_three_forms(text: str) -> None:
    about, words = docstrings.parse(text)
    assert about == "Look it up.\n\nIn a book: an old one."
    assert words == {"word": "what to look for, in English: or not.", "limit": "how many. At most."}


def test_nothing_and_plain() -> None:
    assert docstrings.parse(None) == docstrings.parse("  \n ") == ("", {})
    assert docstrings.parse("One line: with a colon") == ("One line: with a colon", {})
    assert docstrings.parse("Args:") == ("", {})


def test_two_names_of_one_text() -> None:
    text = "Add.\n\nParameters\n----------\na, b : int\n    A number."
    assert docstrings.parse(text) == ("Add.", {"a": "A number.", "b": "A number."})
