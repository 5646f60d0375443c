"""Procedures over HTTP: started, streamed as IDE events, answered, gone on with; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.ledger import registry
from headrace.providers.scripted import Call, Pause, Say

STORY = """
input { topic = field.string{required = true} }
teller = Agent { system_prompt = "About {input.topic}" }
return { story = teller("Tell").text }
"""
ASKS = 'local ok = Human.approve("Go on?")\nreturn { ok = ok, text = Agent { name = "a" }("x").text }'


async def test_a_procedure_is_a_run(serving: Any, tools: Any) -> None:
    async with serving("Once upon") as site:
        reply = await site.post("/v1/runs", {"procedure": STORY, "inputs": {"topic": "sea"}})
        assert reply.status == 201, reply.body
        run = reply.json["run"]
        found = await site.read(run)
        tools.check_covered(found)
        assert found[0]["kind"] == "procedure"
        assert found[-1]["result"] == {"story": "Once upon"}
        info = (await site.get(f"/v1/runs/{run}")).json
        assert (info["status"], info["result"]) == ("ended", {"story": "Once upon"})


async def test_ide_events_in_order_with_ids(serving: Any, tools: Any) -> None:
    async with serving("Once upon") as site:
        run = (await site.post("/v1/runs", {"procedure": STORY, "inputs": {"topic": "sea"}})).json["run"]
        async with site.http.get(f"/v1/runs/{run}/events?dialect=ide") as answer:
            found = [event async for event in tools.events_of(answer)]
        bodies = [json.loads(event.data) for event in found if event.data]
        assert [body["event_type"] for body in bodies] == [
            "execution",
            "agent_turn",
            "agent_stream_chunk",
            "agent_stream_chunk",
            "agent_turn",
            "cost",
            "checkpoint_created",
            "execution_summary",
            "execution",
        ]
        assert all(body["procedure_id"] == run and body["timestamp"] for body in bodies)
        assert [(b["chunk_text"], b["accumulated_text"]) for b in bodies[2:4]] == [
            ("Once", "Once"),
            (" upon", "Once upon"),
        ]
        assert [b.get("stage") for b in (bodies[1], bodies[4])] == ["started", "completed"]
        assert bodies[5]["agent_name"] == "teller"
        assert bodies[5]["latency_ms"] >= 0
        assert (bodies[-1]["lifecycle_stage"], bodies[-1]["exit_code"]) == ("complete", 0)


async def test_the_ide_stream_resumes_and_never_starts_again(
    serving: Any, tools: Any, tmp_path: Path
) -> None:
    (tmp_path / "story.tac").write_text(STORY)
    query = {"path": "story.tac", "inputs": '{"topic": "sea"}'}
    async with serving([Say("Once"), Pause(1), Say(" upon")], workspace=tmp_path) as site:
        first = []
        async with site.http.get("/api/run/stream", params=query) as answer:
            assert answer.status == 200
            async for event in tools.events_of(answer):
                first.append(event)
                if event.data and b"agent_stream_chunk" in bytes(event.data):
                    break
        site.gate.release()
        headers = {"last-event-id": first[-1].id}
        async with site.http.get("/api/run/stream", params=query, headers=headers) as answer:
            rest = [json.loads(event.data) async for event in tools.events_of(answer) if event.data]
        assert rest[0]["accumulated_text"] == "Once upon"
        assert rest[-1]["lifecycle_stage"] == "complete"
        assert len(site.provider.calls) == 1
        for path, status in (("../story.tac", 400), ("/etc/passwd", 400), ("none.tac", 404)):
            reply = await site.get("/api/run/stream", params={"path": path})
            assert (reply.status, reply.error) == (status, "bad-request")


async def test_a_person_answers_and_a_restart_does_not_matter(serving: Any, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'l.db'}"
    async with serving("done", ledger=registry.open_ledger(store)) as site:
        run = (await site.post("/v1/runs", {"procedure": ASKS})).json["run"]
        follower = site.engine.active(run).writer.log.follow(0)
        seen: list[str] = []
        while "human-request" not in seen:
            seen += [entry.event.type for entry in await follower.next()]
        follower.close()
        path = f"/v1/runs/{run}/responses/h1"
        assert (await site.post(path, {"value": "yes"})).status == 400
        assert (await site.post(f"/v1/runs/{run}/responses/h9", {"value": True})).status == 404
        await site.engine.drain(0)  # the server goes down while the run waits
    async with serving("done", ledger=registry.open_ledger(store)) as site:
        reply = await site.post(path, {"value": True})
        assert reply.status == 200, reply.body
        again = reply.json["run"]
        assert again != run
        found = await site.read(again)
        assert found[-1]["result"] == {"ok": True, "text": "done"}
        reply = await site.post(f"/v1/runs/{again}/resume")
        assert (reply.status, reply.error) == (400, "bad-request")


async def test_tool_calls_and_failures_as_ide_events(serving: Any, tools: Any) -> None:
    text = """
    local t = Tool { input = { a = field.integer{} }, function(given) return given.a end }
    w = Agent { tools = { t }, max_turns = 1 }
    w("x")
    error("stop")
    """
    async with serving(Call("t", {"a": 1})) as site:
        run = (await site.post("/v1/runs", {"procedure": text})).json["run"]
        async with site.http.get(f"/v1/runs/{run}/events?dialect=ide") as answer:
            found = [json.loads(event.data) async for event in tools.events_of(answer) if event.data]
        kinds = [body["event_type"] for body in found]
        start = kinds.index("tool_call_started")
        assert kinds[start + 1] == "tool_call_arguments"
        assert [k for k in kinds[start:] if k != "tool_call_arguments"][:3] == [
            "tool_call_started",
            "tool_call",
            "tool_result",
        ]
        assert found[-1]["lifecycle_stage"] == "error"
        assert found[-1]["exit_code"] == 1
        assert found[-1]["error"].startswith("procedure.tac:5: stop")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"procedure": ""}, "procedure"),
        ({"procedure": 5}, "procedure"),
        ({"procedure": "return 1", "input": "x"}, "procedure"),
        ({"inputs": {}, "input": "x", "procedure": "return 1"}, "procedure"),
        ({"inputs": {"a": 1}, "input": "x"}, "inputs"),
        ({"procedure": "../x.tac"}, "path"),
    ],
)
async def test_bodies_that_do_not_fit(serving: Any, tmp_path: Path, body: dict[str, Any], where: str) -> None:
    async with serving(workspace=tmp_path) as site:
        reply = await site.post("/v1/runs", body)
        assert (reply.status, reply.error) == (400, "bad-request")
        assert reply.json["error"]["details"]["where"] == where


async def test_programs_over_http_have_no_files(serving: Any, tmp_path: Path) -> None:
    async with serving() as site:
        run = (await site.post("/v1/runs", {"procedure": 'return File.read("x")'})).json["run"]
        found = await site.read(run)
        assert found[-1]["error"]["code"] == "forbidden"
        reply = await site.post("/v1/runs", {"procedure": "story.tac"})
        assert (reply.status, reply.error) == (403, "forbidden")


async def test_files_of_a_program_are_texts_of_the_workspace(serving: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=1")
    (tmp_path / "headrace.toml").write_text("")
    text = """
    File.write("out/a.txt", "one")
    local function refused(...) local ok, why = pcall(...) return not ok and why end
    return { File.read("out/a.txt"), refused(File.read, ".env"), refused(File.write, "x.py", "y"), File.list() }
    """
    async with serving(workspace=tmp_path) as site:
        run = (await site.post("/v1/runs", {"procedure": text})).json["run"]
        result = (await site.read(run))[-1]["result"]
    assert result[0] == "one"
    assert "hidden" in result[1]
    assert "cannot be written here" in result[2]
    assert result[3] == ["out/"]


async def test_a_program_may_name_the_servers_tools(serving: Any) -> None:
    def look(word: str) -> str:
        """Look a word up."""
        return f"{word}: a channel"

    def shut(gate: int) -> str:
        """Shut a gate."""
        raise ValueError("it is stuck")

    text = """
    a = Agent { tools = {"look", "shut"} }
    return { a("x").text, #a("y"):new_messages() }
    """
    script = [
        [Call("look", {"word": "race"}), Call("shut", {"gate": "two"}), Call("shut", {"gate": 2})],
        "done",
        "z",
    ]
    async with serving(lambda request: script[len(site.provider.calls) - 1], tools=[look, shut]) as site:
        run = (await site.post("/v1/runs", {"procedure": text})).json["run"]
        found = await site.read(run)
        assert found[-1]["result"] == ["done", 2], found[-1]
        results = [event for event in found if event["type"] == "tool-result"]
        assert results[0]["value"] == "race: a channel"
        assert "gate" in results[1]["error"]
        assert results[2]["error"] == "ValueError: it is stuck"


async def test_resumed_with_the_program_as_it_is_now(serving: Any, tmp_path: Path) -> None:
    program = tmp_path / "two.tac"
    program.write_text('a = Agent {}\nlocal one = a("one").text\nerror("stop")\n')
    async with serving("fine", workspace=tmp_path) as site:
        run = (await site.post("/v1/runs", {"procedure": "two.tac"})).json["run"]
        assert (await site.read(run))[-1]["outcome"] == "failed"
        program.write_text('a = Agent {}\nlocal one = a("one").text\nreturn one\n')
        again = (await site.post(f"/v1/runs/{run}/resume", {"procedure": "two.tac"})).json["run"]
        assert (await site.read(again))[-1]["result"] == "fine"
        assert len(site.provider.calls) == 1
        program.write_text('a = Agent {}\n\nlocal one = a("another").text\nreturn one\n')
        again = (await site.post(f"/v1/runs/{run}/resume", {"procedure": "two.tac"})).json["run"]
        error = (await site.read(again))[-1]["error"]
        assert error["code"] == "procedure-error"
        assert "the program changed at line 3" in error["message"]
        assert len(site.provider.calls) == 1
