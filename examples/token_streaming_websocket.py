"""Tokens of a DSPy module over a WebSocket: `python examples/token_streaming_websocket.py [MODEL] [PORT]`.

A client sends `{"question": …}` and gets `{"type": "token", "field", "token", "index"}` for each token, then
`{"type": "done", "answer"}`. A call is a run: when the client goes away, leaving the `async with` stops it, and the
model's connection is closed. Needs the extra `dspy`.
"""

import asyncio
import sys

import dspy
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

import headrace
from headrace.events import FieldDelta
from headrace.server import runner


@headrace.instrument(stream_fields=["reasoning", "answer"], sinks=[])
class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.cot = dspy.ChainOfThought("question -> answer")

    async def aforward(self, question):
        return await self.cot.acall(question=question)


qa = QA()


async def answer(websocket):
    """One question after the other, until the client leaves."""
    await websocket.accept()
    incoming = asyncio.Queue()

    async def receive():
        async for message in websocket.iter_json():
            await incoming.put(message)
        await incoming.put(None)

    receiving = asyncio.create_task(receive())
    try:
        while (message := await incoming.get()) is not None:
            async with headrace.stream(qa, question=message["question"]) as run:
                sending = asyncio.create_task(send(websocket, run))
                await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
                sending.cancel()
    finally:
        receiving.cancel()


async def send(websocket, run):
    async for event in run:
        if isinstance(event, FieldDelta):
            field = event.path.removeprefix("/")
            token = {"type": "token", "field": field, "token": event.delta, "index": event.index}
            await websocket.send_json(token)
    result = await run.result()
    await websocket.send_json({"type": "done", "answer": result.value["answer"]})


async def main(model="openai/gpt-4o-mini", port="8000"):
    dspy.configure(lm=dspy.LM(model))
    app = Starlette(routes=[WebSocketRoute("/ws", answer)])
    async with runner.listening(app, "127.0.0.1", int(port)) as server:
        print(f"connect to {server.url.replace('http', 'ws')}/ws", flush=True)
        await asyncio.Event().wait()


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
