"""The token streaming guide, which is not part of the project: its snippets run as printed, `streamll` being `headrace`.

Each block is run whole, in a process of its own, against a server that writes the fields that a prompt asks for. What a
block takes for granted (a name, a broker, an LM of DSPy's) is given before it; what it defines is used after it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

LM = """
import dspy, headrace
dspy.configure(lm=dspy.LM("openai/gpt-4o-mini", cache=False))
"""
PRINTED = """
headrace.integrations.dspy.ambient.configured_sinks()[0].flush()
"""
FIND = "import dspy\n" + 'predictor = dspy.Predict("question -> answer"); cot = dspy.ChainOfThought("question -> answer")'

# What a block needs before it and what is done with it after it, by a line that only it has.
BLOCKS: dict[str, tuple[str, str]] = {
    'result = qa("What is machine learning?")': (LM, PRINTED + "print('RESULT', result.answer)"),
    "class QA(dspy.Module):": (LM, "QA().predict(question='?')"),
    "class ReasoningQA(dspy.Module):": (LM, "ReasoningQA().cot(question='?')"),
    "class ComplexPipeline(dspy.Module):": (
        LM,
        "found = ComplexPipeline()(text='t', question='q')" + PRINTED + "print('RESULT', found.answer)",
    ),
    "# Actual fields: question -> reasoning, answer": ("import dspy", "print('RESULT', list(cot.predict.signature.output_fields))"),
    "# Note: .predict attribute": ("import dspy", ""),
    "class CustomSignature(dspy.Signature):": (
        LM + "import headrace",
        "found = CustomModule().predict(query='?')\nprint('RESULT', found.analysis)",
    ),
    "class TokenCollector(BaseSink):": (
        LM,
        """
@headrace.instrument(stream_fields=['answer'], sinks=[collector := TokenCollector()])
class QA(dspy.Module):
    def __init__(self):
        self.predict = dspy.Predict("question -> answer")
    def forward(self, question):
        return self.predict(question=question)
found = QA()("?")
collector.flush()
assert collector.get_text("answer") == collector.get_text() == found.answer
assert collector.tokens[-1].finish_reason == "stop"
print('RESULT', found.answer)
""",
    ),
    "async def handle_token(event):": (
        "shown, sent = [], []\nupdate_ui_field = lambda *a: shown.append(a)\n"
        "class websocket:\n    send_json = staticmethod(lambda m: __import__('asyncio').sleep(0, sent.append(m)))\n",
        """
import asyncio
from headrace.core.events import TokenEvent
asyncio.run(handle_token(TokenEvent(token="hi", token_index=3, field="answer")))
assert shown == [("answer", "hi", 3)]
assert sent == [{"type": "token", "field": "answer", "token": "hi", "index": 3}]
""",
    ),
    'lm = dspy.LM("your-model", api_key="...")': ("", ""),
    "buffer_size=100,  # Buffer up to 100 tokens": ("", "assert sink.circuit_state == 'closed'"),
    "prefetch_count=1000": ("from headrace.sinks import RedisSink, RabbitMQSink", "assert sink.dropped == 0"),
    "class AdaptiveStreaming(dspy.Module):": (
        LM,
        """
adaptive = AdaptiveStreaming()
adaptive("short")
found = adaptive("x" * 101)"""
        + PRINTED
        + "print('RESULT', found.answer)",
    ),
    "class ProcessingQA(dspy.Module):": (
        LM + "import headrace\nfrom headrace.sinks.base import BaseSink\nseen = []\n"
        "class Keep(BaseSink):\n    def handle_event(self, event):\n        seen.append(event)\n"
        "keep = Keep()\nheadrace.configure(sinks=[keep])\n",
        "ProcessingQA()('?')\nkeep.flush()\n"
        "assert [e.data for e in seen if e.event_type == 'token.summary'] == [{'total_tokens': 0}]",
    ),
    "class Translator(dspy.Module):": (LM, PRINTED + "print('RESULT', result.translation)"),
    "# Debug: Check available fields": (FIND, ""),
}  # fmt: skip


def blocks(shared: Path) -> list[str]:
    guide = shared / "seeds" / "dspy-token-streaming-guide.md"
    if not guide.is_file():
        pytest.skip("no token streaming guide in the shared material")
    found = re.findall(r"^```python\n(.*?)^```$", guide.read_text("utf-8"), re.M | re.S)
    return [block.replace("streamll", "headrace").replace("_headrace_stream", "_streamll_stream") for block in found]


def test_every_block_is_known(shared: Path) -> None:
    found = blocks(shared)
    assert len(found) == len(BLOCKS)
    for line in BLOCKS:
        assert len([block for block in found if line in block]) >= 1, line


@pytest.mark.parametrize("line", list(BLOCKS), ids=lambda line: re.sub(r"\W+", "-", line)[:40])
def test_a_block_runs_as_printed(shared: Path, tmp_path: Path, writer: Any, line: str) -> None:
    longest = max((other for other in BLOCKS if other != line and line in other), key=len, default=None)
    code = next(b for b in blocks(shared) if line in b and not (longest and longest in b))
    before, after = BLOCKS[line]
    if "your-model" in line:  # the two things that every reader puts in
        code = code.replace("your-model", "openai/gpt-4o-mini")
        after = "print('RESULT', 'Chunk')"
    program = tmp_path / "block.py"
    program.write_text(f"{before}\nimport headrace\n{code}\n{after}\n", encoding="utf-8")
    env = {
        **os.environ,
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": writer.url,
        "OPENAI_API_BASE": writer.url,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^RESULT (.*)$", done.stdout, re.M)
    if "RESULT" in after and "[TOKEN]" in done.stdout and printed:
        import json

        tokens = re.findall(r'^\[TOKEN\] (\w+): (".*")$', done.stdout, re.M)
        last = tokens[-1][0]
        assert "".join(json.loads(text) for field, text in tokens if field == last) == printed[1]
