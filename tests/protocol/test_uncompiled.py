"""The stand-in for `cython`, and that what is compiled was made from the source as it is now."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import pytest

from headrace.protocol import json, uncompiled


def test_it_does_nothing() -> None:
    def one() -> int:
        return 1

    assert uncompiled.declare(uncompiled.int, 7) == 7
    for decorate in (
        uncompiled.cfunc,
        uncompiled.inline,
        uncompiled.locals(i=uncompiled.Py_ssize_t),
        uncompiled.returns(uncompiled.Py_ssize_t),
        uncompiled.exceptval(check=False),
    ):
        assert decorate(one) is one
    assert uncompiled.compiled is False


def test_what_is_compiled_is_the_source() -> None:
    if "compiled" not in json.PARSERS:
        pytest.skip("the JSON machine is not compiled (python compile_machine.py; needs a C compiler)")
    made = importlib.import_module("headrace.protocol._json")
    source = Path(json.__file__).read_bytes()
    assert hashlib.sha256(source).hexdigest()[:16] == made.DIGEST, "stale: run python compile_machine.py"
    assert json.Parser is made.Parser
