"""Templates over HTTP: kept ones by name, looked at without running, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.server import templates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kept = tmp_path / "kept"
    (kept / "more").mkdir(parents=True)
    (kept / "who.md").write_text("Hello {{ name }}.\n")
    (kept / "letter.hr.md").write_text('<include src="who.md"/>\n[[a]]\n')
    (kept / "more" / "short.sd").write_text("[[b]]")
    (kept / "bad.hr.md").write_text("one\n [[txet:b]]")
    (tmp_path / "secret.hr.md").write_text("the treasure")
    return kept


async def test_a_kept_template_runs_by_its_name(serving: Any, tools: Any, folder: Path) -> None:
    async with serving("one two", templates=folder) as site:
        for name in ("letter", "letter.hr.md"):
            body = {"template": name, "inputs": {"name": "Ada"}, "cache": False}
            run = (await site.post("/v1/runs", body)).json["run"]
            found = await site.read(run)
            assert found[-1]["result"]["values"] == {"a": "one two"}
            assert tools.text_of(found) == "one two"
        assert site.provider.calls[0].request.messages[-1].text == "Hello Ada."


async def test_names_lead_nowhere_else(serving: Any, folder: Path) -> None:
    async with serving("x", templates=folder) as site:
        for name in ("nothing", "../secret", "/etc/passwd", "more/../../secret.hr.md", "who.md", "more"):
            reply = await site.post("/v1/templates/check", {"template": name})
            # what has not the form of a name is a text, and is taken as one
            assert reply.status == 400 or reply.json["slots"] == [], name
            assert "treasure" not in str(reply.json)
        assert (await site.get("/v1/templates/nothing")).error == "bad-request"
        assert (await site.get("/v1/templates/%2e%2e/secret")).status in (400, 404)
        (folder / "link.hr.md").symlink_to(folder.parent / "secret.hr.md")
        assert (await site.get("/v1/templates/link")).error == "bad-request"
        assert site.provider.calls == []


async def test_kept_templates_are_listed_and_read(serving: Any, folder: Path) -> None:
    async with serving("x", templates=folder) as site:
        found = (await site.get("/v1/templates")).json["templates"]
        assert [one["name"] for one in found] == ["bad", "letter", "more/short"]
        one = (await site.get("/v1/templates/more/short")).json
        assert (one["name"], one["source"], one["ok"]) == ("more/short", "[[b]]", True)
        assert [slot["name"] for slot in one["slots"]] == ["b"]
        bad = (await site.get("/v1/templates/bad")).json
        assert (bad["ok"], bad["errors"][0]["line"], bad["errors"][0]["column"]) == (False, 2, 2)
    async with serving("x") as site:
        assert (await site.get("/v1/templates")).json == {"templates": []}
        assert (await site.post("/v1/runs", {"template": "letter.hr.md"})).error == "bad-request"


async def test_check_says_what_a_template_is(serving: Any) -> None:
    text = "{{ story }} [[title]]<checkpoint/>{{ title }} [[bool:good]] <!-- [[x]] -->"
    async with serving("x") as site:
        found = (await site.post("/v1/templates/check", {"template": text})).json
        assert found["ok"] is True
        assert found["errors"] == []
        assert found["variables"] == [{"name": "story", "line": 1, "column": 1}]
        assert [(s["name"], s["streams"], s["column"], s["end_column"]) for s in found["slots"]] == [
            ("title", True, 13, 22),
            ("good", False, 47, 60),
        ]
        assert [one["needs"] for one in found["segments"]] == [[], [0]]
        assert found["waves"] == [[0], [1]]
        assert found["graph"].startswith("flowchart TD\n")
        assert found["explain"].startswith("Inputs: story\n")
        kinds = [mark["kind"] for mark in found["marks"]]
        assert kinds == ["expression", "slot", "checkpoint", "expression", "slot", "comment"]
        missing = (await site.post("/v1/templates/check", {"template": text, "inputs": {}})).json
        assert (missing["ok"], missing["errors"][0]["line"]) == (False, 1)
        assert missing["slots"]
        assert site.provider.calls == []


async def test_check_says_what_is_wrong(serving: Any) -> None:
    text = 'a\n[[inr:n]] {{ 1 + }} <include src="x.md"/>\n[[@fetch:page|"http://127.0.0.1/"]]'
    async with serving("x") as site:
        found = (await site.post("/v1/templates/check", {"template": text})).json
        assert found["ok"] is False
        assert [(e["line"], e["column"]) for e in found["errors"]] == [(2, 1), (2, 11), (2, 21), (3, 1)]
        assert [mark["kind"] for mark in found["marks"]] == ["slot", "expression", "include", "slot"]
        reply = await site.post("/v1/templates/check", {"template": "[[a]]", "more": 1})
        assert reply.error == "bad-request"


@pytest.mark.parametrize(
    "action", ['@fetch|"http://127.0.0.1/"', '@evidence|"q",folder="."', "@markdownify|x"]
)
async def test_nothing_from_outside_reads_files_or_the_network(
    serving: Any, folder: Path, action: str
) -> None:
    (folder / "reads.hr.md").write_text(f"[[{action}]] [[a]]")
    async with serving("x", templates=folder) as site:
        for template in (f"[[{action}]] [[a]]", "reads"):
            reply = await site.post("/v1/runs", {"template": template})
            assert reply.error == "template-error"
            assert reply.json["error"]["details"]["errors"][0]["column"] == 1
        assert site.provider.calls == []


def test_the_form_of_a_name(folder: Path) -> None:
    assert templates.find(folder, "letter") == (folder / "letter.hr.md").resolve()
    assert templates.find(folder, "two words [[a]]") is None
    assert templates.find(None, "word") is None


def test_the_folder_is_an_option_of_serve(folder: Path) -> None:
    import json
    import urllib.request

    from headrace.testing.server import Server

    with Server(arguments=("--templates", str(folder))) as server:
        with urllib.request.urlopen(f"{server.url}/v1/templates", timeout=30) as answer:
            found = json.load(answer)["templates"]
    assert [one["name"] for one in found] == ["bad", "letter", "more/short"]
