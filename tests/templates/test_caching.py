from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headrace
from headrace import errors
from headrace.providers.scripted import Fail, Hang, Say, Scripted
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
    found = await asyncio.gather(*(template.run(provider, cache=cache) for _ in range(20)))
    assert len(provider.calls) == 1
    assert sorted(result.slot("a").cached for result in found) == [False, *[True] * 19]


async def test_twenty_alike_in_one_template_make_one_call(cache: caching.Cache) -> None:
    provider = Scripted(Say("x y", every=0.001))
    slots = " ".join(f"[[s{n}]]" for n in range(20))
    result = await headrace.Template(f"same <together>{slots}</together>").run(provider, cache=cache)
    assert set(result.values()) == {"x y"}
    assert len(provider.calls) == 1


async def test_two_urls_of_one_provider_do_not_share(cache: caching.Cache) -> None:
    from headrace.testing.playback import Request, Response, ScriptedHTTP

    frames = [
        b'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]

    def reply(request: Request) -> Response:
        return Response(body=b"".join(frames))

    from headrace import settings
    from headrace.providers.registry import Registry
    from headrace.runlog import MemoryRunLog

    async with ScriptedHTTP(reply) as one, ScriptedHTTP(reply) as two:
        for site in (one, two, one, two):
            chosen = settings.Settings(openai_base_url=f"{site.url}/v1", openai_api_key="k")  # type: ignore[arg-type]
            registry = Registry(chosen)
            engine = headrace.Engine(registry, MemoryRunLog())
            await headrace.Template("q [[a]]").run("openai:m", engine=engine, cache=cache)
            await engine.close()
            await registry.close()
        assert (len(one.requests), len(two.requests)) == (1, 1)


async def test_a_second_run_makes_no_request(cache: caching.Cache) -> None:
    provider = Scripted(lambda r: '{"value": 3}' if "'n'" in r.messages[-1].text else "x")
    template = headrace.Template("[[a]]<checkpoint>{{ a }} <together>[[b]] y [[c]]</together>[[int:n]]")
    first = await template.run(provider, cache=cache)
    asked = len(provider.calls)
    second = await template.run(provider, cache=cache)
    assert (len(provider.calls), dict(second)) == (asked, dict(first))
    assert all(slot.cached and slot.attempts == 0 and slot.usage is None for slot in second.slots)


async def test_what_was_stopped_or_did_not_fit_leaves_nothing(cache: caching.Cache) -> None:
    provider = Scripted([[Say("half"), Hang()], ["far too long"], ["far too long"], ["x"]])
    async with headrace.Template("q [[a]]").stream(provider, cache=cache) as run:
        async for value in run.values():
            if value.type == "token":
                break
    with pytest.raises(errors.RunError):
        await headrace.Template("[[a|max_length=3]]").run(provider, cache=cache)
    assert cache.store.clear() == 0


def test_a_kill_in_the_middle_of_a_write_leaves_a_readable_cache(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    writer = (
        "import sys, msgspec; from headrace.templates import caching\n"
        f"store = caching.SqliteStore({str(path)!r}, 3_000_000)\n"
        "for n in range(10**6):\n"
        "    entry = caching.Entry(((0.0, [str(n) * 20_000]),), 'stop')\n"
        "    store.put(str(n % 200), msgspec.msgpack.encode(entry))\n"
        "    print(n, flush=True)\n"
    )
    for round in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", writer], stdout=subprocess.PIPE, env=dict(os.environ)
        )
        assert process.stdout is not None
        for _ in range(20 + 7 * round):
            assert process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        store = caching.SqliteStore(path, 3_000_000)
        found = [store.get(str(n)) for n in range(200)]
        kept = [msgspec.msgpack.decode(data, type=caching.Entry) for data in found if data is not None]
        assert kept
        assert all(entry.text == entry.text[: len(entry.text) // 20_000] * 20_000 for entry in kept)
        store.put("more", b"x")
        assert store.get("more") == b"x"
        store.close()


async def test_the_recorded_pace_on_request(cache: caching.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *more: Any) -> None:
        waits.append(seconds)
        await sleep(0)

    entry = caching.Entry(((0.0, ["one"]), (250.0, [" two"]), (300.0, [" three"])), "stop")
    template, provider = headrace.Template("[[a]]"), Scripted("one two three")
    await template.run(provider, cache=cache)

    async def stored(key: str, ask: Any) -> tuple[caching.Entry, bool]:
        return entry, True

    monkeypatch.setattr(cache, "get", stored)
    monkeypatch.setattr("headrace.templates.asking.asyncio.sleep", noted)
    assert (await template.run(provider, cache=cache, pace=True))["a"] == "one two three"
    assert waits == [0.0, 0.25, 0.05]
    waits.clear()
    await template.run(provider, cache=cache)
    assert waits == []


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
        return caching.Entry(((0.0, ["x"]),))

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


async def test_what_cannot_be_read_any_more_is_written_anew() -> None:
    store = caching.MemoryStore()
    kept = caching.Cache(store)

    async def ask() -> caching.Entry:
        return caching.Entry(((0.0, ["x"]),))

    store.put("k", b"of another version")
    assert [(await kept.get("k", ask))[1] for _ in range(2)] == [False, True]


async def test_a_kept_answer_that_does_not_fit_any_more_is_asked_again(cache: caching.Cache) -> None:
    import pydantic

    strict = False

    class Item(pydantic.BaseModel):
        name: str

        @pydantic.field_validator("name")
        @classmethod
        def check(cls, name: str) -> str:
            if strict and name != "good":
                raise ValueError("no")
            return name

    provider = Scripted([['{"value": {"name": "bad"}}'], ['{"value": {"name": "good"}}']])
    template = headrace.Template("[[!item:a]]", models={"item": Item})
    assert (await template.run(provider, cache=cache))["a"].name == "bad"
    strict = True
    result = await template.run(provider, cache=cache)
    assert (result["a"].name, result.slot("a").cached) == ("good", False)
