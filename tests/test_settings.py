"""Settings: where they come from, which wins, and what is said about a bad one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace import errors, settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable of ours, an empty working directory and an empty home."""
    for field in settings.Settings.model_fields:
        for variable in settings.variables_of(field):
            monkeypatch.delenv(variable, raising=False)
    for name in ("work", "config", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "headrace.toml"
    path.write_text(text)
    return path


def test_defaults(clean: Path) -> None:
    found = settings.load()
    assert found.model is None
    assert found.runlog == "memory"
    assert found.store == f"sqlite:///{clean}/data/headrace/ledger.db"
    assert (found.connect_timeout, found.first_chunk_timeout) == (10.0, 120.0)
    assert (found.stall_timeout, found.total_timeout) == (60.0, 900.0)
    assert (found.retention_seconds, found.grace_seconds) == (3600.0, 60.0)
    assert found.api_keys == ()
    assert found.providers == {}


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODEL", "ollama:llama3.2")
    monkeypatch.setenv("HEADRACE_API_KEYS", "one, two,")
    monkeypatch.setenv("HEADRACE_TOTAL_TIMEOUT", "none")
    monkeypatch.setenv("HEADRACE_STALL_TIMEOUT", "2.5")
    monkeypatch.setenv("HEADRACE_PROCEDURE_MEMORY_MB", "64")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1/")
    found = settings.load()
    assert found.model == "ollama:llama3.2"
    assert [key.get_secret_value() for key in found.api_keys] == ["one", "two"]
    assert found.total_timeout is None
    assert found.stall_timeout == 2.5
    assert found.procedure_memory_mb == 64
    assert found.openai_base_url == "http://127.0.0.1:8080/v1"
    assert found.openai_api_key is not None
    assert found.openai_api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(found)


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("HEADRACE_STALL_TIMEOUT", "")
    found = settings.load()
    assert found.openai_api_key is None
    assert found.stall_timeout == 60.0


def test_googles_key_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    assert settings.load().gemini_api_key.get_secret_value() == "second"  # type: ignore[union-attr]
    monkeypatch.setenv("GEMINI_API_KEY", "first")
    assert settings.load().gemini_api_key.get_secret_value() == "first"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("box", "http://box:11434"),
        ("box:80", "http://box:80"),
        (":1234", "http://127.0.0.1:1234"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:99", "http://127.0.0.1:99"),
        ("https://box/ollama/", "https://box/ollama"),
    ],
)
def test_the_forms_of_ollama_host(monkeypatch: pytest.MonkeyPatch, given: str, url: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", given)
    assert settings.load().ollama_host == url


def test_which_source_wins(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    write(
        clean / "config" / "headrace",
        'model = "user"\nrunlog = "user"\nurl = "http://user"\nmax_body_bytes = 1',
    )
    write(clean / "work", 'model = "work"\nrunlog = "work"\nurl = "http://work"')
    monkeypatch.setenv("HEADRACE_MODEL", "env")
    monkeypatch.setenv("HEADRACE_RUNLOG", "env")
    found = settings.load(model="argument")
    assert (found.model, found.runlog, found.url, found.max_body_bytes) == (
        "argument",
        "env",
        "http://work",
        1,
    )


def test_endpoints_of_both_files_are_joined(clean: Path) -> None:
    write(clean / "config" / "headrace", '[providers.a]\nbase_url = "http://a"')
    write(clean / "work", '[providers.b]\nbase_url = "http://b"\nwire = "ollama"\ntools = false')
    found = settings.load().providers
    assert found["a"].wire == "openai-chat"
    assert (found["b"].wire, found["b"].tools) == ("ollama", False)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HEADRACE_STALL_TIMEOUT", "-1", "greater than 0"),
        ("HEADRACE_STALL_TIMEOUT", "soon", "valid number"),
        ("HEADRACE_STALL_TIMEOUT", "inf", "finite"),
        ("HEADRACE_MAX_BODY_BYTES", "many", "valid integer"),
        ("HEADRACE_GRACE_SECONDS", "-1", "greater than or equal to 0"),
        ("OPENAI_BASE_URL", "api.openai.com", "http://"),
        ("OPENAI_BASE_URL", "https://me:word@host/v1", "without user"),
        ("OLLAMA_HOST", "ftp://box", "http://"),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.UsageError) as caught:
        settings.load()
    assert variable in caught.value.message
    assert words in caught.value.message


def test_a_bad_value_in_a_file_names_the_file_and_the_key(clean: Path) -> None:
    path = write(clean / "work", "stall_timeout = -1")
    with pytest.raises(errors.UsageError, match="stall_timeout in") as caught:
        settings.load()
    assert str(path) in caught.value.message


def test_a_bad_endpoint_names_its_key(clean: Path) -> None:
    write(clean / "work", '[providers.mine]\nbase_url = "http://a"\nwire = "smoke"')
    with pytest.raises(errors.UsageError, match=r"providers\.mine\.wire"):
        settings.load()


def test_an_unknown_key_gets_the_nearest_one(clean: Path) -> None:
    path = write(clean / "work", 'modle = "demo"')
    with pytest.raises(errors.UsageError, match="did you mean 'model'") as caught:
        settings.load()
    assert str(path) in caught.value.message


def test_a_file_that_is_not_toml(clean: Path) -> None:
    path = write(clean / "work", "model = ")
    with pytest.raises(errors.UsageError, match="cannot be read") as caught:
        settings.load()
    assert caught.value.details["file"] == str(path)


def test_a_strangers_file_cannot_take_a_key_elsewhere(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    write(clean / "work", 'openai_base_url = "https://elsewhere.example/v1"')
    with pytest.raises(errors.UsageError, match="elsewhere") as caught:
        settings.load()
    assert "sk-secret" not in caught.value.message
    monkeypatch.setenv("OPENAI_BASE_URL", "https://mine.example/v1")
    assert settings.load().openai_base_url == "https://mine.example/v1"


def test_a_file_with_both_url_and_key_is_its_own_affair(clean: Path) -> None:
    write(clean / "work", 'openai_base_url = "https://elsewhere.example/v1"\nopenai_api_key = "theirs"')
    assert settings.load().openai_base_url == "https://elsewhere.example/v1"


def test_an_endpoint_cannot_name_a_vendors_variable(clean: Path) -> None:
    write(clean / "work", '[providers.mine]\nbase_url = "http://a"\napi_key_env = "ANTHROPIC_API_KEY"')
    with pytest.raises(errors.UsageError, match="ANTHROPIC_API_KEY"):
        settings.load()


def test_variables_for_other_peoples_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "x")
    found = settings.load()
    assert found.variable("THEIR_KEY").get_secret_value() == "x"  # type: ignore[union-attr]
    assert found.variable("NO_SUCH_KEY") is None
    assert "THEIR_KEY" in os.environ


def test_a_file_knows_fields_by_their_own_names_only(clean: Path) -> None:
    write(clean / "work", 'OPENAI_BASE_URL = "https://elsewhere.example/v1"')
    with pytest.raises(errors.UsageError, match="did you mean 'openai_base_url'"):
        settings.load()


def test_a_strangers_file_cannot_send_what_is_said_to_a_sink(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean / "work" / "headrace.toml").write_text('sinks = ["redis://elsewhere"]\n')
    with pytest.raises(errors.UsageError, match="sets sinks"):
        settings.load()
    (clean / "work" / "headrace.toml").unlink()
    monkeypatch.setenv("HEADRACE_SINKS", "redis://a:secret@b, out.jsonl")
    found = settings.load().sinks
    assert [url.get_secret_value() for url in found] == ["redis://a:secret@b", "out.jsonl"]
    assert "secret" not in repr(settings.load())
