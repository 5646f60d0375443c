"""Tools: functions that the model may call. Run it: `python examples/tools.py [MODEL]`.

Without a model it plays a script that calls them as a model would, so it works with nothing set up.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import headrace
from headrace import events
from headrace.providers.scripted import Call, Say, Scripted


def fall(head_m: float, flow_m3s: float = 0.5) -> dict[str, float]:
    """The power of falling water.

    Args:
        head_m: the height of the fall, in metres.
        flow_m3s: the flow, in cubic metres a second.
    """
    return {"kilowatts": round(9.81 * head_m * flow_m3s, 1)}


@headrace.tool(timeout=5)
async def gauge(river: str) -> AsyncIterator[str]:
    """Read a river's gauge; what it shows comes bit by bit."""
    for reading in ("1.2 m", "1.3 m"):
        await asyncio.sleep(0.2)
        yield f"{river}: {reading}"


@headrace.tool(approval=True, approval_timeout=60)
def open_gate(percent: int) -> str:
    """Open the gate of the headrace. A person has to allow it."""
    return f"the gate is {percent} % open"


SCRIPT = Scripted(
    [
        [Say("Let me see. "), Call("fall", {"head_m": 4}), Call("gauge", {"river": "Iller"})],
        [Call("open_gate", {"percent": 40})],
        [Say("Four metres give about 20 kW, the river is at 1.3 m, and the gate is open.")],
    ]
)


async def main(model: object) -> None:
    prompt = "How much power has a fall of 4 m? Look at the Iller, then open the gate to 40 %."
    async with headrace.stream(model, prompt, tools=[fall, gauge, open_gate]) as run:
        async for event in run:
            match event:
                case events.TextDelta(delta=delta):
                    print(delta, end="", flush=True)
                case events.ToolCallEnd(call=call, arguments=arguments):
                    print(f"\n  [{call}] called with {arguments}")
                case events.ToolResult(call=call, value=value, error=error, preliminary=preliminary):
                    print(f"  [{call}] {'…' if preliminary else '='} {error or value}")
                case events.HumanRequest(request=request, message=message):
                    print(f"  {message} yes")
                    await run.respond(request, True)
        result = await run.result()
    print(f"\n{result.finish_reason}, {len(result.tool_calls)} calls")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else SCRIPT))
