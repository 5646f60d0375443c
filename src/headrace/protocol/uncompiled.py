"""Stands in for the module `cython` where code that can be compiled is run as it is.

`compile_machine.py`, at the root of the repository, compiles `json` with Cython and puts the real one in its place.
Only what that module uses is here; it all does nothing. Next: `json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

compiled = False
"""Whether the code that asks is compiled."""
int = Py_ssize_t = bint = Py_UCS4 = None
"""Names of C types."""


def declare(kind: Any, value: Any = None) -> Any:
    """A variable of a C type."""
    return value


def locals(**kinds: Any) -> Callable[[T], T]:
    """C types of a function's variables."""
    return _same


def returns(kind: Any) -> Callable[[T], T]:
    """The C type of what a function returns."""
    return _same


def exceptval(*, check: bool) -> Callable[[T], T]:
    """How a C function tells of an exception."""
    return _same


def cfunc(made: T) -> T:
    """A function that only compiled code calls."""
    return made


def inline(made: T) -> T:
    """A function to be put where it is called."""
    return made


def _same(made: T) -> T:
    return made
