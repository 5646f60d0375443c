"""The official client against a real server: streamed, waited for, in the background, resumed, gone on from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest
from openai.types.responses import Response

from headrace import errors, messages
from headrace.protocol import sse
from headrace.providers.scripted import Call, Drop, Fail, Finish, Hang, Pause, Say, Think

USAGE = messages.Usage(basis="reported", input_tokens=12, output_tokens=7)
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
ASK: dict[str, Any] = {"model": "scripted", "input": "Hello"}


async def raw_frames(site: Any, path: str, body: Any = None, **options: Any) -> list[dict[str, Any]]:
    """The JSON of each frame of a stream."""
    reply = await (site.post(path, body, **options) if body else site.get(path, **options))
    assert reply.status == 200, reply.body
    return [json.loads(found.data) for found in sse.Decoder().feed(reply.body)]


async def started(site: Any) -> None:
    while not site.provider.calls:
        await asyncio.sleep(0)


async def test_a_streamed_answer(official: Callable) -> None:
    async with official([Think("Hm."), Say("Hello “world” 🌊\n\ndata: x"), USAGE]) as (site, client):
        stream = await client.responses.create(**ASK, stream=True)
        run = stream.response.headers["x-headrace-run"]
        found = [event async for event in stream]
        assert [event.sequence_number for event in found] == sorted(
            {event.sequence_number for event in found}
        )
        assert [found[0].type, found[1].type] == ["response.created", "response.in_progress"]
        deltas = [event.delta for event in found if event.type == "response.output_text.delta"]
        assert "".join(deltas) == "Hello “world” 🌊\n\ndata: x"
        assert found[-1].type == "response.completed"
        last = found[-1].response
        assert last.id == f"resp_{run}"
        assert last.output_text == "Hello “world” 🌊\n\ndata: x"
        assert (last.usage.input_tokens, last.usage.output_tokens, last.usage.total_tokens) == (12, 7, 19)
        again = await client.responses.retrieve(last.id)
        assert (again.status, again.output_text, again.usage) == ("completed", last.output_text, last.usage)
        assert [item.id for item in again.output] == [item.id for item in last.output]
        assert (await site.get(f"/v1/runs/{run}")).json["outcome"] == "completed"


async def test_the_clients_own_stream_helper_takes_it(official: Callable) -> None:
    async with official([Say("Looking."), Call("weather", {"city": "Paris"})]) as (_, client):
        async with client.responses.stream(**ASK, tools=[TOOL]) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert "response.function_call_arguments.done" in kinds
        assert final.output_text == "Looking."
        assert final.output[-1].type == "function_call"


async def test_a_whole_answer(official: Callable) -> None:
    async with official([Think("Hm."), Say("Hello world"), USAGE, Finish("length")]) as (_, client):
        raw = await client.responses.with_raw_response.create(**ASK, metadata={"who": "me"}, store=True)
        answer = raw.parse()
        Response.model_validate(json.loads(raw.text))
        assert raw.headers["x-headrace-run"] == answer.id.removeprefix("resp_")
        assert answer.output_text == "Hello world"
        assert answer.output[0].summary[0].text == "Hm."
        assert answer.status == "incomplete"
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert answer.usage.total_tokens == 19
        assert answer.metadata == {"who": "me"}


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_and_their_results_by_items(official: Callable, stream: bool) -> None:
    script = [
        [Say("Looking."), Call("weather", {"city": "Paris"}), Call("weather", {"city": "Rome"})],
        ["Sunny."],
    ]
    async with official(script) as (site, client):
        asked = {**ASK, "tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}}
        if stream:
            found = [event async for event in await client.responses.create(**asked, stream=True)]
            answer = found[-1].response
        else:
            answer = await client.responses.create(**asked)
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
        request = site.provider.requests[0]
        assert (request.tools[0].name, request.tool_choice) == ("weather", "weather")
        results = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls
        ]
        items = [{"role": "user", "content": "Hello"}, *[item.to_dict() for item in answer.output], *results]
        assert (await client.responses.create(model="scripted", input=items)).output_text == "Sunny."
        thread = site.provider.requests[1].messages
        assert [message.role for message in thread] == ["user", "assistant", "tool", "tool"]
        assert thread[1].text == "Looking."
        assert [part.name for part in thread[1].parts[1:]] == ["weather", "weather"]
        assert thread[3].parts == (messages.ToolResult(calls[1].call_id, "sunny"),)


async def test_what_is_asked_for_reaches_the_provider(official: Callable) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with official('{"n": 1}') as (site, client):
        await client.responses.create(
            model="scripted",
            instructions="Be brief.",
            input=[
                {"role": "developer", "content": "In French."},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is this?"},
                        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
                    ],
                },
            ],
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=99,
            reasoning={"effort": "low", "summary": "auto"},
            text={"format": {"type": "json_schema", "name": "n", "schema": schema}, "verbosity": "low"},
            truncation="auto",
            user="somebody",
            extra_body={"top_k": 5},
        )
        request = site.provider.requests[0]
        assert request.messages[0] == messages.system("Be brief.")
        assert request.messages[1] == messages.system("In French.")
        assert request.messages[2].parts[1] == messages.Image("https://example.com/a.png")
        assert (request.temperature, request.top_p, request.max_tokens) == (0.5, 0.9, 99)
        assert (request.reasoning_effort, request.output_schema) == ("low", schema)
        assert request.options == {"top_k": 5}


# going on from a response


async def test_going_on_from_a_response(official: Callable) -> None:
    async with official([["One."], ["Two."], ["Other."]]) as (site, client):
        first = await client.responses.create(**ASK, instructions="Be brief.")
        second = await client.responses.create(model="scripted", input="And?", previous_response_id=first.id)
        assert second.previous_response_id == first.id
        thread = site.provider.requests[1].messages
        assert [(m.role, m.text) for m in thread] == [
            ("user", "Hello"),
            ("assistant", "One."),
            ("user", "And?"),
        ]
        # A branch from the first sees nothing of the second.
        await client.responses.create(
            model="scripted", input="Or?", previous_response_id=first.id, instructions="Be long."
        )
        assert [m.text for m in site.provider.requests[2].messages] == ["Be long.", "Hello", "One.", "Or?"]
        runs = [(await site.get(f"/v1/runs/{r.id.removeprefix('resp_')}")).json for r in (first, second)]
        assert runs[0]["conversation"] == runs[1]["conversation"]


@pytest.mark.parametrize("kept", [True, False], ids=["in the run log", "in the ledger"])
async def test_results_of_tools_after_a_response(official: Callable, kept: bool) -> None:
    script = [[Say("Looking."), Call("weather", {"city": "Paris"})], ["Sunny."]]
    async with official(script, retention=3600.0 if kept else 0.0) as (site, client):
        first = await client.responses.create(**ASK, tools=[TOOL])
        if not kept:
            while site.engine.active(first.id.removeprefix("resp_")) is not None:
                await asyncio.sleep(0.01)
        (call,) = [item for item in first.output if item.type == "function_call"]
        second = await client.responses.create(
            model="scripted",
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
        )
        assert second.output_text == "Sunny."
        thread = site.provider.requests[1].messages
        assert [message.role for message in thread] == ["user", "assistant", "tool"]
        assert thread[1].parts[0] == messages.Text("Looking.")
        assert thread[1].parts[1].arguments == {"city": "Paris"}


async def test_a_conversation_by_name(official: Callable) -> None:
    async with official([["One."], ["Two."]]) as (site, client):
        await client.responses.create(**ASK, conversation="thread-1")
        await client.responses.create(model="scripted", input="And?", conversation={"id": "thread-1"})
        assert [m.text for m in site.provider.requests[1].messages] == ["Hello", "One.", "And?"]


async def test_what_cannot_be_gone_on_from(official: Callable) -> None:
    async with official([Say("It is"), Hang()]) as (_, client):
        for previous in ("resp_run_01JD0000000000000000000000", "something"):
            with pytest.raises(openai.BadRequestError, match="no such response") as caught:
                await client.responses.create(**ASK, previous_response_id=previous)
            assert caught.value.param == "previous_response_id"
        running = await client.responses.create(**ASK, background=True)
        with pytest.raises(openai.BadRequestError, match="not ended"):
            await client.responses.create(**ASK, previous_response_id=running.id)
        await client.responses.cancel(running.id)
        with pytest.raises(openai.BadRequestError, match="cancelled before"):
            await client.responses.create(**ASK, previous_response_id=running.id)


# reading again, and stopping


async def test_in_the_background(official: Callable) -> None:
    async with official([Say("One "), Pause(1), Say("two")]) as (site, client):
        response = await client.responses.create(**ASK, background=True)
        assert response.status in ("queued", "in_progress")
        await started(site)
        assert (await client.responses.retrieve(response.id)).status == "in_progress"
        site.gate.release()
        await site.ended(response.id.removeprefix("resp_"))
        done = await client.responses.retrieve(response.id)
        assert (done.status, done.output_text) == ("completed", "One two")


async def test_a_stream_is_resumed_after_every_frame(serving: Callable) -> None:
    script = [Think("Hm."), Say("Hello “world” and more"), Call("weather", {"city": "Paris"}), USAGE]
    async with serving(script) as site:
        whole = await raw_frames(site, "/v1/responses", {**ASK, "stream": True})
        path = f"/v1/responses/{whole[0]['response']['id']}?stream=true"

        def text(frames: list[dict[str, Any]]) -> str:
            return "".join(f["delta"] for f in frames if f["type"] == "response.output_text.delta")

        assert (await raw_frames(site, path))[-1] == whole[-1]
        for i, frame in enumerate(whole):
            rest = await raw_frames(site, f"{path}&starting_after={frame['sequence_number']}")
            assert text(whole[: i + 1]) + text(rest) == text(whole)
            steps = [f["type"] for f in rest if not f["type"].endswith(".delta")]
            assert steps == [f["type"] for f in whole[i + 1 :] if not f["type"].endswith(".delta")]
            if rest:
                assert rest[-1] == whole[-1]


async def test_the_official_client_resumes_a_stream_that_broke(official: Callable) -> None:
    async with official([Say("One"), Pause(1), Say(" two")]) as (site, client):
        stream = await client.responses.create(**ASK, stream=True)
        got, id, number = "", "", 0
        async for event in stream:
            id = event.response.id if event.type == "response.created" else id
            number = event.sequence_number
            got += event.delta if event.type == "response.output_text.delta" else ""
            if got == "One":
                break
        await stream.close()
        site.gate.release()
        async for event in await client.responses.retrieve(id, stream=True, starting_after=number):
            got += event.delta if event.type == "response.output_text.delta" else ""
        assert got == "One two"
        assert len(site.provider.calls) == 1


async def test_a_cursor_beyond_the_end_and_one_without_a_stream(official: Callable) -> None:
    async with official("Hello") as (_, client):
        id = (await client.responses.create(**ASK)).id
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.retrieve(id, stream=True, starting_after=99_999)
        assert caught.value.code == "cursor_ahead"
        with pytest.raises(openai.BadRequestError, match="stream=true"):
            await client.responses.retrieve(id, extra_query={"starting_after": 1})


async def test_stopping(official: Callable) -> None:
    async with official([Say("It is"), Hang()]) as (site, client):
        stream = await client.responses.create(**ASK, stream=True)
        first = await anext(stream)
        stopped = await client.responses.cancel(first.response.id)
        assert stopped.status == "cancelled"
        rest = [event async for event in stream]
        assert rest[-1].type == "response.failed"
        assert (await client.responses.cancel(first.response.id)).status == "cancelled"
        assert site.provider.calls[0].closed_early


async def test_a_client_that_waits_and_hangs_up_stops_the_run(official: Callable) -> None:
    async with official([Say("It is"), Hang()]) as (site, client):
        asking = asyncio.create_task(client.responses.create(**ASK))
        await started(site)
        (active,) = site.engine.all_active()
        asking.cancel()
        await active.ended.wait()
        assert active.info().outcome == "cancelled"


# failing

FAILURES = [
    ("model-not-found", openai.NotFoundError, "model_not_found"),
    ("rate-limited", openai.RateLimitError, "rate_limit_exceeded"),
    ("context-too-long", openai.BadRequestError, "context_length_exceeded"),
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
            await client.responses.create(**ASK, stream=stream)
        assert caught.value.code == word


@pytest.mark.parametrize("step", [Fail(errors.ProviderError("gone", code="provider-error")), Drop()])
async def test_a_failure_in_mid_answer_ends_the_stream(official: Callable, step: Any) -> None:
    async with official([Say("It is"), step]) as (_, client):
        found = [event async for event in await client.responses.create(**ASK, stream=True)]
        assert found[-1].type == "response.failed"
        assert found[-1].response.error.code == "server_error"
        again = await client.responses.retrieve(found[0].response.id)
        assert (again.status, again.error.code) == ("failed", "server_error")


async def test_a_key_sees_only_its_own(official: Callable) -> None:
    async with official("Hello", api_keys=["key-a", "key-b"]) as (_, client):
        mine = await client.responses.create(**ASK)
        other = client.with_options(api_key="key-b")
        for ask in (
            other.responses.retrieve(mine.id),
            other.responses.retrieve(mine.id, stream=True),
            other.responses.cancel(mine.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await ask
        with pytest.raises(openai.BadRequestError, match="no such response"):
            await other.responses.create(**ASK, previous_response_id=mine.id)
        conversation = mine.id.removeprefix("resp_")
        with pytest.raises(openai.PermissionDeniedError):
            await other.responses.create(**ASK, conversation=conversation)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="key-c").responses.create(**ASK)


REFUSED = [
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": [7]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
    ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
    ({"input": [{"role": "boss", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "name": "x"}]}, "input[0]"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
    ({"text": 7}, "text"),
    ({"reasoning": {"effort": 7}}, "reasoning.effort"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"instructions": ["x"]}, "instructions"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"previous_response_id": "resp_x", "conversation": "c"}, "previous_response_id"),
    ({"conversation": "no spaces"}, "conversation"),
]


@pytest.mark.parametrize(("body", "where"), REFUSED, ids=[where for _, where in REFUSED])
async def test_what_cannot_be_done_is_refused_by_name(serving: Callable, body: dict, where: str) -> None:
    async with serving("Hello") as site:
        reply = await site.post("/v1/responses", {**ASK, **body})
        assert reply.status == 400, reply.body
        error = reply.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"]) == ("invalid_request_error", where)
        assert where.rpartition(".")[2] in error["message"]
        assert not site.provider.calls


async def test_a_body_that_is_not_json_and_one_that_is_too_large(serving: Callable) -> None:
    async with serving("Hello", max_prompt_chars=10) as site:
        for data in (b"{", b"[]", b"\xff", b'{"input":' + b"[" * 5000):
            reply = await site.post("/v1/responses", data=data)
            assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")
        reply = await site.post("/v1/responses", {**ASK, "input": "x" * 11})
        assert (reply.status, reply.json["error"]["code"]) == (413, "too_large")


async def test_the_same_idempotency_key_is_the_same_run(serving: Callable) -> None:
    async with serving("Hello") as site:
        headers = {"Idempotency-Key": "k1"}
        first = await site.post("/v1/responses", ASK, headers=headers)
        second = await site.post("/v1/responses", ASK, headers=headers)
        assert first.json == second.json
        assert len(site.provider.calls) == 1
        assert msgspec.json.decode(first.body)["object"] == "response"
