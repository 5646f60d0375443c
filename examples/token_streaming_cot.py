"""Reasoning and answer as running text while they are generated: `python examples/token_streaming_cot.py [MODEL]`.

The sink is of the terminal's kind, with `inline=True`; its `flush` waits until all of it is printed. Needs the extra
`dspy`.
"""

import sys

import dspy

import headrace
from headrace.sinks import TerminalSink

sink = TerminalSink(inline=True)


@headrace.instrument(stream_fields=["reasoning", "answer"], sinks=[sink])
class ReasoningQA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.cot = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.cot(question=question)


dspy.configure(lm=dspy.LM(sys.argv[1] if sys.argv[1:] else "openai/gpt-4o-mini"))

result = ReasoningQA()("Why is the sky blue?")
sink.stop()
print("--", len(result.reasoning), "and", len(result.answer), "characters")
