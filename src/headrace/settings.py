"""Settings: the only reader of the environment and of `headrace.toml`.

From strongest to weakest: what the program passes to `load`, the environment, `headrace.toml` in the
working directory, `headrace.toml` in the user's configuration directory, the defaults. Variables of our own
begin with `HEADRACE_`; the providers' variables have the names their vendors gave them. A bad value is a
`UsageError` that names the variable, or the file and the key. Keys are secrets: they print as stars.

A file in the working directory may come from a stranger's repository, so it cannot send a key elsewhere: a
base URL set there does not take the key of a stronger place with it, and `api_key_env` of an endpoint cannot
name a vendor's variable. Nor can it send what is said to a sink. `load` refuses all three. Nothing may live
here that opens a connection or knows a provider's wire. Next: `ids`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic
import pydantic_settings
from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings.sources import PydanticBaseSettingsSource

from headrace import errors

__all__ = ["Endpoint", "McpServer", "Settings", "load"]

FILE_NAME = "headrace.toml"
DEFAULT_URL = "http://127.0.0.1:8642"

WireName = Literal["openai-chat", "openai-responses", "anthropic", "gemini", "ollama"]


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if parts.username or parts.password or parts.fragment:
        raise ValueError(
            "must be a plain URL, without user, password or fragment; a key has a setting of its own"
        )
    return value.rstrip("/")


def _ollama_url(value: str) -> str:
    """The forms that Ollama itself takes: `host`, `:port`, `host:port`, or a URL."""
    if "://" in value:
        return _url(value)
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit():
        host, port = value, "11434"
    # 0.0.0.0 is where a server listens, not where a client connects
    return _url(f"http://{host if host not in ('', '0.0.0.0') else '127.0.0.1'}:{port}")


def _seconds(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("none", "off", "never") else value


def _list(value: Any) -> Any:
    return (
        [part for part in (p.strip() for p in value.split(",")) if part] if isinstance(value, str) else value
    )


Url = Annotated[str, pydantic.AfterValidator(_url)]
Seconds = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, pydantic.BeforeValidator(_seconds)
]
Words = Annotated[tuple[str, ...], pydantic_settings.NoDecode, pydantic.BeforeValidator(_list)]
Keys = Annotated[tuple[SecretStr, ...], pydantic_settings.NoDecode, pydantic.BeforeValidator(_list)]
Key = SecretStr | None


def _vendor(*variables: str, **more: Any) -> Any:
    """A field whose variable has a vendor's name; in the file it has the field's."""
    return Field(
        validation_alias=AliasChoices(*variables, variables[0].lower()), **({"default": None} | more)
    )


class Endpoint(pydantic.BaseModel):
    """A table `[providers.NAME]` of the file: a server that speaks one of our wires.

    Attributes:
        base_url: where it is, up to and with `/v1` for the OpenAI wires.
        wire: the format it speaks.
        api_key: the key itself. `api_key_env` names the variable that has it; with neither no key is sent.
        headers: sent with every request.
        default_model: what the bare provider name means.
        json_schema, tools, images, reasoning, prefill: what its models can do.
        schema_with_tools: whether they can be held to a schema and given tools in the same request; default: what
            is usual where this wire is spoken.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    base_url: Url
    wire: WireName = "openai-chat"
    api_key: Key = None
    api_key_env: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    default_model: str | None = None
    json_schema: bool = True
    schema_with_tools: bool | None = None
    tools: bool = True
    images: bool = True
    reasoning: bool = True
    prefill: bool = False


