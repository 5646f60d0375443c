"""Hatch's build hook: a wheel and an sdist hold the built page.

The page is built from `web/` where it is missing; an sdist has it, so a wheel made from one needs no node. An
editable install takes the page from the checkout, whenever it is built there. HEADRACE_SKIP_WEB=1 leaves the
page out on purpose: the server then says how to build it. HEADRACE_COMPILE=1 compiles the JSON machine into the
wheel (`compile_machine.py`; Cython must be there), which is then for one platform.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INDEX = "src/headrace/server/static/index.html"
OLDEST_NODE = 20


class PageHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes sure of the page before files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page where it is missing.

        Raises:
            RuntimeError: there is no node, or the page does not build.
        """
        root = Path(self.root)
        if (
            self.target_name == "wheel"
            and version != "editable"
            and os.environ.get("HEADRACE_COMPILE") == "1"
        ):
            sys.path.insert(0, self.root)
            import compile_machine

            compiled = compile_machine.build()
            build_data["artifacts"].append(str(compiled.relative_to(root)))
            build_data["pure_python"], build_data["infer_tag"] = False, True
        if version == "editable" or os.environ.get("HEADRACE_SKIP_WEB") == "1" or (root / INDEX).is_file():
            return
        npm = shutil.which("npm")
        if npm is None or not _node_is_new_enough():
            raise RuntimeError(
                f"the page is not built, and there is no node {OLDEST_NODE} or newer with npm on the PATH to build"
                " it. Install node, or run ./scripts/setup first (it brings its own), or set HEADRACE_SKIP_WEB=1"
                " to build a package without the page."
            )
        for command in ("install --loglevel=error", "run --silent build"):
            if subprocess.run([npm, *command.split()], cwd=root / "web", check=False).returncode:
                raise RuntimeError(f"the page did not build: `npm {command}` failed in web/, see above")


def _node_is_new_enough() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.strip().removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= OLDEST_NODE
