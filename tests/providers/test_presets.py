"""Presets: the right URL, the right header, and a key that only goes where it belongs."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors, settings
from headrace.providers import presets, transport
from headrace.testing.playback import Response, ScriptedHTTP
from headrace.testing.providers import collect, request

pytestmark = pytest.mark.usefixtures("clean_settings")


def test_names_and_fields_are_right() -> None:
    assert len(presets.BY_NAME) == len(presets.PRESETS)
    for preset in presets.PRESETS:
        assert preset.url_field in settings.Settings.model_fields
        assert preset.key_field is None or preset.key_field in settings.Settings.model_fields
        assert preset.base_url is None or preset.base_url.startswith(("https://", "http://127.0.0.1"))


@pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.name)
def test_every_preset_can_be_built(preset: presets.Preset) -> None:
    chosen = settings.load(**({preset.key_field: "the-key"} if preset.key_field else {}))
    built = presets.build(preset, chosen)
    assert isinstance(built, transport.HttpProvider)
    assert built.name == preset.name
    assert built.base_url == preset.base_url
    built.capabilities("some-model")


@pytest.mark.parametrize(
    "preset", [p for p in presets.PRESETS if p.key_field and p.key_needed], ids=lambda preset: preset.name
)
def test_a_missing_key_names_its_variable(preset: presets.Preset) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        presets.build(preset, settings.load())
    assert caught.value.code == "auth-failed"
    assert preset.key_field is not None
    variable = settings.variable_of(preset.key_field)
    assert variable in caught.value.message
    assert caught.value.details["variable"] == variable


ALL_KEYS = {p.key_field: f"key-of-{p.key_field}" for p in presets.PRESETS if p.key_field}


@pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.name)
async def test_each_server_sees_its_own_key_and_no_other(preset: presets.Preset) -> None:
    async with ScriptedHTTP(Response(401, body={"error": {"message": "no"}})) as server:
        chosen = settings.load(**ALL_KEYS, **{preset.url_field: server.url})
        provider = presets.build(preset, chosen)
        found = await collect(provider, request("m"))
        await provider.close()
    assert isinstance(found.error, errors.ProviderError)
    sent = " ".join(server.requests[0].headers.values()) + server.requests[0].path
    for field, key in ALL_KEYS.items():
        assert (key in sent) == (field == preset.key_field), field
    assert all(key not in found.error.message for key in ALL_KEYS.values())


@pytest.mark.parametrize(
    ("name", "base_url", "path"),
    [
        ("openai", "/v1", "/v1/chat/completions"),
        ("openai-responses", "/v1", "/v1/responses"),
        ("anthropic", "", "/v1/messages"),
        ("anthropic", "/v1", "/v1/messages"),
        ("gemini", "", "/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("gemini", "/v1", "/v1/models/m:streamGenerateContent?alt=sse"),
        ("ollama", "", "/api/chat"),
        ("vllm", "/v1", "/v1/chat/completions"),
    ],
)
async def test_where_a_request_goes(name: str, base_url: str, path: str) -> None:
    preset = presets.BY_NAME[name]
    async with ScriptedHTTP(Response(500)) as server:
        provider = presets.build(preset, settings.load(**{preset.url_field: server.url + base_url}))
        await collect(provider, request("m"))
        await provider.close()
    assert server.requests[0].path == path


async def test_a_server_of_ones_own_needs_no_key() -> None:
    async with ScriptedHTTP(Response(500)) as server:
        provider = presets.build(presets.BY_NAME["openai"], settings.load(openai_base_url=server.url))
        await collect(provider, request("m"))
        await provider.close()
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("wire", "header", "value"),
    [
        ("openai-chat", "authorization", "Bearer secret"),
        ("openai-responses", "authorization", "Bearer secret"),
        ("anthropic", "x-api-key", "secret"),
        ("gemini", "x-goog-api-key", "secret"),
        ("ollama", "authorization", "Bearer secret"),
    ],
)
async def test_an_endpoint_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, wire: Any, header: str, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    async with ScriptedHTTP(Response(500)) as server:
        endpoint = settings.Endpoint(
            base_url=server.url, wire=wire, api_key_env="MY_KEY", headers={"X-Team": "blue"}, tools=False
        )
        provider = presets.build_endpoint("mine", endpoint, settings.load())
        await collect(provider, request("m"))
        await provider.close()
    assert provider.name == "mine"
    assert not provider.capabilities("m").tools
    assert server.requests[0].headers[header] == value
    assert server.requests[0].headers["x-team"] == "blue"


def test_an_endpoint_whose_variable_is_not_set() -> None:
    endpoint = settings.Endpoint(base_url="http://127.0.0.1:1", api_key_env="NOT_SET_HERE")
    with pytest.raises(errors.ProviderError, match="NOT_SET_HERE"):
        presets.build_endpoint("mine", endpoint, settings.load())


@pytest.mark.parametrize(
    ("wire", "said", "able"),
    [
        ("openai-chat", None, True),
        ("ollama", None, False),
        ("openai-chat", False, False),
        ("ollama", True, True),
    ],
)
def test_an_endpoint_says_whether_it_takes_a_schema_beside_tools(
    wire: Any, said: bool | None, able: bool
) -> None:
    endpoint = settings.Endpoint(base_url="http://127.0.0.1:1", wire=wire, schema_with_tools=said)
    provider = presets.build_endpoint("mine", endpoint, settings.load())
    assert provider.capabilities("m").schema_with_tools is able
