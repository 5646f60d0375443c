"""The providers that are known by name: where they are, what they speak, which variable has the key.

A table and the functions that turn a row into a provider. Wires and the HTTP shell are imported when the
first provider that needs them is built, so that `demo` costs none of it. A key goes into the headers of the
provider that it belongs to and nowhere else, and the HTTP shell follows no redirects. Next: `registry`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headrace import errors, settings
from headrace.providers import base


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A provider known by name.

    Attributes:
        base_url: the vendor's own, or what is usual on this machine; None: it has to be set.
        url_field: the settings field that overrides `base_url`.
        key_field: the settings field of the key; None where none is needed.
        key_needed: False where servers often run without a key.
        default_model: what to use where only the provider is named; None: the person has to say.
        wire_options: passed to the wire's constructor.
    """

    name: str
    wire: settings.WireName
    base_url: str | None
    url_field: str
    key_field: str | None = None
    key_needed: bool = True
    default_model: str | None = None
    wire_options: dict[str, Any] = {}
    capabilities: base.Capabilities | None = None
    notes: str = ""

    def url(self, chosen: settings.Settings) -> str | None:
        """The base URL in force."""
        return getattr(chosen, self.url_field) or self.base_url

    def has_own_url(self, chosen: settings.Settings) -> bool:
        """Whether a base URL other than the vendor's is set."""
        own = getattr(chosen, self.url_field)
        return own is not None and own != self.base_url

    def secret(self, chosen: settings.Settings) -> str | None:
        """The key, where there is one."""
        value = getattr(chosen, self.key_field) if self.key_field else None
        return value.get_secret_value() if value is not None else None

    @property
    def setting(self) -> str:
        """The settings field that sets it up."""
        return self.key_field if self.key_field and self.key_needed else self.url_field

    def is_set_up(self, chosen: settings.Settings) -> bool:
        """Whether a person has set a key or a base URL for it."""
        return self.secret(chosen) is not None or getattr(chosen, self.url_field) is not None


PRESETS: tuple[Preset, ...] = (
    Preset(
        name="openai",
        wire="openai-chat",
        base_url="https://api.openai.com/v1",
        url_field="openai_base_url",
        key_field="openai_api_key",
        default_model="gpt-4o-mini",
        wire_options={"max_tokens_key": "max_completion_tokens"},
        notes="Chat Completions; OPENAI_BASE_URL for any compatible server",
    ),
    Preset(
        name="openai-responses",
        wire="openai-responses",
        base_url="https://api.openai.com/v1",
        url_field="openai_base_url",
        key_field="openai_api_key",
        default_model="gpt-5-mini",
        notes="Responses",
    ),
    Preset(
        name="anthropic",
        wire="anthropic",
        base_url="https://api.anthropic.com",
        url_field="anthropic_base_url",
        key_field="anthropic_api_key",
        default_model="claude-sonnet-4-5",
        notes="Messages",
    ),
    Preset(
        name="gemini",
        wire="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        url_field="gemini_base_url",
        key_field="gemini_api_key",
        default_model="gemini-2.5-flash",
        notes="generateContent; the key may be in GOOGLE_API_KEY",
    ),
    Preset(
        name="openrouter",
        wire="openai-chat",
        base_url="https://openrouter.ai/api/v1",
        url_field="openrouter_base_url",
        key_field="openrouter_api_key",
        default_model="openrouter/auto",
        notes="many vendors behind one key",
    ),
    Preset(
        name="groq",
        wire="openai-chat",
        base_url="https://api.groq.com/openai/v1",
        url_field="groq_base_url",
        key_field="groq_api_key",
        default_model="llama-3.3-70b-versatile",
    ),
    Preset(
        name="deepseek",
        wire="openai-chat",
        base_url="https://api.deepseek.com",
        url_field="deepseek_base_url",
        key_field="deepseek_api_key",
        default_model="deepseek-chat",
        # its reasoning models want their reasoning back while they call tools
        wire_options={"reasoning_key": "reasoning_content"},
        capabilities=base.Capabilities(json_schema=False, images=False),
    ),
    Preset(
        name="mistral",
        wire="openai-chat",
        base_url="https://api.mistral.ai/v1",
        url_field="mistral_base_url",
        key_field="mistral_api_key",
        default_model="mistral-small-latest",
        # sends usage unasked
        wire_options={"include_usage": False},
    ),
    Preset(
        name="together",
        wire="openai-chat",
        base_url="https://api.together.xyz/v1",
        url_field="together_base_url",
        key_field="together_api_key",
        default_model="meta-llama/Llama-3.3-70B-Instruct-Turbo",
    ),
    Preset(
        name="fireworks",
        wire="openai-chat",
        base_url="https://api.fireworks.ai/inference/v1",
        url_field="fireworks_base_url",
        key_field="fireworks_api_key",
        default_model="accounts/fireworks/models/llama-v3p3-70b-instruct",
    ),
    Preset(
        name="xai",
        wire="openai-chat",
        base_url="https://api.x.ai/v1",
        url_field="xai_base_url",
        key_field="xai_api_key",
        default_model="grok-4-fast",
    ),
    Preset(
        name="cerebras",
        wire="openai-chat",
        base_url="https://api.cerebras.ai/v1",
        url_field="cerebras_base_url",
        key_field="cerebras_api_key",
        default_model="llama-3.3-70b",
        capabilities=base.Capabilities(images=False),
    ),
    Preset(
        name="ollama",
        wire="ollama",
        base_url="http://127.0.0.1:11434",
        url_field="ollama_host",
        default_model="llama3.2",
        notes="on this machine or at OLLAMA_HOST; needs no key",
    ),
    Preset(
        name="vllm",
        wire="openai-chat",
        base_url="http://127.0.0.1:8000/v1",
        wire_options={"schemas": "grammar"},
        url_field="vllm_base_url",
        key_field="vllm_api_key",
        key_needed=False,
        capabilities=base.Capabilities(schema_with_tools=False, schema_flavour="grammar"),
        notes="a vLLM server",
    ),
    Preset(
        name="llamacpp",
        wire="openai-chat",
        base_url="http://127.0.0.1:8080/v1",
        url_field="llamacpp_base_url",
        key_field="llamacpp_api_key",
        key_needed=False,
        default_model="default",
        wire_options={"prefill": True, "schemas": "grammar"},
        capabilities=base.Capabilities(prefill=True, schema_with_tools=False, schema_flavour="grammar"),
        notes="a llama.cpp server; it serves one model, whatever it is called",
    ),
)

