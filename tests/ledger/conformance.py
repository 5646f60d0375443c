"""What every ledger must do. A store is done when a subclass with its `opened` passes.

class TestMine(conformance.Ledger):
    @asynccontextmanager
    async def opened(self, tmp_path): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, ids, ledger
from headrace.ledger import hashing

HARD_TEXTS = [
    "",
    "\n",
    "a\x00b",
    "{{slot}} </script> \x1b[31m",
    "naïve 🎉 \u202e עברית \U0010ffff \ufeff",
    "line\r\nline\u2028line",
    "'; DROP TABLE ledger; --",
    "x" * 1_000_000,
]


def record(run: str | None = None, **changes: Any) -> ledger.RunRecord:
    """A run to begin."""
    values: dict[str, Any] = {
        "run": run or ids.run_id(),
        "conversation": "c1",
        "owner": "ada",
        "kind": "chat",
        "model": "demo",
        "created": datetime.now(UTC),
    }
    return ledger.RunRecord(**(values | changes))


async def turn(
    store: ledger.Ledger, question: str = "hi", answer: str = "hello", **changes: Any
) -> ledger.RunRecord:
    """A whole turn."""
    r = record(**changes)
    assert await store.begin(r, question, {})
    await end(store, r.run, answer)
    return r


async def end(store: ledger.Ledger, run: str, answer: str = "hello") -> ledger.Fact:
    """The usual ending."""
    return await store.end(
        run, "response", answer, {}, outcome="completed", summary={"result": {"text": answer}}
    )


class Ledger:
    """The suite."""

    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        """An empty ledger; closed afterwards."""
        raise NotImplementedError

    async def test_a_turn_is_a_user_fact_and_one_ending(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record(metadata={"a": [1, None, "é"]}, idempotency_key="k")
            begun = await store.begin(r, "hi", {"n": 1})
            assert begun is not None
            assert (begun.seq, begun.id, begun.kind, begun.content) == (1, f"{r.run}:user", "user", "hi")
            assert (begun.meta, begun.prev_hash) == ({"n": 1}, hashing.GENESIS)
            assert begun.time.tzinfo == UTC
            assert await store.run(r.run) == r
            ended = await store.end(
                r.run,
                "response",
                "hello",
                {"m": 2},
                outcome="completed",
                summary={"usage": {"output_tokens": 1}},
            )
            assert (ended.seq, ended.id, ended.prev_hash) == (2, f"{r.run}:end", begun.hash)
            assert await store.facts("c1") == [begun, ended]
            there = await store.run(r.run)
            assert there is not None
            assert (there.status, there.outcome) == ("ended", "completed")
            assert there.summary == {"usage": {"output_tokens": 1}}
            assert (there.metadata, there.created) == (r.metadata, r.created)

    async def test_hashes_are_those_of_the_documented_rule(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await turn(store)
            for f in await store.facts("c1"):
                meta = hashing.canonical(f.meta)
                assert f.hash == hashing.fact_hash("c1", f.seq, f.kind, f.content, meta, f.prev_hash)

    async def test_begin_again_returns_the_first_fact(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record()
            first = await store.begin(r, "hi", {})
            assert await store.begin(r, "something else", {"x": 1}) == first
            await end(store, r.run)
            assert await store.begin(r, "hi", {}) == first
            assert len(await store.facts("c1")) == 2

    async def test_a_second_ending_is_the_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record()
            await store.begin(r, "hi", {})
            first = await end(store, r.run)
            again = await store.end(r.run, "generation-ended", "", {}, outcome="cancelled", summary={})
            assert again == first
            there = await store.run(r.run)
            assert there is not None
            assert there.outcome == "completed"

    async def test_racing_endings_make_one(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record()
            await store.begin(r, "hi", {})
            endings = await asyncio.gather(*(end(store, r.run, f"answer {i}") for i in range(20)))
            assert len({e.hash for e in endings}) == 1
            assert len(await store.facts("c1")) == 2

    async def test_append_is_idempotent_by_id(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            first = await store.append("c1", "reflection", "so it is", {"a": 1}, id="r1")
            assert await store.append("c1", "reflection", "so it is", {"a": 1}, id="r1") == first
            assert await store.append("c1", "reflection", "other", {}, id="r1") == first
            other = await store.append("c2", "reflection", "other", {}, id="r1")
            assert (other.seq, other.content) == (1, "other")

    @pytest.mark.parametrize(
        ("kind", "id"), [("user", "x"), ("response", "x"), ("note", "r:end"), ("", "x"), ("note", "")]
    )
    async def test_append_leaves_turns_alone(self, tmp_path: Path, kind: str, id: str) -> None:
        async with self.opened(tmp_path) as store:
            with pytest.raises(errors.UsageError):
                await store.append("c1", kind, "", {}, id=id)

    async def test_an_idempotency_key_names_one_run_of_an_owner(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record(idempotency_key="k")
            assert await store.begin(r, "hi", {})
            assert await store.begin(record(idempotency_key="k"), "hi", {}) is None
            assert len(await store.facts("c1")) == 1
            assert await store.run_by_key("ada", "k") == r
            assert await store.run_by_key("bob", "k") is None
            assert await store.begin(record(idempotency_key="k", owner="bob", conversation="c2"), "hi", {})

    async def test_a_conversation_belongs_to_its_first_owner(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.conversation_owner("c1") is None
            await store.append("c1", "note", "", {}, id="n")
            assert await store.conversation_owner("c1") is None
            await turn(store)
            assert await store.conversation_owner("c1") == "ada"
            with pytest.raises(errors.AccessError) as caught:
                await store.begin(record(owner="bob"), "hi", {})
            assert caught.value.code == "forbidden"
            await store.append("c1", "note", "", {}, id="n2")
            assert await store.conversation_owner("c1") == "ada"
            assert len(await store.facts("c1")) == 4

    async def test_an_unknown_run_cannot_end(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            with pytest.raises(errors.ReadError) as caught:
                await end(store, "run_nowhere")
            assert caught.value.code == "run-not-found"
            assert await store.run("run_nowhere") is None

    async def test_only_endings_end(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record()
            await store.begin(r, "hi", {})
            with pytest.raises(errors.UsageError, match="an ending is one of"):
                await store.end(r.run, "note", "", {}, outcome="completed", summary={})

    @pytest.mark.parametrize("text", HARD_TEXTS, ids=lambda t: ascii(t[:12]))
    async def test_text_comes_back_as_it_was(self, tmp_path: Path, text: str) -> None:
        async with self.opened(tmp_path) as store:
            r = await turn(store, text, text, metadata={"t": text})
            assert [f.content for f in await store.facts("c1")] == [text, text]
            there = await store.run(r.run)
            assert there is not None
            assert (there.metadata, there.summary) == ({"t": text}, {"result": {"text": text}})
            assert (await store.verify()).ok

    async def test_what_cannot_be_stored_is_refused_whole(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record()
            for content, meta in [
                ("\ud83d", {}),
                ("", {"a": "\udc00"}),
                ("", {"a": float("nan")}),
                ("", {"a": {1}}),
            ]:
                with pytest.raises(errors.UsageError):
                    await store.begin(r, content, meta)
                with pytest.raises(errors.UsageError):
                    await store.append("c1", "note", content, meta, id="n")
            with pytest.raises(errors.UsageError):
                await store.begin(record(created=datetime(2026, 1, 1)), "", {})
            with pytest.raises(errors.UsageError):
                await store.begin(record(status="ended"), "", {})
            with pytest.raises(errors.UsageError):
                await store.begin(record(conversation=""), "", {})
            assert await store.runs(owner=None) == []
            assert await store.facts("c1") == []
            assert (await store.begin(r, "", {})) is not None

    async def test_times_are_kept_in_utc(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record(created=datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))))
            await store.begin(r, "", {})
            there = await store.run(r.run)
            assert there is not None
            assert there.created == r.created
            assert there.created.utcoffset() == timedelta(0)

    async def test_pages_of_facts(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for i in range(10):
                await store.append("c1", "odd" if i % 2 else "even", str(i), {}, id=str(i))
            await store.append("c2", "odd", "x", {}, id="x")
            everything = await store.facts("c1")
            assert [f.content for f in everything] == list("0123456789")
            assert await store.facts("c1", after=3, limit=2) == everything[3:5]
            assert [f.content for f in await store.facts("c1", kinds=["odd"], limit=3)] == ["1", "3", "5"]
            assert [f.content for f in await store.facts("c1", kinds={"odd"}, after=6)] == ["7", "9"]
            assert await store.facts("c1", kinds=[]) == []
            assert await store.tail("c1", 3) == everything[-3:]
            assert [f.content for f in await store.tail("c1", 2, kinds=["even"])] == ["6", "8"]
            assert await store.tail("c1", 100) == everything
            assert await store.facts("nowhere") == await store.tail("nowhere", 1) == []
            with pytest.raises(errors.UsageError):
                await store.facts("c1", limit=0)
            with pytest.raises(errors.UsageError):
                await store.tail("c1", -1)

    async def test_pages_of_runs_newest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            names = [f"run_{i}" for i in range(6)]
            for i in (3, 0, 5, 1, 4, 2):
                owner = "ada" if i % 2 else "bob"
                await store.begin(record(names[i], owner=owner, conversation=owner), "", {})
            assert [r.run for r in await store.runs(owner=None)] == names[::-1]
            assert [r.run for r in await store.runs(owner="ada", limit=2)] == ["run_5", "run_3"]
            assert [r.run for r in await store.runs(owner="ada", before="run_3", limit=2)] == ["run_1"]
            assert [r.run for r in await store.runs(owner=None, before="run_2")] == ["run_1", "run_0"]

    async def test_pages_of_conversations_newest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for i, name in enumerate(["z", "a", "m", "b"]):
                await turn(store, conversation=name, owner="ada" if i % 2 else "bob")
            await turn(store, conversation="z", owner="bob")
            everything = await store.conversations(owner=None)
            assert [c.conversation for c in everything] == ["b", "m", "a", "z"]
            z = everything[-1]
            last = (await store.tail("z", 1))[0]
            assert (z.owner, z.count, z.hash, z.updated) == ("bob", 4, last.hash, last.time)
            assert z.created < z.updated
            assert [c.conversation for c in await store.conversations(owner="ada")] == ["b", "a"]
            before_m = await store.conversations(owner=None, before="m", limit=1)
            assert [c.conversation for c in before_m] == ["a"]
            assert await store.conversations(owner=None, before="nowhere") == []

    async def test_export_gives_everything_in_order(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for name in ("b", "a"):
                for i in range(205):
                    await store.append(name, "note", str(i), {}, id=str(i))
            everything = [f async for f in store.export()]
            assert [(f.conversation, f.seq) for f in everything] == [
                (name, i + 1) for name in ("a", "b") for i in range(205)
            ]
            assert [f async for f in store.export("b")] == everything[205:]
            assert [f async for f in store.export("nowhere")] == []

    async def test_one_conversation_is_checked_with_its_head(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            last = None
            for number in range(203):  # more than is read at a time
                last = await store.append("c1", "event", f"fact {number}\x00", {"n": number}, id=str(number))
            await store.append("c2", "event", "another", {}, id="x")
            found = await store.check("c1")
            assert (found.ok, found.facts, found.conversations) == (True, 203, 1), found.problems
            assert last is not None
            assert found.head == last.hash
            assert not (await store.check("nobody")).ok

    async def test_verify_counts(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            empty = await store.verify()
            assert (empty.ok, empty.facts, empty.conversations, empty.problems) == (True, 0, 0, [])
            await turn(store)
            await store.begin(record(conversation="c2"), "hi", {})
            report = await store.verify()
            assert (report.ok, report.facts, report.conversations, report.open_runs) == (True, 3, 2, 1)
            assert report.head != empty.head

    async def test_recover_leaves_the_living_alone(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            r = record()
            await store.begin(r, "hi", {})
            assert await store.recover() == []
            there = await store.run(r.run)
            assert there is not None
            assert there.status == "running"

    async def test_what_was_given_away_can_be_changed(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            meta = {"a": [1]}
            fact = await store.append("c1", "note", "", meta, id="n")
            meta["a"].append(2)
            fact.meta["a"].append(3)
            assert (await store.facts("c1"))[0].meta == {"a": [1]}

    async def test_many_at_once(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await asyncio.gather(*(turn(store, conversation=f"c{i % 7}") for i in range(100)))
            report = await store.verify()
            assert (report.ok, report.facts, report.open_runs) == (True, 200, 0)

    async def test_a_closed_ledger_says_so(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.close()
            await store.close()
            with pytest.raises(errors.UsageError, match="closed"):
                await store.facts("c1")
            with pytest.raises(errors.UsageError, match="closed"):
                await store.begin(record(), "hi", {})
            with pytest.raises(errors.UsageError, match="closed"):
                await store.verify()


@asynccontextmanager
async def closing(store: ledger.Ledger) -> AsyncIterator[ledger.Ledger]:
    """Close a ledger at the end of a block."""
    try:
        yield store
    finally:
        await store.close()
