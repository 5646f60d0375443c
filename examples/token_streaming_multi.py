"""Several predictors, each with fields of its own: `python examples/token_streaming_multi.py [MODEL]`.

A sink of one's own collects the tokens; the ids of `set_context` are in every event, `trace` is a span around a piece
of one's own code. Needs the extra `dspy`.
"""

import sys

import dspy

import headrace
from headrace.core.events import TokenEvent
from headrace.sinks.base import BaseSink


class Collector(BaseSink):
    """Keeps the text of each field, and tells of spans as they begin."""

    def __init__(self):
        super().__init__()
        self.texts = {}

    def handle_event(self, event):
        if isinstance(event, TokenEvent):
            self.texts[event.field] = self.texts.get(event.field, "") + event.token
        elif event.event_type == "start" and event.span:
            print(f"{event.context['user']}: {event.data['kind']} {event.operation}")


collector = Collector()


@headrace.instrument(stream_fields=["summary", "answer"], sinks=[collector])
class Pipeline(dspy.Module):
    def __init__(self):
        super().__init__()
        self.summarize = dspy.Predict("text -> summary")
        self.answer = dspy.Predict("context, question -> answer")

    def forward(self, text, question):
        with headrace.trace("clean", characters=len(text)):
            text = " ".join(text.split())
        summary = self.summarize(text=text)
        return self.answer(context=summary.summary, question=question)


dspy.configure(lm=dspy.LM(sys.argv[1] if sys.argv[1:] else "openai/gpt-4o-mini"))
headrace.set_context(user="ann")

TEXT = """A headrace is the channel that carries water to the mill wheel.
          It must deliver all of it, in order, and be easy to shut."""
result = Pipeline()(text=TEXT, question="What is it for?")
collector.stop()
for field, text in collector.texts.items():
    print(f"-- {field}: {text}")
assert collector.texts["answer"] == result.answer
