"""A page whose fields fill while the model talks: `python examples/token_streaming_ui.py [MODEL] [PORT]`.

Server-sent events from a DSPy module to a few lines of JavaScript. Text goes into the page as text, never as HTML.
The button Stop closes the stream, which ends the run and the model's connection. Needs the extra `dspy`.
"""

import asyncio
import json
import sys

import dspy
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

import headrace
from headrace.events import FieldDelta, FieldEnd, OutputReset
from headrace.server import runner

PAGE = """<!doctype html><meta charset="utf-8"><title>DSPy, token by token</title>
<style>body{font:16px/1.5 system-ui;max-width:42rem;margin:3rem auto;padding:0 1rem}
h2{font-size:1rem;color:#666;margin-bottom:0}p{white-space:pre-wrap;min-height:1.5em;margin-top:.2em}
.done::after{content:" ✓";color:#287}</style>
<form id="ask"><input id="question" size="50" value="Why is the sky blue?"> <button>Ask</button>
<button type="button" id="stop">Stop</button></form>
<h2>reasoning</h2><p id="reasoning"></p><h2>answer</h2><p id="answer"></p><small id="state">ready</small>
<script>
let source;
const show = (id, text) => { document.getElementById(id).textContent = text; };
function stop(state) { if (source) source.close(); show("state", state); }
document.getElementById("stop").onclick = () => stop("stopped");
document.getElementById("ask").onsubmit = (submitted) => {
  submitted.preventDefault();
  stop("asking");
  for (const id of ["reasoning", "answer"]) { show(id, ""); document.getElementById(id).className = ""; }
  source = new EventSource("/answer?question=" + encodeURIComponent(document.getElementById("question").value));
  source.addEventListener("token", (message) => {
    const { field, token } = JSON.parse(message.data);
    document.getElementById(field).append(token);
    show("state", "streaming");
  });
  source.addEventListener("end", (message) => {
    document.getElementById(JSON.parse(message.data)).className = "done";
  });
  source.addEventListener("reset", (message) => JSON.parse(message.data).forEach((field) => show(field, "")));
  source.addEventListener("done", () => stop("done"));
  source.onerror = () => stop("failed");
};
</script>"""


@headrace.instrument(stream_fields=["reasoning", "answer"], sinks=[])
class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.cot = dspy.ChainOfThought("question -> answer")

    async def aforward(self, question):
        return await self.cot.acall(question=question)


qa = QA()


async def page(request):
    return HTMLResponse(PAGE)


async def answer(request):
    async def body():
        async with headrace.stream(qa, question=request.query_params["question"]) as run:
            async for event in run:
                match event:
                    case FieldDelta():
                        yield sse("token", {"field": event.path.removeprefix("/"), "token": event.delta})
                    case FieldEnd():
                        yield sse("end", event.path.removeprefix("/"))
                    case OutputReset():
                        yield sse("reset", [path.removeprefix("/") for path in event.extra["fields"]])
            yield sse("done", (await run.result()).outcome)

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def sse(name, data):
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def main(model="openai/gpt-4o-mini", port="8000"):
    dspy.configure(lm=dspy.LM(model))
    app = Starlette(routes=[Route("/", page), Route("/answer", answer)])
    async with runner.listening(app, "127.0.0.1", int(port)) as server:
        print(f"open {server.url}", flush=True)
        await asyncio.Event().wait()


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
