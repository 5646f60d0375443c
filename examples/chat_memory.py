"""A chat that remembers: run it twice, and it goes on where it ended.

    python examples/chat_memory.py [MODEL] [LEDGER]

Without a model it talks with a scripted one that keeps its promises, so no key is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import headrace
from headrace.providers.callable import DummyChat


class Gardener(DummyChat):
    """Promises to water the plants, and closes the promise when asked about it."""

    def _text(self, messages: Sequence[Mapping[str, Any]]) -> str:
        context, asked = str(messages[0]["content"]), str(messages[-1]["content"])
        if "Reflect" in asked:
            return "I promise little and keep it."
        open_promise = next(
            (line[2:].partition(":")[0] for line in context.split("\n") if "water the" in line), ""
        )
        if "?" in asked and open_promise.startswith("c"):
            return f"They are watered.\nCLOSE: {open_promise}\nTRAIT: conscientiousness +0.02\n"
        return "I will see to it.\nCOMMIT: water the plants\n"


def main() -> None:
    model: Any = sys.argv[1] if len(sys.argv) > 1 else Gardener(delay=0.02)
    ledger = sys.argv[2] if len(sys.argv) > 2 else "memory"
    with headrace.Runtime(model, ledger, teach=True, hide_markers=True, consistency="strict") as runtime:
        for text in ("Please look after the plants.", "Have you watered the plants?"):
            print(f"You: {text}\nIt:  ", end="")
            for token in runtime.handle_user_stream(text):
                print(token, end="", flush=True)
            print()
        print("It, looking back: ", end="")
        for token in runtime.reflect_stream():
            print(token, end="", flush=True)
        print("\n")
        runtime.wait(runtime.settle())
        views = runtime.wait(runtime.views())
        for made in views.mirror.closed:
            print(f"kept: {made.text} ({made.id}, closed by fact {made.closed})")
        print(
            f"IAS {views.metrics.ias:.2f}  GAS {views.metrics.gas:.2f}  {views.seq} facts  {views.digest()[:12]}"
        )


if __name__ == "__main__":
    main()