BY_NAME: dict[str, Preset] = {preset.name: preset for preset in PRESETS}

_MODELS_PATH: dict[str, str] = {
    "openai-chat": "/models",
    "openai-responses": "/models",
    "anthropic": "/v1/models",
    "gemini": "/models",
    "ollama": "/api/tags",
}


def build(preset: Preset, chosen: settings.Settings) -> base.Provider:
    """The provider of a preset.

    Raises:
        errors.ProviderError: `auth-failed` when its vendor wants a key and none is set.
    """
    key, url = preset.secret(chosen), preset.url(chosen)
    if url is None:
        variable = settings.variable_of(preset.url_field)
        raise errors.UsageError(
            f"the provider {preset.name!r} has no base URL: set {variable}", details={"variable": variable}
        )
    if key is None and preset.key_field is not None and preset.key_needed and not preset.has_own_url(chosen):
        variable = settings.variable_of(preset.key_field)
        raise errors.ProviderError(
            f"the provider {preset.name!r} needs a key: set the environment variable {variable}",
            code="auth-failed",
            details={"variable": variable, "provider": preset.name},
        )
    return _http(preset.name, preset.wire, url, key, {}, preset.capabilities, preset.wire_options)


def build_endpoint(name: str, endpoint: settings.Endpoint, chosen: settings.Settings) -> base.Provider:
    """The provider of a table `[providers.NAME]`.

    Raises:
        errors.ProviderError: `auth-failed` when the variable it names is not set.
    """
    secret = endpoint.api_key
    if secret is None and endpoint.api_key_env:
        secret = chosen.variable(endpoint.api_key_env)
        if secret is None:
            raise errors.ProviderError(
                f"the provider {name!r} needs a key: set the environment variable {endpoint.api_key_env}",
                code="auth-failed",
                details={"variable": endpoint.api_key_env, "provider": name},
            )
    capabilities = base.Capabilities(
        tools=endpoint.tools,
        json_schema=endpoint.json_schema,
        schema_with_tools=endpoint.wire != "ollama"
        if endpoint.schema_with_tools is None
        else endpoint.schema_with_tools,
        schema_flavour=endpoint.wire
        if endpoint.wire in ("anthropic", "gemini", "ollama")
        else "openai-strict",
        reasoning=endpoint.reasoning,
        images=endpoint.images,
        prefill=endpoint.prefill,
    )
    options = {"prefill": True} if endpoint.prefill and endpoint.wire == "openai-chat" else {}
    key = secret.get_secret_value() if secret is not None else None
    return _http(name, endpoint.wire, endpoint.base_url, key, endpoint.headers, capabilities, options)


def _http(
    name: str,
    wire: settings.WireName,
    url: str,
    key: str | None,
    headers: dict[str, str],
    capabilities: base.Capabilities | None,
    options: dict[str, Any],
) -> base.Provider:
    from headrace.providers import transport

    spoken = wire_of(wire, options)
    return transport.HttpProvider(
        name,
        spoken,
        _normal(wire, url),
        {**_key_headers(wire, key), **headers},
        capabilities=capabilities or getattr(spoken, "capabilities", None),
        models_path=_MODELS_PATH[wire],
    )


def _normal(wire: settings.WireName, url: str) -> str:
    """The base URL as the wire counts it: Gemini's with the version, Anthropic's without."""
    if wire == "gemini" and not re.search(r"/v\d\w*\Z", url):
        return url + "/v1beta"
    return url.removesuffix("/v1") if wire == "anthropic" else url


def _key_headers(wire: settings.WireName, key: str | None) -> dict[str, str]:
    if wire == "anthropic":
        version = {"anthropic-version": "2023-06-01"}
        return {**version, "x-api-key": key} if key else version
    if key is None:
        return {}
    return {"x-goog-api-key": key} if wire == "gemini" else {"Authorization": f"Bearer {key}"}


def wire_of(name: settings.WireName, options: dict[str, Any] | None = None) -> base.Wire:
    """The wire of that name, its module loaded when it is first asked for.

    Args:
        options: passed to its constructor.
    """
    options = options or {}
    match name:
        case "openai-chat":
            from headrace.providers import openai_chat

            return openai_chat.OpenAIChatWire(**options)
        case "openai-responses":
            from headrace.providers import openai_responses

            return openai_responses.OpenAIResponsesWire(**options)
        case "anthropic":
            from headrace.providers import anthropic

            return anthropic.Wire(**options)
        case "gemini":
            from headrace.providers import gemini

            return gemini.Wire(**options)
        case "ollama":
            from headrace.providers import ollama

            return ollama.Wire(**options)
