"""The client against a real server, over lines that a relay breaks."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pydantic
import pytest

from headrace import Retraction, errors, events, messages
from headrace.client import Client
from headrace.client.following import Patience
from headrace.protocol import lifecycle
from headrace.providers import scripted
from headrace.providers.scripted import Drop, Fail, Finish, Hang, Pause, Say, by_size
from headrace.testing import relay

STORY = "Once upon a time, “in a” 🌊 land\n\ndata: far away. " * 40
QUICK = Patience(first=0.001, longest=0.01, give_up=20)


def _client(url: str, **options: Any) -> Client:
    return Client(url, **{"patience": QUICK, **options})


async def test_a_run_from_start_to_end(serving: Callable) -> None:
    async with serving(STORY) as site, _client(site.url) as client:
        run = await client.start("scripted", "Hi", metadata={"page": 1})
        assert "".join([token async for token in client.text(run)]) == STORY
        result = await client.result(run)
        assert (result.text, result.outcome, result.finish_reason) == (STORY, "completed", "stop")
        info = await client.run(run)
        assert (info.status, info.metadata, info.result["text"]) == ("ended", {"page": 1}, STORY)
        assert [found.run for found in await client.runs(limit=5)] == [run]


async def test_messages_in_either_form(serving: Callable) -> None:
    async with serving("Hello") as site, _client(site.url) as client:
        run = await client.start(prompt=[messages.system("Be brief."), {"role": "user", "content": "Hi"}])
        await client.result(run)
        assert site.provider.requests[0].messages == (messages.system("Be brief."), messages.user("Hi"))


async def test_pages_of_runs(serving: Callable) -> None:
    async with serving("Hello") as site, _client(site.url) as client:
        started = [await client.start("scripted", str(i)) for i in range(3)]
        first = await client.runs(limit=2)
        rest = await client.runs(limit=2, before=first[-1].run)
        assert sorted(found.run for found in first + rest) == sorted(started)


async def test_stopping(serving: Callable) -> None:
    async with serving([Say("One "), Hang()]) as site, _client(site.url) as client:
        run = await client.start("scripted", "Hi")
        assert (await client.cancel(run)).outcome == "cancelled"
        assert (await client.cancel(run)).outcome == "cancelled"
        assert (await client.result(run)).outcome == "cancelled"


async def test_going_on_from_a_cursor(serving: Callable) -> None:
    async with serving("One two three") as site, _client(site.url) as client:
        run = await client.start("scripted", "Hi")
        everything = [event async for event in client.follow(run)]
        for after in (3, f"{run}.3"):
            assert [event.seq async for event in client.follow(run, after)] == [
                event.seq for event in everything[3:]
            ]
        assert [event async for event in client.follow(run, everything[-1].seq)] == []


async def test_a_failed_run_raises_after_its_text(serving: Callable) -> None:
    failure = errors.ProviderError("gone", code="provider-error", retryable=False)
    async with serving([Say("It is"), Fail(failure)]) as site, _client(site.url) as client:
        run = await client.start("scripted", "Hi")
        got: list[str] = []

        async def read() -> None:
            async for token in client.text(run):
                got.append(token)  # noqa: PERF401 - what came before the error is kept

        with pytest.raises(errors.ProviderError, match="gone"):
            await read()
        assert "".join(got) == "It is"
        with pytest.raises(errors.ProviderError, match="gone"):
            await client.result(run)


class Invoice(pydantic.BaseModel):
    number: str
    total: float


async def test_a_structured_answer_grows_here_as_well(serving: Callable) -> None:
    good = Say('{"number": "A-17", "total": 12.5}', pieces=by_size(5), every=0.001)
    bad = Say('{"number": "B", "total": "much"}', pieces=by_size(5), every=0.001)
    async with serving([[bad], [good]]) as site, _client(site.url) as client:
        run = await client.start("scripted", "Hi", output=Invoice)
        seen = [copy.copy(value) async for value in client.partials(run, Invoice)]
        assert seen[-1] == Invoice(number="A-17", total=12.5)
        assert all(isinstance(value, Invoice) for value in seen)
        numbers = [value.number for value in seen if value.total is None]
        assert {"A-", "A-17"} & set(numbers)
        plain = [copy.copy(value) async for value in client.partials(run)]
        assert plain[-1] == {"number": "A-17", "total": 12.5}
        fields = [field async for field in client.fields(run)]
        assert [field.retracted for field in fields if field.retracted] == ["early-reject"]
        assert [(f.path, f.value) for f in fields if f.done][-2:] == [("/number", "A-17"), ("/total", 12.5)]
        assert "".join(f.delta for f in fields[-10:] if f.path == "/number").endswith("A-17")


async def test_a_structured_answer_that_fails_raises_after_its_values(serving: Callable) -> None:
    cut = [Say('{"number": "A-17", "to', pieces=by_size(5)), Finish("length")]
    async with serving(cut) as site, _client(site.url) as client:
        run = await client.start("scripted", "Hi", output=Invoice)
        last: list[Any] = []

        async def read(source: Any) -> None:
            async for value in source:
                last[:] = [copy.copy(value)]

        for source in (client.fields(run), client.partials(run, Invoice)):
            with pytest.raises(errors.RunError) as caught:
                await read(source)
            assert caught.value.code == "output-rejected"
        assert last[0].number == "A-17"


async def test_text_that_is_taken_back(serving: Callable) -> None:
    async with serving([Say("Wrong"), Drop()]) as site, _client(site.url) as client:
        site.registry.register("spare", scripted.Scripted("Right"))
        run = await client.start("scripted", "Hi", fallbacks=["spare"])
        tokens = [token async for token in client.text(run)]
        assert [type(token) for token in tokens] == [str, Retraction, str]
        assert tokens[1].reason == "failover"


# -- errors -----------------------------------------------------------------------------------------------


async def test_errors_have_their_family_and_code(serving: Callable) -> None:
    async with serving("Hello", api_keys=["key"]) as site:
        async with _client(site.url) as client:
            with pytest.raises(errors.AccessError) as denied:
                await client.runs()
            assert denied.value.code == "unauthorized"
        async with _client(site.url, api_key="key") as client:
            with pytest.raises(errors.ReadError) as missing:
                await client.run("run_01JD0000000000000000000000")
            assert missing.value.code == "run-not-found"
            with pytest.raises(errors.ReadError):
                await anext(client.follow("run_01JD0000000000000000000000"))
            with pytest.raises(errors.UsageError) as bad:
                await client.start("scripted", "Hi", colour="red")
            assert bad.value.code == "bad-request"
            assert bad.value.details["where"]
            run = await client.start("scripted", "Hi")
            await client.result(run)
            with pytest.raises(errors.ReadError) as ahead:
                await anext(client.follow(run, 10_000))
            assert ahead.value.code == "cursor-ahead"
            with pytest.raises(errors.ReadError) as foreign:
                client.batches(run, "run_x.3")
            assert foreign.value.code == "cursor-foreign"


async def test_no_server_is_told_with_what_to_do() -> None:
    async with _client("http://127.0.0.1:1", patience=Patience(give_up=0.05)) as client:
        for asking in (client.runs(), anext(client.follow("run_x"))):
            with pytest.raises(errors.ProviderError, match="headrace serve") as caught:
                await asking
            assert caught.value.code == "provider-unreachable"


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (relay.reply(200, "<html>Sign in</html>"), "provider-protocol"),
        (relay.reply(301, "", {"Location": "http://127.0.0.1:1/"}), "bad-request"),
        (relay.reply(403, "<html>no</html>"), "forbidden"),
        (relay.reply(410, {"error": {"code": "retention-passed", "message": "gone"}}), "retention-passed"),
    ],
)
async def test_what_is_no_headrace_server(serving: Callable, plan: relay.Plan, code: str) -> None:
    async with serving("Hello") as site, relay.Relay(site.url, plan) as line, _client(line.url) as client:
        with pytest.raises(errors.HeadraceError) as caught:
            await anext(client.follow("run_x"))
        assert caught.value.code == code
        if code != "retention-passed":
            with pytest.raises(errors.HeadraceError) as caught:
                await client.runs()
            assert caught.value.code == code


async def test_an_overloaded_server_is_tried_again(serving: Callable) -> None:
    busy = relay.reply(503, {"error": {"code": "store-unavailable", "message": "a moment"}})
    async with serving("Hello") as site:
        async with (
            relay.Relay(site.url, relay.PASS, busy, busy, relay.PASS) as line,
            _client(line.url) as client,
        ):
            run = await client.start("scripted", "Hi")
            assert [token async for token in client.text(run)] == ["Hello"]
            assert len(line.connections) == 4


# -- lines that break -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_cut_anywhere_the_text_is_the_answer(serving: Callable, seed: int) -> None:
    dice = random.Random(seed)

    def plan(number: int) -> relay.Plan:
        if number == 0:
            return relay.PASS
        if dice.random() < 0.1:
            return relay.refuse()
        return relay.cut(after_bytes=dice.randint(200, 6000), reset=dice.random() < 0.5)

    script = [
        Say(STORY, pieces=scripted.by_seed(seed)),
        Pause(0.01),
        Say(STORY, pieces=scripted.by_seed(seed)),
    ]
    async with serving(script) as site, relay.Relay(site.url, plan) as line, _client(line.url) as client:
        run = await client.start("scripted", "Hi")
        text, seq, table = "", 0, lifecycle.Lifecycle()
        async for event in client.follow(run):
            assert (getattr(event, "from_seq", None) or event.seq) == seq + 1
            seq = event.seq
            table.check(event)
            if isinstance(event, events.TextDelta):
                text += event.delta
        assert table.ended
        assert text == STORY * 2
        assert len(line.connections) > 3
        assert len(site.provider.calls) == 1


async def test_a_silent_line_is_left(serving: Callable) -> None:
    async with serving("Hello") as site:
        plans = (relay.PASS, relay.stall(after_events=2), relay.PASS)
        async with relay.Relay(site.url, *plans) as line, _client(line.url, silence=0.2) as client:
            run = await client.start("scripted", "Hi")
            assert [token async for token in client.text(run)] == ["Hello"]
            assert len(line.connections) == 3


async def test_a_start_whose_answer_was_lost_starts_one_run(serving: Callable) -> None:
    async with serving("Hello") as site:
        plans = (relay.cut(after_bytes=0), relay.cut(after_bytes=20, reset=True), relay.PASS)
        async with relay.Relay(site.url, *plans) as line, _client(line.url) as client:
            run = await client.start("scripted", "Hi")
            await client.result(run)
            assert [found.run for found in await client.runs()] == [run]
            assert len(site.provider.calls) == 1


async def test_leaving_closes_the_line_and_not_the_run(serving: Callable) -> None:
    async with serving([Say("One"), Hang()]) as site:
        async with relay.Relay(site.url) as line, _client(line.url) as client:
            run = await client.start("scripted", "Hi")
            async with aclosing(client.text(run)) as tokens:
                assert await anext(tokens) == "One"
            await line.connections[1].wait_ended()
            assert line.connections[1].closed_by == "client"
            active = site.engine.active(run)
            while active.writer.log.followers:
                await asyncio.sleep(0)
            assert (await client.run(run)).status == "running"


def test_the_server_is_found_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_URL", "http://127.0.0.1:9/")
    assert Client().url == "http://127.0.0.1:9"
