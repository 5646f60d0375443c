"""`litellm:any/thing`: whatever LiteLLM can reach, as a provider (the extra `litellm`).

Found through the entry point group `headrace.providers`, which any package can use the same way: a name, and a
function from the settings to a provider. LiteLLM turns every vendor's answer into Chat Completions chunks, so
they go through that wire's decoder. It reads its own environment variables for keys and hosts; `api_key` and
`api_base` can also stand in a request's `options`. Its retries are off, because the run engine has its own, and
its start-up download of prices is off too. Importing it takes a second or two, when the first `litellm:` model
is asked for.

Where a vendor's stream breaks off cleanly LiteLLM makes up a finish reason, and where it gives no usage LiteLLM
counts for itself. Its stream object remembers what the vendor really sent; `_ending` looks there, so that such
an answer is `stream-incomplete` and such a usage `estimated`. Nothing comes after.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from headrace import errors, events, messages, settings
from headrace.providers import base, handover, openai_chat

__all__ = ["LiteLLM", "provider"]

# LiteLLM's exceptions by class name; a class not listed is what its bases are.
_CODES = {
    "ContextWindowExceededError": "context-too-long",
    "ContentPolicyViolationError": "content-blocked",
    "AuthenticationError": "auth-failed",
    "PermissionDeniedError": "auth-failed",
    "NotFoundError": "model-not-found",
    "RateLimitError": "rate-limited",
    "Timeout": "provider-timeout",
    "APITimeoutError": "provider-timeout",
    "ServiceUnavailableError": "provider-overloaded",
    "InternalServerError": "provider-error",
    "APIConnectionError": "provider-unreachable",
    "BadRequestError": "bad-request",
    "UnprocessableEntityError": "bad-request",
    "APIError": "provider-error",
    "OpenAIError": "provider-error",
}


def provider(chosen: settings.Settings) -> base.Provider:
    """The provider `litellm`.

    Raises:
        errors.MissingExtra: LiteLLM is not installed.
    """
    # LiteLLM downloads a table of prices when it is imported, unless it is told to use its own
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
    except ImportError as error:
        raise errors.MissingExtra("litellm", "a litellm: model") from error
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return LiteLLM(litellm)


class LiteLLM:
    """LiteLLM's `acompletion` as a provider.

    Args:
        library: the module `litellm`.
    """

    name = "litellm"

    def __init__(self, library: Any) -> None:
        self._library = library
        self._wire = openai_chat.OpenAIChatWire()

    def capabilities(self, model: str) -> base.Capabilities:
        """What LiteLLM's own table says of the model; everything for one it does not know."""
        if model not in self._library.model_cost and model.partition("/")[2] not in self._library.model_cost:
            return base.Capabilities()
        return base.Capabilities(
            tools=self._library.supports_function_calling(model),
            json_schema=self._library.supports_response_schema(model),
            reasoning=self._library.supports_reasoning(model),
            images=self._library.supports_vision(model),
        )

    async def models(self) -> list[str]:
        """None: LiteLLM cannot say what a vendor serves without being asked for one."""
        return []

    async def close(self) -> None:
        """Close the HTTP clients that LiteLLM keeps."""
        close = getattr(self._library, "close_litellm_async_clients", None)
        if close is not None:
            await close()

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[events.Event], None]:
        """Ask through `acompletion`.

        Raises:
            errors.ProviderError: LiteLLM's exceptions, typed, with the vendor's status.
        """
        limits = handover.Limits(exchange.timeouts, f"litellm:{request.model}")
        decoder = self._wire.decoder(exchange.new_block)
        body = self._wire.request(request).body
        response: Any = None
        begun = False
        try:
            response = await limits.within(
                self._library.acompletion(**{"max_retries": 0, "num_retries": 0, **body})
            )
            if not request.stream:
                batch = decoder.whole(response.model_dump_json().encode())
                exchange.usage = decoder.usage
                yield batch
                return
            chunks = aiter(response)
            while (chunk := await limits.within(anext(chunks, None))) is not None:
                begun = True
                batch = decoder.feed(b"data: " + chunk.model_dump_json().encode() + b"\n\n")
                exchange.usage = decoder.usage
                if batch:
                    yield batch
                decoder.feed(b"")  # raises the error that stood behind those events
            exchange.usage = _ending(response, decoder.usage, mocked="mock_response" in body)
            yield decoder.close()
        except errors.HeadraceError:
            raise
        except Exception as error:
            raise _typed(error, request.model, begun) from error
        finally:
            exchange.skipped = decoder.skipped
            if request.stream and response is not None:
                await _leave(response)


def _ending(response: Any, usage: messages.Usage | None, *, mocked: bool) -> messages.Usage | None:
    """The usage with its true basis, of a stream that the vendor has really ended.

    Raises:
        errors.ProviderError: `stream-incomplete`: the vendor never gave a finish reason.
    """
    reasons = [getattr(response, f"{kind}_finish_reason", "") for kind in ("received", "intermittent")]
    if reasons == [None, None] and not mocked:
        raise errors.ProviderError(
            "the vendor's stream ended without a finish reason; it is not complete", code="stream-incomplete"
        )
    reported = any(getattr(chunk, "usage", None) for chunk in getattr(response, "chunks", ()))
    if usage is None or reported:
        return usage
    return msgspec.structs.replace(usage, basis="estimated")


async def _leave(response: Any) -> None:
    """Close the vendor's stream, wherever this version of LiteLLM keeps it."""
    for owner, name in (
        (response, "aclose"),
        (getattr(response, "completion_stream", None), "aclose"),
        (getattr(response, "completion_stream", None), "close"),
    ):
        close = getattr(owner, name, None)
        if close is not None:
            closing = close()
            if hasattr(closing, "__await__"):
                await closing
            return


def _typed(error: Exception, model: str, begun: bool) -> errors.HeadraceError:
    """The typed error of an exception of LiteLLM's; one that is not LiteLLM's is `provider-error`."""
    inner = getattr(error, "original_exception", None)  # of an error in the middle of a stream
    if isinstance(inner, Exception) and inner is not error:
        return _typed(inner, model, begun)
    code = next((_CODES[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _CODES), None)
    status: Any = getattr(error, "status_code", None)
    if code == "provider-unreachable":
        status = None  # LiteLLM says 500, but nobody answered that
        if begun:
            code = "stream-incomplete"
    return errors.ProviderError(
        f"litellm:{model}: {error}",
        code=code or "provider-error",
        retryable=None if code else False,
        provider_status=status if isinstance(status, int) else None,
    )
