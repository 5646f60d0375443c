"""Tools of a server's: named in a body, run by the engine, allowed by a person over HTTP."""

from __future__ import annotations

import json
from typing import Any

from headrace.providers.scripted import Call
from headrace.runs.tools import Tool


def lookup(word: str) -> dict[str, str]:
    """Look a word up."""
    return {word: "found"}


SCRIPT = [[Call("lookup", {"word": "weir"})], ["A weir."]]
REGISTERED = {"lookup": lookup, "guarded": Tool.of(lookup, approval=True)}


async def test_a_tool_by_its_name(serving: Any) -> None:
    async with serving(SCRIPT, tools=REGISTERED) as site:
        run = await site.start(tools=["lookup"])
        found = await site.read(run)
        types = [event["type"] for event in found]
        assert types.index("tool-call-end") < types.index("tool-result") < types.index("text-start")
        got = (await site.get(f"/v1/runs/{run}")).json
        assert (got["outcome"], got["finish_reason"], got["result"]["text"]) == (
            "completed",
            "stop",
            "A weir.",
        )
        assert got["result"]["tool_calls"][0]["value"] == {"weir": "found"}
        asked = site.provider.calls[0].request.tools[0]
        assert asked.parameters["required"] == ["word"]


async def test_names_that_there_are_not(serving: Any) -> None:
    async with serving(SCRIPT, tools=REGISTERED) as site:
        for tools, words in (
            (["none"], "there are guarded, lookup"),
            (["lookup", "lookup"], "name of another"),
        ):
            reply = await site.post("/v1/runs", {"input": "a", "tools": tools})
            assert (reply.status, reply.error) == (400, "bad-request")
            assert words in reply.json["error"]["message"]
        assert (await site.post("/v1/runs", {"input": "a", "max_rounds": 0})).status == 400


async def test_a_bound_on_rounds(serving: Any) -> None:
    async with serving(SCRIPT, tools=REGISTERED) as site:
        found = await site.read(await site.start(tools=["lookup"], max_rounds=1))
        assert found[-1]["error"]["code"] == "tool-failed"


async def test_a_person_allows_over_http(serving: Any, tools: Any) -> None:
    script = [[Call("guarded", {"word": "weir"})], ["A weir."]]
    async with serving(script, tools=REGISTERED) as site:
        run = await site.start(tools=["guarded"])
        answers = f"/v1/runs/{run}/responses"
        async with site.http.get(f"/v1/runs/{run}/events") as stream:
            found: list[dict[str, Any]] = []
            async for event in tools.events_of(stream):
                found.append(json.loads(event.data))
                if found[-1]["type"] == "human-request":
                    request = found[-1]["request"]
                    assert (await site.post(f"{answers}/other", {"value": True})).status == 404
                    assert (await site.post(f"{answers}/{request}", {"value": "?"})).error == "bad-request"
                    reply = await site.post(f"{answers}/{request}", {"value": True})
                    assert (reply.status, reply.json["request"]) == (200, request)
                    again = await site.post(f"{answers}/{request}", {"value": True})
                    assert (again.status, again.error) == (404, "bad-request")
        tools.check_covered(found)
        (said,) = [event for event in found if event["type"] == "human-response"]
        assert said["value"] is True
        assert found[-1]["result"]["tool_calls"][0]["value"] == {"weir": "found"}
        assert (await site.post(f"{answers}/{request}", {"value": True})).status == 404
        assert (await site.post("/v1/runs/run_none/responses/q1", {"value": True})).error == "run-not-found"
