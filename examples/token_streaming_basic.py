"""A DSPy module whose answer streams to the terminal: `python examples/token_streaming_basic.py [MODEL]`.

MODEL is one of DSPy's, such as `openai/gpt-4o-mini` or `ollama_chat/llama3.2`. Each token is a line, printed when it
comes. Needs the extra `dspy`.
"""

import sys

import dspy

import headrace


@headrace.instrument(stream_fields=["answer"])
class SimpleQA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.predict(question=question)


dspy.configure(lm=dspy.LM(sys.argv[1] if sys.argv[1:] else "openai/gpt-4o-mini"))

result = SimpleQA()("What is machine learning?")
