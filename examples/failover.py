"""A model that breaks off in mid-answer, and another that takes over: `python examples/failover.py`.

With `failover="continue"` the second model goes on from what was shown; with `"restart"` it begins again, and
readers are told by an `output-reset` (in `text()`: a `headrace.Retraction`) to take back what they had shown.
"""

import asyncio

import headrace
from headrace.providers.registry import Registry
from headrace.providers.scripted import Drop, Say, Scripted
from headrace.runlog import MemoryRunLog

TEXT = "The river is long, and it finds the sea. "


async def main() -> None:
    models = Registry()
    models.register("weak", Scripted([Say(TEXT[:20], every=0.02), Drop()]))
    models.register("strong", Scripted([Say(TEXT, every=0.02)]))
    engine = headrace.Engine(models, MemoryRunLog())
    try:
        for failover in ("continue", "restart"):
            print(f"{failover:9} ", end="")
            options = {"fallbacks": ["strong:any"], "failover": failover, "engine": engine}
            async with headrace.stream("weak:any", "Tell me about the river", **options) as run:
                async for token in run.text():
                    if isinstance(token, headrace.Retraction):
                        print(f" [taken back: {token.reason}] ", end="")
                    print(token, end="", flush=True)
                result = await run.result()
            print(f"\n          answer: {result.text!r}")
            assert result.text == TEXT
    finally:
        await engine.close()


asyncio.run(main())
