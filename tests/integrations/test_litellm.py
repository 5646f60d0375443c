"""LiteLLM as a provider: its own mock answers, and vendors played over a real socket."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from headrace import errors, messages, settings
from headrace.integrations import litellm as bridge
from headrace.providers import base
from headrace.testing.playback import Ending, Response, ScriptedHTTP
from headrace.testing.providers import Collected, check_answer, check_provider, collect, exchange, request

installed = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None,
    reason="litellm is not installed (it pins an older openai, so it lives in an environment of its own)",
)
MODEL = "openai/gpt-4o-mini"
HEADERS = {"Content-Type": "text/event-stream"}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


USAGE = {
    **chunk({}),
    "choices": [],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
HELLO = (chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}))


def sse(*chunks: dict[str, Any], done: bool = True) -> bytes:
    body = b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in chunks)
    return body + (b"data: [DONE]\n\n" if done else b"")


async def ask(response: Response, **fields: Any) -> tuple[Collected, ScriptedHTTP]:
    async with ScriptedHTTP(response) as server:
        provider = bridge.provider(settings.load())
        options = {"api_base": server.url, "api_key": "sk-test"}
        found = await collect(provider, request(MODEL, options=options, **fields))
        await provider.close()
    return found, server


@installed
async def test_it_passes_the_checks() -> None:
    await check_provider(
        lambda: bridge.provider(settings.load()),
        model=MODEL,
        options={"options": {"mock_response": "A mock answer of a few words."}},
    )


@installed
async def test_an_answer_with_a_tool_call_and_usage() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    more = {"index": 0, "function": {"arguments": "1}"}}
    body = sse(
        *HELLO, chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}), chunk({}, "tool_calls"), USAGE
    )
    found, server = await ask(Response(200, headers=HEADERS, body=body))
    check_answer(found)
    assert found.parts == (messages.Text("Hello"), messages.ToolCall("c1", "f", {"a": 1}, '{"a":1}'))
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.basis) == (3, 2, "reported")
    assert found.end is not None
    assert found.end.finish_reason == "tool-calls"
    assert len(server.requests) == 1


@installed
async def test_reasoning_and_a_usage_that_litellm_counted_itself() -> None:
    body = sse(chunk({"reasoning_content": "hm"}), chunk({"content": "Yes."}), chunk({}, "stop"))
    found, _ = await ask(Response(200, headers=HEADERS, body=body))
    check_answer(found)
    assert found.parts == (messages.Reasoning("hm"), messages.Text("Yes."))
    assert found.usage is not None
    assert found.usage.basis == "estimated"


@installed
@pytest.mark.parametrize("ending", ["clean", "cut"])
async def test_a_stream_that_breaks_off_is_incomplete(ending: Ending) -> None:
    found, server = await ask(Response(200, headers=HEADERS, body=sse(*HELLO, done=False), ending=ending))
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "stream-incomplete"
    assert found.text == "Hello"
    assert len(server.requests) == 1


@installed
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad-request"),
        (401, "auth-failed"),
        (404, "model-not-found"),
        (429, "rate-limited"),
        (500, "provider-error"),
        (503, "provider-overloaded"),
    ],
)
async def test_a_vendors_refusal_is_typed_and_not_retried(status: int, code: str) -> None:
    found, server = await ask(Response(status, body={"error": {"message": "no", "type": "x"}}))
    assert isinstance(found.error, errors.ProviderError)
    assert (found.error.code, found.error.provider_status) == (code, status)
    assert len(server.requests) == 1


@installed
async def test_a_vendor_that_is_not_there() -> None:
    provider = bridge.provider(settings.load())
    options = {"api_base": "http://127.0.0.1:9", "api_key": "k"}
    found = await collect(provider, request(MODEL, options=options))
    await provider.close()
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code in ("provider-unreachable", "provider-error")
    assert found.error.retryable


@installed
async def test_leaving_closes_the_vendors_socket() -> None:
    response = Response(200, headers=HEADERS, body=sse(*HELLO, done=False), ending="hang")
    async with ScriptedHTTP(response) as server:
        provider = bridge.provider(settings.load())
        options = {"api_base": server.url, "api_key": "sk-test"}
        stream: Any = provider.stream(request(MODEL, options=options), exchange())
        await anext(stream)
        await stream.aclose()
        await server.wait_left()
        await provider.close()


@installed
async def test_a_silent_vendor_meets_the_time_outs() -> None:
    response = Response(200, headers=HEADERS, body=sse(*HELLO, done=False), ending="hang")
    async with ScriptedHTTP(response) as server:
        provider = bridge.provider(settings.load())
        options = {"api_base": server.url, "api_key": "sk-test"}
        found = await collect(provider, request(MODEL, options=options), base.Timeouts(stall=0.2))
        await provider.close()
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == "provider-timeout"
    assert found.text == "Hello"


@installed
def test_capabilities_come_from_litellms_table() -> None:
    provider = bridge.provider(settings.load())
    assert not provider.capabilities("openai/gpt-4o-mini").reasoning
    assert provider.capabilities("nobody/nothing") == base.Capabilities()


@installed
async def test_a_host_needs_a_key_of_its_own() -> None:
    provider = bridge.provider(settings.load())
    found = await collect(provider, request(MODEL, options={"api_base": "http://127.0.0.1:9"}))
    assert isinstance(found.error, errors.UsageError)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(errors.MissingExtra, match=r"headrace\[litellm\]"):
        bridge.provider(settings.load())


class RateLimitError(Exception):
    """Named as LiteLLM's is, which is how it is told."""

    status_code = 429


class MidStream(Exception):
    def __init__(self, inner: Exception) -> None:
        self.original_exception = inner


class FakeLibrary:
    """Stands in for the module, so that the mapping of errors is tested everywhere."""

    model_cost: ClassVar[dict[str, Any]] = {}

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    async def acompletion(self, **arguments: Any) -> Any:
        self.arguments = arguments
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (RateLimitError("slow"), "rate-limited", 429),
        (MidStream(RateLimitError("slow")), "rate-limited", 429),
        (ValueError("odd"), "provider-error", None),
    ],
)
async def test_exceptions_are_told_by_their_names(error: Exception, code: str, status: int | None) -> None:
    library = FakeLibrary(error)
    found = await collect(bridge.LiteLLM(library), request("m", temperature=0.5))
    assert isinstance(found.error, errors.ProviderError)
    assert (found.error.code, found.error.provider_status) == (code, status)
    assert library.arguments["num_retries"] == 0
    assert library.arguments["temperature"] == 0.5


async def test_chunks_go_through_the_chat_decoder() -> None:
    class Chunk:
        def __init__(self, body: dict[str, Any]) -> None:
            self.body = body

        def model_dump_json(self) -> str:
            return json.dumps(self.body)

    async def answer() -> AsyncIterator[Chunk]:
        for item in (*HELLO, chunk({}, "stop"), USAGE):
            yield Chunk(item)

    found = await collect(bridge.LiteLLM(FakeLibrary(answer())), request("m"))
    check_answer(found)
    assert found.text == "Hello"
    assert found.usage is not None
    assert found.usage.output_tokens == 2