class McpServer(pydantic.BaseModel):
    """A table `[mcp.NAME]` of the file: an MCP server whose tools can be asked for as `mcp:NAME`.

    Attributes:
        command, args: the program to start, or
        url: where it listens.
        env, headers: for the program, and for each request. A value `$NAME` is the environment variable's.
        cwd: the program's working directory; default: ours.
        tools: those to take; default: all.
        approval: whether a person has to allow each call.
        timeout: seconds one call may take; `none` is no limit.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    command: str | None = None
    args: tuple[str, ...] = ()
    url: Url | None = None
    env: dict[str, str] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    tools: tuple[str, ...] | None = None
    approval: bool = False
    timeout: Seconds = 60.0

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs a command or a url, and not both")
        return self


class Settings(pydantic_settings.BaseSettings):
    """All settings. Made by `load`; a program may also make one with keywords, by field name.

    Attributes:
        model: the model where none is named, such as `openai:gpt-4o-mini`.
        store: the ledger's URL, `sqlite:///PATH` or `postgresql://…`; default: a file among the user's data.
        runlog: `memory` or `redis://…`.
        templates: the folder of the templates that the server keeps and that runs may name; default: none.
        api_keys: keys that clients of the server must send one of; none: no key is asked for.
        allowed_hosts: names the server may be asked under beside loopback names and addresses; `*` is any.
        cors_origins: origins of other sites whose pages may ask the server; `*` is any. Default: none.
        otel: whether the server makes OpenTelemetry spans of its runs; needs the extra `otel`.
        drain_seconds: how long live runs may go on when the server is told to stop.
        sinks: URLs of sinks that every run is sent to; see `headrace.sinks.of`.
        url: where `tail`, `runs` and `cancel` find the server.
        connect_timeout, first_chunk_timeout, stall_timeout, total_timeout: seconds, `none` is no limit.
        max_concurrent_runs: runs at work at once; more wait in line.
        max_queue_length: how many wait; past it `too-many`.
        max_body_bytes, max_prompt_chars: of one request; past it `too-large`.
        max_run_chars: characters that one run may write; past it the run fails with `too-large`.
        retention_seconds: how long a run that has ended can be read.
        reflect_every: turns of a chat with a memory after which the model reflects by itself; 0 is never.
        grace_seconds: how long a run goes on with nobody reading, where its policy is `grace`.
        procedure_wall_s, procedure_cpu_s, procedure_memory_mb: limits of one procedure's interpreter.
        workspace: the folder whose programs the IDE page shows and runs; `none` is none; default: see
            `server.workspace`.
        tools: what the server's runs may name: `module`, `module:name`, `file.py`, `mcp:NAME`.
        providers: tables `[providers.NAME]` of the file.
        mcp: tables `[mcp.NAME]` of the file.
    """

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix="HEADRACE_", env_ignore_empty=True, extra="forbid", populate_by_name=True, frozen=True
    )

    model: str | None = None
    store: str = Field(default_factory=lambda: f"sqlite:///{data_dir() / 'ledger.db'}")
    runlog: str = "memory"
    templates: Path | None = None
    api_keys: Keys = ()
    allowed_hosts: Words = ()
    cors_origins: Words = ()
    otel: bool = False
    sinks: Keys = ()
    url: Url = DEFAULT_URL

    connect_timeout: Seconds = 10.0
    first_chunk_timeout: Seconds = 120.0
    stall_timeout: Seconds = 60.0
    total_timeout: Seconds = 900.0

    max_concurrent_runs: PositiveInt = 512
    max_queue_length: int = Field(1024, ge=0)
    max_body_bytes: PositiveInt = 8 * 1024 * 1024
    max_prompt_chars: PositiveInt = 2_000_000
    max_run_chars: PositiveInt = 16 * 1024 * 1024
    retention_seconds: PositiveFloat = 3600.0
    grace_seconds: float = Field(60.0, ge=0, allow_inf_nan=False)
    reflect_every: int = Field(0, ge=0)
    drain_seconds: float = Field(20.0, ge=0, allow_inf_nan=False)

    procedure_wall_s: PositiveFloat = 300.0
    procedure_cpu_s: PositiveFloat = 10.0
    procedure_memory_mb: PositiveInt = 256
    workspace: str | None = None

    openai_api_key: Key = _vendor("OPENAI_API_KEY")
    openai_base_url: Url | None = _vendor("OPENAI_BASE_URL")
    anthropic_api_key: Key = _vendor("ANTHROPIC_API_KEY")
    anthropic_base_url: Url | None = _vendor("ANTHROPIC_BASE_URL")
    gemini_api_key: Key = _vendor("GEMINI_API_KEY", "GOOGLE_API_KEY")
    gemini_base_url: Url | None = _vendor("GEMINI_BASE_URL")
    ollama_host: Annotated[str | None, pydantic.AfterValidator(lambda v: v and _ollama_url(v))] = _vendor(
        "OLLAMA_HOST"
    )
    openrouter_api_key: Key = _vendor("OPENROUTER_API_KEY")
    openrouter_base_url: Url | None = _vendor("OPENROUTER_BASE_URL")
    groq_api_key: Key = _vendor("GROQ_API_KEY")
    groq_base_url: Url | None = _vendor("GROQ_BASE_URL")
    deepseek_api_key: Key = _vendor("DEEPSEEK_API_KEY")
    deepseek_base_url: Url | None = _vendor("DEEPSEEK_BASE_URL")
    mistral_api_key: Key = _vendor("MISTRAL_API_KEY")
    mistral_base_url: Url | None = _vendor("MISTRAL_BASE_URL")
    together_api_key: Key = _vendor("TOGETHER_API_KEY")
    together_base_url: Url | None = _vendor("TOGETHER_BASE_URL")
    fireworks_api_key: Key = _vendor("FIREWORKS_API_KEY")
    fireworks_base_url: Url | None = _vendor("FIREWORKS_BASE_URL")
    xai_api_key: Key = _vendor("XAI_API_KEY")
    xai_base_url: Url | None = _vendor("XAI_BASE_URL")
    cerebras_api_key: Key = _vendor("CEREBRAS_API_KEY")
    cerebras_base_url: Url | None = _vendor("CEREBRAS_BASE_URL")
    vllm_api_key: Key = _vendor("VLLM_API_KEY")
    vllm_base_url: Url | None = _vendor("VLLM_BASE_URL")
    llamacpp_api_key: Key = _vendor("LLAMACPP_API_KEY")
    llamacpp_base_url: Url | None = _vendor("LLAMACPP_BASE_URL")

    tools: Words = ()
    providers: dict[str, Endpoint] = Field(default_factory=dict)
    mcp: dict[str, McpServer] = Field(default_factory=dict)

    def variable(self, name: str) -> SecretStr | None:
        """The environment variable `name`, for providers that others wrote; None where unset or empty."""
        value = os.environ.get(name)
        return SecretStr(value) if value else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, files; no dotenv: a stray `.env` is not a setting."""
        environment = _Source(settings_cls, {_field_of(key): value for key, value in env_settings().items()})
        return (init_settings, environment, *(_Source(settings_cls, _read(path)) for path in _files()))


