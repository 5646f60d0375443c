"""The same without async, and just as live: `python examples/stream_sync.py [MODEL]`."""

import sys

import headrace

model = sys.argv[1] if len(sys.argv) > 1 else "demo"

with headrace.stream_sync(model, "Hello") as run:
    for token in run.text():
        print(token, end="", flush=True)
    result = run.result()
print(f"\n-- {result.outcome}: {len(result.text)} characters in {result.elapsed_ms:.0f} ms")
