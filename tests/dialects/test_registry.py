"""Every dialect, on every recorded run: the bytes are what they were."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace import dialects, errors, events
from headrace.protocol import sse


@pytest.mark.parametrize("dialect", list(dialects.DIALECTS))
def test_bytes(dialect: str, name: str, scenario: Callable, golden: Callable, encode: Callable) -> None:
    assert encode(dialect, scenario(name)) == golden(name, dialect)


@pytest.mark.parametrize("dialect", list(dialects.DIALECTS))
def test_an_encoder_that_has_not_seen_the_beginning_still_works(
    dialect: str, name: str, scenario: Callable, info: dialects.Info
) -> None:
    batch = scenario(name)
    for after in range(len(batch) + 1):
        encoder = dialects.get(dialect).encoder(info)
        assert isinstance(
            encoder.start() + b"".join(map(encoder.encode, batch[after:])) + encoder.end(), bytes
        )


@pytest.mark.parametrize("dialect", [d for d in dialects.DIALECTS.values() if d.heartbeat and "event-stream" in d.media_type], ids=lambda d: d.name)  # fmt: skip # noqa: E501
def test_a_heartbeat_is_no_event(dialect: dialects.Dialect) -> None:
    assert sse.Decoder().feed(dialect.heartbeat) == [] or b"ping" in dialect.heartbeat


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(
        errors.UsageError,
        match="native, text, token, openai-chat, openai-responses, anthropic, ollama, ai-sdk, ag-ui, ide",
    ) as caught:
        dialects.get("morse")
    assert caught.value.code == "bad-request"


def test_every_dialect_tells_of_a_failure_to_read(info: dialects.Info) -> None:
    error = events.ErrorInfo(code="retention-passed", message="the run is no longer kept")
    for dialect in dialects.DIALECTS.values():
        encoder = dialect.encoder(info)
        sent = encoder.start() + encoder.fail(error) + encoder.end()
        assert (b"no longer kept" in sent) or dialect.name == "native"
