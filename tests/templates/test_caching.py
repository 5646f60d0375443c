from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import errors
from headrace.providers.scripted import Fail, Say, Scripted
from headrace.templates import caching


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> caching.Cache:
    store: Any = (
        caching.MemoryStore() if request.param == "memory" else caching.SqliteStore(tmp_path / "c.db")
    )
    return caching.Cache(store)


async def test_a_hit_replays_the_recorded_deltas(cache: caching.Cache) -> None:
    provider = Scripted("one two three")
    template = headrace.Template("[[a]]")
    seen = []
    for _ in range(2):
        async with template.stream(provider, cache=cache) as run:
            seen.append([v async for v in run.values()])
    assert len(provider.calls) == 1
    first, second = ([v.token for v in values if v.type == "token"] for values in seen)
    assert first == second == ["one", " two", " three"]
    assert [v.was_cached for values in seen for v in values if v.type == "slot"] == [False, True]
    await template.run(provider, cache=False)
    await headrace.Template("[[a|cache=false]]").run(provider, cache=cache)
    assert len(provider.calls) == 3
    assert cache.store.clear() == 1


async def test_endpoints_do_not_share(cache: caching.Cache) -> None:
    one, two = Scripted("one"), Scripted("two")
    template = headrace.Template("[[a]]")
    assert (await template.run(one, cache=cache))["a"] == "one"
    assert (await template.run(two, cache=cache))["a"] == "two"


async def test_whatever_changes_the_answer_is_in_the_key(cache: caching.Cache) -> None:
    provider = Scripted("3")
    for source in (
        "[[a]]",
        "[[a|temperature=0.1]]",
        "[[a|max_tokens=5]]",
        "[[int:a]]",
        "x [[a]]",
        "[[a|seed=1]]",
    ):
        await headrace.Template(source).run(provider, cache=cache)
    assert len(provider.calls) == 6


async def test_identical_questions_share_one_call(cache: caching.Cache) -> None:
    provider = Scripted(Say("x y", every=0.001))
    template = headrace.Template("same [[a]]")
    found = await asyncio.gather(*(template.run(provider, cache=cache) for _ in range(5)))
    assert len(provider.calls) == 1
    assert sorted(result.slot("a").cached for result in found) == [False, True, True, True, True]


async def test_failures_are_not_kept_and_do_not_spread(cache: caching.Cache) -> None:
    gone = errors.ProviderError("gone", code="auth-failed")
    provider = Scripted([[Say("h"), Fail(gone)], ["fine"]])
    template = headrace.Template("[[a]]")
    with pytest.raises(errors.ProviderError):
        await template.run(provider, cache=cache)
    assert (await template.run(provider, cache=cache))["a"] == "fine"


async def test_where_the_first_is_stopped_another_asks(cache: caching.Cache) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    asked = 0

    async def ask() -> caching.Entry:
        nonlocal asked
        asked += 1
        begun.set()
        await go.wait()
        return caching.Entry(((0.0, "x"),))

    first = asyncio.create_task(cache.get("k", ask))
    await begun.wait()
    second = asyncio.create_task(cache.get("k", ask))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    entry, known = await second
    assert (entry.text, known, asked) == ("x", False, 2)


def test_the_least_used_go_first(tmp_path: Path) -> None:
    for store in (caching.MemoryStore(25), caching.SqliteStore(tmp_path / "c.db", 25)):
        store.put("a", b"x" * 10)
        store.put("b", b"x" * 10)
        assert store.get("a") is not None
        store.put("c", b"x" * 10)
        assert [store.get(key) is not None for key in "abc"] == [True, False, True]
