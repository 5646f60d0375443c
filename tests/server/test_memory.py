"""What a conversation adds up to, over HTTP."""

from __future__ import annotations

from typing import Any

from headrace.memory.runtime import Runtime

MARKED = "Gladly.\nCOMMIT: water the plants\nTRAIT: openness +0.02\nREFLECT: I like plants"


async def talked(site: Any) -> None:
    async with Runtime("scripted", engine=site.engine, conversation="c1", consistency="strict") as runtime:
        await runtime.ask("Will you look after the plants?")
        await runtime.ask("And now?")
        await runtime.settle()


async def test_the_views(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"]]) as site:
        await talked(site)
        mirror = (await site.get("/v1/conversations/c1/mirror")).json
        assert mirror["traits"]["openness"] == 0.52
        assert mirror["open"] == []
        assert [r["text"] for r in mirror["reflections"]] == ["I like plants"]
        earlier = (await site.get("/v1/conversations/c1/mirror?as_of=4&since=2")).json
        assert [made["text"] for made in earlier["open"]] == ["water the plants"]
        assert earlier["changed"]["opened"] == ["c3"]
        metrics = (await site.get("/v1/conversations/c1/metrics")).json
        assert metrics["commitments"] == {"opened": 1, "closed": 1, "open": 0}
        assert 0 <= metrics["ias"] <= 1
        assert metrics["gas"] == 0.8
        commitments = (await site.get("/v1/conversations/c1/commitments")).json
        assert commitments["closed"][0] == {"id": "c3", "text": "water the plants", "seq": 3, "closed": 8}
        traces = (await site.get("/v1/conversations/c1/traces?limit=1")).json["traces"]
        assert [step["step"] for step in traces[0]["steps"]] == ["user", "context", "generate", "response"]
        assert traces[0]["elapsed_ms"] >= 0
        assert traces[0]["first_token_ms"] > 0


async def test_the_graph_comes_in_pages_and_by_topic(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"]]) as site:
        await talked(site)
        first = (await site.get("/v1/conversations/c1/graph?limit=3")).json
        assert [node["id"] for node in first["nodes"]] == ["n1", "n2", "n3"]
        rest = (await site.get(f"/v1/conversations/c1/graph?after={first['next']}")).json
        assert [node["id"] for node in rest["nodes"]] == ["n4", "n5", "n6", "n7", "n8"]
        assert "next" not in rest
        near = (await site.get("/v1/conversations/c1/graph?topic=water+plants&limit=2")).json
        assert [node["id"] for node in near["nodes"]] == ["n3", "n2"]
        assert near["edges"] == [{"source": "n2", "kind": "commits_to", "target": "n3"}]


async def test_runs_over_http_are_in_the_views_too(serving: Any) -> None:
    async with serving([["First."], ["Second."]]) as site:
        for text in ("one", "two"):
            await site.ended(await site.start(text, conversation="c1"))
            await site.get("/v1/conversations/c1/metrics")
        assert (await site.get("/v1/conversations/c1/metrics")).json["responses"] == 2


async def test_who_may_look(serving: Any) -> None:
    async with serving([["First."]]) as site:
        for view in ("mirror", "graph", "metrics", "traces", "commitments"):
            reply = await site.get(f"/v1/conversations/nobody/{view}")
            assert (reply.status, reply.error) == (404, "run-not-found")
        assert (await site.get("/v1/conversations/nobody/mirror?as_of=x")).error == "bad-request"


async def test_the_difference_of_two_states(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"]]) as site:
        await talked(site)
        found = (await site.get("/v1/conversations/c1/diff?since=2&until=5")).json
        assert (found["from"], found["to"]) == (2, 5)
        assert found["mirror"]["opened"] == ["c3"]
        assert found["mirror"]["traits"] == {"openness": 0.02}
        assert found["graph"]["nodes"] == ["n3", "n4", "n5"]
        assert {edge["kind"] for edge in found["graph"]["edges"]} == {"commits_to", "reflects_on"}
        assert found["metrics"]["after"]["commitments"]["opened"] == 1
        whole = (await site.get("/v1/conversations/c1/diff")).json
        assert (whole["from"], whole["to"]) == (0, 8)


async def test_the_next_context(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"]]) as site:
        await talked(site)
        found = (await site.get("/v1/conversations/c1/context?text=plants")).json
        assert found["messages"][-1] == {"role": "user", "content": "plants"}
        assert {part["name"] for part in found["parts"]} >= {"identity", "metrics", "reflections"}
        assert found["seq"] == 8


async def test_verify_one_conversation_and_the_last_facts(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"]]) as site:
        await talked(site)
        last = (await site.get("/v1/conversations/c1/facts?last=true&limit=2")).json
        assert [fact["seq"] for fact in last["facts"]] == [7, 8]
        found = (await site.get("/v1/conversations/c1/verify")).json
        assert found == {"ok": True, "facts": 8, "hash": last["facts"][-1]["hash"], "problems": [], "more": 0}
        fact = site.engine.ledger._conversations["c1"].facts[3]
        site.engine.ledger._conversations["c1"].facts[3] = type(fact)(
            **{name: getattr(fact, name) for name in fact.__struct_fields__} | {"content": "changed"}
        )
        found = (await site.get("/v1/conversations/c1/verify")).json
        assert [problem["seq"] for problem in found["problems"]] == [4]
        site.engine.ledger._conversations["c1"].facts[3] = fact
        kept = site.engine.ledger._conversations["c1"].facts.pop()
        found = (await site.get("/v1/conversations/c1/verify")).json
        assert [problem["seq"] for problem in found["problems"]] == [8]  # the sealed head knows of it
        site.engine.ledger._conversations["c1"].facts.append(kept)
        assert (await site.get("/v1/conversations/c1/verify")).json["ok"]


async def test_responses_without_their_marker_lines(serving: Any) -> None:
    async with serving([[MARKED], ["CLOSE: c3"]]) as site:
        await talked(site)
        for query in ("", "&last=true"):
            found = (await site.get(f"/v1/conversations/c1/facts?markers=false&limit=20{query}")).json[
                "facts"
            ]
            assert [fact["content"] for fact in found if fact["kind"] == "response"] == ["Gladly.\n", ""]
            whole = (await site.get(f"/v1/conversations/c1/facts?limit=20{query}")).json["facts"]
            assert whole[1]["content"] == MARKED
            assert [fact["hash"] for fact in whole] == [fact["hash"] for fact in found]
