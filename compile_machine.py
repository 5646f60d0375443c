"""Compiles the JSON machine with Cython: `python compile_machine.py` puts `_json.*.so` beside its source.

The source stays one: `src/headrace/protocol/json.py`, with the real `cython` in the place of the stand-in. What is
made knows the digest of what it was made from; a test compares. Without a compiler, or without Python's headers,
nothing is made, and the package runs as it is.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent / "src/headrace/protocol"
SOURCE = HERE / "json.py"
STAND_IN = "from headrace.protocol import uncompiled as cython\n"
SLOTS = '    __slots__ = ("_root", "_send", "_state", "_throw")\n'
ATTRIBUTES = """\
    _root = cython.declare(list)
    _send = cython.declare(object)
    _state = cython.declare(object)
    _throw = cython.declare(object)
"""
CONSTANT = re.compile(r"^(\w+) = cython\.declare\(cython\.int, (\d+)\)\n", re.MULTILINE)
DIRECTIVES = {"language_level": 3, "annotation_typing": False}


def digest() -> str:
    """What stands for the source as it is now."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]


def made() -> Path | None:
    """The compiled module of this interpreter, where there is one."""
    return next(iter(HERE.glob(f"_json.{sys.implementation.cache_tag}-*")), None)


def build() -> Path:
    """Compile it; returns the file.

    Raises:
        Exception: whatever the compilers say.
    """
    from Cython.Build import cythonize
    from Cython.Compiler import Errors
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    Errors.LEVEL = 2  # errors; it warns of what is meant

    text = SOURCE.read_text("utf-8")
    assert STAND_IN in text
    assert SLOTS in text
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "_json.py"
        constants = CONSTANT.findall(text)
        text = CONSTANT.sub("", text.replace(STAND_IN, "import cython\n"))
        text = text.replace(SLOTS, ATTRIBUTES).replace("\nclass Parser:", "\n@cython.cclass\nclass Parser:")
        for name, value in constants:  # a number that C knows when it compiles
            text = re.sub(rf"\b{name}\b", value, text)
        copy.write_text(f'{text}\nDIGEST = "{digest()}"\n', "utf-8")
        extension = Extension("headrace.protocol._json", [str(copy)], extra_compile_args=["-O3", "-g0"])
        extensions = cythonize([extension], compiler_directives=DIRECTIVES, quiet=True, build_dir=folder)
        command = build_ext(Distribution({"name": "headrace", "ext_modules": extensions}))
        command.build_lib, command.build_temp = f"{folder}/lib", f"{folder}/temp"
        command.ensure_finalized()
        command.run()
        (compiled,) = (Path(folder) / "lib").rglob("_json.*")
        for old in HERE.glob(f"_json.{sys.implementation.cache_tag}-*"):
            old.unlink()
        return Path(shutil.copy(compiled, HERE / compiled.name))


if __name__ == "__main__":
    try:
        print(f"compiled the JSON machine: {build().name}")
    except (Exception, SystemExit) as error:
        print(f"the JSON machine stays pure Python: {type(error).__name__}: {error}".splitlines()[0])
        sys.exit(1)
