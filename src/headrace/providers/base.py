"""The port of the providers: what a request is, what comes back, and what a provider must do.

A provider is a `Wire` (pure translation: a request to HTTP, bytes to events) on the one HTTP shell in
`transport`, or any object with `stream`. Decoders make ordinary events (`headrace.events`) without run, seq,
time and span: the run engine fills those in as it writes them, so a token is made once. Each decoder ends
with one `ModelEnd`; the end of the bytes without the wire's own end marker raises `stream-incomplete`.
Adapters do not know each other. Next: `transport`, then one file a wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, cast

import msgspec

from headrace import errors, events
from headrace.messages import Message, ToolSpec, Usage


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do, as far as the provider knows.

    Attributes:
        json_schema: holds the model to a schema while it writes.
        schema_with_tools: does so, and still lets it call tools in the same request.
        schema_flavour: what its schemas may say: one of `outputs.portable.Flavour`.
    """

    tools: bool = True
    json_schema: bool = True
    schema_with_tools: bool = True
    schema_flavour: str = "openai-strict"
    reasoning: bool = True
    images: bool = True
    prefill: bool = False

    def holds(self, schema: Mapping[str, Any]) -> bool:
        """Whether a model can be held to this schema while it writes; else it has to be told in words."""
        if not self.json_schema:
            return False
        from headrace.outputs import portable  # most requests have no schema

        return portable.portable(schema, cast(portable.Flavour, self.schema_flavour)).flavour != "prompt"


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds; None is no limit.

    Attributes:
        connect: until the connection stands.
        first_chunk: from the request until the first bytes of the answer.
        stall: between two reads of bytes.
        total: the whole call.
    """

    connect: float | None = 10.0
    first_chunk: float | None = 120.0
    stall: float | None = 60.0
    total: float | None = 900.0


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a model, in no provider's words.

    Attributes:
        model: the name the provider knows, without our prefix.
        prefill: text the answer has already begun with, and goes on from (`Capabilities.prefill`).
        options: keys passed to the provider as they are, on top of everything else.
        stream: False asks the provider without streaming; the events then come in one batch.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    output_schema: dict[str, Any] | None = None
    output_name: str = "output"
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_effort: str | None = None
    prefill: str | None = None
    options: dict[str, Any] = {}
    stream: bool = True


class ModelEnd(events.Event, tag="model-end"):
    """The provider said that the answer is complete. Internal: the engine turns it into `attempt-end`."""

    finish_reason: str | None = None
    response: str | None = None
    model: str | None = None


class Exchange:
    """The record of one call, owned by the engine, filled in by the provider.

    Args:
        new_block: gives the next block id of the run (`b1`, `b2`, …).
        timeouts: see `Timeouts`.

    Attributes:
        usage: tokens as far as the provider has reported them, also when the call breaks off.
        skipped: events of types the decoder did not know and passed over.
    """

    __slots__ = ("new_block", "skipped", "timeouts", "usage")

    def __init__(self, new_block: Callable[[], str], timeouts: Timeouts | None = None) -> None:
        self.new_block = new_block
        self.timeouts = timeouts or Timeouts()
        self.usage: Usage | None = None
        self.skipped = 0


class Provider(Protocol):
    """What the run engine needs of a provider."""

    name: str

    def capabilities(self, model: str) -> Capabilities:
        """What `model` can do."""
        ...

    def stream(self, request: ModelRequest, exchange: Exchange) -> AsyncIterator[list[events.Event]]:
        """Ask the model; yield the events of each bite of bytes, the last of them `ModelEnd`.

        Closing the iterator closes the provider's socket at once.

        Raises:
            errors.ProviderError: typed; after it nothing more comes.
        """
        ...

    async def models(self) -> list[str]:
        """Names of the models that can be asked for; empty where the provider cannot say."""
        ...

    async def close(self) -> None:
        """Give back connections and memory."""
        ...


class HttpRequest(msgspec.Struct, frozen=True):
    """A request as the HTTP shell sends it: `path` is added to the base URL."""

    path: str
    body: Any
    headers: dict[str, str] = {}


class WireDecoder(Protocol):
    """Bytes of one answer in, events out; any cut of the bytes gives the same events."""

    usage: Usage | None
    skipped: int

    def feed(self, data: bytes) -> list[events.Event]:
        """Take the next bytes of a streamed answer; `b""` is no bytes.

        Raises:
            errors.ProviderError: an in-band error, or bytes that are not this wire's. The events before it
                come first: where some of them are in the same bytes, they are returned and the next call of
                `feed` (also with no bytes) or `close` raises.
        """
        ...

    def close(self) -> list[events.Event]:
        """The bytes have ended.

        Raises:
            errors.ProviderError: `stream-incomplete` when the end marker never came.
        """
        ...

    def whole(self, data: bytes) -> list[events.Event]:
        """Take a complete answer that was asked for without streaming."""
        ...


class Wire(Protocol):
    """One wire format: pure functions."""

    name: str

    def request(self, request: ModelRequest) -> HttpRequest:
        """The HTTP request for a model request."""
        ...

    def decoder(self, new_block: Callable[[], str]) -> WireDecoder:
        """A fresh decoder for one answer."""
        ...

    def error(self, status: int, body: bytes) -> errors.ProviderError | None:
        """The typed error of an answer that is not 2xx, or None to have it mapped by status alone."""
        ...


# What an HTTP status means when the body says nothing better.
STATUS_CODES: Mapping[int, str] = {
    400: "bad-request",
    401: "auth-failed",
    402: "auth-failed",
    403: "auth-failed",
    404: "model-not-found",
    408: "provider-timeout",
    413: "context-too-long",
    422: "bad-request",
    429: "rate-limited",
    500: "provider-error",
    502: "provider-error",
    503: "provider-overloaded",
    504: "provider-timeout",
    529: "provider-overloaded",
}


def status_error(
    status: int, message: str, *, code: str | None = None, **details: Any
) -> errors.ProviderError:
    """The error of an HTTP status; unknown 4xx are the request's fault, unknown 5xx the provider's."""
    code = code or STATUS_CODES.get(status) or ("bad-request" if 400 <= status < 500 else "provider-error")
    return errors.ProviderError(message, code=code, provider_status=status, details=details)