class _Source(PydanticBaseSettingsSource):
    """Values by field name, so that the stronger source wins whatever the variable is called."""

    def __init__(self, settings_cls: type[pydantic_settings.BaseSettings], data: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._data = data

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Required by the base class; `__call__` hands the whole table over instead."""
        return self._data.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._data)


def load(**overrides: Any) -> Settings:
    """Read the settings afresh.

    Args:
        overrides: fields by name; stronger than the environment and the files.

    Raises:
        errors.UsageError: a bad value, an unknown key in a file, or a file that is not TOML.
    """
    try:
        settings = Settings(**overrides)
    except pydantic.ValidationError as error:
        raise _usage(error, overrides) from error
    _keep_keys_home(settings, overrides)
    return settings


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return variables_of(field)[0]


def origin(field: str) -> str | None:
    """Where the value of a field comes from: a variable, the key in a file, or None where it is the default."""
    variable = next((name for name in variables_of(field) if os.environ.get(name)), None)
    return variable or next((f"{field} in {path}" for path in _files() if field in _read(path)), None)


def variables_of(field: str) -> tuple[str, ...]:
    """All environment variables of a field, the first one first."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices[:-1])
    return (f"HEADRACE_{field.upper()}",)


def _field_of(key: str) -> str:
    """The field of a variable or of a field's own name, in any case; the key itself where there is none."""
    for field in Settings.model_fields:
        if key.lower() == field or any(key.lower() == name.lower() for name in variables_of(field)):
            return field
    return key


def _files() -> list[Path]:
    """The files there can be, the strongest first."""
    return [Path.cwd() / FILE_NAME, _config_dir() / FILE_NAME]


def _config_dir() -> Path:
    return _home("XDG_CONFIG_HOME", "APPDATA", ".config") / "headrace"


def data_dir() -> Path:
    """Where files of the user's lie that no setting names."""
    return _home("XDG_DATA_HOME", "LOCALAPPDATA", ".local/share") / "headrace"


def _home(variable: str, windows: str, fallback: str) -> Path:
    chosen = os.environ.get(variable) or (os.environ.get(windows) if os.name == "nt" else None)
    return Path(chosen) if chosen else Path.home() / fallback


def _read(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise errors.UsageError(f"{path} cannot be read: {error}", details={"file": str(path)}) from error
    for key in found:
        if key not in Settings.model_fields:
            raise _unknown(key, str(path))
    return found


def _unknown(key: str, place: str) -> errors.UsageError:
    near = difflib.get_close_matches(key.lower(), list(Settings.model_fields), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return errors.UsageError(f"{place}: there is no setting {key!r}{hint}", details={"setting": key})


def _usage(error: pydantic.ValidationError, overrides: Mapping[str, Any]) -> errors.UsageError:
    """Name the place that the first bad value came from."""
    first = error.errors(include_input=False, include_url=False)[0]
    top, *rest = [str(part) for part in first["loc"]]
    field = _field_of(top)
    if field not in Settings.model_fields:
        return _unknown(top, "the arguments")
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    name = ".".join((field, *rest))
    set_in_environment = [v for v in variables_of(field) if os.environ.get(v)]
    if field in overrides:
        place = f"the setting {name}"
    elif set_in_environment:
        place = f"the environment variable {set_in_environment[0]}"
    else:
        place = next((f"{name} in {path}" for path in _files() if field in _read(path)), name)
    return errors.UsageError(f"{place} is not usable: {reason}", details={"setting": field})


def _keep_keys_home(settings: Settings, overrides: Mapping[str, Any]) -> None:
    """Refuse what would send a key, or what is said, to a host that its owner did not choose.

    Raises:
        errors.UsageError: naming the file and the variable.
    """
    here = _read(_files()[0])
    if "sinks" in here:
        raise errors.UsageError(
            f"{_files()[0]} sets sinks: whatever is said would be sent there, and a file in the working directory"
            " may be a stranger's. Use HEADRACE_SINKS, --sink, or the file in your configuration directory",
            details={"setting": "sinks"},
        )
    secrets = {name for name in Settings.model_fields if name.endswith("_api_key")}
    for key in secrets:
        base = key.removesuffix("_api_key") + "_base_url"
        chosen = base in overrides or any(os.environ.get(v) for v in variables_of(base))
        if base in here and not chosen and getattr(settings, key) is not None and key not in here:
            raise errors.UsageError(
                f"{_files()[0]} sets {base}, and the key comes from elsewhere: it would be sent to"
                f" {here[base]}. Set {variable_of(base)} in the environment, or use a table"
                " [providers.NAME] with a key of its own",
                details={"setting": base},
            )
    vendors = {variable: key for key in secrets for variable in variables_of(key)}
    for name, endpoint in settings.providers.items():
        if endpoint.api_key_env in vendors:
            raise errors.UsageError(
                f"providers.{name}.api_key_env names {endpoint.api_key_env}, which is only sent to that"
                f" vendor's own host. Put the key of {endpoint.base_url} into a variable of its own",
                details={"setting": f"providers.{name}.api_key_env"},
            )
