"""What the IDE page asks over HTTP: files, checks, and the history of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.ledger import registry
from headrace.providers.scripted import Call, Say, Think
from headrace.server import ide

FINE = """input {
  topic = field.string{required = true, description = "What about"},
  tone = field.string{enum = {"dry", "warm"}, default = "warm"},
  count = field.integer{min = 1, max = 9},
  tags = field.array{items = field.string{}},
  extra = field.object{properties = { a = field.number{} }},
}
output { story = field.string{required = true} }
teller = Agent { model = "openai:gpt-4o-mini" }
quiet = Agent { disable_streaming = true }
look = Tool { function() return 1 end }
return { story = teller("x").text }
"""


async def test_files_over_http(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tac").write_text("return 1")
    async with serving(workspace=tmp_path) as site:
        tree = (await site.get("/api/workspace")).json
        assert tree["name"] == tmp_path.name
        assert [(entry["path"], entry["kind"], entry["size"]) for entry in tree["entries"]] == [
            ("a.tac", "file", 8)
        ]
        read = await site.get("/api/workspace/file?path=a.tac")
        assert read.json == {"path": "a.tac", "content": "return 1", "etag": read.headers["etag"]}

        async def put(path: str, content: str, **headers: str) -> Any:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await site.ask(
                "PUT", f"/api/workspace/file?path={path}", json={"content": content}, headers=named
            )

        assert (await put("a.tac", "return 2")).status == 400
        written = await put("a.tac", "return 2", if_match=read.headers["etag"])
        assert (written.status, written.json["etag"]) == (200, written.headers["etag"])
        stale = await put("a.tac", "return 3", if_match=read.headers["etag"])
        assert (stale.status, stale.error) == (412, "bad-request")
        assert stale.json["error"]["details"]["etag"] == written.headers["etag"]
        assert (tmp_path / "a.tac").read_text() == "return 2"
        assert (await put("b.md", "new", if_none_match="*")).status == 201
        assert (await put("b.md", "new", if_none_match="*")).status == 412
        assert (await put("../b.md", "new", if_none_match="*")).status == 400
        assert (await site.get("/api/workspace/file?path=none.tac")).status == 404


async def test_without_a_workspace(serving: Any) -> None:
    async with serving() as site:
        for path in ("/api/workspace", "/api/workspace/file?path=a.tac"):
            reply = await site.get(path)
            assert (reply.status, reply.error) == (403, "forbidden")
            assert "--workspace" in reply.json["error"]["message"]


async def test_a_check_tells_what_a_form_needs(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tac").write_text(FINE)
    async with serving(workspace=tmp_path) as site:
        found = (await site.post("/api/procedure/check", {"text": FINE})).json
        assert found == (await site.post("/api/procedure/check", {"path": "a.tac"})).json
        assert (found["ok"], found["errors"]) == (True, [])
        assert found["inputs"]["topic"] == {"type": "string", "required": True, "description": "What about"}
        assert found["inputs"]["tone"]["enum"] == ["dry", "warm"]
        assert found["inputs"]["tone"]["default"] == "warm"
        assert (found["inputs"]["count"]["min"], found["inputs"]["count"]["max"]) == (1, 9)
        assert found["inputs"]["tags"]["items"]["type"] == "string"
        assert found["inputs"]["extra"]["properties"]["a"]["type"] == "number"
        assert [(agent["name"], agent["streaming"]) for agent in found["agents"]] == [
            ("teller", True),
            ("quiet", False),
        ]
        assert found["tools"] == ["look"]
        assert not site.provider.calls
        for body in ({}, {"text": "x", "path": "a.tac"}, {"txet": "x"}):
            assert (await site.post("/api/procedure/check", body)).status == 400


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("local x = 1\n  return = 2\n", 2, 10, "unexpected symbol"),
        ("a = Agent {\n  modle = 'x',\n}\n", 1, 1, "modle"),
        ("local y = 1\nlocal z = nope + 1\n", 2, 11, "there is no nope"),
        ("input { a = field.strin{} }", 1, 1, "strin"),
        ("while true do end", 1, 1, "CPU"),
        ("return {", 1, 1, "expected"),
    ],
)
async def test_errors_have_a_place(text: str, line: int, column: int, words: str) -> None:
    found = await ide.checked(text, "p.tac")
    (problem,) = found["errors"]
    assert not found["ok"]
    assert words in problem.message
    assert not problem.message.startswith("p.tac")
    assert (problem.line, problem.column) == (line, column)


STORY = """
input { n = field.integer{default = 2} }
local add = Tool { input = { a = field.integer{required = true} }, function(given) return given.a + 1 end }
worker = Agent { tools = { add } }
judge = Agent { output = { score = field.integer{required = true} } }
local said = worker("count").text
local ok = Human.approve("Go on?")
local score = judge("judge it").output.score
return { said = said, score = score, ok = ok }
"""


async def test_history_after_a_restart_has_every_turn_in_order(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "story.tac").write_text(STORY)
    store = f"sqlite:///{tmp_path / 'l.db'}"
    scripts = [
        [Think("hm"), Say("First "), Call("add", {"a": 1}, id="c1")],
        "then two",
        '{"score": "7a"}',
        '{"score": 7}',
    ]

    def script(request: Any) -> Any:
        return scripts[len(site.provider.calls) - 1]

    async with serving(script, ledger=registry.open_ledger(store), workspace=tmp_path) as site:
        run = (await site.post("/v1/runs", {"procedure": "story.tac"})).json["run"]
        follower = site.engine.active(run).writer.log.follow(0)
        seen: list[str] = []
        while "human-request" not in seen:
            seen += [entry.event.type for entry in await follower.next()]
        follower.close()
        await site.post(f"/v1/runs/{run}/responses/h3", {"value": True})
        await site.read(run)
    async with serving("x", ledger=registry.open_ledger(store), workspace=tmp_path) as site:
        listed = (await site.get("/api/procedure/runs")).json["runs"]
        assert [(one["run"], one["path"], one["outcome"]) for one in listed] == [
            (run, "story.tac", "completed")
        ]
        assert (await site.get("/api/procedure/runs?path=other.tac")).json["runs"] == []
        told = (await site.get(f"/api/procedure/runs/{run}")).json
    assert told["run"]["result"] == {"said": "then two", "score": 7, "ok": True}
    assert told["program"]["text"] == STORY
    assert not told["resumable"]
    first, asked, second = told["items"]
    assert (first["agent"], first["provider"]) == ("worker", "scripted")
    assert [item["kind"] for item in first["items"]] == ["reasoning", "text", "tool-call", "text"]
    call = first["items"][2]
    assert (call["name"], call["arguments"], call["value"]) == ("add", {"a": 1}, 2)
    assert call["elapsed_ms"] >= 0
    assert first["output"] == "then two"
    assert first["elapsed_ms"] >= first["first_token_ms"] >= 0
    assert first["usage"]["basis"] == "unknown"
    assert (asked["type"], asked["kind"], asked["answered"], asked["value"]) == (
        "human-request",
        "approve",
        True,
        True,
    )
    assert second["agent"] == "judge"
    assert second["output"] == {"score": 7}
    refused, stands = second["items"]
    assert refused["text"] == '{"score": "7a"}'
    assert "output.score must be an integer" in refused["rejected"]
    assert "rejected" not in stands


async def test_history_of_a_failure_and_of_what_is_open(serving: Any, tmp_path: Path) -> None:
    text = 'a = Agent { output = { n = field.integer{required = true} } }\nHuman.approve("Sure?")\na("x")'
    store = f"sqlite:///{tmp_path / 'l.db'}"
    async with serving('"no"', ledger=registry.open_ledger(store)) as site:
        run = (await site.post("/v1/runs", {"procedure": text})).json["run"]
        follower = site.engine.active(run).writer.log.follow(0)
        seen: list[str] = []
        while "human-request" not in seen:
            seen += [entry.event.type for entry in await follower.next()]
        follower.close()
        await site.engine.drain(0)
    async with serving('"no"', ledger=registry.open_ledger(store)) as site:
        told = (await site.get(f"/api/procedure/runs/{run}")).json
        assert (told["open"], told["resumable"]) == (["h1"], True)
        again = (await site.post(f"/v1/runs/{run}/responses/h1", {"value": True})).json["run"]
        assert (await site.read(again))[-1]["outcome"] == "failed"
        told = (await site.get(f"/api/procedure/runs/{again}")).json
        turn = told["items"][-1]
        assert (turn["outcome"], turn["error"]["code"]) == ("failed", "output-rejected")
        assert all("rejected" in item for item in turn["items"])
        assert told["run"]["outcome"] == "failed"
        plain = await site.start()
        assert (await site.get(f"/api/procedure/runs/{plain}")).status == 400
        assert (await site.get("/api/procedure/runs/none")).status == 404
