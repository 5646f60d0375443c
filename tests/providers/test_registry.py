"""Names to providers: splitting, defaults, sharing, and what is said about a wrong one."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import errors, events, settings
from headrace.providers import base, demo, registry, replay, scripted
from headrace.providers.callable import CallableProvider, DummyChat
from headrace.testing.playback import Response, ScriptedHTTP
from headrace.testing.providers import collect, request

pytestmark = pytest.mark.usefixtures("clean_settings")


def make(*, files: bool = True, **chosen: Any) -> registry.Registry:
    return registry.Registry(settings.load(**chosen), files=files)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("openai:gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("openai/gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("openrouter/meta/llama", ("openrouter", "meta/llama")),
        ("openrouter:meta/llama:free", ("openrouter", "meta/llama:free")),
        ("ollama:llama3.2:3b", ("ollama", "llama3.2:3b")),
        ("ollama/llama3.2:3b", ("ollama", "llama3.2:3b")),
        ("local:/models/a:b.gguf", ("local", "/models/a:b.gguf")),
        ("demo", ("demo", "")),
        ("openai:", ("openai", "")),
    ],
)
def test_split_at_whichever_comes_first(name: str, split: tuple[str, str]) -> None:
    assert registry.split_name(name) == split


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("demo", "demo", "demo"),
        ("demo:fast", "demo", "fast"),
        ("ollama", "ollama", "llama3.2"),
        ("gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("o3", "openai", "o3"),
        ("o4-mini", "openai", "o4-mini"),
        ("ft:gpt-4o:mine::1", "openai", "ft:gpt-4o:mine::1"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("gemini-2.5-flash", "gemini", "gemini-2.5-flash"),
        ("grok-4", "xai", "grok-4"),
        ("mistral-small-latest", "mistral", "mistral-small-latest"),
        ("deepseek-chat", "deepseek", "deepseek-chat"),
        ("openrouter/meta/llama", "openrouter", "meta/llama"),
        ("llamacpp", "llamacpp", "default"),
    ],
)
def test_names_that_resolve(name: str, provider: str, model: str) -> None:
    keys = ("openai", "anthropic", "gemini", "xai", "mistral", "deepseek", "openrouter")
    found = make(**{f"{key}_api_key": "k" for key in keys}).resolve(name)
    assert (found[0].name, found[1]) == (provider, model)


def test_an_unknown_provider_gets_the_list_and_the_nearest() -> None:
    with pytest.raises(errors.UsageError) as caught:
        make().resolve("opnai:gpt-4o")
    assert "did you mean 'openai'" in caught.value.message
    assert "anthropic" in caught.value.message
    assert caught.value.details["nearest"] == "openai"
    with pytest.raises(errors.UsageError, match="no provider 'zzzzzz'"):
        make().resolve("zzzzzz")


def test_a_missing_key_names_the_variable() -> None:
    with pytest.raises(errors.ProviderError, match="ANTHROPIC_API_KEY") as caught:
        make().resolve("claude-sonnet-4-5")
    assert caught.value.code == "auth-failed"


@pytest.mark.parametrize("name", ["local", "replay", "vllm", "vllm:"])
def test_a_provider_without_a_default_wants_a_model(name: str) -> None:
    with pytest.raises(errors.UsageError, match=":MODEL"):
        make().resolve(name)


def test_providers_are_built_once() -> None:
    providers = make()
    assert providers.resolve("demo")[0] is providers.resolve("demo:fast")[0]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "demo"),
        ({"model": "replay:x"}, "replay:x"),
        ({"openai_api_key": "k"}, "openai:gpt-4o-mini"),
        ({"anthropic_api_key": "k", "groq_api_key": "k"}, "anthropic:claude-sonnet-4-5"),
        ({"ollama_host": "box"}, "ollama:llama3.2"),
        ({"vllm_base_url": "http://127.0.0.1:1"}, "demo"),
        ({"llamacpp_base_url": "http://127.0.0.1:1"}, "llamacpp:default"),
        ({"providers": {"mine": {"base_url": "http://a", "default_model": "m"}}}, "mine:m"),
        (
            {"providers": {"mine": {"base_url": "http://a", "default_model": "m", "api_key_env": "UNSET"}}},
            "demo",
        ),
    ],
)
def test_the_default_model(chosen: dict[str, Any], expected: str) -> None:
    assert make(**chosen).default_model() == expected


def test_an_endpoint_of_the_settings_comes_before_a_preset() -> None:
    providers = make(providers={"openai": {"base_url": "http://127.0.0.1:1"}})
    provider, model = providers.resolve("openai:m")
    assert (provider.base_url, model) == ("http://127.0.0.1:1", "m")  # type: ignore[attr-defined]


def test_registering() -> None:
    providers = make()
    mine = scripted.Scripted("hello", "mine")
    providers.register("mine", mine)
    assert providers.resolve("mine:large") == (mine, "large")
    assert providers.resolve("mine") == (mine, "mine")
    providers.register("chat", DummyChat())
    assert isinstance(providers.resolve("chat")[0], CallableProvider)
    seen: list[settings.Settings] = []

    def factory(chosen: settings.Settings) -> base.Provider:
        seen.append(chosen)
        return scripted.Scripted("made")

    providers.register("made", factory)
    assert seen == []
    providers.resolve("made:x")
    providers.resolve("made:y")
    assert seen == [providers.settings]
    providers.register("demo", mine)
    assert providers.resolve("demo")[0] is mine


@pytest.mark.parametrize("name", ["", "a:b", "a/b"])
def test_names_that_cannot_be_registered(name: str) -> None:
    with pytest.raises(errors.UsageError):
        make().register(name, scripted.Scripted())


def test_what_is_no_model_cannot_be_registered() -> None:
    with pytest.raises(errors.UsageError, match="cannot be used as a model"):
        make().register("mine", 3)


class OnlyStream:
    async def stream(
        self, asked: base.ModelRequest, record: base.Exchange
    ) -> AsyncIterator[list[events.Event]]:
        block = record.new_block()
        yield [events.TextStart(block=block), events.TextDelta(block=block, delta="hi")]
        yield [events.TextEnd(block=block), base.ModelEnd(finish_reason="stop")]


class OnlyGenerateStream:
    model = "small"

    def generate_stream(self, messages: list[dict[str, Any]]) -> Iterator[str]:
        yield "hi"


@pytest.mark.parametrize("model", [OnlyStream(), OnlyGenerateStream(), DummyChat("hi")])
async def test_any_object_that_can_answer(model: object) -> None:
    providers = make()
    provider, name = providers.resolve(model)
    found = await collect(provider, request(name))
    assert found.text == "hi"
    assert isinstance(provider.capabilities(name), base.Capabilities)
    assert await provider.models() == (["small"] if isinstance(model, OnlyGenerateStream) else [])
    await provider.close()
    assert (
        name
        == {"OnlyStream": "OnlyStream", "OnlyGenerateStream": "small", "DummyChat": "dummy"}[
            type(model).__name__
        ]
    )


@pytest.mark.parametrize("model", [3, object(), DummyChat, None])
def test_any_object_that_cannot(model: object) -> None:
    with pytest.raises(errors.UsageError):
        registry.as_provider(model)


def test_a_provider_is_taken_as_it_is() -> None:
    mine = scripted.Scripted()
    assert registry.as_provider(mine) is mine


def test_files_are_not_for_strangers(tmp_path: Path) -> None:
    providers = make(files=False, model=f"replay:{tmp_path}/mine.jsonl")
    for name in (
        "replay:/etc/hosts",
        "replay//etc/hosts",
        "local:/etc/hosts",
        f"replay:{tmp_path}/other.jsonl",
    ):
        with pytest.raises(errors.AccessError) as caught:
            providers.resolve(name)
        assert caught.value.code == "forbidden"
    assert isinstance(providers.resolve(providers.default_model())[0], replay.Replay)
    assert isinstance(providers.resolve("demo")[0], demo.Demo)


class FakePoint:
    name = "elsewhere"

    def load(self) -> Any:
        return lambda chosen: scripted.Scripted("from an entry point", "elsewhere")


async def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(*, group: str) -> list[FakePoint]:
        assert group == "headrace.providers"
        return [FakePoint()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    providers = make()
    provider, model = providers.resolve("elsewhere:any/thing:at-all")
    assert model == "any/thing:at-all"
    assert (await collect(provider, request(model))).text == "from an entry point"
    assert ("elsewhere", "entry-point") in [(row.name, row.origin) for row in providers.known()]


async def test_the_models_of_all_at_once() -> None:
    listing = {"data": [{"id": "b"}, {"id": "a"}]}
    async with (
        ScriptedHTTP(Response(200, body=listing)) as good,
        ScriptedHTTP(Response(500, body={"error": {"message": "broken"}})) as bad,
        ScriptedHTTP(Response(200, body=b"{", ending="hang")) as silent,
    ):
        providers = make(
            openai_base_url=good.url,
            vllm_base_url=bad.url,
            providers={"silent": {"base_url": silent.url}},
            ollama_host=good.url,
        )
        providers.register("mine", scripted.Scripted(models=["m"]))
        rows = {row.provider: row for row in await providers.models(timeout=0.5)}
        await providers.close()
    assert rows["openai"].models == ["openai:a", "openai:b"]
    assert rows["mine"].models == ["mine:m"]
    assert rows["demo"].models == ["demo:demo", "demo:fast"]
    assert rows["vllm"].error is not None
    assert rows["vllm"].error.code == "provider-error"
    assert rows["silent"].error is not None
    assert rows["silent"].error.code == "provider-timeout"
    assert "anthropic" not in rows


async def test_a_provider_that_breaks_does_not_hide_the_others() -> None:
    class Broken(scripted.Scripted):
        async def models(self) -> list[str]:
            raise OSError("stuck")

    providers = make()
    providers.register("broken", Broken())
    rows = {row.provider: row for row in await providers.models()}
    assert rows["broken"].error is not None
    assert "stuck" in rows["broken"].error.message
    assert rows["demo"].models


def test_what_is_known() -> None:
    providers = make(openai_api_key="k", providers={"mine": {"base_url": "http://a", "api_key_env": "UNSET"}})
    providers.register("demo", scripted.Scripted())
    rows = {row.name: row for row in providers.known()}
    assert len(rows) == len(providers.known())
    assert rows["openai"].set_up
    assert rows["openai"].variable == "OPENAI_API_KEY"
    assert not rows["anthropic"].set_up
    assert not rows["mine"].set_up
    assert rows["mine"].variable == "UNSET"
    assert rows["demo"].origin == "registered"
    assert rows["vllm"].variable == "VLLM_BASE_URL"
    assert rows["local"].notes


async def test_closing_closes_each_once_and_can_be_followed_by_more() -> None:
    providers = make()
    first, second = scripted.Scripted(), scripted.Scripted()
    providers.register("a", first)
    providers.register("b", second)
    providers.resolve("a:m")
    providers.register("a", second)
    providers.resolve("demo")
    await providers.close()
    assert first.closed
    assert not second.closed
    assert providers.resolve("demo")[1] == "demo"


async def test_one_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    class Stubborn(scripted.Scripted):
        async def close(self) -> None:
            raise OSError("stuck")

    providers = make()
    good = scripted.Scripted()
    providers.register("stubborn", Stubborn())
    providers.register("good", good)
    providers.resolve("stubborn:m")
    providers.resolve("good:m")
    with pytest.raises(OSError, match="stuck"):
        await providers.close()
    assert good.closed


def test_the_registry_loads_no_driver() -> None:
    code = (
        "import sys; from headrace.providers import registry; registry.Registry().resolve('demo');"
        "print([m for m in ('aiohttp', 'xllamacpp', 'litellm', 'genai_prices') if m in sys.modules])"
    )
    source = str(Path(registry.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    assert done.stdout.strip() == "[]"
