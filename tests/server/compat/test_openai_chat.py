"""The official client against a real server: streaming and not, tools, usage, and every way to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest

from headrace import errors, messages
from headrace.providers.base import Capabilities
from headrace.providers.scripted import Call, Drop, Fail, Finish, Hang, Pause, Say, Think
from headrace.server.compat import openai_chat

HELLO = [{"role": "user", "content": "Hello"}]
USAGE = messages.Usage(basis="reported", input_tokens=12, output_tokens=7)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def test_a_streamed_answer(official: Callable) -> None:
    async with official([Think("Hm."), Say("Hello “world” 🌊\n\ndata: x"), USAGE]) as (site, client):
        stream = await client.chat.completions.create(
            model="scripted", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        run = stream.response.headers["x-headrace-run"]
        chunks = [chunk async for chunk in stream]
        assert {chunk.id for chunk in chunks} == {f"chatcmpl-{run}"}
        assert {chunk.model for chunk in chunks} == {"scripted"}
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert deltas[0].role == "assistant"
        assert "".join(delta.content or "" for delta in deltas) == "Hello “world” 🌊\n\ndata: x"
        assert "".join(getattr(delta, "reasoning_content", "") or "" for delta in deltas) == "Hm."
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert chunks[-1].usage is not None
        assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (12, 7)
        assert (await site.get(f"/v1/runs/{run}")).json["outcome"] == "completed"


async def test_nothing_but_data_blocks(serving: Callable) -> None:
    async with serving("Hello world") as site:
        reply = await site.post(
            "/v1/chat/completions", {"model": "scripted", "messages": HELLO, "stream": True}
        )
    blocks = reply.body.split(b"\n\n")
    assert blocks.pop() == b""
    assert blocks[-1] == b"data: [DONE]"
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    assert b'"usage"' not in reply.body


async def test_a_whole_answer(official: Callable) -> None:
    async with official([Say("Hello world"), USAGE, Finish("length")]) as (_, client):
        raw = await client.chat.completions.with_raw_response.create(model="scripted", messages=HELLO)
        answer = raw.parse()
        assert raw.headers["x-headrace-run"] == answer.id.removeprefix("chatcmpl-")
        assert answer.choices[0].message.content == "Hello world"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.total_tokens == 19


async def test_usage_that_is_not_known_is_absent(official: Callable) -> None:
    async with official("Hello") as (_, client):
        assert (await client.chat.completions.create(model="scripted", messages=HELLO)).usage is None


@pytest.mark.parametrize("stream", [True, False])
async def test_tools(official: Callable, stream: bool) -> None:
    script = [Say("Looking."), Call("weather", {"city": "Paris"}), Call("weather", {"city": "Rome"})]
    async with official(script) as (site, client):
        asked = {"model": "scripted", "messages": HELLO, "tools": [TOOL], "tool_choice": "auto"}
        if stream:
            calls: dict[int, list[str]] = {}
            reasons = []
            async for chunk in await client.chat.completions.create(**asked, stream=True):
                reasons.append(chunk.choices[0].finish_reason)
                for call in chunk.choices[0].delta.tool_calls or ():
                    known = calls.setdefault(call.index, [call.id, call.function.name, ""])
                    known[2] += call.function.arguments
            got = list(calls.values())
            assert reasons[-1] == "tool_calls"
        else:
            choice = (await client.chat.completions.create(**asked)).choices[0]
            assert choice.finish_reason == "tool_calls"
            assert choice.message.content == "Looking."
            got = [[c.id, c.function.name, c.function.arguments] for c in choice.message.tool_calls]
        assert [call[:2] for call in got] == [["call_1", "weather"], ["call_2", "weather"]]
        assert [msgspec.json.decode(call[2]) for call in got] == [{"city": "Paris"}, {"city": "Rome"}]
        request = site.provider.requests[0]
        assert request.tools[0].name == "weather"
        assert request.tools[0].parameters["properties"] == {"city": {"type": "string"}}
        assert request.tool_choice == "auto"


async def test_results_of_tools_go_back_in(official: Callable) -> None:
    async with official("It is sunny.") as (site, client):
        call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        await client.chat.completions.create(
            model="scripted",
            messages=[
                *HELLO,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            ],
        )
        thread = site.provider.requests[0].messages
        assert [message.role for message in thread] == ["user", "assistant", "tool"]
        assert thread[2].parts[0] == messages.ToolResult("call_1", "sunny")


async def test_what_is_asked_for_reaches_the_provider(official: Callable) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with official('{"n": 1}') as (site, client):
        await client.chat.completions.create(
            model="scripted",
            messages=[{"role": "developer", "content": "Be brief."}, *HELLO],
            temperature=0.5,
            top_p=0.9,
            seed=7,
            stop=["END"],
            max_completion_tokens=99,
            reasoning_effort="low",
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            presence_penalty=0.25,
            user="somebody",
            extra_body={"top_k": 5},
        )
        request = site.provider.requests[0]
        assert request.messages[0] == messages.system("Be brief.")
        assert (request.temperature, request.top_p, request.seed, request.stop) == (0.5, 0.9, 7, ("END",))
        assert (request.max_tokens, request.reasoning_effort) == (99, "low")
        assert request.output_schema == schema
        assert request.options == {"presence_penalty": 0.25, "top_k": 5}


FAILURES = [
    ("model-not-found", openai.NotFoundError, "model_not_found"),
    ("rate-limited", openai.RateLimitError, "rate_limit_exceeded"),
    ("bad-request", openai.BadRequestError, "bad_request"),
    ("context-too-long", openai.BadRequestError, "context_length_exceeded"),
    ("content-blocked", openai.UnprocessableEntityError, "content_filter"),
    ("auth-failed", openai.InternalServerError, "auth_failed"),
    ("provider-overloaded", openai.InternalServerError, "provider_overloaded"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("code", "kind", "word"), FAILURES)
async def test_failures_before_the_first_token_are_exceptions(
    official: Callable, code: str, kind: type[openai.APIStatusError], word: str, stream: bool
) -> None:
    failure = errors.ProviderError("scripted: no", code=code, retryable=False)
    async with official([Fail(failure)]) as (_, client):
        with pytest.raises(kind, match="scripted: no") as caught:
            await client.chat.completions.create(model="scripted", messages=HELLO, stream=stream)
        assert caught.value.status_code == errors.CODES[code].status
        assert caught.value.code == word
        assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_model_that_there_is_not(official: Callable) -> None:
    async with official("Hello") as (_, client):
        for model in ("nowhere:model", "nowhere"):
            with pytest.raises(openai.NotFoundError, match="no provider 'nowhere'") as caught:
                await client.chat.completions.create(model=model, messages=HELLO, stream=True)
            assert caught.value.code == "model_not_found"


async def test_a_wrong_key(official: Callable) -> None:
    async with official("Hello", api_keys=["key-b"]) as (_, client):
        with pytest.raises(openai.AuthenticationError, match="not one of this server's"):
            await client.chat.completions.create(model="scripted", messages=HELLO)


@pytest.mark.parametrize("step", [Fail(errors.ProviderError("gone", code="provider-error")), Drop()])
async def test_a_failure_in_mid_answer_raises_in_the_loop(official: Callable, step: Any) -> None:
    async with official([Say("It is"), step]) as (_, client):
        got: list[str] = []

        async def read() -> None:
            async for chunk in await client.chat.completions.create(
                model="scripted", messages=HELLO, stream=True
            ):
                got.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - kept up to the error

        with pytest.raises(openai.APIError):
            await read()
        assert "".join(got) == "It is"


async def test_a_stopped_run_does_not_look_complete(official: Callable) -> None:
    async with official([Say("It is"), Hang()]) as (site, client):
        stream = await client.chat.completions.create(model="scripted", messages=HELLO, stream=True)
        run = stream.response.headers["x-headrace-run"]
        assert (await anext(stream)).choices[0].delta.role == "assistant"
        assert (await anext(stream)).choices[0].delta.content
        await site.post(f"/v1/runs/{run}/cancel")

        async def read_on() -> None:
            async for _ in stream:
                pass

        with pytest.raises(openai.APIError, match="cancelled"):
            await read_on()


async def test_a_provider_that_breaks_off_is_gone_on_from(official: Callable, serving: Callable) -> None:
    async with official([Say("The answer "), Drop()]) as (site, client):
        from headrace.providers import scripted

        spare = scripted.Scripted([Say("The answer is 42.")], capabilities=Capabilities(prefill=True))
        site.service.registry.register("spare", spare)
        got = ""
        stream = await client.chat.completions.create(
            model="scripted", messages=HELLO, stream=True, extra_body={"fallbacks": ["spare"]}
        )
        async for chunk in stream:
            got += chunk.choices[0].delta.content or ""
        assert got == "The answer is 42."


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_stops_the_run(official: Callable, stream: bool) -> None:
    async with official([Pause(1), Say("It is"), Hang()]) as (site, client):
        asking = asyncio.create_task(
            client.chat.completions.create(model="scripted", messages=HELLO, stream=stream)
        )
        while not site.provider.calls:
            await asyncio.sleep(0)
        (active,) = site.engine.all_active()
        if stream:
            site.gate.release()
            answer = await asking
            await answer.close()
        else:
            asking.cancel()
            await asyncio.wait([asking])
        await active.ended.wait()
        assert active.info().outcome == "cancelled"
        assert site.provider.calls[0].closed_early


REFUSED = [
    ({"n": 2}, "n"),
    ({"messages": []}, "messages"),
    ({"logprobs": True}, "logprobs"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"tools": [{"type": "custom"}]}, "tools[0]"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
]


@pytest.mark.parametrize(("body", "where"), REFUSED, ids=[where for _, where in REFUSED])
async def test_what_cannot_be_done_is_refused_by_name(serving: Callable, body: dict, where: str) -> None:
    async with serving("Hello") as site:
        reply = await site.post("/v1/chat/completions", {"model": "scripted", "messages": HELLO, **body})
        assert reply.status == 400
        error = reply.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert error["param"] == where
        assert not site.provider.calls


async def test_a_body_that_is_not_json(serving: Callable) -> None:
    async with serving("Hello") as site:
        for data in (b"{", b"[]", b"\xff"):
            reply = await site.post("/v1/chat/completions", data=data)
            assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


def test_parsing_is_pure() -> None:
    asked = openai_chat.parse(
        msgspec.json.encode({"messages": HELLO, "stream": True, "response_format": {"type": "json_object"}})
    )
    assert asked.stream
    assert not asked.include_usage
    assert asked.body.output_schema == {"type": "object"}
    assert asked.body.on_disconnect == "cancel"
    assert asked.body.failover == "continue"


async def test_the_same_idempotency_key_is_the_same_run(serving: Callable) -> None:
    async with serving("Hello") as site:
        body = {"model": "scripted", "messages": HELLO}
        headers = {"Idempotency-Key": "k1"}
        first = await site.post("/v1/chat/completions", body, headers=headers)
        second = await site.post("/v1/chat/completions", {**body, "stream": True}, headers=headers)
        assert first.headers["x-headrace-run"] == second.headers["x-headrace-run"]
        assert len(site.provider.calls) == 1
