"""A structured answer while it forms. Run it: `python examples/structured.py [MODEL]`.

Without a model it plays a script that makes a mistake first, as a model would, so it works with nothing set up: the
answer is stopped at the word that cannot fit, and asked for again.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
from typing import Literal

import pydantic

import headrace
from headrace.providers.scripted import Say, Scripted, by_size


class Line(pydantic.BaseModel):
    name: str
    amount: float


class Invoice(pydantic.BaseModel):
    number: str
    day: datetime.date
    status: Literal["open", "paid"]
    lines: list[Line]


VALUE = {
    "number": "A-17",
    "day": "2026-11-20",
    "status": "paid",
    "lines": [{"name": "a gate", "amount": 12.5}, {"name": "a wheel", "amount": 3}],
}
GOOD = json.dumps(VALUE)
BAD = GOOD.replace("paid", "settled")
SCRIPT = Scripted([[Say(text, pieces=by_size(4), every=0.02)] for text in (BAD, GOOD)])


def told(field: headrace.Field) -> None:
    if field.retracted:
        print(f"  taken back: {field.retracted}")


async def main(model: object) -> None:
    async with headrace.stream(model, "The invoice of the mill", output=Invoice) as run:
        run.on_field("/number", told)
        async for invoice in run.partials():
            done = " (lines complete)" if run.is_complete("/lines") else ""
            print(f"  {invoice!r}{done}")
        result = await run.result()
    print(repr(result.output))
    stopped = len(result.rejections)
    print(
        f"{stopped} answer{'s were' if stopped != 1 else ' was'} stopped; saved about {result.tokens_saved} tokens"
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else SCRIPT))
