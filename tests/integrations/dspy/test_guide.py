"""The token streaming guide, which is not part of the project: its snippets run as printed, for `headrace`.

Each block is run whole, against a server that writes the fields that a prompt asks for. What a block takes for
granted (a name, DSPy's LM) is given before it; what it defines is used after it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import headrace

dspy = pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

LM = "import dspy, headrace"
PRINTED = "\nheadrace.integrations.dspy.ambient.configured_sinks()[0].flush()\n"
FIND = (
    "import dspy\n"
    + 'predictor = dspy.Predict("question -> answer"); cot = dspy.ChainOfThought("question -> answer")'
)

# What a block needs before it and what is done with it after it, by a line that only it has.
BLOCKS: dict[str, tuple[str, str]] = {
    'result = qa("What is machine learning?")': (LM, PRINTED + "print('RESULT', result.answer)"),
    "class QA(dspy.Module):": (LM, "QA().predict(question='?')"),
    "class ReasoningQA(dspy.Module):": (LM, "ReasoningQA().cot(question='?')"),
    "class ComplexPipeline(dspy.Module):": (
        LM,
        "found = ComplexPipeline()(text='t', question='q')" + PRINTED + "print('RESULT', found.answer)",
    ),
    "# Actual fields: question -> reasoning, answer": (
        "import dspy",
        "assert list(cot.predict.signature.output_fields) == ['reasoning', 'answer']",
    ),
    "# Note: .predict attribute": ("import dspy", ""),
    "class CustomSignature(dspy.Signature):": (
        LM,
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
        LM + "\nfrom headrace.sinks.base import BaseSink\nseen = []\n"
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
    return [block.replace("streamll", "headrace") for block in found]


def test_every_block_is_known(shared: Path) -> None:
    found = blocks(shared)
    assert len(found) == len(BLOCKS)
    for line in BLOCKS:
        assert len([block for block in found if line in block]) >= 1, line


@pytest.mark.parametrize("line", list(BLOCKS), ids=lambda line: re.sub(r"\W+", "-", line)[:40])
def test_a_block_runs_as_printed(
    shared: Path, writer: Any, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max((other for other in BLOCKS if other != line and line in other), key=len, default=None)
    code = next(b for b in blocks(shared) if line in b and not (longest and longest in b))
    before, after = BLOCKS[line]
    for name, value in {
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": writer.url,
        "OPENAI_API_BASE": writer.url,
    }.items():
        monkeypatch.setenv(name, value)
    lm = dspy.LM("openai/gpt-4o-mini", api_key="x", api_base=writer.url, cache=False)
    # the model's name and key are what every reader puts in
    code = code.replace('"your-model", api_key="..."', '"openai/gpt-4o-mini", api_key="x"')
    with headrace.configure(), dspy.context(lm=lm):
        exec(compile(f"{before}\nimport headrace\n{code}\n{after}\n", line, "exec"), {"__name__": "guide"})
    out = capsys.readouterr().out
    printed = re.search(r"^RESULT (.*)$", out, re.M)
    tokens = re.findall(r'^\[TOKEN\] (\w+): (".*")$', out, re.M)
    if printed and tokens:
        last = tokens[-1][0]
        assert "".join(json.loads(text) for field, text in tokens if field == last) == printed[1]
    if "your-model" in line:
        assert out.count("Chunk: ") > 3
