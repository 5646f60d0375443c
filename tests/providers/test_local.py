"""The engine in this process: answers, constraints, cancel, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from headrace import errors, messages
from headrace.providers import local
from headrace.testing import bigram, engine
from headrace.testing.providers import Collected, check_answer, check_provider, collect, exchange, request

LONG = {"max_tokens": 100_000, "options": {"ignore_eos": True}}


@pytest.fixture(scope="session")
def model() -> str:
    """The path of the test model, and one thread: the cores are shared."""
    try:
        engine.require()
        return f"{bigram.cached(engine.default_cache())}?threads=1"
    except errors.HeadraceError as error:
        if error.code == "missing-extra":
            pytest.skip(str(error))
        raise


async def ask(model: str, **fields: Any) -> Collected:
    provider = local.Local()
    try:
        return await collect(provider, request(model, **{"seed": 3, "max_tokens": 60, **fields}))
    finally:
        await provider.close()


async def idle(provider: local.Local) -> None:
    """Wait until no thread is inside the engine."""
    while provider._threads:
        await asyncio.sleep(0.001)


@pytest.mark.engine
async def test_it_passes_the_checks(model: str) -> None:
    await check_provider(
        local.Local,
        model=model,
        options={"seed": 3, "max_tokens": 40},
        long_options=LONG,
        failing_model="/no/such/file.gguf",
    )


@pytest.mark.engine
async def test_usage_and_finish_reason(model: str) -> None:
    found = await ask(model, options={"ignore_eos": True}, max_tokens=20)
    check_answer(found)
    assert found.end is not None
    assert found.end.finish_reason == "length"
    assert found.usage is not None
    assert (found.usage.output_tokens, found.usage.basis) == (20, "reported")


@pytest.mark.engine
async def test_a_schema_binds_the_sampler(model: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "word": {"type": "string", "maxLength": 8},
        },
        "required": ["count", "word"],
        "additionalProperties": False,
    }
    found = await ask(model, output_schema=schema, max_tokens=200)
    jsonschema.validate(json.loads(found.text), schema)


@pytest.mark.engine
async def test_a_prefill_is_gone_on_from_and_not_said_again(model: str) -> None:
    plain = await ask(model, stream=False)
    begun = await ask(model, prefill="The statement", stream=False)
    check_answer(begun)
    assert begun.text
    assert not begun.text.startswith("The statement")
    assert plain.usage is not None
    assert begun.usage is not None
    assert (begun.usage.input_tokens or 0) > (plain.usage.input_tokens or 0)


@pytest.mark.engine
async def test_reasoning(model: str) -> None:
    options = {"chat_template_kwargs": {"enable_thinking": True}}
    provider = local.Local()
    found = await collect(provider, request(model, "please think", seed=3, max_tokens=300, options=options))
    await provider.close()
    check_answer(found)
    assert isinstance(found.parts[0], messages.Reasoning)


@pytest.mark.engine
@pytest.mark.parametrize("way", ["leave", "cancel", "close"])
async def test_generation_stops_within_a_tenth_of_a_second(model: str, way: str) -> None:
    provider = local.Local()
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(provider.stream(request(model, **LONG), exchange())) as stream:
            async for _ in stream:
                begun.set()
                if way == "leave":
                    return

    reader = asyncio.create_task(read())
    await begun.wait()
    began = time.monotonic()
    if way == "cancel":
        reader.cancel()
    if way == "close":
        await provider.close()
    await idle(provider)
    took = time.monotonic() - began
    await asyncio.wait((reader,))
    if way == "close":
        error = reader.exception()
        assert isinstance(error, errors.ProviderError)
        assert error.code == "stream-incomplete"
    assert took < 0.1
    await provider.close()


@pytest.mark.engine
async def test_one_engine_a_path_for_all_readers(model: str) -> None:
    provider = local.Local()
    asked = request(model, seed=3, max_tokens=20)
    for found in await asyncio.gather(*(collect(provider, asked) for _ in range(4))):
        check_answer(found)
    assert await provider.models() == [model.partition("?")[0]]
    await provider.close()
    assert await provider.models() == []
    check_answer(await collect(provider, asked))
    await provider.close()


@pytest.mark.engine
async def test_a_reader_that_leaves_while_it_loads_harms_nobody(model: str) -> None:
    provider = local.Local()
    asked = request(model, seed=3, max_tokens=5)
    readers = [asyncio.create_task(collect(provider, asked)) for _ in range(2)]
    await asyncio.sleep(0)
    readers[0].cancel()
    check_answer(await readers[1])
    await provider.close()


@pytest.mark.engine
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"messages": "word " * 20_000}, "context-too-long"),
        ({"temperature": "warm"}, "bad-request"),
        ({"output_schema": {"type": "nonsense"}}, "bad-request"),
        ({"messages": "half \ud800 a character"}, "bad-request"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_engine_refuses_is_typed(
    model: str, fields: dict[str, Any], code: str, stream: bool
) -> None:
    others = {key: value for key, value in fields.items() if key != "messages"}
    provider = local.Local()
    found = await collect(provider, request(model, fields.get("messages", "Hello"), stream=stream, **others))
    await provider.close()
    assert isinstance(found.error, errors.ProviderError)
    assert found.error.code == code


@pytest.mark.engine
async def test_a_file_that_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "odd.gguf").write_bytes(b"GGUF and nothing else")
    (tmp_path / "text.gguf").write_bytes(b"hello")
    for name, code in (("odd", "provider-error"), ("text", "model-not-found"), ("none", "model-not-found")):
        found = await ask(f"{tmp_path}/{name}.gguf")
        assert isinstance(found.error, errors.ProviderError)
        assert found.error.code == code
        assert not found.error.retryable
        assert f"{name}.gguf" in found.error.message


@pytest.mark.engine
@pytest.mark.parametrize("options", ["size=1", "ctx=large"])
async def test_options_there_are_not(model: str, options: str) -> None:
    found = await ask(f"{model}&{options}")
    assert isinstance(found.error, errors.UsageError)
    assert "ctx, parallel" in found.error.message


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(errors.MissingExtra, match=r"headrace\[local\]"):
        local.Local()


def test_the_engines_own_port_is_closed_to_others(tmp_path: Path) -> None:
    try:
        engine.require()
    except errors.MissingExtra as error:
        pytest.skip(str(error))
    parameters = local.Local()._parameters(tmp_path, local._Options())
    assert len(parameters.api_keys[0]) == 32
    assert parameters.hostnames == ["127.0.0.1"]
    assert parameters.cors_origins != "*"
