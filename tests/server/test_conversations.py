"""Conversations: what is sent along, and what can be read back."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace import errors
from headrace.ledger import hashing
from headrace.providers.scripted import Drop, Pause, Say


async def test_the_turns_so_far_are_sent_along(serving: Any) -> None:
    async with serving([["First."], ["Second."], ["Third."]]) as site:
        for said in ("one", "two"):
            await site.ended(await site.start(said, conversation="c1"))
        await site.ended(await site.start("three", conversation="c1", system="Be kind"))
        asked = [(m.role, m.text) for m in site.provider.requests[2].messages]
        assert asked == [
            ("system", "Be kind"),
            ("user", "one"),
            ("assistant", "First."),
            ("user", "two"),
            ("assistant", "Second."),
            ("user", "three"),
        ]


async def test_an_answer_that_broke_off_is_not_sent_along(serving: Any) -> None:
    async with serving([[Say("half an"), Drop()], ["Whole."]]) as site:
        first = await site.start("one", conversation="c1")
        await site.ended(first)
        await site.ended(await site.start("two", conversation="c1"))
        asked = [(m.role, m.text) for m in site.provider.requests[-1].messages]
        assert asked == [("user", "one"), ("user", "two")]
        turns = (await site.get("/v1/conversations/c1/turns")).json["turns"]
        assert (turns[0]["run"], turns[0]["outcome"], turns[0]["reason"]) == (
            first,
            "failed",
            "stream-incomplete",
        )
        assert "response" not in turns[0]
        assert turns[1]["response"] == "Whole."


async def test_messages_of_the_callers_own_stand_for_themselves(serving: Any) -> None:
    async with serving([["First."], ["Second."]]) as site:
        await site.ended(await site.start("one", conversation="c1"))
        body = {"messages": [{"role": "user", "content": "two"}], "conversation": "c1"}
        await site.ended((await site.post("/v1/runs", body)).json["run"])
        assert [m.text for m in site.provider.requests[1].messages] == ["two"]


async def test_the_oldest_turns_make_room(serving: Any) -> None:
    async with serving([["a" * 40], ["b" * 40], ["c"]], max_prompt_chars=100) as site:
        for said in ("one", "two", "three"):
            await site.ended(await site.start(said, conversation="c1"))
        asked = [m.text for m in site.provider.requests[2].messages]
        assert asked == ["two", "b" * 40, "three"]


async def test_reading_back(serving: Any) -> None:
    async with serving([["First."], ["Second."], ["Third."]]) as site:
        runs = []
        for said in ("one", "two", "three"):
            runs.append(await site.start(said, conversation="c1"))
            await site.ended(runs[-1])
        lone = await site.start("alone")
        await site.ended(lone)
        page = (await site.get("/v1/conversations?limit=1")).json
        assert [c["conversation"] for c in page["conversations"]] == [lone]
        rest = (await site.get("/v1/conversations", params={"before": page["next"]})).json
        assert [c["conversation"] for c in rest["conversations"]] == ["c1"]
        assert "next" not in rest
        one = (await site.get("/v1/conversations/c1")).json
        assert (one["conversation"], one["count"]) == ("c1", 6)
        facts = (await site.get("/v1/conversations/c1/facts?limit=4")).json
        assert [f["kind"] for f in facts["facts"]] == ["user", "response"] * 2
        assert facts["next"] == 4
        more = (await site.get("/v1/conversations/c1/facts?after=4")).json
        assert [f["content"] for f in more["facts"]] == ["three", "Third."]
        assert more["facts"][-1]["hash"] == one["hash"]
        assert facts["facts"][0]["prev_hash"] == hashing.GENESIS
        assert (await site.get("/v1/ledger/facts?conversation=c1&limit=4")).json == facts
        only = (await site.get("/v1/conversations/c1/facts?kind=response")).json
        assert [f["content"] for f in only["facts"]] == ["First.", "Second.", "Third."]
        turns = (await site.get("/v1/conversations/c1/turns?limit=2")).json
        assert [(t["run"], t["user"], t["response"], t["outcome"]) for t in turns["turns"]] == [
            (runs[0], "one", "First.", "completed"),
            (runs[1], "two", "Second.", "completed"),
        ]
        last = (await site.get("/v1/conversations/c1/turns", params={"after": turns["next"]})).json
        assert [t["user"] for t in last["turns"]] == ["three"]
        assert "next" not in last
        assert (await site.get("/v1/ledger/verify")).json["ok"] is True


async def test_a_turn_that_is_still_open(serving: Any) -> None:
    async with serving([Say("Hm"), Pause(1)]) as site:
        run = await site.start("one", conversation="c1")
        (turn,) = (await site.get("/v1/conversations/c1/turns")).json["turns"]
        assert (turn["run"], turn["user"]) == (run, "one")
        assert "outcome" not in turn


async def test_what_is_not_there(serving: Any, tools: Any) -> None:
    async with serving() as site:
        for path in ("", "/facts", "/turns"):
            reply = await site.get(f"/v1/conversations/nope{path}")
            assert (reply.status, reply.error) == (404, "run-not-found")
        assert (await site.get("/v1/ledger/facts")).status == 422
    async with serving(ledger=tools.NO_LEDGER) as site:
        for path in ("/v1/conversations", "/v1/ledger/verify"):
            reply = await site.get(path)
            assert (reply.status, reply.error) == (503, "store-unavailable")
        run = await site.start("one", conversation="c1")
        await site.ended(run)
        assert (await site.get(f"/v1/runs/{run}")).json["outcome"] == "completed"


async def test_a_key_learns_of_verify_only_what_is_its_own(serving: Any) -> None:
    async with serving(api_keys=("alpha",)) as site:
        auth = {"authorization": "Bearer alpha"}
        await site.ended(await site.start(headers=auth))
        report = (await site.get("/v1/ledger/verify", headers=auth)).json
        assert set(report) == {"ok", "head", "problems"}
        assert report["ok"] is True


async def test_two_turns_at_once_are_both_kept(serving: Any) -> None:
    async with serving() as site:
        runs = await asyncio.gather(*(site.start(str(i), conversation="c1") for i in range(6)))
        for run in runs:
            await site.ended(run)
        turns = (await site.get("/v1/conversations/c1/turns")).json["turns"]
        assert {turn["run"] for turn in turns} == set(runs)
        assert all(turn["response"] == "Hello world" for turn in turns)
        assert errors.CODES["run-not-found"].status == 404
