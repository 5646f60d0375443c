"""docs/dspy.md runs: its blocks one after the other, in one namespace, as a reader would."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import headrace

dspy = pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "dspy.md"


def test_the_page_runs(writer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(found) == 5
    names: dict[str, Any] = {"__name__": "page"}
    lm = dspy.LM("openai/gpt-4o-mini", api_key="x", api_base=writer.url, cache=False)
    with dspy.context(lm=lm), headrace.set_context():
        for number, block in enumerate(found):
            code = compile(block, f"block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            made = eval(code, names)
            if inspect.iscoroutine(made):
                asyncio.run(made)
    lines = capsys.readouterr().out.splitlines()
    printed = [line.split(" ", 2)[2] for line in lines if line.startswith("/answer ")]
    assert "".join(printed) == writer.text("answer")
